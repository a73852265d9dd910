/* Inside a journal, for the files that make it up: journal.c (for the callers), forward.c
 * and forward_singly.c (for the worker) and journal_log.c (the server's state, and the
 * user's log).
 */
#ifndef RL_JOURNAL_STATE_H
#define RL_JOURNAL_STATE_H

#include "core/breaker.h"
#include "core/lock.h"
#include "record/commit/held.h"
#include "record/commit/journal.h"
#include "store/sqlite/journal_file.h"

/* Nanoseconds between two checks for runs that other processes left in the journal. */
#define RL_JOURNAL_CHECK_NS UINT64_C(5000000000)

/* What was known of the database at some time. */
typedef struct rl_known_target {
    rl_target target;
    struct rl_known_target *before; /* owned */
} rl_known_target;

struct rl_journal {
    rl_store *server;      /* borrowed */
    rl_journal_file *file; /* owned */
    rl_beside *beside;     /* owned; for runs while the file is locked */
    rl_metrics *metrics;   /* borrowed */
    rl_notices *notices;   /* borrowed */
    unsigned number;       /* of this journal in the process; part of the lease's owner */

    pthread_mutex_t lock;      /* guards what follows up to `seen`; not held during I/O */
    rl_known_target *target;   /* owned; the newest, which the files use */
    pthread_cond_t progressed; /* runs were forwarded, or an attempt failed */
    rl_breaker breaker;        /* of the server */
    rl_err error;              /* why the server is unavailable */
    uint64_t unavailable_since; /* monotonic nanoseconds */
    uint64_t forwarded_before;  /* the counter at that time */
    unsigned attempts;          /* to forward, that failed */
    rl_journal_file_state seen; /* as last read, for statistics while it is locked */
    rl_waiting waiting;         /* the same */

    /* The worker's. */
    rl_held held;         /* workflows */
    rl_held slow;         /* runs that took the server too long */
    unsigned slow_in_row; /* runs that did since one was taken */
    rl_err held_for;      /* why the last of them is held */
    int64_t after;        /* a pass ended here, with runs left that are held */
    size_t most;          /* runs of a batch: fewer after one that took too long */
    uint64_t too_long_ns; /* how long that took; 0: none did */

    atomic_bool rejection_logged;
    atomic_bool unusable_logged;
    atomic_bool others_logged;
    atomic_bool identified;  /* the server has said which database it is */
    atomic_bool pending;     /* there are runs that the worker has not read yet */
    atomic_bool unforwarded; /* runs of this process may wait to be forwarded */
    atomic_bool wake_worker; /* there is new work that the worker was not woken for */
    atomic_uint_fast64_t check_at; /* next check for runs of other processes */
};

/* Records that the server did not accept runs: opens the breaker, and logs the first
 * time. */
void rl_journal_set_unavailable(rl_journal *journal, const rl_err *err);

/* Records that the server accepts the runs of some workflows only: as unavailable, but the
 * worker tries again after `pause_ns`. */
void rl_journal_set_partly_available(rl_journal *journal, const rl_err *err,
                                     uint64_t pause_ns);

/* Records that the server accepted runs: closes the breaker, and logs the end of an
 * outage. */
void rl_journal_set_available(rl_journal *journal);

/* Has the files know what the store knows of its database. RL_NOMEM. */
rl_status rl_journal_learn_target(rl_journal *journal, rl_err *err);

/* Each logs a change once: the file can't be used, it can be used again, runs wait for
 * another database, a run was rejected. */
void rl_journal_log_unusable(rl_journal *journal, const rl_err *err);
void rl_journal_log_usable(rl_journal *journal);
void rl_journal_log_others(rl_journal *journal);
void rl_journal_log_rejected(rl_journal *journal, const rl_err *reason);

/* Logs that a run is held, as it takes the server too long: once a run. */
void rl_journal_log_slow(rl_journal *journal, const rl_err *reason);

#endif
