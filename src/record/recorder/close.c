/* Flush and close. See recorder.h. */
#include "record/recorder/recorder_state.h"

/* The time that the threads get after the end of a close. Of several recorders that share
 * an end all but the first are closed after it: their threads get STOP_MIN_NS at
 * least. */
#define STOP_NS UINT64_C(900000000)
#define STOP_MIN_NS UINT64_C(50000000)

/* Waits until the journal is forwarded: by the worker or, where no thread could be
 * started, by this thread. */
static rl_status drain_journal(rl_recorder *recorder, uint64_t end, bool patient,
                               rl_err *err)
{
    static const atomic_bool never;
    rl_journal *journal = recorder->pipeline.journal;
    uint64_t next_try = end;
    rl_status status;

    do {
        if (!rl_recorder_wake_worker(recorder)) {
            next_try = rl_journal_forward(journal, &never);
        }
        status = rl_journal_drain(journal, next_try < end ? next_try : end, patient, err);
    } while (status == RL_TIMEOUT && patient && rl_monotonic_ns() < end);
    return status;
}

/* Waits until the runs beside a locked file are in it, in the same way. Processes that
 * ended without a close, as children of multiprocessing do, may have left some. */
static rl_status drain_beside(rl_recorder *recorder, uint64_t end, rl_err *err)
{
    static const atomic_bool never;
    rl_beside *beside = recorder->pipeline.beside;
    uint64_t next_try = end;
    rl_status status = RL_OK;

    rl_beside_look(beside);
    while (rl_beside_is_pending(beside)) {
        if (!rl_recorder_wake_worker(recorder)) {
            next_try = rl_beside_fold(beside, &never);
        }
        status = rl_beside_drain(beside, next_try < end ? next_try : end, err);
        if (status == RL_TIMEOUT && rl_monotonic_ns() >= end) {
            break;
        }
    }
    return status;
}

rl_status rl_recorder_flush(rl_recorder *recorder, uint64_t end, rl_err *err)
{
    rl_status status = rl_recorder_enter(recorder, err);

    if (status != RL_OK) {
        return status;
    }
    rl_recorder_write_live(recorder);
    status = rl_pipeline_drain_queues(&recorder->pipeline, end);
    if (status == RL_OK) {
        status = drain_beside(recorder, end, err);
    }
    if (status == RL_OK && recorder->pipeline.journal != NULL) {
        status = drain_journal(recorder, end, true, err);
    }
    if (status == RL_OK && !rl_recorder_is_ready(recorder) &&
        rl_companions_have_work(recorder->companions)) {
        status = rl_recorder_open_store(recorder, err);
    }
    if (status == RL_OK) {
        status = rl_companions_drain(recorder->companions, end, true, err);
    }
    rl_recorder_leave(recorder);
    return status;
}

/* Lets the runs beside a locked file, the journal and the companions finish, unless a
 * server proves to be unavailable. */
static void drain_before_close(rl_recorder *recorder, uint64_t end)
{
    rl_err ignored;

    if (!rl_recorder_is_ready(recorder)) {
        return;
    }
    (void)drain_beside(recorder, end, &ignored);
    if (recorder->pipeline.journal != NULL) {
        rl_journal_retry_now(recorder->pipeline.journal);
        (void)drain_journal(recorder, end, false, &ignored);
    }
    (void)rl_companions_drain(recorder->companions, end, false, &ignored);
}

/* Ends the threads; false when one is still running. */
static bool stop_threads(rl_recorder *recorder, uint64_t end)
{
    const uint64_t now = rl_monotonic_ns();
    uint64_t stop_end = (now < end ? now : end) + STOP_NS;
    bool ended;

    if (stop_end < now + STOP_MIN_NS) {
        stop_end = now + STOP_MIN_NS;
    }
    ended = rl_companions_stop(recorder->companions, stop_end);
    return rl_worker_stop(&recorder->worker, stop_end) && ended;
}

/* Closes the files and connections, unless somebody still uses them. */
static void finish_closing(void *ctx)
{
    rl_recorder *recorder = ctx;

    if (!recorder->abandoned) {
        rl_companions_close(recorder->companions);
        rl_pipeline_close(&recorder->pipeline);
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
        rl_recorder_write_live(recorder);
    }
    drain_before_close(recorder, end);
    recorder->abandoned = !stop_threads(recorder, end) || !empty;
    if (recorder->abandoned) {
        /* its files stay open, and before a fork they must be closed: it stays a
         * member */
        finish_closing(recorder);
    } else {
        rl_fork_leave(&recorder->member, finish_closing);
    }
}
