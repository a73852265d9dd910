/* The insides of a journal, for the files that make it up: journal.c (the callers' side),
 * forward.c (the worker's side) and journal_log.c (what changes, and is told).
 */
#ifndef RL_JOURNAL_STATE_H
#define RL_JOURNAL_STATE_H

#include "core/lock.h"
#include "record/breaker.h"
#include "record/commit/journal.h"
#include "store/sqlite/journal_file.h"

/* Between looks for what other processes left, nanoseconds. */
#define RL_JOURNAL_LOOK_NS UINT64_C(5000000000)

struct rl_journal {
    rl_store *server;      /* borrowed */
    rl_journal_file *file; /* owned */
    rl_metrics *metrics;
    rl_notices *notices;
    pthread_mutex_t lock; /* guards breaker, error, attempts; never held during I/O */
    pthread_cond_t moved; /* something was forwarded, or could not be */
    rl_breaker breaker;
    rl_err error;            /* why the server is away */
    uint64_t away_since;     /* monotonic nanoseconds */
    uint64_t forwarded_then; /* the counter, as it was then */
    unsigned attempts;       /* of forwarding that failed */
    atomic_bool rejecting;   /* it was told that a run was rejected */
    atomic_bool unusable;    /* it was told that the journal can't be used */
    unsigned number;         /* of this journal in the process */
    atomic_bool pending;     /* something was put into the journal since it was read */
    atomic_bool unsettled;   /* something of ours may not have been forwarded yet */
    atomic_bool wake;        /* the worker does not know of it yet */
    atomic_uint_fast64_t look_at; /* when to look for what others left */
};

/* The server did not take something, for the reason in err: nobody asks it for a while. */
void rl_journal_set_unavailable(rl_journal *journal, const rl_err *err);

/* The server took something. */
void rl_journal_set_available(rl_journal *journal);

/* Each is logged once: the journal can't be used, and then that it can; the server refused a
 * run for good. */
void rl_journal_log_unusable(rl_journal *journal, const rl_err *err);
void rl_journal_log_usable(rl_journal *journal);
void rl_journal_log_rejected(rl_journal *journal, const rl_err *reason);

#endif
