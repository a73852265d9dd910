/* A SQLite file, its -wal or its -shm that was deleted or replaced while it is open. See
 * sqlite_file_state.h.
 */
#include "core/clock.h"
#include "store/sqlite/sqlite_file_state.h"
#include "store/sqlite/sqlite_locks.h"
#include "store/sqlite/sqlite_path.h"
#include "store/sqlite/sqlite_retire.h"
#include "store/sqlite/sqlite_shm.h"

/* Between checks of the path: three stat() calls are a measurable part of a commit. */
#define CHECK_NS UINT64_C(5000000)

void rl_sqlite_file_forget_wal(rl_sqlite_file *file)
{
    atomic_store(&file->wal, 0);
    atomic_store(&file->shm, 0);
}

void rl_sqlite_file_drop_all(rl_sqlite_file *file)
{
    rl_sqlite_conn_drop(&file->checkpointer);
    for (unsigned i = 0; i < RL_SQLITE_READERS; i++) {
        rl_sqlite_conn_drop(&file->readers[i]);
    }
    rl_sqlite_conn_drop(&file->writer);
    atomic_store(&file->in_use, false);
    rl_sqlite_file_forget_wal(file);
}

static bool is_lost(rl_sqlite_file *file)
{
    return rl_sqlite_path_lost(file->path, "", atomic_load(&file->inode));
}

static bool is_wal_lost(rl_sqlite_file *file)
{
    return rl_sqlite_path_lost(file->path, "-wal", atomic_load(&file->wal));
}

static bool is_shm_lost(rl_sqlite_file *file)
{
    return rl_sqlite_path_lost(file->path, "-shm", atomic_load(&file->shm));
}

bool rl_sqlite_file_is_replaced(rl_sqlite_file *file, bool now)
{
    uint64_t clock = rl_monotonic_ns();
    bool replaced;

    if (!now && clock < atomic_load_explicit(&file->check_at, memory_order_relaxed)) {
        return false;
    }
    replaced = is_lost(file) || is_wal_lost(file) || is_shm_lost(file);
    atomic_store(&file->check_at, replaced ? 0 : clock + CHECK_NS);
    return replaced;
}

static void report_lost(rl_sqlite_file *file)
{
    rl_notices_add(
        file->notices, RL_NOTICE_ERROR,
        "the SQLite file %s was deleted, renamed or replaced while it was in "
        "use; from now on runlog stores runs in the file that is at this path. It "
        "does not have the old file's runs. Runs of the last milliseconds, and "
        "those that were only in the old file's -wal, may be lost",
        file->path);
}

static void report_lost_wal(rl_sqlite_file *file, const char *suffix)
{
    rl_notices_add(
        file->notices, RL_NOTICE_ERROR,
        "the %s of the SQLite file %s was deleted or replaced while it was in "
        "use; runlog has reopened the file. If another program opened "
        "it in between, runs may be lost and the file may be damaged: check it "
        "with PRAGMA integrity_check",
        suffix, file->path);
}

/* Whether another process uses a new -wal or -shm in place of a deleted one. A connection
 * of this process that was being opened may have created them: an empty -wal, and a -shm
 * that nobody uses now that it is closed. */
static bool has_new_wal(rl_sqlite_file *file)
{
    return (is_wal_lost(file) && rl_sqlite_path_inode(file->path, "-wal") != 0 &&
            !rl_sqlite_path_empty(file->path, "-wal")) ||
           (is_shm_lost(file) && rl_sqlite_path_inode(file->path, "-shm") != 0 &&
            rl_sqlite_shm_in_use(file->path));
}

/* A connection that is open; NULL if none is. */
static rl_sqlite_conn *open_conn(rl_sqlite_file *file)
{
    rl_sqlite_conn *conn = file->writer.db != NULL ? &file->writer : &file->checkpointer;

    for (unsigned i = 0; i < RL_SQLITE_READERS && conn->db == NULL; i++) {
        conn = &file->readers[i];
    }
    return conn->db != NULL ? conn : NULL;
}

/* Closes the connections after the -wal or -shm was deleted. All locks held.
 *
 * What is only in the old WAL goes into the file first, and then no process can use that
 * WAL any more. Several may do so at once: they share the deleted -shm, and so SQLite's
 * locks. But if another process has created new files meanwhile, this must not: copying
 * from two WALs destroys a database. The reads of other processes that are under way get
 * a moment to end: the next ones fail, and theirs reopen the file. */
static void abandon_wal(rl_sqlite_file *file)
{
    const bool wal_lost = is_wal_lost(file);
    rl_sqlite_conn *conn = open_conn(file);
    bool retired = false;

    if (conn != NULL && !has_new_wal(file)) {
        retired = rl_sqlite_retire_wal(conn);
    }
    report_lost_wal(file, wal_lost ? "-wal" : "-shm");
    rl_sqlite_file_drop_all(file);
    rl_sqlite_wait_until_closed(file->path);
    if (retired) { /* others may still have the old one open: rl_sqlite_shm_is_lost */
        rl_sqlite_path_make_part(file->path, "-wal");
        rl_sqlite_path_make_part(file->path, "-shm");
    }
}

/* Closes the connections after the file was deleted or replaced. Removes its -wal and
 * -shm, which SQLite would take for those of the new file. All locks held. */
static void abandon_file(rl_sqlite_file *file)
{
    rl_sqlite_path_remove_parts(file->path, atomic_load(&file->wal),
                                atomic_load(&file->shm));
    report_lost(file);
    rl_sqlite_file_drop_all(file);
}

void rl_sqlite_file_abandon(rl_sqlite_file *file)
{
    if (is_lost(file)) {
        abandon_file(file);
    } else {
        abandon_wal(file);
    }
    atomic_store(&file->inode, 0);
}

void rl_sqlite_file_check_path(rl_sqlite_file *file)
{
    if (rl_sqlite_file_is_replaced(file, !atomic_load(&file->in_use))) {
        rl_sqlite_file_lock_all(file);
        if (rl_sqlite_file_is_replaced(file, true)) {
            rl_sqlite_file_abandon(file);
        }
        rl_sqlite_file_unlock_all(file);
    }
}
