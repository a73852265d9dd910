/* A batch run by run. See forward_singly.h. */
#include "record/commit/forward_singly.h"

#include <stdio.h>

/* Until a workflow that is held is tried again, and one whose server did not answer. */
#define HELD_NS UINT64_C(5000000000)
#define HELD_LONG_NS UINT64_C(120000000000)

/* Until a run that took too long is tried again, at first and at most; and how long after
 * that time one is known that another process has forwarded. */
#define SLOW_NS UINT64_C(5000000000)
#define SLOW_MOST_NS UINT64_C(120000000000)
#define SLOW_KEPT_NS UINT64_C(600000000000)
#define SLOW_IN_ROW 3 /* after which it is the server that takes no run */

/* Keeps the runs of a workflow in the journal for now. What took long is not asked soon
 * again. */
static void hold(rl_journal *journal, rl_forwarding *work, rl_journal_file_batch *batch,
                 size_t at, const rl_err *reason)
{
    const uint64_t pause = reason->sqlstate[0] == '\0' ? HELD_LONG_NS : HELD_NS;

    rl_held_add(&journal->held, rl_held_workflow(batch->runs[at]), rl_monotonic_ns(),
                pause, pause);
    batch->held[at] = true;
    work->holds = true;
    work->held = journal->held_for = *reason;
}

rl_status rl_forward_hold(rl_journal *journal, rl_forwarding *work,
                          rl_journal_file_batch *batch, size_t at, const rl_err *reason,
                          rl_err *err)
{
    const rl_run *run = batch->runs[at];
    rl_err named;

    rl_err_set(&named, RL_STORE,
               "%.400s; this run waits in the journal, and the others are forwarded: "
               "run_id %s of the workflow %s",
               reason->text, rl_run_text(run, RL_RUN_ID), rl_run_text(run, RL_WPK_ID));
    memcpy(named.sqlstate, reason->sqlstate, sizeof named.sqlstate);
    named.retryable = named.timed_out = true;
    if (rl_held_add(&journal->slow, rl_held_run(run), rl_monotonic_ns(), SLOW_NS,
                    SLOW_MOST_NS)) {
        rl_journal_log_slow(journal, &named);
    }
    batch->held[at] = true;
    work->holds = true;
    work->held = journal->held_for = named;
    if (++journal->slow_in_row >= SLOW_IN_ROW) {
        *err = *reason;
        return RL_STORE;
    }
    return RL_OK;
}

bool rl_forward_is_slow(rl_journal *journal, const rl_journal_file_batch *batch)
{
    bool found = false;

    if (rl_held_tidy(&journal->slow, rl_monotonic_ns(), SLOW_KEPT_NS)) {
        for (size_t i = 0; i < batch->count && !found; i++) {
            found = rl_held_knows(&journal->slow, rl_held_run(batch->runs[i]));
        }
    }
    return found;
}

/* Keeps a run that is held, or is of a workflow that is, or for which there is no time. */
static void keep(const rl_journal *journal, rl_forwarding *work,
                 rl_journal_file_batch *batch, size_t at)
{
    batch->held[at] = true;
    if (!work->holds) {
        work->holds = true;
        work->held = journal->held_for;
    }
}

bool rl_forward_answers(rl_journal *journal)
{
    const rl_batch probe = {.durability = RL_SERVER, .wait = RL_WAIT};
    rl_store *server = journal->server;
    rl_err ignored;

    server->ops->send(server, &probe);
    return server->ops->finish(server, &probe, &ignored) == RL_OK;
}

/* Whether an error is of one workflow's server. After a time-out it is if the server that
 * this is connected to answers; else all runs wait for that. */
static bool is_partial(rl_journal *journal, const rl_err *reason)
{
    return reason->partial &&
           (reason->sqlstate[0] != '\0' || rl_forward_answers(journal));
}

bool rl_is_doubtful(const rl_err *reason)
{
    return !reason->rejected && !reason->retryable && reason->sqlstate[0] != '\0';
}

static bool is_refused(rl_status status, const rl_err *reason)
{
    return status == RL_STORE && (reason->rejected || rl_is_doubtful(reason));
}

/* Writes one run of a batch to the server. */
static rl_status send_one(rl_journal *journal, rl_journal_file_batch *batch, size_t at,
                          rl_err *err)
{
    const rl_batch single = {batch->runs + at, 1, RL_SERVER, RL_WAIT};
    rl_store *server = journal->server;

    server->ops->send(server, &single);
    return server->ops->finish(server, &single, err);
}

/* Reads the newest runs of the journal that are behind a batch. */
static void read_newest(rl_journal *journal, const rl_journal_file_batch *batch,
                        rl_journal_file_batch *newest)
{
    int64_t after = batch->seqs[batch->count - 1];
    rl_journal_file_state state;
    rl_err ignored;

    newest->count = 0;
    if (rl_journal_file_get_state(journal->file, &state, &ignored) == RL_OK) {
        if (state.last - RL_JOURNAL_FILE_RUNS > after) {
            after = state.last - RL_JOURNAL_FILE_RUNS;
        }
        (void)rl_journal_file_read(journal->file, after, RL_JOURNAL_FILE_RUNS, newest,
                                   &ignored);
    }
}

/* Whether the server takes a run now, after it has refused some of a batch: one of the
 * batch, which it took before, or else one of the newest, as many in a row may be refused.
 * To write a run twice changes nothing. */
static bool takes_another(rl_journal *journal, rl_forwarding *work,
                          rl_journal_file_batch *batch)
{
    rl_journal_file_batch *newest = &work->newest;
    rl_status status = RL_STORE;
    rl_err reason = *work->doubted;
    size_t at = 0;

    while (at < batch->count && (batch->rejected[at] || batch->held[at])) {
        at++;
    }
    if (at < batch->count) {
        return send_one(journal, batch, at, &reason) == RL_OK;
    }
    read_newest(journal, batch, newest);
    for (at = 0; at < newest->count && is_refused(status, &reason); at++) {
        const rl_run *run = newest->runs[at];

        if (!rl_held_has(&journal->held, rl_held_workflow(run), rl_monotonic_ns()) &&
            !rl_held_knows(&journal->slow, rl_held_run(run))) {
            status = send_one(journal, newest, at, &reason);
        }
    }
    return status == RL_OK;
}

/* Writes one run of a batch. A doubtful refusal counts as one of the run for now. */
static rl_status forward_one(rl_journal *journal, rl_forwarding *work,
                             rl_journal_file_batch *batch, size_t at, rl_err *err)
{
    rl_err reason;
    rl_status status = send_one(journal, batch, at, &reason);

    if (is_refused(status, &reason)) {
        status = rl_journal_file_batch_reject(batch, at, &reason, err);
        if (status == RL_OK && reason.rejected) {
            rl_journal_log_rejected(journal, &reason);
        } else if (status == RL_OK && work->doubted == NULL) {
            work->doubted = batch->reasons[at];
        }
    } else if (status == RL_STORE && is_partial(journal, &reason)) {
        hold(journal, work, batch, at, &reason);
        status = RL_OK;
    } else if (status == RL_STORE && reason.timed_out && rl_forward_answers(journal)) {
        status = rl_forward_hold(journal, work, batch, at, &reason, err);
    } else if (status != RL_OK) {
        *err = reason;
    } else {
        rl_held_remove(&journal->slow, rl_held_run(batch->runs[at]));
        journal->slow_in_row = 0;
    }
    return status;
}

/* After doubtful refusals: they are of their runs if the server takes another run, refuses
 * these again, as it may have been mended meanwhile, and takes another after that. Else
 * all runs stay in the journal. */
static rl_status settle_doubts(rl_journal *journal, rl_forwarding *work,
                               rl_journal_file_batch *batch, rl_err *err)
{
    const rl_err first = *work->doubted;
    bool taken = takes_another(journal, work, batch);
    rl_status status = RL_OK;

    work->doubted = NULL;
    for (size_t i = 0; taken && i < batch->count && status == RL_OK; i++) {
        if (batch->rejected[i] && rl_is_doubtful(batch->reasons[i])) {
            batch->rejected[i] = false;
            status = forward_one(journal, work, batch, i, err);
        }
    }
    if (status == RL_OK && work->doubted != NULL) {
        taken = takes_another(journal, work, batch);
    }
    if (status == RL_OK && !taken) {
        *err = first;
        status = RL_STORE;
    } else if (status == RL_OK && work->doubted != NULL) {
        rl_journal_log_rejected(journal, work->doubted);
    }
    return status;
}

rl_status rl_forward_singly(rl_journal *journal, rl_forwarding *work,
                            rl_journal_file_batch *batch, rl_err *err)
{
    rl_status status = RL_OK;

    work->doubted = NULL;
    for (size_t i = 0; i < batch->count && status == RL_OK; i++) {
        const rl_run *run = batch->runs[i];
        const uint64_t now = rl_monotonic_ns();

        if (rl_held_has(&journal->held, rl_held_workflow(run), now) ||
            rl_held_has(&journal->slow, rl_held_run(run), now) ||
            (work->holds && now >= work->end)) {
            keep(journal, work, batch, i);
        } else {
            status = forward_one(journal, work, batch, i, err);
        }
    }
    return status == RL_OK && work->doubted != NULL
               ? settle_doubts(journal, work, batch, err)
               : status;
}
