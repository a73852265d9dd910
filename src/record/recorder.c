/* The recorder. See recorder.h. */
#include "record/recorder.h"

#include "core/alloc.h"
#include "core/fork.h"
#include "core/lock.h"
#include "record/commit.h"
#include "record/live.h"
#include "record/lost.h"
#include "record/worker.h"

#include <string.h>

/* How long a query waits for runs on their way. */
#define CATCH_UP_NS UINT64_C(1000000000)
#define CARE_NS UINT64_C(60000000000) /* when a worker with nothing to do looks again */

/* For the worker to end, behind the end of a close; and from when it is told to, where that
 * has passed, as it has for all but the first of several that share an end. */
#define STOP_NS UINT64_C(900000000)
#define STOP_AT_LEAST_NS UINT64_C(50000000)

typedef enum rl_phase {
    OPEN,
    CLOSING,
    CLOSED
} rl_phase;

struct rl_recorder {
    rl_config config;
    rl_migrations sqlite, postgres, pgvector; /* of the config */
    rl_metrics metrics;
    rl_notices notices;
    const char *store_name;
    rl_store *store;     /* owned; NULL once it is closed */
    rl_commit *commit;   /* owned: before the store, or the server */
    rl_journal *journal; /* owned; NULL on SQLite */
    rl_commit *spooling; /* owned: before the journal; NULL on SQLite */
    rl_worker worker;
    rl_meaning meaning;
    rl_live live;           /* the open runs of graphs */
    atomic_bool ready;      /* the database was opened once */
    atomic_bool unattended; /* it was told that there is no worker */
    pthread_mutex_t gate;   /* guards what follows */
    pthread_cond_t empty;   /* nobody is inside any more, or the store is closed */
    unsigned inside;        /* calls under way */
    _Atomic rl_phase phase; /* written under the gate */
    bool has_meaning;       /* it was made to the end */
    bool abandoned;         /* a thread did not end in time: it still uses everything */
    rl_fork_member member;
};

static void free_migrations(rl_migration_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        rl_free((void *)set->list[i].name);
        rl_free((void *)set->list[i].sql);
        rl_free((void *)set->list[i].checksum);
    }
    rl_free(set->list);
}

void rl_config_free(rl_config *config)
{
    free_migrations(&config->sqlite);
    free_migrations(&config->postgres);
    free_migrations(&config->pgvector);
    rl_free(config->postgres_dsn);
    rl_free(config->sqlite_path);
    rl_redact_free(&config->redact);
    rl_meaning_config_free(&config->meaning);
    memset(config, 0, sizeof *config);
}

static rl_status write_to_store(void *store, const rl_batch *batch, rl_err *err)
{
    return ((rl_store *)store)->ops->write(store, batch, err);
}

static rl_status open_postgres(rl_recorder *recorder, rl_err *err)
{
    const rl_config *config = &recorder->config;
    const rl_postgres_options options = {
        .dsn = config->postgres_dsn,
        .timeout_ns = config->timeout_ns,
        .pool = config->pool,
        .stop = &recorder->worker.stop,
        .rule = rl_meaning_rule(&recorder->meaning, &config->meaning),
        /* with Milvus nobody would search there */
        .pgvector = config->meaning.milvus_endpoint == NULL ? &recorder->pgvector : NULL};
    rl_status status =
        rl_postgres_new(&options, &recorder->postgres, &recorder->store, err);

    if (status == RL_OK) {
        status = rl_journal_new(recorder->store, config->sqlite_path, &recorder->sqlite,
                                &recorder->metrics, &recorder->notices,
                                &recorder->journal, err);
    }
    if (status == RL_OK) {
        recorder->commit =
            rl_commit_new(rl_journal_write, recorder->journal, &recorder->metrics);
        recorder->spooling =
            rl_commit_new(rl_journal_keep, recorder->journal, &recorder->metrics);
        if (recorder->commit == NULL || recorder->spooling == NULL) {
            status = rl_err_nomem(err);
        }
    }
    return status;
}

static rl_status open_sqlite(rl_recorder *recorder, rl_err *err)
{
    rl_status status =
        rl_sqlite_new(recorder->config.sqlite_path, &recorder->sqlite,
                      rl_meaning_rule(&recorder->meaning, &recorder->config.meaning),
                      &recorder->notices, &recorder->store, err);

    if (status == RL_OK) {
        recorder->commit =
            rl_commit_new(write_to_store, recorder->store, &recorder->metrics);
        if (recorder->commit == NULL) {
            status = rl_err_nomem(err);
        }
    }
    return status;
}

static bool is_ready(rl_recorder *recorder)
{
    return atomic_load_explicit(&recorder->ready, memory_order_acquire);
}

/* Opens the database, or with a server, which may be away, only looks at the journal. */
static rl_status open_store(rl_recorder *recorder, rl_err *err)
{
    rl_status status = recorder->journal != NULL
                           ? rl_journal_prepare(recorder->journal, err)
                           : recorder->store->ops->prepare(recorder->store, err);

    if (status == RL_OK) {
        atomic_store_explicit(&recorder->ready, true, memory_order_release);
        rl_meaning_hint(&recorder->meaning); /* somebody may have left something to do */
    }
    return status;
}

/* The queue that a run waits in: one that needs no server waits for none. */
static rl_commit *queue_for(rl_recorder *recorder, rl_durability durability)
{
    bool spooled = recorder->journal != NULL && durability < RL_SERVER;

    return spooled ? recorder->spooling : recorder->commit;
}

/* An open run of a graph, as it stands. */
static rl_status commit_live(void *ctx, rl_run *run, rl_err *err)
{
    rl_recorder *recorder = ctx;
    rl_durability durability = recorder->config.graph_runs;
    rl_status status = is_ready(recorder) ? RL_OK : open_store(recorder, err);

    if (status == RL_OK) {
        status = rl_commit_run(queue_for(recorder, durability), run, durability, err);
    }
    return status;
}

static void write_live(rl_recorder *recorder)
{
    rl_live_write_all(&recorder->live, recorder, commit_live, recorder);
}

/* What the worker thread does: open runs, checkpoints, and forwarding. */
static uint64_t care(void *ctx, const atomic_bool *stop)
{
    rl_recorder *recorder = ctx;
    uint64_t live = rl_live_write_due(&recorder->live, recorder, commit_live, recorder);
    uint64_t again = rl_monotonic_ns() + CARE_NS;
    uint64_t forwarded = rl_metric_get(&recorder->metrics.forwarded);
    rl_store *store = recorder->store;
    rl_err ignored; /* a checkpoint that fails is tried again with the next commit */

    if (recorder->journal != NULL) {
        if (rl_journal_tend_due(recorder->journal)) {
            (void)rl_journal_tend(recorder->journal, &ignored);
        }
        again = rl_journal_forward(recorder->journal, stop);
        if (rl_metric_get(&recorder->metrics.forwarded) != forwarded) {
            rl_meaning_hint(&recorder->meaning);
        }
    } else if (store->ops->due(store)) {
        (void)store->ops->tend(store, &ignored);
    }
    return live < again ? live : again;
}

static void before_fork(void *ctx)
{
    rl_recorder *recorder = ctx;

    pthread_mutex_lock(&recorder->gate);
    rl_worker_before_fork(&recorder->worker);
    rl_meaning_before_fork(&recorder->meaning);
    rl_commit_before_fork(recorder->commit);
    /* first: the worker may be between sending and finishing, and needs the journal there */
    recorder->store->ops->before_fork(recorder->store);
    if (recorder->journal != NULL) {
        rl_commit_before_fork(recorder->spooling);
        rl_journal_before_fork(recorder->journal);
    }
    pthread_mutex_lock(&recorder->notices.lock);
}

static void after_fork(rl_recorder *recorder, bool in_child)
{
    pthread_mutex_unlock(&recorder->notices.lock);
    if (recorder->journal != NULL) {
        rl_journal_after_fork(recorder->journal, in_child);
        rl_commit_after_fork(recorder->spooling, in_child);
    }
    recorder->store->ops->after_fork(recorder->store, in_child);
    rl_commit_after_fork(recorder->commit, in_child);
    rl_meaning_after_fork(&recorder->meaning, in_child);
    rl_worker_after_fork(&recorder->worker, in_child);
    if (in_child) { /* who was inside, or closing it, is in the parent */
        recorder->inside = 0;
        rl_live_init(&recorder->live); /* the worker, who looks at it, is there too */
        if (atomic_load(&recorder->phase) == CLOSING) {
            atomic_store(&recorder->phase, OPEN);
        }
        rl_cond_init(&recorder->empty);
    }
    pthread_mutex_unlock(&recorder->gate);
}

static void after_fork_in_parent(void *ctx)
{
    after_fork(ctx, false);
}

static void after_fork_in_child(void *ctx)
{
    after_fork(ctx, true);
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
    recorder->sqlite =
        (rl_migrations){recorder->config.sqlite.list, recorder->config.sqlite.count};
    recorder->postgres =
        (rl_migrations){recorder->config.postgres.list, recorder->config.postgres.count};
    recorder->pgvector =
        (rl_migrations){recorder->config.pgvector.list, recorder->config.pgvector.count};
    pthread_mutex_init(&recorder->gate, NULL);
    rl_cond_init(&recorder->empty);
    rl_notices_init(&recorder->notices);
    rl_live_init(&recorder->live);
    rl_worker_init(&recorder->worker, care, recorder);
    recorder->member = (rl_fork_member){.prepare = before_fork,
                                        .parent = after_fork_in_parent,
                                        .child = after_fork_in_child,
                                        .ctx = recorder};
    status = recorder->config.postgres_dsn != NULL ? open_postgres(recorder, err)
                                                   : open_sqlite(recorder, err);
    if (status == RL_OK) {
        rl_meaning_init(&recorder->meaning, &recorder->config.meaning, recorder->store,
                        &recorder->metrics, &recorder->notices);
        recorder->has_meaning = true;
        recorder->store_name = recorder->store->ops->name;
        rl_fork_join(&recorder->member);
        *out = recorder;
    } else {
        atomic_store(&recorder->phase, CLOSED);
        rl_recorder_free(recorder);
    }
    return status;
}

/* Closes the files and connections. Nobody is inside, and the worker has ended. */
static void close_parts(rl_recorder *recorder)
{
    if (recorder->has_meaning) {
        rl_meaning_close(&recorder->meaning);
    }
    rl_journal_free(recorder->journal);
    recorder->journal = NULL;
    if (recorder->store != NULL) {
        recorder->store->ops->close(recorder->store);
        recorder->store = NULL;
    }
}

void rl_recorder_free(rl_recorder *recorder)
{
    if (recorder == NULL) {
        return;
    }
    rl_recorder_close(recorder, rl_monotonic_ns() + RL_CLOSE_NS);
    if (recorder->abandoned) {
        return; /* a thread that waits for a server still uses it, until the process ends */
    }
    close_parts(recorder);
    if (recorder->has_meaning) {
        rl_meaning_destroy(&recorder->meaning);
    }
    rl_commit_free(recorder->spooling);
    rl_commit_free(recorder->commit);
    rl_worker_destroy(&recorder->worker);
    rl_notices_destroy(&recorder->notices);
    pthread_cond_destroy(&recorder->empty);
    pthread_mutex_destroy(&recorder->gate);
    rl_config_free(&recorder->config);
    rl_free(recorder);
}

static rl_status enter(rl_recorder *recorder, rl_err *err)
{
    bool open = false;

    if (atomic_load(&recorder->phase) != CLOSED) { /* else no fork knows of the gate */
        pthread_mutex_lock(&recorder->gate);
        open = atomic_load(&recorder->phase) == OPEN;
        recorder->inside += open;
        pthread_mutex_unlock(&recorder->gate);
    }
    return open ? RL_OK : rl_err_set(err, RL_CLOSED, "the recorder is closed");
}

static void leave(rl_recorder *recorder)
{
    pthread_mutex_lock(&recorder->gate);
    recorder->inside--;
    if (recorder->inside == 0 && atomic_load(&recorder->phase) == CLOSING) {
        pthread_cond_broadcast(&recorder->empty);
    }
    pthread_mutex_unlock(&recorder->gate);
}

/* Wakes the worker; where no thread can be had, that is told once. */
static bool wake(rl_recorder *recorder)
{
    bool works = rl_worker_wake(&recorder->worker);

    if (!works && !atomic_exchange(&recorder->unattended, true)) {
        rl_notices_add(&recorder->notices, RL_NOTICE_WARNING,
                       "no thread could be started: checkpoints are made by the callers, "
                       "and what is in the journal waits for flush() or close()");
    }
    return works;
}

/* What a write may leave to be done. */
static void attend(rl_recorder *recorder, bool may_wait)
{
    rl_store *store = recorder->store;
    rl_err ignored;

    if (recorder->journal != NULL) {
        if ((rl_journal_due(recorder->journal) ||
             rl_journal_tend_due(recorder->journal)) &&
            !wake(recorder) && may_wait && rl_journal_tend_due(recorder->journal)) {
            (void)rl_journal_tend(recorder->journal, &ignored);
        }
    } else if (store->ops->due(store) && !wake(recorder) && may_wait) {
        (void)store->ops->tend(store, &ignored);
    }
    rl_meaning_hint(&recorder->meaning);
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
        status = rl_commit_run(queue_for(recorder, durability), run, durability, err);
        attend(recorder, true);
        leave(recorder);
    } else if (status == RL_STORE || status == RL_CONFIG) {
        rl_metric_add(&recorder->metrics.failed, 1);
    }
    return status;
}

void rl_recorder_watch(rl_recorder *recorder, rl_graphs *graphs, uint64_t interval_ns)
{
    rl_err ignored;

    if (rl_live_watch(&recorder->live, graphs, interval_ns) &&
        enter(recorder, &ignored) == RL_OK) {
        (void)wake(recorder);
        leave(recorder);
    }
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
        status = rl_commit_try(queue_for(recorder, durability), run, durability, err);
        attend(recorder, false);
        leave(recorder);
    }
    return status;
}

/* With a server: waits a moment for what is on its way there, then makes sure that the
 * server has the tables. */
static rl_status prepare_query(rl_recorder *recorder, rl_err *err)
{
    rl_status status = RL_OK;

    if (recorder->journal != NULL) {
        rl_journal_catch_up(recorder->journal, rl_monotonic_ns() + CATCH_UP_NS);
        status = recorder->store->ops->prepare(recorder->store, err);
    }
    return status;
}

rl_status rl_recorder_query(rl_recorder *recorder, const rl_query *query, rl_rows *rows,
                            rl_err *err)
{
    rl_status status = enter_ready(recorder, err);

    if (status == RL_OK) {
        status = prepare_query(recorder, err);
        if (status == RL_OK) {
            status = rl_lost_query(recorder->store, query, rows, err);
        }
        leave(recorder);
    }
    return status;
}

rl_status rl_recorder_remove(rl_recorder *recorder, const rl_query *query, int64_t *count,
                             rl_err *err)
{
    rl_status status = enter_ready(recorder, err);

    if (status == RL_OK) {
        status = prepare_query(recorder, err);
        if (status == RL_OK) {
            status = rl_lost_remove(recorder->store, query, count, err);
            rl_meaning_hint(&recorder->meaning);
        }
        leave(recorder);
    }
    return status;
}

/* Waits until the journal is forwarded: by the worker, or where there is none by itself. */
static rl_status drain(rl_recorder *recorder, uint64_t end, bool patient, rl_err *err)
{
    static const atomic_bool never;
    uint64_t again = end;
    rl_status status;

    do {
        if (!wake(recorder)) {
            again = rl_journal_forward(recorder->journal, &never);
        }
        status =
            rl_journal_drain(recorder->journal, again < end ? again : end, patient, err);
    } while (status == RL_TIMEOUT && patient && rl_monotonic_ns() < end);
    return status;
}

rl_status rl_recorder_flush(rl_recorder *recorder, uint64_t end, rl_err *err)
{
    rl_status status = enter(recorder, err);

    if (status == RL_OK) {
        write_live(recorder);
        status = rl_commit_drain(recorder->commit, end);
        if (status == RL_OK && recorder->journal != NULL) {
            status = rl_commit_drain(recorder->spooling, end);
        }
        if (status == RL_OK && recorder->journal != NULL) {
            status = drain(recorder, end, true, err);
        }
        if (status == RL_OK && recorder->meaning.indexes && !is_ready(recorder)) {
            status = open_store(recorder, err); /* others may have left something to do */
        }
        if (status == RL_OK) {
            status = rl_meaning_drain(&recorder->meaning, end, true, err);
        }
        leave(recorder);
    }
    return status;
}

rl_status rl_recorder_search(rl_recorder *recorder, const rl_search *search, uint64_t end,
                             rl_rows *rows, rl_buf *scores, rl_err *err)
{
    rl_status status = enter_ready(recorder, err);

    if (status == RL_OK) {
        status = prepare_query(recorder, err);
        if (status == RL_OK) {
            status = rl_search_runs(&recorder->meaning.searcher, search, end, rows,
                                    scores, err);
        }
        leave(recorder);
    }
    return status;
}

rl_status rl_recorder_embed(rl_recorder *recorder, const char *text, size_t len,
                            uint64_t end, rl_embeddings *vector, rl_err *err)
{
    rl_status status = enter(recorder, err);

    if (status == RL_OK) {
        status =
            rl_search_embed(&recorder->meaning.searcher, text, len, end, vector, err);
        leave(recorder);
    }
    return status;
}

rl_status rl_recorder_upsert(rl_recorder *recorder, const rl_milvus_row *row,
                             uint32_t dim, uint64_t end, rl_err *err)
{
    rl_status status = enter_ready(recorder, err);

    if (status == RL_OK) {
        status = prepare_query(recorder, err);
        if (status == RL_OK) {
            status = rl_search_upsert(&recorder->meaning.searcher, row, dim, end, err);
        }
        leave(recorder);
    }
    return status;
}

/* Lets nobody in any more and waits until nobody is inside; true for the one who is to close
 * it. At `end` it is left to those who still use it. */
static bool begin_closing(rl_recorder *recorder, uint64_t end)
{
    const struct timespec until = rl_timespec(end);
    bool first;
    int rc = 0;

    pthread_mutex_lock(&recorder->gate);
    first = atomic_load(&recorder->phase) == OPEN;
    if (first) {
        atomic_store(&recorder->phase, CLOSING);
        while (recorder->inside > 0 && rc == 0) {
            rc = pthread_cond_timedwait(&recorder->empty, &recorder->gate, &until);
        }
        recorder->abandoned = recorder->inside > 0;
    } else {
        while (atomic_load(&recorder->phase) == CLOSING) {
            pthread_cond_wait(&recorder->empty, &recorder->gate);
        }
    }
    pthread_mutex_unlock(&recorder->gate);
    return first;
}

/* What is in the journal and in the outbox gets a chance, unless a server proves to be away. */
static void forward_rest(rl_recorder *recorder, uint64_t end)
{
    rl_err ignored;

    if (recorder->journal != NULL && is_ready(recorder)) {
        rl_journal_hurry(recorder->journal);
        (void)drain(recorder, end, false, &ignored);
    }
    if (is_ready(recorder)) {
        (void)rl_meaning_drain(&recorder->meaning, end, false, &ignored);
    }
}

static void finish_closing(void *ctx)
{
    rl_recorder *recorder = ctx;

    if (!recorder->abandoned) {
        close_parts(recorder);
    }
    pthread_mutex_lock(&recorder->gate);
    atomic_store(&recorder->phase, CLOSED);
    pthread_cond_broadcast(&recorder->empty);
    pthread_mutex_unlock(&recorder->gate);
}

void rl_recorder_close(rl_recorder *recorder, uint64_t end)
{
    uint64_t now, stop_end;
    bool indexer_ended;

    if (atomic_load(&recorder->phase) == CLOSED || !begin_closing(recorder, end)) {
        return;
    }
    if (!recorder->abandoned) {
        write_live(recorder);
    }
    forward_rest(recorder, end);
    now = rl_monotonic_ns();
    stop_end = (now < end ? now : end) + STOP_NS;
    if (stop_end < now + STOP_AT_LEAST_NS) {
        stop_end = now + STOP_AT_LEAST_NS;
    }
    indexer_ended = rl_meaning_stop(&recorder->meaning, stop_end);
    if (!rl_worker_stop(&recorder->worker, stop_end) || !indexer_ended) {
        recorder->abandoned = true;
    }
    if (recorder->abandoned) { /* its file is still open, which a fork has to close */
        finish_closing(recorder);
    } else {
        rl_fork_leave(&recorder->member, finish_closing);
    }
}

bool rl_recorder_take_notice(rl_recorder *recorder, rl_notice *notice)
{
    return rl_notices_take(&recorder->notices, notice);
}

bool rl_recorder_look(rl_recorder *recorder, rl_journal_stats *stats)
{
    rl_err ignored;
    bool known = false;

    memset(stats, 0, sizeof *stats);
    if (recorder->config.postgres_dsn != NULL && enter(recorder, &ignored) == RL_OK) {
        rl_journal_look(recorder->journal, stats);
        leave(recorder);
        known = true;
    }
    return known;
}

void rl_recorder_look_at_outbox(rl_recorder *recorder, rl_meaning_stats *stats)
{
    rl_err ignored;

    memset(stats, 0, sizeof *stats);
    if (is_ready(recorder) && enter(recorder, &ignored) == RL_OK) {
        rl_meaning_look(&recorder->meaning, stats);
        leave(recorder);
    }
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
    return rl_commit_queued(recorder->commit) +
           (recorder->spooling != NULL ? rl_commit_queued(recorder->spooling) : 0);
}
