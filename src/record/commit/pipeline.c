/* The pipeline that takes runs into the database. See pipeline.h. */
#include "record/commit/pipeline.h"

#include "core/clock.h"

#include <inttypes.h>

#define CATCH_UP_NS UINT64_C(1000000000) /* a query waits this long for runs */
#define FOLDED_NS UINT64_C(10000000000)  /* for those that can be folded in, so long */
#define STEP_NS UINT64_C(20000000)
#define REMOVE_NS RL_SQLITE_WAIT_NS /* a deletion waits this long */

static rl_status write_to_store(void *store, const rl_batch *batch, rl_err *err)
{
    return ((rl_store *)store)->ops->write(store, batch, err);
}

static rl_status make_postgres(rl_pipeline *pipeline, rl_err *err)
{
    const rl_pipeline_options *given = &pipeline->options;
    const rl_postgres_options options = {
        .dsn = given->postgres_dsn,
        .read_dsn = given->read_dsn,
        .timeout_ns = given->timeout_ns,
        .pool = given->pool,
        .stop = given->stop,
        .hook = given->pg_hook,
        .notices = given->notices,
        .acknowledged_runs = &given->metrics->runs,
    };
    rl_status status = rl_postgres_new(&options, &given->postgres, &pipeline->store, err);

    if (status == RL_OK) {
        status = rl_journal_new(pipeline->store, given->sqlite_path, &given->sqlite,
                                given->metrics, given->notices, &pipeline->journal, err);
    }
    if (status == RL_OK) {
        pipeline->beside = rl_journal_beside(pipeline->journal);
        pipeline->commit =
            rl_commit_new(rl_journal_write, pipeline->journal, given->metrics);
        pipeline->journal_commit =
            rl_commit_new(rl_journal_append, pipeline->journal, given->metrics);
        if (pipeline->commit == NULL || pipeline->journal_commit == NULL) {
            status = rl_err_nomem(err);
        }
    }
    return status;
}

static rl_status make_sqlite(rl_pipeline *pipeline, rl_err *err)
{
    const rl_pipeline_options *given = &pipeline->options;
    rl_status status =
        rl_sqlite_new(given->sqlite_path, &given->sqlite, given->sqlite_hook,
                      given->notices, &pipeline->store, err);

    if (status == RL_OK) {
        status = rl_beside_new(rl_sqlite_file_of(pipeline->store)->path, &given->sqlite,
                               write_to_store, pipeline->store, given->notices,
                               &pipeline->beside, err);
    }
    if (status == RL_OK) {
        pipeline->commit =
            rl_commit_new(rl_beside_write_or_reject, pipeline->beside, given->metrics);
        if (pipeline->commit == NULL) {
            status = rl_err_nomem(err);
        }
    }
    return status;
}

rl_status rl_pipeline_init(rl_pipeline *pipeline, const rl_pipeline_options *options,
                           rl_err *err)
{
    *pipeline = (rl_pipeline){.options = *options};
    return options->postgres_dsn != NULL ? make_postgres(pipeline, err)
                                         : make_sqlite(pipeline, err);
}

void rl_pipeline_close(rl_pipeline *pipeline)
{
    if (pipeline->journal == NULL) {
        rl_beside_free(pipeline->beside);
    }
    pipeline->beside = NULL;
    rl_journal_free(pipeline->journal);
    pipeline->journal = NULL;
    if (pipeline->store != NULL) {
        pipeline->store->ops->close(pipeline->store);
        pipeline->store = NULL;
    }
}

void rl_pipeline_free(rl_pipeline *pipeline)
{
    rl_pipeline_close(pipeline);
    rl_commit_free(pipeline->journal_commit);
    rl_commit_free(pipeline->commit);
}

int64_t rl_pipeline_count_journaled(rl_pipeline *pipeline, bool log)
{
    rl_waiting waiting = {0};
    rl_err ignored;
    bool one;

    if (pipeline->journal == NULL) {
        (void)rl_journal_target_count(rl_sqlite_file_of(pipeline->store), NULL, &waiting,
                                      &ignored);
    }
    one = waiting.others == 1;
    if (log && waiting.others > 0) {
        rl_notices_add(pipeline->options.notices, RL_NOTICE_WARNING,
                       "%lld run%s in the journal %s wait%s for a PostgreSQL database "
                       "(%s), and POSTGRES_DSN is not set: set it to forward %s",
                       (long long)waiting.others, one ? "" : "s",
                       rl_sqlite_file_of(pipeline->store)->path, one ? "s" : "",
                       waiting.places[0] != '\0' ? waiting.places : "any",
                       one ? "it" : "them");
    }
    return waiting.others;
}

rl_status rl_pipeline_open(rl_pipeline *pipeline, rl_err *err)
{
    rl_store *store = pipeline->store;
    rl_status opened = RL_OK, status;

    if (pipeline->journal != NULL) {
        status = rl_journal_prepare(pipeline->journal, err);
    } else {
        opened = store->ops->prepare(store, err);
        status = rl_beside_prepare(pipeline->beside, opened, err);
    }
    if (status == RL_OK) {
        (void)(opened == RL_OK ? rl_pipeline_count_journaled(pipeline, true) : 0);
        atomic_store_explicit(&pipeline->ready, true, memory_order_release);
    }
    return status;
}

/* With PostgreSQL a run of less than RL_SERVER goes to the journal, so that its caller
 * does not wait for the server. */
static rl_commit *queue_for(rl_pipeline *pipeline, rl_durability durability)
{
    bool to_journal = pipeline->journal != NULL && durability < RL_SERVER;

    return to_journal ? pipeline->journal_commit : pipeline->commit;
}

rl_status rl_pipeline_write(rl_pipeline *pipeline, rl_run *run, rl_durability durability,
                            rl_err *err)
{
    return rl_commit_run(queue_for(pipeline, durability), run, durability, err);
}

rl_status rl_pipeline_try_write(rl_pipeline *pipeline, rl_run *run,
                                rl_durability durability, rl_err *err)
{
    return rl_commit_try(queue_for(pipeline, durability), run, durability, err);
}

rl_status rl_pipeline_prepare_query(rl_pipeline *pipeline, rl_err *err)
{
    const uint64_t start = rl_monotonic_ns(), end = start + CATCH_UP_NS;
    rl_status status = rl_beside_drain(pipeline->beside, end, err);

    while (status == RL_TIMEOUT && !rl_beside_is_locked(pipeline->beside) &&
           rl_monotonic_ns() < start + FOLDED_NS) { /* the worker is at it */
        status = rl_beside_drain(pipeline->beside, rl_monotonic_ns() + STEP_NS, err);
    }
    if (status == RL_TIMEOUT) { /* the query finds what is in the file */
        status = RL_OK;
    }
    if (pipeline->journal != NULL) {
        rl_journal_catch_up(pipeline->journal, end);
        status = pipeline->store->ops->prepare_read(pipeline->store, err);
    }
    return status;
}

/* What the journal still has was not forwarded in CATCH_UP_NS. */
static void report_waiting(rl_pipeline *pipeline)
{
    rl_journal_stats stats;
    bool one;

    rl_journal_get_stats(pipeline->journal, &stats);
    one = stats.waiting == 1;
    if (stats.waiting > 0 &&
        stats.oldest < rl_time_now() - (int64_t)(CATCH_UP_NS / 1000)) {
        rl_notices_add(pipeline->options.notices, RL_NOTICE_WARNING,
                       "%" PRId64 " run%s in the journal %s, where a deletion "
                       "does not find %s: repeat the deletion once %s forwarded",
                       stats.waiting, one ? " waits" : "s wait",
                       pipeline->options.sqlite_path, one ? "it" : "them",
                       one ? "it is" : "they are");
    }
}

rl_status rl_pipeline_prepare_remove(rl_pipeline *pipeline, rl_err *err)
{
    rl_status status =
        rl_beside_drain(pipeline->beside, rl_monotonic_ns() + REMOVE_NS, err);

    if (status == RL_TIMEOUT) {
        err->code = status = RL_STORE;
        err->retryable = true;
    }
    if (status == RL_OK) {
        status = rl_pipeline_prepare_query(pipeline, err);
    }
    if (status == RL_OK && pipeline->journal != NULL) {
        report_waiting(pipeline);
        status = pipeline->store->ops->prepare(pipeline->store, err);
    }
    return status;
}

bool rl_pipeline_is_available(rl_pipeline *pipeline)
{
    return pipeline->journal == NULL || rl_journal_is_available(pipeline->journal);
}

static bool needs_checkpoint(rl_pipeline *pipeline)
{
    return pipeline->journal != NULL
               ? rl_journal_needs_checkpoint(pipeline->journal)
               : pipeline->store->ops->needs_checkpoint(pipeline->store);
}

bool rl_pipeline_has_work(rl_pipeline *pipeline)
{
    return rl_beside_has_work(pipeline->beside) ||
           (pipeline->journal != NULL && rl_journal_has_work(pipeline->journal)) ||
           needs_checkpoint(pipeline);
}

void rl_pipeline_checkpoint(rl_pipeline *pipeline)
{
    rl_err ignored; /* the next commit or pass tries again */

    if (!needs_checkpoint(pipeline)) {
        return;
    }
    if (pipeline->journal != NULL) {
        (void)rl_journal_checkpoint(pipeline->journal, &ignored);
    } else {
        (void)pipeline->store->ops->checkpoint(pipeline->store, &ignored);
    }
}

uint64_t rl_pipeline_work(rl_pipeline *pipeline, const atomic_bool *stop)
{
    uint64_t next, forward;

    rl_pipeline_checkpoint(pipeline);
    next = rl_beside_fold(pipeline->beside, stop);
    /* a locked journal can't be forwarded, and would keep the worker from the rest */
    if (pipeline->journal != NULL && !rl_beside_is_pending(pipeline->beside)) {
        forward = rl_journal_forward(pipeline->journal, stop);
        next = forward < next ? forward : next;
    }
    return next;
}

rl_status rl_pipeline_drain_queues(rl_pipeline *pipeline, uint64_t end)
{
    rl_status status = rl_commit_drain(pipeline->commit, end);

    if (status == RL_OK && pipeline->journal_commit != NULL) {
        status = rl_commit_drain(pipeline->journal_commit, end);
    }
    return status;
}

size_t rl_pipeline_queued(rl_pipeline *pipeline)
{
    size_t queued = rl_commit_queued(pipeline->commit);

    if (pipeline->journal_commit != NULL) {
        queued += rl_commit_queued(pipeline->journal_commit);
    }
    return queued;
}

void rl_pipeline_before_fork(rl_pipeline *pipeline)
{
    rl_commit_before_fork(pipeline->commit);
    if (pipeline->journal == NULL) {
        rl_beside_before_fork(pipeline->beside);
    }
    /* before the journal: the worker may hold the server's connection between send and
     * finish, and uses the journal meanwhile */
    pipeline->store->ops->before_fork(pipeline->store);
    if (pipeline->journal != NULL) {
        rl_commit_before_fork(pipeline->journal_commit);
        rl_journal_before_fork(pipeline->journal);
    }
}

void rl_pipeline_after_fork(rl_pipeline *pipeline, bool in_child)
{
    if (pipeline->journal != NULL) {
        rl_journal_after_fork(pipeline->journal, in_child);
        rl_commit_after_fork(pipeline->journal_commit, in_child);
    }
    pipeline->store->ops->after_fork(pipeline->store, in_child);
    if (pipeline->journal == NULL) {
        rl_beside_after_fork(pipeline->beside, in_child);
    }
    rl_commit_after_fork(pipeline->commit, in_child);
}
