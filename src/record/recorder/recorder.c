/* The recorder. See recorder.h. */
#include "record/recorder/recorder.h"

#include "core/alloc.h"
#include "record/recorder/lost.h"
#include "record/recorder/recorder_state.h"

#include <string.h>
#include <time.h>

bool rl_recorder_is_ready(rl_recorder *recorder)
{
    return rl_pipeline_is_ready(&recorder->pipeline);
}

rl_status rl_recorder_open_store(rl_recorder *recorder, rl_err *err)
{
    rl_status status = rl_pipeline_open(&recorder->pipeline, err);

    if (status == RL_OK) {
        rl_companions_notify(
            recorder->companions); /* other processes may have left work */
        if (rl_pipeline_has_work(&recorder->pipeline)) {
            (void)rl_recorder_wake_worker(recorder);
        }
    }
    return status;
}

/* After a write: if the run is open, has the worker announce its owner. */
static void announce(rl_recorder *recorder, const rl_run *run, rl_status status)
{
    if (status == RL_OK && rl_beats_want(&recorder->beats, run)) {
        (void)rl_recorder_wake_worker(recorder);
    }
}

/* Commits an open run of a graph. */
static rl_status commit_live(void *ctx, rl_run *run, rl_err *err)
{
    rl_recorder *recorder = ctx;
    rl_status status =
        rl_recorder_is_ready(recorder) ? RL_OK : rl_recorder_open_store(recorder, err);

    if (status == RL_OK) {
        status =
            rl_pipeline_write(&recorder->pipeline, run, recorder->config.graph_runs, err);
        announce(recorder, run, status);
    }
    return status;
}

void rl_recorder_write_live(rl_recorder *recorder)
{
    rl_live_write_all(&recorder->live, recorder, commit_live, recorder);
}

/* A pass of the worker thread: open runs, a heartbeat, a checkpoint, and forwarding: so a
 * run that comes by the journal comes after the heartbeat. */
static uint64_t work(void *ctx, const atomic_bool *stop)
{
    rl_recorder *recorder = ctx;
    uint64_t next_live =
        rl_live_write_scheduled(&recorder->live, recorder, commit_live, recorder);
    uint64_t forwarded = rl_metric_get(&recorder->metrics.forwarded);
    uint64_t next_beat = rl_beats_work(&recorder->beats, &recorder->live, recorder,
                                       &recorder->pipeline, &recorder->notices);
    uint64_t next_work = rl_pipeline_work(&recorder->pipeline, stop);

    if (rl_metric_get(&recorder->metrics.forwarded) != forwarded) {
        rl_companions_notify(recorder->companions);
    }
    next_work = next_beat < next_work ? next_beat : next_work;
    return next_live < next_work ? next_live : next_work;
}

static void before_fork(void *ctx)
{
    rl_recorder *recorder = ctx;

    rl_gate_before_fork(&recorder->gate);
    rl_worker_before_fork(&recorder->worker);
    rl_companions_before_fork(recorder->companions);
    rl_pipeline_before_fork(&recorder->pipeline);
    pthread_mutex_lock(&recorder->notices.lock);
}

static void after_fork(rl_recorder *recorder, bool in_child)
{
    pthread_mutex_unlock(&recorder->notices.lock);
    rl_pipeline_after_fork(&recorder->pipeline, in_child);
    rl_companions_after_fork(recorder->companions, in_child);
    rl_worker_after_fork(&recorder->worker, in_child);
    if (in_child) {
        rl_live_init(&recorder->live); /* the parent writes its own open graphs */
        rl_beats_init(&recorder->beats);
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

static rl_status start_companions(rl_recorder *recorder, rl_err *err)
{
    const rl_companion_host host = {recorder, recorder->pipeline.store,
                                    &recorder->notices};

    return rl_companions_start(recorder->companions, &host, err);
}

static rl_status make_pipeline(rl_recorder *recorder, rl_err *err)
{
    const rl_config *config = &recorder->config;
    const rl_pipeline_options options = {
        .postgres_dsn = config->postgres_dsn,
        .read_dsn = config->read_dsn,
        .sqlite_path = config->sqlite_path,
        .sqlite = rl_migrations_of(&config->sqlite),
        .postgres = rl_migrations_of(&config->postgres),
        .timeout_ns = config->timeout_ns,
        .pool = config->pool,
        .sqlite_hook = rl_companions_sqlite_hook(recorder->companions),
        .pg_hook = rl_companions_pg_hook(recorder->companions),
        .stop = &recorder->worker.stop,
        .metrics = &recorder->metrics,
        .notices = &recorder->notices,
    };

    return rl_pipeline_init(&recorder->pipeline, &options, err);
}

rl_status rl_recorder_new(rl_config *config, rl_companion *companions, rl_recorder **out,
                          rl_err *err)
{
    rl_recorder *recorder = rl_calloc(1, sizeof *recorder);
    rl_status status;

    if (recorder == NULL) {
        rl_config_free(config);
        rl_companions_free(companions);
        return rl_err_nomem(err);
    }
    recorder->config = *config;
    memset(config, 0, sizeof *config);
    recorder->companions = companions;
    rl_gate_init(&recorder->gate);
    rl_notices_init(&recorder->notices);
    rl_live_init(&recorder->live);
    rl_beats_init(&recorder->beats);
    rl_worker_init(&recorder->worker, work, recorder);
    recorder->member = (rl_fork_member){.prepare = before_fork,
                                        .parent = after_fork_in_parent,
                                        .child = after_fork_in_child,
                                        .ctx = recorder};
    status = make_pipeline(recorder, err);
    if (status == RL_OK) {
        status = start_companions(recorder, err);
    }
    if (status == RL_OK) {
        recorder->store_name = recorder->pipeline.store->ops->name;
        rl_fork_join(&recorder->member);
        *out = recorder;
    } else {
        rl_gate_finish_closing(&recorder->gate);
        rl_recorder_free(recorder);
    }
    return status;
}

void rl_recorder_free(rl_recorder *recorder)
{
    if (recorder == NULL) {
        return;
    }
    rl_recorder_close(recorder, rl_monotonic_ns() + RL_CLOSE_NS);
    if (recorder->abandoned) {
        return; /* the thread or call goes on using it until the process ends */
    }
    rl_companions_free(recorder->companions);
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

/* Enters the gate, and opens the database if this is the first use. Leave only after
 * RL_OK. */
static rl_status enter_ready(rl_recorder *recorder, rl_err *err)
{
    rl_status status = rl_recorder_enter(recorder, err);

    if (status == RL_OK && !rl_recorder_is_ready(recorder)) {
        status = rl_recorder_open_store(recorder, err);
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

bool rl_recorder_wake_worker(rl_recorder *recorder)
{
    bool running = rl_worker_wake(&recorder->worker);

    if (!running && !atomic_load(&recorder->worker.stop) &&
        !atomic_exchange(&recorder->no_worker_logged, true)) {
        rl_notices_add(&recorder->notices, RL_NOTICE_WARNING,
                       "no thread could be started: the threads that log runs make the "
                       "checkpoints, and the journal waits for flush() or close()");
    }
    return running;
}

/* Wakes the worker for the work that a write leaves behind; without a worker the caller
 * makes a needed checkpoint itself, if it may wait. */
static void wake_for_work(rl_recorder *recorder, bool may_wait)
{
    if (rl_pipeline_has_work(&recorder->pipeline) && !rl_recorder_wake_worker(recorder) &&
        may_wait) {
        rl_pipeline_checkpoint(&recorder->pipeline);
    }
}

static void schedule_work(rl_recorder *recorder, bool may_wait)
{
    wake_for_work(recorder, may_wait);
    rl_companions_notify(recorder->companions);
}

rl_status rl_recorder_write(rl_recorder *recorder, rl_run *run, rl_durability durability,
                            rl_err *err)
{
    rl_status status = enter_ready(recorder, err);

    if (status == RL_OK) {
        status = rl_pipeline_write(&recorder->pipeline, run, durability, err);
        announce(recorder, run, status);
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

    if (!rl_recorder_is_ready(recorder)) {
        return rl_err_set(err, RL_BUSY, "the database is not open yet");
    }
    status = rl_recorder_enter(recorder, err);
    if (status == RL_OK) {
        status = rl_pipeline_try_write(&recorder->pipeline, run, durability, err);
        announce(recorder, run, status);
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
        (void)rl_recorder_wake_worker(recorder);
        rl_recorder_leave(recorder);
    }
}

rl_memory rl_recorder_memory(rl_recorder *recorder)
{
    return (rl_memory){recorder->config.max_memory, &recorder->metrics,
                       &recorder->notices};
}

void rl_recorder_relieve(rl_recorder *recorder, rl_graphs *graphs, bool wait)
{
    rl_err ignored;

    if (rl_recorder_enter(recorder, &ignored) == RL_OK) {
        if (rl_live_call(&recorder->live, graphs)) {
            (void)rl_recorder_wake_worker(recorder);
        }
        if (wait) {
            rl_live_relieve(graphs, recorder, commit_live, recorder);
        }
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

rl_status rl_recorder_list(rl_recorder *recorder, rl_listing *listing, rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(recorder, err);

    if (status == RL_OK) {
        status = rl_listing_read(listing, recorder->pipeline.store, err);
        rl_recorder_leave(recorder);
    }
    return status;
}

rl_status rl_recorder_count(rl_recorder *recorder, rl_counting *counting, rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(recorder, err);

    if (status == RL_OK) {
        status = rl_counting_read(counting, recorder->pipeline.store, err);
        rl_recorder_leave(recorder);
    }
    return status;
}

rl_status rl_recorder_read_gauges(rl_recorder *recorder, rl_gauges *gauges, rl_err *err)
{
    rl_status status = enter_ready(recorder, err);

    if (status == RL_OK) {
        status = rl_gauges_read(gauges, recorder->pipeline.store, err);
        rl_recorder_leave(recorder);
    }
    return status;
}

/* One batch of a deletion, inside the gate. */
static rl_status remove_batch(rl_recorder *recorder, rl_deletion *deletion, bool is_last,
                              rl_err *err)
{
    rl_status status =
        deletion->begun ? rl_recorder_enter(recorder, err) : enter_ready(recorder, err);

    if (status == RL_OK) {
        if (!deletion->begun) {
            status = rl_pipeline_prepare_remove(&recorder->pipeline, err);
            deletion->removal.hook = rl_companions_removal_hook(recorder->companions);
            deletion->begun = status == RL_OK;
        }
        if (status == RL_OK) {
            status = rl_deletion_work(deletion, recorder->pipeline.store, err);
        }
        wake_for_work(recorder, true);
        if (is_last || status != RL_OK || !deletion->more) {
            rl_companions_notify(recorder->companions);
        }
        rl_recorder_leave(recorder);
    }
    return status;
}

rl_status rl_recorder_remove(rl_recorder *recorder, rl_deletion *deletion, uint64_t end,
                             rl_err *err)
{
    rl_status status = RL_OK;
    bool is_last = false;

    while (status == RL_OK && deletion->more && !is_last) {
        struct timespec pause = {0, 0};

        is_last = rl_monotonic_ns() >= end;
        status = remove_batch(recorder, deletion, is_last, err);
        pause.tv_nsec = (long)deletion->removal.pause_ns;
        if (status == RL_OK && deletion->more) {
            nanosleep(&pause, NULL);
        }
    }
    if (status != RL_OK) {
        rl_deletion_explain(deletion, err);
    }
    return status;
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
    if (rl_recorder_enter(recorder, &ignored) == RL_OK) {
        known = recorder->config.postgres_dsn != NULL;
        if (known) {
            rl_journal_get_stats(recorder->pipeline.journal, stats);
        } else if (rl_recorder_is_ready(recorder)) {
            stats->elsewhere = rl_pipeline_count_journaled(&recorder->pipeline, false);
        }
        stats->rejected += rl_beside_count_rejected(recorder->pipeline.beside);
        rl_recorder_leave(recorder);
    }
    return known;
}

void rl_recorder_get_replica_stats(rl_recorder *recorder, rl_replica_stats *stats)
{
    rl_err ignored;

    memset(stats, 0, sizeof *stats);
    if (recorder->config.read_dsn != NULL &&
        rl_recorder_enter(recorder, &ignored) == RL_OK) {
        rl_pg_reader_get_stats(rl_postgres_reader_of(recorder->pipeline.store), stats);
        rl_recorder_leave(recorder);
    }
}

void rl_recorder_open_existing(rl_recorder *recorder)
{
    rl_err ignored;

    if (rl_recorder_enter(recorder, &ignored) == RL_OK) {
        rl_sqlite_file *file = rl_sqlite_file_of(recorder->pipeline.store);

        if (file != NULL) {
            atomic_store(&file->only_existing, true);
        }
        rl_recorder_leave(recorder);
    }
}

int64_t rl_recorder_beside(rl_recorder *recorder)
{
    rl_err ignored;
    int64_t count = 0;

    if (rl_recorder_enter(recorder, &ignored) == RL_OK) {
        count = rl_beside_count(recorder->pipeline.beside);
        rl_recorder_leave(recorder);
    }
    return count;
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
