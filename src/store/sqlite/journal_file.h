/* The journal's tables: runs that wait in a SQLite file until PostgreSQL has them.
 *
 * Several processes may share one file. One of them at a time forwards: it holds the lease,
 * whose end it moves on with each batch that it settles; the lease of a dead process is
 * taken over. A batch is settled in one transaction with the check that the lease is still
 * held, so what another process has forwarded meanwhile is left to that one.
 * Threads: every function from any thread; all but rl_journal_file_append without `may_wait` may
 * wait for the disk. Ownership: runs and batches belong to the caller.
 */
#ifndef RL_JOURNAL_FILE_H
#define RL_JOURNAL_FILE_H

#include "core/notice.h"
#include "store/migrate.h"
#include "store/store.h"

#define RL_JOURNAL_FILE_RUNS 100 /* runs in a batch */
#define RL_JOURNAL_FILE_BYTES \
    ((size_t)16 << 20)            /* bytes after which a batch takes no more */
#define RL_JOURNAL_FILE_OWNER 128 /* bytes of an owner, with its NUL */

typedef struct rl_journal_file rl_journal_file;

/* A batch to forward. Its runs are owned and used again for the next one. */
typedef struct rl_journal_file_batch {
    rl_run *runs[RL_JOURNAL_FILE_RUNS]; /* owned; NULL until they are needed */
    int64_t seqs[RL_JOURNAL_FILE_RUNS];
    bool rejected[RL_JOURNAL_FILE_RUNS];
    rl_err *reasons[RL_JOURNAL_FILE_RUNS]; /* owned; of those rejected */
    size_t count;
    bool last; /* there were no more */
} rl_journal_file_batch;

/* Where the journal stands. */
typedef struct rl_journal_file_state {
    int64_t first, last; /* seqs that wait; 0 and 0 for none */
    int64_t rejected;    /* rows */
} rl_journal_file_state;

/* The notices (borrowed, or NULL) get an ERROR when the file was deleted or replaced. */
rl_status rl_journal_file_new(const char *path, const rl_migrations *migrations,
                              rl_notices *notices, rl_journal_file **journal,
                              rl_err *err);
void rl_journal_file_free(rl_journal_file *journal);
const char *rl_journal_file_path(const rl_journal_file *journal);

/* Whether there is a file at the path, or one open. */
bool rl_journal_file_exists(const rl_journal_file *journal);

/* Opens the file, making it where there is none, and applies the migrations. */
rl_status rl_journal_file_open(rl_journal_file *journal, rl_err *err);

/* Whether a file could be made at the path, as far as can be told without making one. */
rl_status rl_journal_file_check(const rl_journal_file *journal, rl_err *err);

/* Adds all runs of a batch, or none. With durability RL_DISK and more synchronous FULL. */
rl_status rl_journal_file_append(rl_journal_file *journal, const rl_batch *batch,
                                 rl_err *err);

/* Keeps a run that the server has refused for good, with its reason. */
rl_status rl_journal_file_reject(rl_journal_file *journal, const rl_run *run,
                                 const rl_err *reason, rl_err *err);

rl_status rl_journal_file_get_state(rl_journal_file *journal,
                                    rl_journal_file_state *state, rl_err *err);

/* Who holds the lease: "" for nobody. *until is its end, microseconds since 1970. */
rl_status rl_journal_file_lease_holder(rl_journal_file *journal,
                                       char owner[RL_JOURNAL_FILE_OWNER], int64_t *until,
                                       rl_err *err);

/* Takes the lease, if `before` still holds it. *mine: whether that was so. */
rl_status rl_journal_file_take_lease(rl_journal_file *journal, const char *before,
                                     const char *owner, int64_t until, bool *mine,
                                     rl_err *err);

/* Reads the oldest runs behind `after`, at most RL_JOURNAL_FILE_RUNS. */
rl_status rl_journal_file_read(rl_journal_file *journal, int64_t after,
                               rl_journal_file_batch *batch, rl_err *err);

/* Takes a batch out of the journal, those rejected to where they are kept, and moves the end
 * of the lease to `until` (0: gives it up). *mine: false when another process holds it by
 * now, and nothing was done. */
rl_status rl_journal_file_finish(rl_journal_file *journal,
                                 const rl_journal_file_batch *batch, const char *owner,
                                 int64_t until, bool *mine, rl_err *err);

void rl_journal_file_batch_free(
    rl_journal_file_batch *batch); /* what it owns, not the struct */

/* As a store's. */
bool rl_journal_file_needs_checkpoint(rl_journal_file *journal);
rl_status rl_journal_file_checkpoint(rl_journal_file *journal, rl_err *err);
void rl_journal_file_before_fork(rl_journal_file *journal);
void rl_journal_file_after_fork(rl_journal_file *journal);

#endif
