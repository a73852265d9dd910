/* One SQLite file. See sqlite_file.h. */
#include "store/sqlite_file.h"

#include "core/alloc.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/fork.h"
#include "store/sqlite_locks.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

/* Pages of the WAL that are not in the file yet and are worth a checkpoint. Its size alone
 * does not tell: under a writer that never pauses it only grows. */
#define DUE_PAGES 1000
#define RESTART_PAGES (4 * 1024) /* of the WAL, from which it has to begin again */
#define SAVE_TRIES 200           /* milliseconds for which a fork is held up at most */

/* A relative path is fixed now: the working folder may change before the file is opened. */
static rl_status absolute_path(const char *path, char **out, rl_err *err)
{
    rl_status status = RL_OK;
    rl_buf buf;

    rl_buf_init(&buf, RL_BUF_MAX);
    if (path[0] != '/' && rl_buf_reserve(&buf, 4096)) {
        if (getcwd(buf.data, buf.cap) == NULL) {
            status =
                rl_err_set(err, RL_STORE,
                           "SQLite file %s: the working folder can't be told; give an "
                           "absolute path in RUNLOG_SQLITE_PATH",
                           path);
        } else {
            buf.len = strlen(buf.data);
            rl_buf_add_char(&buf, '/');
        }
    }
    rl_buf_add(&buf, path, strlen(path) + 1);
    if (status == RL_OK && buf.failed) {
        status = rl_err_nomem(err);
    }
    if (status != RL_OK) {
        rl_buf_free(&buf);
    }
    *out = buf.data;
    return status;
}

rl_status rl_sqlite_file_init(rl_sqlite_file *file, const char *path,
                              const rl_migrations *migrations, rl_err *err)
{
    rl_status status;

    memset(file, 0, sizeof *file);
    status = absolute_path(path, &file->path, err);
    if (status == RL_OK) {
        rl_sqlite_locks_join();
        file->migrations = migrations;
        pthread_mutex_init(&file->write_lock, NULL);
        pthread_mutex_init(&file->read_lock, NULL);
        pthread_mutex_init(&file->care_lock, NULL);
    }
    return status;
}

void rl_sqlite_file_free(rl_sqlite_file *file)
{
    rl_sqlite_conn_close(&file->carer);
    rl_sqlite_conn_close(&file->reader);
    rl_sqlite_conn_close(&file->writer); /* the last one moves the WAL into the file */
    pthread_mutex_destroy(&file->care_lock);
    pthread_mutex_destroy(&file->read_lock);
    pthread_mutex_destroy(&file->write_lock);
    rl_free(file->path);
    file->path = NULL;
}

/* SQLite tells after each commit how many pages the WAL has. */
static int note_pages(void *ctx, sqlite3 *db, const char *name, int pages)
{
    rl_sqlite_file *file = ctx;
    unsigned count = (unsigned)pages, moved = atomic_load(&file->moved_pages);

    (void)db;
    (void)name;
    atomic_store_explicit(&file->wal_pages, count, memory_order_relaxed);
    if (count < moved) { /* it has begun again from its start */
        atomic_store(&file->moved_pages, 0);
        moved = 0;
    }
    if (count - moved >= DUE_PAGES && !atomic_load(&file->caring)) {
        atomic_store_explicit(&file->due, true, memory_order_relaxed);
    }
    return SQLITE_OK;
}

/* Opens the writing connection if need be. Write lock held. */
static rl_status open_writer(rl_sqlite_file *file, rl_err *err)
{
    rl_status status = RL_OK;

    if (file->writer.db == NULL) {
        status = rl_sqlite_conn_open(&file->writer, file->path, err);
        file->migrated = false;
    }
    if (status == RL_OK && !file->migrated) {
        status = rl_sqlite_migrate(&file->writer, file->migrations, err);
        if (status == RL_OK) {
            file->migrated = true;
            atomic_store(&file->in_use, true);
            sqlite3_wal_hook(file->writer.db, note_pages, file);
        } else {
            rl_sqlite_conn_fail(&file->writer);
        }
    }
    return status;
}

/* RL_BUSY in place of an error that comes from a file which was deleted while it was made or
 * opened: SQLite asks for it at its path whenever it opens what belongs to it. With the one
 * that is there next the same may work. */
static rl_status again_if_deleted(rl_sqlite_conn *conn, uint64_t end, rl_status status)
{
    bool again =
        status == RL_STORE && rl_monotonic_ns() < end && rl_sqlite_conn_moved(conn);

    return again ? RL_BUSY : status;
}

/* Whether the writer's file is not the one that others find, or not with the same -wal and
 * -shm: `rm journal.db*` may delete the old file and then what belongs to the new one. Only
 * a file is given up for that whose content is saved. */
static bool is_gone(rl_sqlite_file *file, bool now)
{
    return rl_sqlite_conn_moved(&file->writer) ||
           (file->replaceable != NULL && rl_sqlite_conn_torn(&file->writer, now) &&
            file->replaceable(&file->writer));
}

/* Puts the file at the path in place of the one that is gone from there. Write lock held.
 * What can't be had now is tried again by the next call: the old file stays open. */
static rl_status follow(rl_sqlite_file *file, uint64_t end, rl_err *err)
{
    rl_sqlite_conn gone;
    rl_status status;

    if (!rl_sqlite_conn_moved(&file->writer)) {
        rl_sqlite_conn_abandon(&file->writer);
        if (!rl_sqlite_conn_moved(&file->writer)) { /* it is in use as it is */
            return file->writer.yielded ? rl_err_set(err, RL_BUSY, "a fork is pending")
                                        : RL_OK;
        }
    }
    rl_sqlite_conn_move(&gone, &file->writer);
    status = open_writer(file, err);
    if (status == RL_OK && file->rescue != NULL) {
        status = file->rescue(&gone, &file->writer, err);
        rl_sqlite_conn_rollback(&file->writer);
    }
    file->deleted = status != RL_OK;
    if (status == RL_OK) {
        atomic_fetch_add(&file->moves, 1);
        rl_sqlite_conn_drop(&gone);
    } else {
        status = again_if_deleted(&file->writer, end, status);
        rl_sqlite_conn_close(&file->writer);
        rl_sqlite_conn_move(&file->writer, &gone);
        file->migrated = true;
    }
    return status;
}

/* What a call of rl_sqlite_file_write asks for. */
typedef struct writing {
    bool full_sync, may_wait;
    rl_sqlite_work work;
    void *ctx;
    uint64_t end; /* until when files that are deleted one after the other are followed */
} writing;

static rl_status write_once(rl_sqlite_file *file, const writing *task, rl_err *err)
{
    rl_sqlite_conn *conn = &file->writer;
    uint64_t start = rl_monotonic_ns();
    rl_status status = rl_sqlite_conn_sync(conn, task->full_sync, err);

    if (status == RL_OK) {
        status = task->work(conn, task->ctx, err);
    }
    rl_sqlite_conn_rollback(conn);
    atomic_fetch_add_explicit(&file->writing_ns, rl_monotonic_ns() - start,
                              memory_order_relaxed);
    return status;
}

/* Does the work in the file at the path, where that is another one now. */
static rl_status write_moved(rl_sqlite_file *file, const writing *task, rl_err *err)
{
    rl_status status;

    do {
        status = follow(file, task->end, err);
        if (status == RL_OK) {
            status = write_once(file, task, err);
            status = again_if_deleted(&file->writer, task->end, status);
        }
    } while (status == RL_OK && file->writer.db != NULL && is_gone(file, true) &&
             !rl_fork_pending() && rl_monotonic_ns() < task->end);
    return status;
}

/* One try under the lock. The look at the path comes after the work: what was committed to
 * a file that nobody can find any more is not kept. It is saved, though, from a file that is
 * known to be deleted: into that one nothing more is written. */
static rl_status write_locked(rl_sqlite_file *file, const writing *task, rl_err *err)
{
    rl_status status = RL_OK;
    bool moved;

    if (task->may_wait) {
        status = open_writer(file, err);
        status = again_if_deleted(&file->writer, task->end, status);
    } else if (file->writer.db == NULL) {
        status = rl_err_set(err, RL_BUSY, "the SQLite file is not open");
    }
    if (status != RL_OK) {
        return status;
    }
    moved = file->deleted && is_gone(file, true);
    if (!moved) {
        file->writer.may_wait = task->may_wait;
        status = write_once(file, task, err);
        file->writer.may_wait = true;
        moved = status != RL_BUSY && file->writer.db != NULL &&
                is_gone(file, status != RL_OK);
    }
    if (moved) {
        status = task->may_wait ? write_moved(file, task, err)
                                : rl_err_set(err, RL_BUSY, "the file is another one");
    }
    return status;
}

static void unlock_all(rl_sqlite_file *file)
{
    pthread_mutex_unlock(&file->care_lock);
    pthread_mutex_unlock(&file->read_lock);
    pthread_mutex_unlock(&file->write_lock);
}

/* Closes what is open. All locks held. */
static void drop_all(rl_sqlite_file *file)
{
    rl_sqlite_conn_drop(&file->carer);
    rl_sqlite_conn_drop(&file->reader);
    rl_sqlite_conn_drop(&file->writer);
    atomic_store(&file->in_use, false);
}

/* Whether to try once more on a file that was opened by halves. Where SQLite can't open it,
 * or the index of its WAL, for writing it silently opens them for reading, for good, and all
 * connections of the process share that: so all are closed, and opened anew. One whose file
 * was deleted stays: `follow` needs it. */
static bool mend(rl_sqlite_file *file, bool broken, bool *mended)
{
    bool again = broken && !*mended;

    if (broken) {
        pthread_mutex_lock(&file->write_lock);
        pthread_mutex_lock(&file->read_lock);
        pthread_mutex_lock(&file->care_lock);
        if (file->writer.db == NULL || !rl_sqlite_conn_moved(&file->writer)) {
            drop_all(file);
        }
        unlock_all(file);
        *mended = true;
    }
    return again;
}

rl_status rl_sqlite_file_write(rl_sqlite_file *file, bool full_sync, bool may_wait,
                               rl_sqlite_work work, void *ctx, rl_err *err)
{
    const writing task = {full_sync, may_wait, work, ctx,
                          rl_monotonic_ns() + RL_SQLITE_WAIT_NS};
    bool broken, mended = false;
    rl_status status;

    do {
        if (may_wait) {
            rl_fork_yield();
            pthread_mutex_lock(&file->write_lock);
        } else if (pthread_mutex_trylock(&file->write_lock) != 0) {
            return rl_err_set(err, RL_BUSY, "another thread writes");
        }
        status = write_locked(file, &task, err);
        broken = status == RL_STORE && file->writer.broken;
        pthread_mutex_unlock(&file->write_lock);
        if (broken && !may_wait) {
            return rl_err_set(err, RL_BUSY, "the file has to be opened anew");
        }
    } while (mend(file, broken, &mended) || (status == RL_BUSY && may_wait));
    return status;
}

static rl_status do_nothing(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    (void)conn;
    (void)ctx;
    (void)err;
    return RL_OK;
}

rl_status rl_sqlite_file_open(rl_sqlite_file *file, rl_err *err)
{
    return rl_sqlite_file_write(file, true, true, do_nothing, NULL, err);
}

/* Opens a connection that does not write, again where the file was replaced. */
static rl_status open_beside(rl_sqlite_file *file, rl_sqlite_conn *conn, rl_err *err)
{
    if (conn->db != NULL && rl_sqlite_conn_moved(conn)) {
        rl_sqlite_conn_drop(conn);
    }
    return conn->db != NULL ? RL_OK : rl_sqlite_conn_open(conn, file->path, err);
}

rl_status rl_sqlite_file_read(rl_sqlite_file *file, rl_sqlite_work work, void *ctx,
                              rl_err *err)
{
    uint64_t end = rl_monotonic_ns() + RL_SQLITE_WAIT_NS;
    bool broken, mended = false;
    rl_status status;

    do {
        rl_fork_yield();
        pthread_mutex_lock(&file->read_lock);
        status = open_beside(file, &file->reader, err);
        if (status == RL_OK) {
            status = work(&file->reader, ctx, err);
        }
        status = again_if_deleted(&file->reader, end, status);
        broken = status == RL_STORE && file->reader.broken;
        pthread_mutex_unlock(&file->read_lock);
    } while (mend(file, broken, &mended) || status == RL_BUSY);
    return status;
}

static int checkpoint(rl_sqlite_file *file, int mode)
{
    int pages = 0, moved = 0;
    int rc = sqlite3_wal_checkpoint_v2(file->carer.db, NULL, mode, &pages, &moved);

    if (rc == SQLITE_OK && moved > 0) {
        atomic_store(&file->moved_pages, (unsigned)moved);
    }
    return rc;
}

/* Whether the WAL should begin again now, for which writers are held up a moment: where it
 * grows, each fsync has to write its new length too. Pages that came in during a checkpoint
 * keep it from that. Where writers were at work most of that time they are after throughput,
 * and it would only grow. Else they have pauses, in one of which it begins again by itself. */
static bool should_restart(rl_sqlite_file *file, uint64_t took_ns, uint64_t wrote_ns)
{
    unsigned pages = atomic_load(&file->wal_pages);
    bool grown = pages > atomic_load(&file->moved_pages);

    return grown && (wrote_ns > took_ns / 2 || pages >= RESTART_PAGES);
}

/* Care lock held, also in a fork, whose child so finds nobody caring. */
static rl_status checkpoint_some(rl_sqlite_file *file, rl_err *err)
{
    rl_status status = open_beside(file, &file->carer, err);
    uint64_t start = rl_monotonic_ns(), wrote = atomic_load(&file->writing_ns);
    int rc;

    /* else each commit meanwhile would ask for another checkpoint */
    atomic_store(&file->caring, true);
    atomic_store(&file->due, false);
    if (status == RL_OK) {
        rc = checkpoint(file, SQLITE_CHECKPOINT_PASSIVE);
        if (rc == SQLITE_OK && should_restart(file, rl_monotonic_ns() - start,
                                              atomic_load(&file->writing_ns) - wrote)) {
            rc = checkpoint(file, SQLITE_CHECKPOINT_RESTART);
        }
        if (rc != SQLITE_OK && (rc & 0xFF) != SQLITE_BUSY) { /* then the next one will */
            status = rl_sqlite_conn_error(&file->carer, rc, err);
        }
    }
    atomic_store(&file->caring, false);
    return status;
}

rl_status rl_sqlite_file_checkpoint(rl_sqlite_file *file, rl_err *err)
{
    bool broken, mended = false;
    rl_status status;

    do {
        rl_fork_yield();
        pthread_mutex_lock(&file->care_lock);
        status = checkpoint_some(file, err);
        broken = status == RL_STORE && file->carer.broken;
        pthread_mutex_unlock(&file->care_lock);
    } while (mend(file, broken, &mended));
    return status;
}

/* Closing it would lose what a file holds that was deleted under the process. Others may be
 * making the new one at this moment, and locks are not waited for while a fork is pending. */
static void save_deleted(rl_sqlite_file *file)
{
    const struct timespec moment = {0, 1000000};
    rl_status status = RL_BUSY;
    rl_err ignored;

    for (int tries = 0; tries < SAVE_TRIES && status == RL_BUSY; tries++) {
        status = RL_OK;
        if (file->writer.db != NULL && is_gone(file, true)) {
            status = follow(file, UINT64_MAX, &ignored);
        }
        if (status == RL_BUSY) {
            nanosleep(&moment, NULL);
        }
    }
}

void rl_sqlite_file_before_fork(rl_sqlite_file *file)
{
    pthread_mutex_lock(&file->write_lock);
    if (file->rescue != NULL) {
        save_deleted(file);
    }
    pthread_mutex_lock(&file->read_lock);
    pthread_mutex_lock(&file->care_lock);
    drop_all(file);
}

void rl_sqlite_file_after_fork(rl_sqlite_file *file)
{
    unlock_all(file);
}
