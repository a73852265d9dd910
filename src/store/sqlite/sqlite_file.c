/* One SQLite file. See sqlite_file.h. */
#include "store/sqlite/sqlite_file.h"

#include "core/alloc.h"
#include "core/clock.h"
#include "core/fork.h"
#include "core/lock.h"
#include "store/sqlite/sqlite_locks.h"
#include "store/sqlite/sqlite_path.h"
#include "store/sqlite/sqlite_shm.h"
#include "store/sqlite/sqlite_vfs.h"

#include <string.h>
#include <time.h>

/* Pages of the WAL that are not in the file yet, from which a checkpoint is worth it. The
 * length of the WAL does not say that: under a writer that never pauses it only grows. */
#define CHECKPOINT_PAGES 1000
#define RESTART_PAGES (4 * 1024)     /* length of the WAL from which it must restart */
#define RESTART_NS UINT64_C(5000000) /* how long a restart waits for readers */
#define SYNC_NS UINT64_C(20000000)   /* how much longer a writer waits for its syncs */

/* A read ends for a fork that waits, and starts again; it looks for one every YIELD_STEPS
 * of SQLite's virtual machine. After so many times it makes the fork wait. */
#define YIELD_STEPS 10000
#define YIELDS 20

/* Between checks of the path: three stat() calls are a measurable part of a commit. */
#define CHECK_NS UINT64_C(5000000)

rl_status rl_sqlite_file_init(rl_sqlite_file *file, const char *path,
                              const rl_migrations *migrations, rl_notices *notices,
                              rl_err *err)
{
    rl_status status;

    memset(file, 0, sizeof *file);
    status = rl_sqlite_path_resolve(path, &file->path, err);
    if (status == RL_OK) {
        rl_sqlite_locks_join();
        (void)rl_sqlite_vfs(); /* before those whose forks close files join */
        file->migrations = migrations;
        file->notices = notices;
        pthread_mutex_init(&file->write_lock, NULL);
        for (unsigned i = 0; i < RL_SQLITE_READERS; i++) {
            pthread_mutex_init(&file->read_locks[i], NULL);
        }
        pthread_mutex_init(&file->checkpoint_lock, NULL);
    }
    return status;
}

/* Takes a lock; false at `busy_at`, unless that is 0. */
static bool lock_until(pthread_mutex_t *lock, uint64_t busy_at)
{
    if (busy_at != 0) {
        return rl_lock_until(lock, busy_at);
    }
    pthread_mutex_lock(lock);
    return true;
}

/* The same for the write lock. Who has it may see that this thread waits, and hurry. */
static bool lock_writer(rl_sqlite_file *file, uint64_t busy_at)
{
    bool locked = pthread_mutex_trylock(&file->write_lock) == 0;

    if (!locked) {
        atomic_fetch_add(&file->waiting, 1);
        locked = lock_until(&file->write_lock, busy_at);
        atomic_fetch_sub(&file->waiting, 1);
    }
    return locked;
}

static void lock_all(rl_sqlite_file *file)
{
    (void)lock_writer(file, 0);
    for (unsigned i = 0; i < RL_SQLITE_READERS; i++) {
        pthread_mutex_lock(&file->read_locks[i]);
    }
    pthread_mutex_lock(&file->checkpoint_lock);
}

static void unlock_all(rl_sqlite_file *file)
{
    pthread_mutex_unlock(&file->checkpoint_lock);
    for (unsigned i = RL_SQLITE_READERS; i-- > 0;) {
        pthread_mutex_unlock(&file->read_locks[i]);
    }
    pthread_mutex_unlock(&file->write_lock);
}

/* When nothing is open, another process may rightly delete the -wal and the -shm. */
static void forget_wal(rl_sqlite_file *file)
{
    atomic_store(&file->wal, 0);
    atomic_store(&file->shm, 0);
}

static void drop_readers(rl_sqlite_file *file)
{
    rl_sqlite_conn_drop(&file->checkpointer);
    for (unsigned i = 0; i < RL_SQLITE_READERS; i++) {
        rl_sqlite_conn_drop(&file->readers[i]);
    }
}

/* Closes all connections. All locks held. */
static void drop_all(rl_sqlite_file *file)
{
    drop_readers(file);
    rl_sqlite_conn_drop(&file->writer);
    atomic_store(&file->in_use, false);
    forget_wal(file);
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

/* Whether a file was deleted or replaced. Checks once in CHECK_NS, or `now`. */
static bool is_replaced(rl_sqlite_file *file, bool now)
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
    rl_notices_add(file->notices, RL_NOTICE_ERROR,
                   "the %s of the SQLite file %s was deleted or replaced while it was in "
                   "use; runlog has reopened the file. If another process opened it in "
                   "between, runs may be lost and the file may be damaged: check it with "
                   "PRAGMA integrity_check",
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

/* Closes the connections after the -wal or -shm was deleted. All locks held.
 *
 * A partial checkpoint leaves a database that is consistent only together with its WAL,
 * so a full one copies all of the deleted WAL into the file first. Several processes may
 * do so at once: they share the deleted -shm, and so SQLite's locks. But once another
 * process has created new files, this must not: copying from two WALs destroys a
 * database. New files are created when all processes have closed the deleted ones. */
static void abandon_wal(rl_sqlite_file *file)
{
    bool wal_lost = is_wal_lost(file);

    drop_readers(file);
    if (file->writer.db != NULL && !has_new_wal(file)) {
        (void)sqlite3_wal_checkpoint_v2(file->writer.db, NULL, SQLITE_CHECKPOINT_FULL,
                                        NULL, NULL);
    }
    if (wal_lost) {
        rl_sqlite_path_remove(file->path, "-shm", atomic_load(&file->shm));
    }
    report_lost_wal(file, wal_lost ? "-wal" : "-shm");
    drop_all(file);
    rl_sqlite_wait_until_closed(file->path);
}

/* Closes the connections after the file was deleted or replaced. Removes its -wal and
 * -shm, which SQLite would take for those of the new file. All locks held. */
static void abandon_file(rl_sqlite_file *file)
{
    rl_sqlite_path_remove(file->path, "-wal", atomic_load(&file->wal));
    rl_sqlite_path_remove(file->path, "-shm", atomic_load(&file->shm));
    report_lost(file);
    drop_all(file);
}

/* Closes files that are no longer those at the path. All locks held. */
static void abandon(rl_sqlite_file *file)
{
    if (is_lost(file)) {
        abandon_file(file);
    } else {
        abandon_wal(file);
    }
    atomic_store(&file->inode, 0);
}

/* Before each use: closes files that are no longer those at the path. */
static void check_path(rl_sqlite_file *file)
{
    if (is_replaced(file, !atomic_load(&file->in_use))) {
        lock_all(file);
        if (is_replaced(file, true)) {
            abandon(file);
        }
        unlock_all(file);
    }
}

void rl_sqlite_file_free(rl_sqlite_file *file)
{
    if (is_replaced(file, true)) {
        abandon(file);
    }
    rl_sqlite_conn_close(&file->checkpointer);
    for (unsigned i = 0; i < RL_SQLITE_READERS; i++) {
        rl_sqlite_conn_close(&file->readers[i]);
        pthread_mutex_destroy(&file->read_locks[i]);
    }
    rl_sqlite_conn_close(&file->writer); /* the last one checkpoints the WAL */
    pthread_mutex_destroy(&file->checkpoint_lock);
    pthread_mutex_destroy(&file->write_lock);
    rl_free(file->path);
    file->path = NULL;
}

/* SQLite's WAL hook: after each commit it gets the length of the WAL in pages. */
static int count_wal_pages(void *ctx, sqlite3 *db, const char *name, int pages)
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

/* Whether a connection that was just opened has another -wal or -shm than those before it,
 * which were deleted meanwhile. */
static bool has_other_wal(rl_sqlite_file *file, const rl_sqlite_conn *conn)
{
    ino_t wal = atomic_load(&file->wal), shm = atomic_load(&file->shm);

    return wal != 0 && (conn->wal != wal || conn->shm != shm);
}

/* Opens a connection, unless it is open. Its lock held. */
static rl_status open_conn(rl_sqlite_file *file, rl_sqlite_conn *conn, rl_err *err)
{
    rl_status status = RL_OK;

    if (conn->db != NULL) {
        return RL_OK;
    }
    if (is_replaced(file, true)) {
        return rl_err_set(err, RL_BUSY, "the SQLite file was replaced");
    }
    status = rl_sqlite_conn_open(conn, file->path, err);
    if (status == RL_OK && has_other_wal(file, conn)) {
        rl_sqlite_conn_drop(conn);
        status = rl_err_set(err, RL_BUSY, "the -wal of the SQLite file was deleted");
    }
    if (status == RL_OK && atomic_load(&file->inode) == 0) {
        atomic_store(&file->inode, conn->inode);
    }
    if (status == RL_OK && atomic_load(&file->wal) == 0) {
        atomic_store(&file->wal, conn->wal);
        atomic_store(&file->shm, conn->shm);
    }
    return status;
}

/* Opens the writing connection, unless open, and migrates the file. Write lock held. */
static rl_status open_writer(rl_sqlite_file *file, rl_err *err)
{
    bool is_new = file->writer.db == NULL, later = false;
    rl_status status = open_conn(file, &file->writer, err);

    if (status == RL_OK && is_new) {
        status = rl_sqlite_migrate(&file->writer, file->migrations, &later, err);
        if (status == RL_OK) {
            status = rl_sqlite_conn_settle(&file->writer, err);
        }
        if (status == RL_OK) {
            atomic_store(&file->in_use, true);
            if (later && !file->told_later) {
                file->told_later = true;
                rl_migration_say_later(file->path, file->notices);
            }
            sqlite3_wal_hook(file->writer.db, count_wal_pages, file);
        } else {
            rl_sqlite_conn_drop(&file->writer);
            forget_wal(file);
        }
    }
    return status;
}

/* The arguments of rl_sqlite_file_write. */
typedef struct write_task {
    bool full_sync;
    rl_wait wait;
    uint64_t busy_at; /* see rl_sqlite_conn */
    rl_sqlite_work work;
    void *ctx;
} write_task;

/* One attempt. Write lock held. */
static rl_status write_locked(rl_sqlite_file *file, const write_task *task, rl_err *err)
{
    rl_sqlite_conn *conn = &file->writer;
    rl_status status = RL_OK;
    uint64_t start;

    conn->busy_at = task->busy_at;
    if (task->wait != RL_NO_WAIT) {
        status = open_writer(file, err);
    } else if (conn->db == NULL) {
        status = rl_err_set(err, RL_BUSY, "the SQLite file is not open");
    }
    if (status != RL_OK) {
        return status;
    }
    start = rl_monotonic_ns();
    status = rl_sqlite_conn_sync(conn, task->full_sync, err);
    if (status == RL_OK) {
        status = task->work(conn, task->ctx, err);
    }
    rl_sqlite_conn_rollback(conn);
    if (conn->db == NULL) {
        forget_wal(file);
    }
    atomic_fetch_add_explicit(&file->write_ns, rl_monotonic_ns() - start,
                              memory_order_relaxed);
    return status;
}

/* Closes all connections after one proved `broken`; returns whether to try again, which
 * is so the first time. If SQLite can't open the file or its -shm for writing, it
 * silently opens it for reading only, and all connections of the process share that until
 * all are closed. */
static bool reopen_broken(rl_sqlite_file *file, bool broken, bool *reopened)
{
    bool again = broken && !*reopened;

    if (broken) {
        lock_all(file);
        drop_all(file);
        unlock_all(file);
        *reopened = true;
    }
    return again;
}

/* When a wait ends with RL_BUSY; 1 is in the past. */
static uint64_t end_of(rl_wait wait)
{
    return wait == RL_WAIT           ? 0
           : wait == RL_WAIT_BRIEFLY ? rl_monotonic_ns() + RL_SQLITE_BRIEF_NS
                                     : 1;
}

/* Writes, but never waits for long: RL_BUSY. */
static rl_status try_write(rl_sqlite_file *file, write_task *task, rl_err *err)
{
    uint64_t busy_at = end_of(task->wait);
    bool broken, restarts, reopened = false, extended = task->wait != RL_WAIT_BRIEFLY;
    rl_status status;

    do {
        restarts = atomic_load(&file->restarting);
        if (task->wait != RL_NO_WAIT) {
            rl_fork_yield();
            check_path(file);
        } else if (is_replaced(file, false)) {
            return rl_err_set(err, RL_BUSY, "the SQLite file was replaced");
        }
        if (!lock_writer(file, busy_at)) {
            return rl_err_set(err, RL_BUSY, "another thread writes");
        }
        task->busy_at = busy_at != 0 ? busy_at : rl_monotonic_ns() + RL_SQLITE_BRIEF_NS;
        status = write_locked(file, task, err);
        file->writer.busy_at = 0;
        broken = status == RL_STORE && file->writer.broken;
        pthread_mutex_unlock(&file->write_lock);
        if (broken && task->wait == RL_NO_WAIT) {
            return rl_err_set(err, RL_BUSY, "the SQLite file has to be reopened");
        }
        if (status == RL_BUSY && (restarts || atomic_load(&file->restarting))) {
            /* the lock is that of the checkpoint of this process */
            rl_err_set(err, RL_BUSY, "a checkpoint of the SQLite file is running");
            if (!extended) {
                busy_at += SYNC_NS;
                task->busy_at = busy_at;
                extended = true;
            }
        }
    } while (reopen_broken(file, broken, &reopened) ||
             (status == RL_BUSY && rl_monotonic_ns() < task->busy_at));
    return status;
}

/* A long wait for SQLite's lock is a series of brief ones, so that no thread has the
 * write lock meanwhile: those that wait briefly learn whether it is SQLite's that is not
 * free. */
rl_status rl_sqlite_file_write(rl_sqlite_file *file, bool full_sync, rl_wait wait,
                               rl_sqlite_work work, void *ctx, rl_err *err)
{
    const struct timespec pause = {0, 200000};
    const uint64_t end = rl_monotonic_ns() + RL_SQLITE_WAIT_NS;
    write_task task = {full_sync, wait, 0, work, ctx};
    rl_status status = try_write(file, &task, err);

    while (status == RL_BUSY && wait == RL_WAIT && rl_monotonic_ns() < end) {
        nanosleep(&pause, NULL);
        status = try_write(file, &task, err);
    }
    return status == RL_BUSY && wait == RL_WAIT
               ? rl_sqlite_locked_for_long(file->path, err)
               : status;
}

static rl_status do_nothing(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    (void)conn;
    (void)ctx;
    (void)err;
    return RL_OK;
}

rl_status rl_sqlite_file_open(rl_sqlite_file *file, rl_wait wait, rl_err *err)
{
    return rl_sqlite_file_write(file, true, wait, do_nothing, NULL, err);
}

/* SQLite calls this while a statement runs; true ends the statement. */
static int is_fork_waiting(void *ctx)
{
    rl_sqlite_conn *conn = ctx;

    conn->yielded = rl_fork_pending();
    return conn->yielded;
}

/* One attempt; with `yields`, it ends when a fork is waiting for it. Its lock held. */
static rl_status read_locked(rl_sqlite_file *file, rl_sqlite_conn *conn, bool yields,
                             rl_sqlite_work work, void *ctx, rl_err *err)
{
    rl_status status = open_conn(file, conn, err);

    if (status == RL_OK) {
        sqlite3_progress_handler(conn->db, yields ? YIELD_STEPS : 0, is_fork_waiting,
                                 conn);
        status = work(conn, ctx, err);
    }
    return status;
}

/* Locks a free reader, the first one so that few are open; or waits for one. False at
 * `busy_at`, unless that is 0. */
static bool lock_reader(rl_sqlite_file *file, bool quick, uint64_t busy_at, unsigned *at)
{
    for (*at = quick ? 0 : 1; *at < RL_SQLITE_READERS; (*at)++) {
        if (pthread_mutex_trylock(&file->read_locks[*at]) == 0) {
            return true;
        }
    }
    *at =
        quick ? 0 : 1 + atomic_fetch_add(&file->next_reader, 1) % (RL_SQLITE_READERS - 1);
    return lock_until(&file->read_locks[*at], busy_at);
}

static rl_status read_file(rl_sqlite_file *file, bool quick, rl_wait wait,
                           rl_sqlite_work work, void *ctx, rl_err *err)
{
    const uint64_t busy_at = end_of(wait);
    bool broken, reopened = false;
    unsigned yields = YIELDS;
    rl_status status;

    do {
        rl_sqlite_conn *conn;
        unsigned at;

        rl_fork_yield();
        check_path(file);
        if (!atomic_load(&file->in_use)) { /* the writing connection creates the tables */
            status = rl_sqlite_file_open(file, wait, err);
            if (status != RL_OK) {
                return status;
            }
        }
        if (!lock_reader(file, quick, busy_at, &at)) {
            return rl_err_set(err, RL_BUSY, "other threads read");
        }
        conn = &file->readers[at];
        conn->busy_at = busy_at;
        status = read_locked(file, conn, yields > 0, work, ctx, err);
        conn->busy_at = 0;
        yields -= yields > 0 && conn->yielded;
        broken = status == RL_STORE && conn->broken;
        pthread_mutex_unlock(&file->read_locks[at]);
    } while (reopen_broken(file, broken, &reopened) ||
             (status == RL_BUSY && (busy_at == 0 || rl_monotonic_ns() < busy_at)));
    return status;
}

rl_status rl_sqlite_file_read(rl_sqlite_file *file, rl_sqlite_work work, void *ctx,
                              rl_err *err)
{
    return read_file(file, false, RL_WAIT, work, ctx, err);
}

rl_status rl_sqlite_file_read_quickly(rl_sqlite_file *file, rl_sqlite_work work,
                                      void *ctx, rl_err *err)
{
    return read_file(file, true, RL_WAIT, work, ctx, err);
}

rl_status rl_sqlite_file_read_briefly(rl_sqlite_file *file, rl_sqlite_work work,
                                      void *ctx, rl_err *err)
{
    return read_file(file, false, RL_WAIT_BRIEFLY, work, ctx, err);
}

/* Never from a deleted -wal: see abandon_wal. */
static int checkpoint(rl_sqlite_file *file, int mode)
{
    int pages = 0, copied = 0, rc = SQLITE_BUSY;

    if (!is_replaced(file, true)) {
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
    rl_status status = open_conn(file, &file->checkpointer, err);
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
        check_path(file);
        if (!atomic_load(&file->in_use)) {
            return RL_OK; /* nothing was written to the file that is at the path now */
        }
        pthread_mutex_lock(&file->checkpoint_lock);
        status = checkpoint_locked(file, empty, err);
        broken = status == RL_STORE && file->checkpointer.broken;
        pthread_mutex_unlock(&file->checkpoint_lock);
    } while (reopen_broken(file, broken, &reopened));
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

void rl_sqlite_file_before_fork(rl_sqlite_file *file)
{
    lock_all(file);
    if (is_replaced(file, true)) {
        abandon(file);
    }
    drop_all(file);
}

void rl_sqlite_file_after_fork(rl_sqlite_file *file)
{
    unlock_all(file);
}
