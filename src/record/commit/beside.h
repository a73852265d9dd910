/* A second file beside a SQLite file, for the runs that are committed while another
 * program holds that file's lock: so the lock delays no caller and loses no run.
 *
 * A batch whose file is locked for longer than a moment is committed to the journal's
 * table of PATH-beside, with the same durability. From then on all batches of the process
 * go there, until the worker has folded them all in: written them to their file, in
 * order, and deleted them beside it. So no run overtakes an earlier log of itself. A run
 * that is folded in twice changes nothing. Several processes share the file; each folds
 * in the runs that it finds, under a lease. Once nobody holds the lock any more, callers
 * that write faster than the worker folds in wait a moment for each batch; after a second
 * every caller waits until the last runs are folded in, for a limited time.
 *
 * Threads: every function from any thread, but rl_beside_fold in one at a time, and new
 * and free alone. All may wait for the disk, but none waits long for the lock of the file
 * while it holds a mutex that a caller needs.
 * Ownership: owns its file; borrows the migrations, the notices and ctx.
 */
#ifndef RL_BESIDE_H
#define RL_BESIDE_H

#include "core/notice.h"
#include "record/commit/commit.h"
#include "store/migrate.h"

typedef struct rl_beside rl_beside;

/* Makes the part beside the SQLite file at `path` (copied), to which `write` writes.
 * Opens nothing. */
rl_status rl_beside_new(const char *path, const rl_migrations *migrations,
                        rl_commit_write write, void *ctx, rl_notices *notices,
                        rl_beside **beside, rl_err *err);
void rl_beside_free(rl_beside *beside);

/* As rl_journal_file_set_target. */
void rl_beside_set_target(rl_beside *beside, const rl_target *target);

/* At the first use, with the result of opening the file: a locked file begins an episode,
 * and is no failure. Looks for runs that an earlier process has left. */
rl_status rl_beside_prepare(rl_beside *beside, rl_status opened, rl_err *err);

/* Counts what other processes have left beside as this one's, so that it is waited for.
 */
void rl_beside_look(rl_beside *beside);

/* An rl_commit_write: to the file or, while it is locked, beside it. If that fails too,
 * waits for the file as RL_WAIT says, or, while both are locked, for either of them; the
 * error has both reasons. */
rl_status rl_beside_write(void *beside, const rl_batch *batch, rl_err *err);

/* The same, and a run alone in its batch that the file refuses for good is stored in the
 * table journal_rejected beside it, which the error says. RL_NO_WAIT: RL_BUSY instead. */
rl_status rl_beside_write_or_reject(void *beside, const rl_batch *batch, rl_err *err);

/* Whether rl_beside_fold should be called. True once for each occasion. Does not wait. */
bool rl_beside_has_work(rl_beside *beside);

/* Folds runs in for a moment, or until none is left, the file is locked, another process
 * does it, or *stop is set. Returns when to call it again (nanoseconds, monotonic clock).
 */
uint64_t rl_beside_fold(rl_beside *beside, const atomic_bool *stop);

/* Whether runs of this process wait beside. Does not wait. */
bool rl_beside_is_pending(rl_beside *beside);

/* Whether the worker has found the file locked when it last tried. Does not wait. */
bool rl_beside_is_locked(rl_beside *beside);

/* Waits until no run of this process waits beside. RL_TIMEOUT at `end` (nanoseconds,
 * monotonic clock). */
rl_status rl_beside_drain(rl_beside *beside, uint64_t end, rl_err *err);

/* The number of runs that wait beside for this target, of all processes. */
int64_t rl_beside_count(rl_beside *beside);

/* The number of rejected runs that are stored beside. */
int64_t rl_beside_count_rejected(rl_beside *beside);

/* Around a fork. Before that of the file that `write` uses. */
void rl_beside_before_fork(rl_beside *beside);
void rl_beside_after_fork(rl_beside *beside, bool in_child);

#endif
