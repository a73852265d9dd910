/* Checkpoints of a SQLite file's WAL. See sqlite_file.h. */
#include "core/clock.h"
#include "core/fork.h"
#include "store/sqlite/sqlite_file_state.h"

/* Pages of the WAL that are not in the file yet, from which a checkpoint is worth it. The
 * length of the WAL does not say that: under a writer that never pauses it only grows. */
#define CHECKPOINT_PAGES 1000
#define RESTART_PAGES (4 * 1024)     /* length of the WAL from which it must restart */
#define RESTART_NS UINT64_C(5000000) /* how long a restart waits for readers */

int rl_sqlite_file_count_wal_pages(void *ctx, sqlite3 *db, const char *name, int pages)
{
    rl_sqlite_file *file = ctx;
    unsigned count = (unsigned)pages, copied = atomic_load(&file->checkpointed_pages);

    (void)db;
    (void)name;
    atomic_store_explicit(&file->wal_pages, count, memory_order_relaxed);
    if (count < copied) { /* the WAL has restarted */
        atomic_store(&file->checkpointed_pages, 0);
        copied = 0;
    }
    if (count - copied >= CHECKPOINT_PAGES && !atomic_load(&file->checkpointing)) {
        atomic_store_explicit(&file->needs_checkpoint, true, memory_order_relaxed);
    }
    return SQLITE_OK;
}

/* Never from a deleted -wal: see abandon_wal. */
static int checkpoint(rl_sqlite_file *file, int mode)
{
    int pages = 0, copied = 0, rc = SQLITE_BUSY;

    if (!rl_sqlite_file_is_replaced(file, true)) {
        rc =
            sqlite3_wal_checkpoint_v2(file->checkpointer.db, NULL, mode, &pages, &copied);
    }
    if (rc == SQLITE_OK && copied > 0) {
        atomic_store(&file->checkpointed_pages, (unsigned)copied);
    }
    return rc;
}

/* Whether pages were appended to the WAL that no checkpoint has copied. */
static bool has_grown(rl_sqlite_file *file)
{
    return atomic_load(&file->wal_pages) > atomic_load(&file->checkpointed_pages);
}

/* Whether to make the WAL restart from its beginning now, for which writers must wait a
 * moment. A WAL that grows makes each fsync slower, as the file's new length must be
 * written too. After a checkpoint the WAL restarts by itself, unless pages were appended
 * meanwhile. If writers were busy most of that time, this would recur and the WAL would
 * only grow, so force it. Otherwise writers pause, and a later checkpoint lets the WAL
 * restart; one that has less to do is over sooner, so a long WAL first gets another. */
static bool should_restart(rl_sqlite_file *file, uint64_t took_ns, uint64_t write_ns)
{
    const bool is_busy = write_ns > took_ns / 2;

    if (!is_busy && has_grown(file) && atomic_load(&file->wal_pages) >= RESTART_PAGES) {
        (void)checkpoint(file, SQLITE_CHECKPOINT_PASSIVE);
    }
    return has_grown(file) &&
           (is_busy || atomic_load(&file->wal_pages) >= 2 * RESTART_PAGES);
}

/* Checkpoint lock held, which a fork takes too: no child inherits `checkpointing`. */
static rl_status checkpoint_locked(rl_sqlite_file *file, bool empty, rl_err *err)
{
    rl_status status = rl_sqlite_file_open_conn(file, &file->checkpointer, err);
    uint64_t start = rl_monotonic_ns(), wrote = atomic_load(&file->write_ns);
    int rc;

    /* keeps commits from requesting another checkpoint meanwhile */
    atomic_store(&file->checkpointing, true);
    atomic_store(&file->needs_checkpoint, false);
    if (status == RL_OK) {
        rc = checkpoint(file, SQLITE_CHECKPOINT_PASSIVE);
        if (rc == SQLITE_OK &&
            (empty || should_restart(file, rl_monotonic_ns() - start,
                                     atomic_load(&file->write_ns) - wrote))) {
            /* it holds up writers until the last reader has moved on */
            file->checkpointer.busy_at = rl_monotonic_ns() + RESTART_NS;
            atomic_store(&file->restarting, true);
            rc = checkpoint(file, empty ? SQLITE_CHECKPOINT_TRUNCATE
                                        : SQLITE_CHECKPOINT_RESTART);
            atomic_store(&file->restarting, false);
            file->checkpointer.busy_at = 0;
        }
        if (rc != SQLITE_OK && (rc & 0xFF) != SQLITE_BUSY) { /* busy: later */
            status = rl_sqlite_conn_error(&file->checkpointer, rc, err);
        }
    }
    atomic_store(&file->checkpointing, false);
    return status;
}

static rl_status checkpoint_file(rl_sqlite_file *file, bool empty, rl_err *err)
{
    bool broken, reopened = false;
    rl_status status;

    do {
        rl_fork_yield();
        rl_sqlite_file_check_path(file);
        if (!atomic_load(&file->in_use)) {
            return RL_OK; /* nothing was written to the file that is at the path now */
        }
        pthread_mutex_lock(&file->checkpoint_lock);
        status = checkpoint_locked(file, empty, err);
        broken = status == RL_STORE && file->checkpointer.broken;
        pthread_mutex_unlock(&file->checkpoint_lock);
    } while (rl_sqlite_file_reopen_broken(file, broken, &reopened));
    return status;
}

rl_status rl_sqlite_file_checkpoint(rl_sqlite_file *file, rl_err *err)
{
    return checkpoint_file(file, false, err);
}

rl_status rl_sqlite_file_empty_wal(rl_sqlite_file *file, rl_err *err)
{
    return checkpoint_file(file, true, err);
}
