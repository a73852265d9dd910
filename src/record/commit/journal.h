/* What stands between the callers and PostgreSQL: the server while it takes runs, and the
 * journal, a SQLite file, while it does not. What is in the journal is forwarded.
 *
 * Threads: every function from any thread; rl_journal_forward by one at a time.
 * Ownership: borrows the store, the metrics and the notices; owns the journal's file.
 */
#ifndef RL_JOURNAL_H
#define RL_JOURNAL_H

#include "core/metrics.h"
#include "core/notice.h"
#include "store/migrate.h"
#include "store/store.h"

typedef struct rl_journal rl_journal;

/* A journal at `path` before `server`. Nothing is opened. */
rl_status rl_journal_new(rl_store *server, const char *path,
                         const rl_migrations *migrations, rl_metrics *metrics,
                         rl_notices *notices, rl_journal **journal, rl_err *err);
void rl_journal_free(rl_journal *journal);

/* Before the first use: opens a file that is there, and refuses one that can never be used
 * (another schema, no database, a network file system). What may pass is only told. */
rl_status rl_journal_prepare(rl_journal *journal, rl_err *err);

/* Writes a batch to the server, or where that does not take it to the journal (synchronous
 * FULL). RL_STORE when neither does, with both reasons, or when the server refuses it for
 * good: a single run is then kept with what was rejected. An rl_commit_write. */
rl_status rl_journal_write(void *journal, const rl_batch *batch, rl_err *err);

/* Writes a batch to the journal, or where that can't be to the server. RL_STORE when neither
 * takes it, with both reasons. An rl_commit_write. */
rl_status rl_journal_append(void *journal, const rl_batch *batch, rl_err *err);

/* Whether there is something to forward, or to look for what others left. Quick. */
bool rl_journal_has_work(rl_journal *journal);

/* Forwards until the journal is empty, the server does not take it, another process does it,
 * or *stop. Gives the time (monotonic nanoseconds) at which to try again. */
uint64_t rl_journal_forward(rl_journal *journal, const atomic_bool *stop);

/* Waits until everything that is in the journal now was forwarded: by rl_journal_forward in
 * this process or another. RL_TIMEOUT at `end`; with `patient` false as soon as the server
 * is found to be away. RL_STORE when the file can't be read. */
rl_status rl_journal_drain(rl_journal *journal, uint64_t end, bool patient, rl_err *err);

/* Lets the next forwarding happen at once instead of when the next probe is due. */
void rl_journal_retry_now(rl_journal *journal);

/* Waits a moment (until `end` at most) for what this process has put into the journal, so
 * that it is found by a query. */
void rl_journal_catch_up(rl_journal *journal, uint64_t end);

/* What stats() tells. `error` gets why the server is away, or "". */
typedef struct rl_journal_stats {
    int64_t waiting, rejected;
    bool unavailable;
    char error[RL_ERR_TEXT];
} rl_journal_stats;

void rl_journal_get_stats(rl_journal *journal, rl_journal_stats *stats);

/* Checkpoints of the journal's file: as a store's. */
bool rl_journal_needs_checkpoint(rl_journal *journal);
rl_status rl_journal_checkpoint(rl_journal *journal, rl_err *err);

void rl_journal_before_fork(rl_journal *journal);
void rl_journal_after_fork(rl_journal *journal, bool in_child);

#endif
