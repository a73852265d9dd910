/* The recorder. See recorder.h. */
#include "record/recorder.h"

#include "core/alloc.h"
#include "record/commit.h"
#include "record/fork.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct rl_recorder {
    rl_config config;
    rl_migrations migrations;
    rl_metrics metrics;
    const char *store_name;
    rl_store *store;      /* owned; NULL once it is closed */
    rl_commit *commit;    /* owned */
    atomic_bool ready;    /* the database was opened */
    unsigned opened_in;   /* by which generation of forks */
    pthread_mutex_t gate; /* guards `inside` and `closing` */
    pthread_cond_t empty; /* nobody is inside any more, or the store is closed */
    unsigned inside;      /* calls under way */
    bool closing;
};

void rl_config_free(rl_config *config)
{
    for (size_t i = 0; i < config->migration_count; i++) {
        rl_free((void *)config->migrations[i].name);
        rl_free((void *)config->migrations[i].sql);
        rl_free((void *)config->migrations[i].checksum);
    }
    rl_free(config->migrations);
    rl_free(config->postgres_dsn);
    rl_free(config->sqlite_path);
    rl_redact_free(&config->redact);
    memset(config, 0, sizeof *config);
}

static rl_status open_parts(rl_recorder *recorder, rl_err *err)
{
    const rl_config *config = &recorder->config;
    rl_status status;

    recorder->migrations.list = config->migrations;
    recorder->migrations.count = config->migration_count;
    if (config->postgres_dsn != NULL) {
        status = rl_postgres_new(config->postgres_dsn, &recorder->migrations,
                                 &recorder->store, err);
    } else {
        status = rl_sqlite_new(config->sqlite_path, &recorder->migrations,
                               &recorder->store, err);
    }
    if (status == RL_OK) {
        recorder->store_name = recorder->store->ops->name;
        recorder->commit = rl_commit_new(recorder->store, &recorder->metrics);
        if (recorder->commit == NULL) {
            status = rl_err_nomem(err);
        }
    }
    return status;
}

rl_status rl_recorder_new(rl_config *config, rl_recorder **out, rl_err *err)
{
    rl_recorder *recorder = rl_calloc(1, sizeof *recorder);
    rl_status status;

    if (recorder == NULL) {
        rl_config_free(config);
        return rl_err_nomem(err);
    }
    recorder->config = *config;
    memset(config, 0, sizeof *config);
    rl_fork_watch();
    pthread_mutex_init(&recorder->gate, NULL);
    pthread_cond_init(&recorder->empty, NULL);
    status = open_parts(recorder, err);
    if (status == RL_OK) {
        *out = recorder;
    } else {
        rl_recorder_free(recorder);
    }
    return status;
}

void rl_recorder_free(rl_recorder *recorder)
{
    if (recorder != NULL) {
        rl_recorder_close(recorder);
        rl_commit_free(recorder->commit);
        pthread_cond_destroy(&recorder->empty);
        pthread_mutex_destroy(&recorder->gate);
        rl_config_free(&recorder->config);
        rl_free(recorder);
    }
}

static bool is_ready(rl_recorder *recorder)
{
    return atomic_load_explicit(&recorder->ready, memory_order_acquire);
}

static bool uses_sqlite(const rl_recorder *recorder)
{
    return recorder->config.postgres_dsn == NULL;
}

/* Whether the database was opened by a process that this one was forked from. */
static bool is_inherited(rl_recorder *recorder)
{
    return is_ready(recorder) && recorder->opened_in != rl_fork_generation();
}

static rl_status refuse_after_fork(rl_err *err)
{
    return rl_err_set(
        err, RL_STORE,
        "the database was open when this process was forked, and nothing can "
        "be kept in it from here: call runlog.close() before the fork");
}

static rl_status enter(rl_recorder *recorder, rl_err *err)
{
    rl_status status = RL_OK;

    if (is_inherited(recorder)) {
        return refuse_after_fork(err);
    }
    pthread_mutex_lock(&recorder->gate);
    if (recorder->closing) {
        status = rl_err_set(err, RL_CLOSED, "the recorder is closed");
    } else {
        recorder->inside++;
    }
    pthread_mutex_unlock(&recorder->gate);
    return status;
}

static void leave(rl_recorder *recorder)
{
    pthread_mutex_lock(&recorder->gate);
    recorder->inside--;
    if (recorder->inside == 0 && recorder->closing) {
        pthread_cond_broadcast(&recorder->empty);
    }
    pthread_mutex_unlock(&recorder->gate);
}

static rl_status open_store(rl_recorder *recorder, rl_err *err)
{
    rl_status status;

    if (uses_sqlite(recorder) && rl_fork_inherited_sqlite()) {
        return refuse_after_fork(err);
    }
    status = recorder->store->ops->prepare(recorder->store, err);
    if (status == RL_OK) {
        pthread_mutex_lock(&recorder->gate);
        if (!is_ready(recorder)) { /* several threads may have waited for the opening */
            recorder->opened_in = rl_fork_generation();
            if (uses_sqlite(recorder)) {
                rl_fork_opened_sqlite();
            }
            atomic_store_explicit(&recorder->ready, true, memory_order_release);
        }
        pthread_mutex_unlock(&recorder->gate);
    }
    return status;
}

/* Enters, and opens the database if this is the first use. Leave only after RL_OK. */
static rl_status enter_ready(rl_recorder *recorder, rl_err *err)
{
    rl_status status = enter(recorder, err);

    if (status == RL_OK && !is_ready(recorder)) {
        status = open_store(recorder, err);
        if (status != RL_OK) {
            leave(recorder);
        }
    }
    return status;
}

rl_status rl_recorder_write(rl_recorder *recorder, rl_run *run, rl_durability durability,
                            rl_err *err)
{
    rl_status status = enter_ready(recorder, err);

    if (status == RL_OK) {
        status = rl_commit_run(recorder->commit, run, durability, err);
        leave(recorder);
    } else if (status == RL_STORE) {
        rl_metric_add(&recorder->metrics.failed, 1);
    }
    return status;
}

rl_status rl_recorder_try_write(rl_recorder *recorder, rl_run *run,
                                rl_durability durability, rl_err *err)
{
    rl_status status;

    if (!is_ready(recorder)) {
        return rl_err_set(err, RL_BUSY, "the database is not open yet");
    }
    status = enter(recorder, err);
    if (status == RL_OK) {
        status = rl_commit_try(recorder->commit, run, durability, err);
        leave(recorder);
    }
    return status;
}

rl_status rl_recorder_query(rl_recorder *recorder, const rl_query *query, rl_rows *rows,
                            rl_err *err)
{
    rl_status status = enter_ready(recorder, err);

    if (status == RL_OK) {
        status = recorder->store->ops->query(recorder->store, query, rows, err);
        leave(recorder);
    }
    return status;
}

rl_status rl_recorder_remove(rl_recorder *recorder, const rl_query *query, int64_t *count,
                             rl_err *err)
{
    rl_status status = enter_ready(recorder, err);

    if (status == RL_OK) {
        status = recorder->store->ops->remove(recorder->store, query, count, err);
        leave(recorder);
    }
    return status;
}

rl_status rl_recorder_flush(rl_recorder *recorder, uint64_t end, rl_err *err)
{
    rl_status status = enter(recorder, err);

    if (status == RL_OK) {
        status = rl_commit_drain(recorder->commit, end);
        leave(recorder);
    }
    return status;
}

/* The store of a parent is left as it is: closing it would speak to the server on the
 * parent's connection, or let go of the parent's file. */
static void close_store(rl_recorder *recorder)
{
    if (recorder->store != NULL && !is_inherited(recorder)) {
        recorder->store->ops->close(recorder->store);
        if (is_ready(recorder) && uses_sqlite(recorder)) {
            rl_fork_closed_sqlite();
        }
    }
    recorder->store = NULL;
}

void rl_recorder_close(rl_recorder *recorder)
{
    bool first;

    pthread_mutex_lock(&recorder->gate);
    first = !recorder->closing;
    recorder->closing = true;
    while (first && recorder->inside > 0 && !is_inherited(recorder)) {
        pthread_cond_wait(&recorder->empty, &recorder->gate);
    }
    if (first) {
        close_store(recorder);
        pthread_cond_broadcast(&recorder->empty);
    }
    while (recorder->store != NULL) {
        pthread_cond_wait(&recorder->empty, &recorder->gate);
    }
    pthread_mutex_unlock(&recorder->gate);
}

const rl_config *rl_recorder_config(const rl_recorder *recorder)
{
    return &recorder->config;
}

const char *rl_recorder_store_name(const rl_recorder *recorder)
{
    return recorder->store_name;
}

rl_metrics *rl_recorder_metrics(rl_recorder *recorder)
{
    return &recorder->metrics;
}

size_t rl_recorder_queued(rl_recorder *recorder)
{
    return rl_commit_queued(recorder->commit);
}
