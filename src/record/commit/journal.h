/* The journal: a SQLite file between the callers and PostgreSQL. Runs go to the server
 * while it accepts them, and else to the journal, from which the worker forwards them to
 * the server.
 *
 * Each run waits for its own database, because programs with other databases may use the
 * same file. Before this process has reached its server, the host, port and name of the
 * DSN identify the database; afterwards the server's ids do (rl_target).
 *
 * Threads: every function from any thread, except that rl_journal_forward runs in one at
 * a time, and new and free while no other call is under way. All may wait, except where
 * the comment says that it does not. Times named `end` are nanoseconds of the monotonic
 * clock.
 * Ownership: owns the file; borrows the server, migrations, metrics and notices.
 */
#ifndef RL_JOURNAL_H
#define RL_JOURNAL_H

#include "core/metrics.h"
#include "core/notice.h"
#include "record/commit/beside.h"
#include "store/migrate.h"
#include "store/store.h"

typedef struct rl_journal rl_journal;

/* Makes a journal at `path` (copied) in front of `server`. Opens nothing. */
rl_status rl_journal_new(rl_store *server, const char *path,
                         const rl_migrations *migrations, rl_metrics *metrics,
                         rl_notices *notices, rl_journal **journal, rl_err *err);
void rl_journal_free(rl_journal *journal);

/* Where runs are stored while another program holds the lock of the journal; borrowed. */
rl_beside *rl_journal_beside(rl_journal *journal);

/* Before the first use: opens the file if it exists. RL_CONFIG or RL_STORE for a path
 * that can never hold a journal (another schema, no database, a network file system); a
 * problem that may pass is only logged. */
rl_status rl_journal_prepare(rl_journal *journal, rl_err *err);

/* An rl_commit_write: to the server, or, if that does not accept the batch now, to the
 * journal with synchronous = FULL. RL_STORE when neither takes it (with both reasons), or
 * when the server rejects it: a single run is then stored in journal_rejected. */
rl_status rl_journal_write(void *journal, const rl_batch *batch, rl_err *err);

/* An rl_commit_write: to the journal, or, if that fails, to the server. RL_STORE when
 * neither takes the batch (with both reasons). */
rl_status rl_journal_append(void *journal, const rl_batch *batch, rl_err *err);

/* Whether rl_journal_forward should be called: for new runs, or to check for those of
 * other processes. True once for each occasion. Does not wait. */
bool rl_journal_has_work(rl_journal *journal);

/* Forwards runs until the journal is empty, the server does not accept them, another
 * process is forwarding, or *stop is set. Returns when to call it again (nanoseconds,
 * monotonic clock). */
uint64_t rl_journal_forward(rl_journal *journal, const atomic_bool *stop);

/* Waits until all runs that are in the journal now are forwarded, by any process.
 * RL_TIMEOUT at `end`, or, if not `patient`, when an attempt to forward fails. RL_STORE
 * when the file can't be read. */
rl_status rl_journal_drain(rl_journal *journal, uint64_t end, bool patient, rl_err *err);

/* Lets the next rl_journal_forward probe an unavailable server at once. Does not wait. */
void rl_journal_retry_now(rl_journal *journal);

/* Before a query: waits until `end` at most for the runs that this process has put into
 * the journal. Does not wait while the server is unavailable. */
void rl_journal_catch_up(rl_journal *journal, uint64_t end);

/* Whether the server accepted runs when it was last asked. Does not wait. */
bool rl_journal_is_available(rl_journal *journal);

typedef struct rl_journal_stats {
    int64_t waiting, rejected; /* runs in the journal, in journal_rejected */
    int64_t elsewhere;         /* runs in the journal that wait for another database */
    int64_t oldest; /* when the oldest of those waiting was logged, microseconds; or 0 */
    int64_t left;   /* runs that have left the journal, of all processes and databases */
    bool unavailable;        /* the server does not accept runs */
    char error[RL_ERR_TEXT]; /* the reason, or "" */
} rl_journal_stats;

void rl_journal_get_stats(rl_journal *journal, rl_journal_stats *stats);

/* As in rl_store_ops. */
bool rl_journal_needs_checkpoint(rl_journal *journal);
rl_status rl_journal_checkpoint(rl_journal *journal, rl_err *err);

/* Around a fork. */
void rl_journal_before_fork(rl_journal *journal);
void rl_journal_after_fork(rl_journal *journal, bool in_child);

#endif
