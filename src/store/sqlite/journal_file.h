/* The journal's tables in a SQLite file, which hold runs until PostgreSQL has them.
 *
 * Several processes may share one file. One at a time forwards runs: it holds the lease,
 * and extends it with each batch that it finishes. When a lease expires because its
 * process has died, another process takes it. Finishing a batch checks in the same
 * transaction that the lease is still held, so no process removes runs that another one
 * is forwarding.
 *
 * Programs with different databases may share it, too: each run is for a target
 * (journal_target.h), and a program reads and removes those of its own.
 * Threads: every function from any thread. All may wait for the disk, except
 * rl_journal_file_append with RL_NO_WAIT.
 * Ownership: runs and batches belong to the caller.
 */
#ifndef RL_JOURNAL_FILE_H
#define RL_JOURNAL_FILE_H

#include "core/notice.h"
#include "store/migrate.h"
#include "store/sqlite/journal_target.h"
#include "store/store.h"

#define RL_JOURNAL_FILE_RUNS 100 /* runs in a batch */
#define RL_JOURNAL_FILE_BYTES \
    ((size_t)16 << 20)            /* payload bytes at which a batch is full */
#define RL_JOURNAL_FILE_OWNER 160 /* bytes of an owner's name, with the NUL */

typedef struct rl_journal_file rl_journal_file;

/* A batch to forward; zero-initialize it before its first use. The next
 * rl_journal_file_read reuses its runs. */
typedef struct rl_journal_file_batch {
    rl_run *runs[RL_JOURNAL_FILE_RUNS]; /* owned; NULL until first used */
    int64_t seqs[RL_JOURNAL_FILE_RUNS];
    bool rejected[RL_JOURNAL_FILE_RUNS];
    rl_err *reasons[RL_JOURNAL_FILE_RUNS]; /* owned; of the rejected runs */
    bool held[RL_JOURNAL_FILE_RUNS];       /* stays in the journal */
    size_t count;
    bool last; /* the journal has no more runs for the target */
} rl_journal_file_batch;

/* Of the runs for the file's target. */
typedef struct rl_journal_file_state {
    int64_t first, last; /* the least and the greatest seq; 0 and 0 if empty */
    bool has_others;     /* there are runs for other targets */
    bool has_gaps;       /* newer runs than some that are held have left the journal */
    int64_t rejected;    /* rows of journal_rejected, for all targets */
    int64_t oldest;      /* when the first was logged, microseconds since 1970; 0: none */
    int64_t given;       /* the greatest seq that was ever given, for any target */
} rl_journal_file_state;

/* Opens nothing. Borrows the migrations and the notices (or NULL), and adds an ERROR to
 * the notices when the file was deleted or replaced. Copies the path. */
rl_status rl_journal_file_new(const char *path, const rl_migrations *migrations,
                              rl_notices *notices, rl_journal_file **journal,
                              rl_err *err);
void rl_journal_file_free(rl_journal_file *journal);
const char *rl_journal_file_path(const rl_journal_file *journal);

/* Sets for whom runs are that are added, and which are read, from now on. Borrowed as long
 * as the journal; NULL, as at first: the SQLite file itself. */
void rl_journal_file_set_target(rl_journal_file *journal, const rl_target *target);

/* Counts the runs. */
rl_status rl_journal_file_count(rl_journal_file *journal, rl_waiting *waiting,
                                rl_err *err);

/* Whether a file exists at the path or is open. */
bool rl_journal_file_exists(const rl_journal_file *journal);

/* Opens the file, creating it if it does not exist, and applies the migrations. */
rl_status rl_journal_file_open(rl_journal_file *journal, rl_wait wait, rl_err *err);

/* As rl_filesystem_check. Creates no file. */
rl_status rl_journal_file_check(const rl_journal_file *journal, rl_err *err);

/* Adds all runs of a batch, or none; without runs it only waits for SQLite's lock. Syncs
 * to the disk for RL_DISK and RL_SERVER. */
rl_status rl_journal_file_append(rl_journal_file *journal, const rl_batch *batch,
                                 rl_err *err);

/* Adds a run that the server has rejected to journal_rejected, with the reason. */
rl_status rl_journal_file_reject(rl_journal_file *journal, const rl_run *run,
                                 const rl_err *reason, rl_err *err);

/* Reads which seqs are in the journal for its target, and counts the rejected runs.
 * RL_BUSY when a lock keeps it from that for longer than a moment. */
rl_status rl_journal_file_get_state(rl_journal_file *journal,
                                    rl_journal_file_state *state, rl_err *err);

/* The holder of the lease, "" if none, and the lease's end, microseconds since 1970. */
rl_status rl_journal_file_lease_holder(rl_journal_file *journal,
                                       char owner[RL_JOURNAL_FILE_OWNER], int64_t *until,
                                       rl_err *err);

/* Gives the lease to `owner` until `until` (microseconds since 1970), if `before` still
 * holds it. *taken: whether it did. */
rl_status rl_journal_file_take_lease(rl_journal_file *journal, const char *before,
                                     const char *owner, int64_t until, bool *taken,
                                     rl_err *err);

/* Reads the next batch: the oldest runs whose seq is greater than `after`, `most` at most
 * (1 to RL_JOURNAL_FILE_RUNS). */
rl_status rl_journal_file_read(rl_journal_file *journal, int64_t after, size_t most,
                               rl_journal_file_batch *batch, rl_err *err);

/* Removes a batch from the journal, but for the runs that are held, moves its rejected
 * runs to journal_rejected, and extends the lease to `until` (0: ends it). *held is false
 * if `owner` no longer holds the lease: then nothing has changed. */
rl_status rl_journal_file_finish(rl_journal_file *journal,
                                 const rl_journal_file_batch *batch, const char *owner,
                                 int64_t until, bool *held, rl_err *err);

/* Marks a run of the batch as rejected, for a reason (copied): rl_journal_file_finish
 * moves it to journal_rejected. */
rl_status rl_journal_file_batch_reject(rl_journal_file_batch *batch, size_t at,
                                       const rl_err *reason, rl_err *err);

/* Frees the runs and reasons, not the struct. */
void rl_journal_file_batch_free(rl_journal_file_batch *batch);

/* As in store.h. */
bool rl_journal_file_needs_checkpoint(rl_journal_file *journal);
rl_status rl_journal_file_checkpoint(rl_journal_file *journal, rl_err *err);
void rl_journal_file_before_fork(rl_journal_file *journal);
void rl_journal_file_after_fork(rl_journal_file *journal);

#endif
