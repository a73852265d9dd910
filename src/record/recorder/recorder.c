/* The recorder. See recorder.h. */
#include "record/recorder/recorder.h"

#include "core/alloc.h"
#include "core/fork.h"
#include "record/commit/pipeline.h"
#include "record/graph/live.h"
#include "record/recorder/gate.h"
#include "record/recorder/lost.h"
#include "record/worker.h"

#include <string.h>

/* For the threads to end, behind the end of a close; and at least this long after they are
 * told to, where that has passed, as it has for all but the first of several recorders that
 * share an end. */
#define STOP_NS UINT64_C(900000000)
#define STOP_AT_LEAST_NS UINT64_C(50000000)

struct rl_recorder {
    rl_config config;
    rl_metrics metrics;
    rl_notices notices;
    const char *store_name;
    rl_gate gate;
    rl_pipeline pipeline;
    rl_worker worker;
    rl_live live;            /* the open runs of graphs */
    rl_companion *companion; /* owned, or NULL */
    bool started;            /* it was made to the end, the companion too */
    atomic_bool no_worker;   /* it was logged that no thread can be had */
    bool abandoned;          /* a thread did not end in time: it still uses everything */
    rl_fork_member member;
};

static bool is_ready(rl_recorder *recorder)
{
    return rl_pipeline_is_ready(&recorder->pipeline);
}

static void notify_companion(rl_recorder *recorder)
{
    if (recorder->companion != NULL) {
        recorder->companion->ops->notify(recorder->companion);
    }
}

static rl_status open_store(rl_recorder *recorder, rl_err *err)
{
    rl_status status = rl_pipeline_open(&recorder->pipeline, err);

    if (status == RL_OK) {
        notify_companion(recorder); /* others may have left it something to do */
    }
    return status;
}

/* An open run of a graph, as it stands. */
static rl_status commit_live(void *ctx, rl_run *run, rl_err *err)
{
    rl_recorder *recorder = ctx;
    rl_status status = is_ready(recorder) ? RL_OK : open_store(recorder, err);

    if (status == RL_OK) {
        status =
            rl_pipeline_write(&recorder->pipeline, run, recorder->config.graph_runs, err);
    }
    return status;
}

static void write_live(rl_recorder *recorder)
{
    rl_live_write_all(&recorder->live, recorder, commit_live, recorder);
}

/* A pass of the worker thread: open runs, checkpoints, and forwarding. */
static uint64_t work(void *ctx, const atomic_bool *stop)
{
    rl_recorder *recorder = ctx;
    uint64_t live =
        rl_live_write_scheduled(&recorder->live, recorder, commit_live, recorder);
    uint64_t forwarded = rl_metric_get(&recorder->metrics.forwarded);
    uint64_t again = rl_pipeline_work(&recorder->pipeline, stop);

    if (rl_metric_get(&recorder->metrics.forwarded) != forwarded) {
        notify_companion(recorder);
    }
    return live < again ? live : again;
}

static void before_fork(void *ctx)
{
    rl_recorder *recorder = ctx;

    rl_gate_before_fork(&recorder->gate);
    rl_worker_before_fork(&recorder->worker);
    if (recorder->companion != NULL) {
        recorder->companion->ops->before_fork(recorder->companion);
    }
    rl_pipeline_before_fork(&recorder->pipeline);
    pthread_mutex_lock(&recorder->notices.lock);
}

static void after_fork(rl_recorder *recorder, bool in_child)
{
    pthread_mutex_unlock(&recorder->notices.lock);
    rl_pipeline_after_fork(&recorder->pipeline, in_child);
    if (recorder->companion != NULL) {
        recorder->companion->ops->after_fork(recorder->companion, in_child);
    }
    rl_worker_after_fork(&recorder->worker, in_child);
    if (in_child) {
        rl_live_init(&recorder->live); /* its table is of the parent's graphs */
    }
    rl_gate_after_fork(&recorder->gate, in_child);
}

static void after_fork_in_parent(void *ctx)
{
    after_fork(ctx, false);
}

static void after_fork_in_child(void *ctx)
{
    after_fork(ctx, true);
}

static rl_status start_companion(rl_recorder *recorder, rl_err *err)
{
    const rl_companion_host host = {recorder, recorder->pipeline.store,
                                    &recorder->notices};

    return recorder->companion != NULL
               ? recorder->companion->ops->start(recorder->companion, &host, err)
               : RL_OK;
}

static rl_status make_pipeline(rl_recorder *recorder, rl_err *err)
{
    const rl_config *config = &recorder->config;
    const rl_companion *companion = recorder->companion;
    const rl_pipeline_options options = {
        .postgres_dsn = config->postgres_dsn,
        .sqlite_path = config->sqlite_path,
        .sqlite = rl_migrations_of(&config->sqlite),
        .postgres = rl_migrations_of(&config->postgres),
        .timeout_ns = config->timeout_ns,
        .pool = config->pool,
        .sqlite_hook = companion != NULL ? companion->sqlite_hook : NULL,
        .pg_hook = companion != NULL ? companion->pg_hook : NULL,
        .stop = &recorder->worker.stop,
        .metrics = &recorder->metrics,
        .notices = &recorder->notices,
    };

    return rl_pipeline_init(&recorder->pipeline, &options, err);
}

rl_status rl_recorder_new(rl_config *config, rl_companion *companion, rl_recorder **out,
                          rl_err *err)
{
    rl_recorder *recorder = rl_calloc(1, sizeof *recorder);
    rl_status status;

    if (recorder == NULL) {
        rl_config_free(config);
        if (companion != NULL) {
            companion->ops->free(companion);
        }
        return rl_err_nomem(err);
    }
    recorder->config = *config;
    memset(config, 0, sizeof *config);
    recorder->companion = companion;
    rl_gate_init(&recorder->gate);
    rl_notices_init(&recorder->notices);
    rl_live_init(&recorder->live);
    rl_worker_init(&recorder->worker, work, recorder);
    recorder->member = (rl_fork_member){.prepare = before_fork,
                                        .parent = after_fork_in_parent,
                                        .child = after_fork_in_child,
                                        .ctx = recorder};
    status = make_pipeline(recorder, err);
    if (status == RL_OK) {
        status = start_companion(recorder, err);
    }
    if (status == RL_OK) {
        recorder->started = true;
        recorder->store_name = recorder->pipeline.store->ops->name;
        rl_fork_join(&recorder->member);
        *out = recorder;
    } else {
        rl_gate_finish_closing(&recorder->gate);
        rl_recorder_free(recorder);
    }
    return status;
}

/* Closes the files and connections. Nobody is inside, and the threads have ended. */
static void close_parts(rl_recorder *recorder)
{
    if (recorder->companion != NULL && recorder->started) {
        recorder->companion->ops->close(recorder->companion);
    }
    rl_pipeline_close(&recorder->pipeline);
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
    if (recorder->companion != NULL) {
        recorder->companion->ops->free(recorder->companion);
    }
    rl_pipeline_free(&recorder->pipeline);
    rl_worker_destroy(&recorder->worker);
    rl_notices_destroy(&recorder->notices);
    rl_gate_destroy(&recorder->gate);
    rl_config_free(&recorder->config);
    rl_free(recorder);
}

rl_status rl_recorder_enter(rl_recorder *recorder, rl_err *err)
{
    return rl_gate_enter(&recorder->gate, err);
}

void rl_recorder_leave(rl_recorder *recorder)
{
    rl_gate_leave(&recorder->gate);
}

bool rl_recorder_is_ready(rl_recorder *recorder)
{
    return is_ready(recorder);
}

/* Enters, and opens the database if this is the first use. Leave only after RL_OK. */
static rl_status enter_ready(rl_recorder *recorder, rl_err *err)
{
    rl_status status = rl_recorder_enter(recorder, err);

    if (status == RL_OK && !is_ready(recorder)) {
        status = open_store(recorder, err);
        if (status != RL_OK) {
            rl_recorder_leave(recorder);
        }
    }
    return status;
}

rl_status rl_recorder_enter_to_query(rl_recorder *recorder, rl_err *err)
{
    rl_status status = enter_ready(recorder, err);

    if (status == RL_OK) {
        status = rl_pipeline_prepare_query(&recorder->pipeline, err);
        if (status != RL_OK) {
            rl_recorder_leave(recorder);
        }
    }
    return status;
}

/* Wakes the worker; that no thread can be had is logged once. */
static bool wake(rl_recorder *recorder)
{
    bool works = rl_worker_wake(&recorder->worker);

    if (!works && !atomic_exchange(&recorder->no_worker, true)) {
        rl_notices_add(&recorder->notices, RL_NOTICE_WARNING,
                       "no thread could be started: checkpoints are made by the callers, "
                       "and what is in the journal waits for flush() or close()");
    }
    return works;
}

/* Has the work done that a write may leave behind. */
static void schedule_work(rl_recorder *recorder, bool may_wait)
{
    if (rl_pipeline_has_work(&recorder->pipeline) && !wake(recorder) && may_wait) {
        rl_pipeline_checkpoint(&recorder->pipeline);
    }
    notify_companion(recorder);
}

rl_status rl_recorder_write(rl_recorder *recorder, rl_run *run, rl_durability durability,
                            rl_err *err)
{
    rl_status status = enter_ready(recorder, err);

    if (status == RL_OK) {
        status = rl_pipeline_write(&recorder->pipeline, run, durability, err);
        schedule_work(recorder, true);
        rl_recorder_leave(recorder);
    } else if (status == RL_STORE || status == RL_CONFIG) {
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
    status = rl_recorder_enter(recorder, err);
    if (status == RL_OK) {
        status = rl_pipeline_try_write(&recorder->pipeline, run, durability, err);
        schedule_work(recorder, false);
        rl_recorder_leave(recorder);
    }
    return status;
}

void rl_recorder_watch(rl_recorder *recorder, rl_graphs *graphs, uint64_t interval_ns)
{
    rl_err ignored;

    if (rl_live_watch(&recorder->live, graphs, interval_ns) &&
        rl_recorder_enter(recorder, &ignored) == RL_OK) {
        (void)wake(recorder);
        rl_recorder_leave(recorder);
    }
}

rl_status rl_recorder_query(rl_recorder *recorder, const rl_query *query, rl_rows *rows,
                            rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(recorder, err);

    if (status == RL_OK) {
        status = rl_lost_query(recorder->pipeline.store, query, rows, err);
        rl_recorder_leave(recorder);
    }
    return status;
}

rl_status rl_recorder_remove(rl_recorder *recorder, const rl_query *query, int64_t *count,
                             rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(recorder, err);

    if (status == RL_OK) {
        status = rl_lost_remove(recorder->pipeline.store, query, count, err);
        notify_companion(recorder);
        rl_recorder_leave(recorder);
    }
    return status;
}

/* Waits until the journal is forwarded, by the worker or where there is none by this thread. */
static rl_status drain_journal(rl_recorder *recorder, uint64_t end, bool patient,
                               rl_err *err)
{
    static const atomic_bool never;
    rl_journal *journal = recorder->pipeline.journal;
    uint64_t again = end;
    rl_status status;

    do {
        if (!wake(recorder)) {
            again = rl_journal_forward(journal, &never);
        }
        status = rl_journal_drain(journal, again < end ? again : end, patient, err);
    } while (status == RL_TIMEOUT && patient && rl_monotonic_ns() < end);
    return status;
}

static rl_status drain_companion(rl_recorder *recorder, uint64_t end, bool patient,
                                 rl_err *err)
{
    return recorder->companion != NULL
               ? recorder->companion->ops->drain(recorder->companion, end, patient, err)
               : RL_OK;
}

rl_status rl_recorder_flush(rl_recorder *recorder, uint64_t end, rl_err *err)
{
    rl_companion *companion = recorder->companion;
    rl_status status = rl_recorder_enter(recorder, err);

    if (status != RL_OK) {
        return status;
    }
    write_live(recorder);
    status = rl_pipeline_drain_queues(&recorder->pipeline, end);
    if (status == RL_OK && recorder->pipeline.journal != NULL) {
        status = drain_journal(recorder, end, true, err);
    }
    if (status == RL_OK && !is_ready(recorder) && companion != NULL &&
        companion->ops->has_work(companion)) {
        status = open_store(recorder, err);
    }
    if (status == RL_OK) {
        status = drain_companion(recorder, end, true, err);
    }
    rl_recorder_leave(recorder);
    return status;
}

/* The journal and the companion get a chance, unless a server proves to be away. */
static void drain_rest(rl_recorder *recorder, uint64_t end)
{
    rl_err ignored;

    if (!is_ready(recorder)) {
        return;
    }
    if (recorder->pipeline.journal != NULL) {
        rl_journal_retry_now(recorder->pipeline.journal);
        (void)drain_journal(recorder, end, false, &ignored);
    }
    (void)drain_companion(recorder, end, false, &ignored);
}

/* Ends the threads; false when one has not ended in time. */
static bool stop_threads(rl_recorder *recorder, uint64_t end)
{
    const uint64_t now = rl_monotonic_ns();
    uint64_t stop_end = (now < end ? now : end) + STOP_NS;
    bool ended = true;

    if (stop_end < now + STOP_AT_LEAST_NS) {
        stop_end = now + STOP_AT_LEAST_NS;
    }
    if (recorder->companion != NULL) {
        ended = recorder->companion->ops->stop(recorder->companion, stop_end);
    }
    return rl_worker_stop(&recorder->worker, stop_end) && ended;
}

static void finish_closing(void *ctx)
{
    rl_recorder *recorder = ctx;

    if (!recorder->abandoned) {
        close_parts(recorder);
    }
    rl_gate_finish_closing(&recorder->gate);
}

void rl_recorder_close(rl_recorder *recorder, uint64_t end)
{
    bool empty;

    if (!rl_gate_begin_closing(&recorder->gate, end, &empty)) {
        return;
    }
    if (empty) {
        write_live(recorder);
    }
    drain_rest(recorder, end);
    recorder->abandoned = !stop_threads(recorder, end) || !empty;
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

bool rl_recorder_get_journal_stats(rl_recorder *recorder, rl_journal_stats *stats)
{
    rl_err ignored;
    bool known = false;

    memset(stats, 0, sizeof *stats);
    if (recorder->config.postgres_dsn != NULL &&
        rl_recorder_enter(recorder, &ignored) == RL_OK) {
        rl_journal_get_stats(recorder->pipeline.journal, stats);
        rl_recorder_leave(recorder);
        known = true;
    }
    return known;
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
    return rl_pipeline_queued(&recorder->pipeline);
}
