/* One SQLite file. See sqlite_file.h. */
#include "store/sqlite/sqlite_file_state.h"

#include "core/alloc.h"
#include "core/clock.h"
#include "core/fork.h"
#include "core/lock.h"
#include "store/sqlite/sqlite_cause.h"
#include "store/sqlite/sqlite_locks.h"
#include "store/sqlite/sqlite_path.h"
#include "store/sqlite/sqlite_vfs.h"

#include <string.h>
#include <time.h>

#define SYNC_NS UINT64_C(20000000)    /* how much longer a writer waits for its syncs */
#define MOVED_NS UINT64_C(1000000000) /* how long a file may be replaced all the time */

static const struct timespec pause_between = {0, 200000}; /* tries, after RL_BUSY */

/* A read ends for a fork that waits, and starts again; it looks for one every YIELD_STEPS
 * of SQLite's virtual machine. After so many times it makes the fork wait. */
#define YIELD_STEPS 10000
#define YIELDS 20

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

void rl_sqlite_file_lock_all(rl_sqlite_file *file)
{
    (void)lock_writer(file, 0);
    for (unsigned i = 0; i < RL_SQLITE_READERS; i++) {
        pthread_mutex_lock(&file->read_locks[i]);
    }
    pthread_mutex_lock(&file->checkpoint_lock);
}

void rl_sqlite_file_unlock_all(rl_sqlite_file *file)
{
    pthread_mutex_unlock(&file->checkpoint_lock);
    for (unsigned i = RL_SQLITE_READERS; i-- > 0;) {
        pthread_mutex_unlock(&file->read_locks[i]);
    }
    pthread_mutex_unlock(&file->write_lock);
}

void rl_sqlite_file_free(rl_sqlite_file *file)
{
    if (rl_sqlite_file_is_replaced(file, true)) {
        rl_sqlite_file_abandon(file);
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

/* Whether a connection that was just opened has another -wal or -shm than those before it,
 * which were deleted meanwhile. */
static bool has_other_wal(rl_sqlite_file *file, const rl_sqlite_conn *conn)
{
    ino_t wal = atomic_load(&file->wal), shm = atomic_load(&file->shm);

    return wal != 0 && (conn->wal != wal || conn->shm != shm);
}

rl_status rl_sqlite_file_open_conn(rl_sqlite_file *file, rl_sqlite_conn *conn,
                                   rl_err *err)
{
    rl_status status = RL_OK;

    if (conn->db != NULL) {
        return RL_OK;
    }
    if (rl_sqlite_file_is_replaced(file, true)) {
        return rl_sqlite_moved(file->path, "", err);
    }
    if (atomic_load(&file->inode) == 0) { /* later, a new name does no harm by itself */
        status = rl_sqlite_check(file->path, err);
    }
    if (status == RL_OK) {
        status = rl_sqlite_conn_open(conn, file->path, !atomic_load(&file->only_existing),
                                     err);
    }
    if (status == RL_OK && has_other_wal(file, conn)) {
        rl_sqlite_conn_drop(conn);
        status = rl_sqlite_moved(file->path, "-wal", err);
    }
    if (status == RL_OK) {
        conn->file = file;
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
    rl_status status = rl_sqlite_file_open_conn(file, &file->writer, err);

    if (status == RL_OK && is_new) {
        status = rl_sqlite_migrate(&file->writer, file->migrations, &later, err);
        if (status == RL_OK) {
            status = rl_sqlite_conn_settle(&file->writer, err);
        }
        if (status == RL_OK) {
            atomic_store(&file->in_use, true);
            if (later && !file->later_logged) {
                file->later_logged = true;
                rl_migration_say_later(file->path, file->notices);
            }
            sqlite3_wal_hook(file->writer.db, rl_sqlite_file_count_wal_pages, file);
        } else {
            rl_sqlite_conn_drop(&file->writer);
            rl_sqlite_file_forget_wal(file);
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
        rl_sqlite_file_forget_wal(file);
    }
    atomic_fetch_add_explicit(&file->write_ns, rl_monotonic_ns() - start,
                              memory_order_relaxed);
    return status;
}

bool rl_sqlite_file_reopen_broken(rl_sqlite_file *file, bool broken, bool *reopened)
{
    bool again = broken && !*reopened;

    if (broken) {
        rl_sqlite_file_lock_all(file);
        if (rl_sqlite_file_is_replaced(file, true)) { /* another process has retired it */
            rl_sqlite_file_abandon(file);
        } else {
            rl_sqlite_file_drop_all(file);
        }
        rl_sqlite_file_unlock_all(file);
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

    task->busy_at = busy_at != 0 ? busy_at : rl_monotonic_ns() + RL_SQLITE_BRIEF_NS;
    do {
        restarts = atomic_load(&file->restarting);
        if (task->wait != RL_NO_WAIT) {
            rl_fork_yield();
            rl_sqlite_file_check_path(file);
        } else if (rl_sqlite_file_is_replaced(file, false)) {
            return rl_sqlite_moved(file->path, "", err);
        }
        if (!lock_writer(file, busy_at)) {
            return rl_err_set(err, RL_BUSY, "another thread writes");
        }
        status = write_locked(file, task, err);
        file->writer.busy_at = 0;
        broken = status == RL_STORE && file->writer.broken;
        pthread_mutex_unlock(&file->write_lock);
        if (broken && task->wait == RL_NO_WAIT) {
            return rl_err_set(err, RL_BUSY, "the SQLite file has to be reopened");
        }
        if (status == RL_BUSY && (restarts || atomic_load(&file->restarting))) {
            /* the lock is that of the checkpoint of this process */
            rl_err_set(err, RL_BUSY, "SQLite file %s: a checkpoint is running",
                       file->path);
            if (!extended) {
                busy_at += SYNC_NS;
                task->busy_at = busy_at;
                extended = true;
            }
        }
    } while (rl_sqlite_file_reopen_broken(file, broken, &reopened) ||
             (status == RL_BUSY && rl_monotonic_ns() < task->busy_at));
    return status;
}

/* Whether what RL_BUSY was for is still worth a wait, which began at `start`. */
static bool may_pass(const rl_err *err, uint64_t start)
{
    return rl_monotonic_ns() - start < (err->moved ? MOVED_NS : RL_SQLITE_WAIT_NS);
}

/* Makes RL_BUSY, at the end of a long wait, an error with the reason that it had. */
static rl_status give_up(const rl_sqlite_file *file, rl_err *err)
{
    if (err->locked) {
        return rl_sqlite_locked_for_long(file->path, err);
    }
    err->code = RL_STORE;
    err->retryable = true;
    return RL_STORE;
}

/* A long wait for SQLite's lock is a series of brief ones, so that no thread has the
 * write lock meanwhile: those that wait briefly learn whether it is SQLite's that is not
 * free. */
rl_status rl_sqlite_file_write(rl_sqlite_file *file, bool full_sync, rl_wait wait,
                               rl_sqlite_work work, void *ctx, rl_err *err)
{
    const uint64_t start = rl_monotonic_ns();
    write_task task = {full_sync, wait, 0, work, ctx};
    rl_err own = {.code = RL_OK};
    rl_status status = try_write(file, &task, &own);

    while (status == RL_BUSY && wait == RL_WAIT && may_pass(&own, start)) {
        nanosleep(&pause_between, NULL);
        status = try_write(file, &task, &own);
    }
    if (status == RL_BUSY && wait == RL_WAIT) {
        status = give_up(file, &own);
    }
    if (status != RL_OK && err != NULL) {
        *err = own;
    }
    return status;
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
    rl_status status = rl_sqlite_file_open_conn(file, conn, err);

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
    const uint64_t start = rl_monotonic_ns(), busy_at = end_of(wait);
    bool broken, reopened = false;
    unsigned yields = YIELDS;
    rl_status status;

    do {
        rl_sqlite_conn *conn;
        unsigned at;

        rl_fork_yield();
        rl_sqlite_file_check_path(file);
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
        if (status == RL_BUSY) {
            nanosleep(&pause_between, NULL);
        }
    } while (rl_sqlite_file_reopen_broken(file, broken, &reopened) ||
             (status == RL_BUSY && (busy_at == 0 ? !err->moved || may_pass(err, start)
                                                 : rl_monotonic_ns() < busy_at)));
    return status == RL_BUSY && busy_at == 0 ? give_up(file, err) : status;
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

void rl_sqlite_file_before_fork(rl_sqlite_file *file)
{
    rl_sqlite_file_lock_all(file);
    if (rl_sqlite_file_is_replaced(file, true)) {
        rl_sqlite_file_abandon(file);
    }
    rl_sqlite_file_drop_all(file);
}

void rl_sqlite_file_after_fork(rl_sqlite_file *file)
{
    rl_sqlite_file_unlock_all(file);
}
