/* One connection to a SQLite file. See sqlite_conn.h. */
#include "store/sqlite/sqlite_conn.h"

#include "core/alloc.h"
#include "core/clock.h"
#include "core/fork.h"
#include "store/sqlite/filesystem.h"
#include "store/sqlite/sqlite_cause.h"
#include "store/sqlite/sqlite_path.h"
#include "store/sqlite/sqlite_schema.h"
#include "store/sqlite/sqlite_sql.h"
#include "store/sqlite/sqlite_vfs.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define WAIT_CLOSED_NS UINT64_C(500000000)

/* Held while a thread creates and opens a file. rl_sqlite_path_make closes a descriptor
 * of the file, which drops all POSIX locks that this process has on it: runlog's, where
 * rl_sqlite_vfs has no others. */
static pthread_mutex_t make_lock = PTHREAD_MUTEX_INITIALIZER;

/* A wait that is brief ends after so many tries, or so much later: on a busy machine a
 * thread gets the processor too seldom to say that the lock was never free. */
#define TRIES 20
#define LATER_NS UINT64_C(15000000)

static bool is_over(uint64_t busy_at, int tries)
{
    uint64_t now = rl_monotonic_ns();

    return busy_at != 0 && now >= busy_at &&
           (tries >= TRIES || now - busy_at >= LATER_NS);
}

/* SQLite's own busy handler sleeps up to 100 ms, which starves a writer among many. This
 * one sleeps 20 to 140 us. */
static int wait_for_lock(void *ctx, int calls)
{
    rl_sqlite_conn *conn = ctx;
    uint64_t now = rl_monotonic_ns();
    struct timespec pause = {0, 0};

    conn->yielded = rl_fork_pending();
    if (conn->yielded || is_over(conn->busy_at, calls)) {
        return 0;
    }
    if (calls == 0) {
        conn->waiting_since = now;
    }
    if (now - conn->waiting_since > RL_SQLITE_WAIT_NS) {
        return 0;
    }
    conn->jitter = conn->jitter * UINT64_C(6364136223846793005) + now;
    pause.tv_nsec = 20000 + (long)((conn->jitter >> 33) % 120000);
    nanosleep(&pause, NULL);
    return 1;
}

/* Whether the error comes from a file, -wal or -shm that SQLite could not open for
 * writing, in which case nothing was committed. A write to such a -wal gives EBADF. */
static bool is_read_only(int primary, int system)
{
    return primary == SQLITE_READONLY || primary == SQLITE_CANTOPEN ||
           (primary == SQLITE_IOERR && system == EBADF);
}

/* Whether the cause is one that the files at the path may show. */
static bool may_have_cause(int primary)
{
    return primary == SQLITE_CANTOPEN || primary == SQLITE_READONLY ||
           primary == SQLITE_PERM || primary == SQLITE_IOERR;
}

rl_status rl_sqlite_locked_for_long(const char *path, rl_err *err)
{
    rl_err_set(err, RL_STORE,
               "SQLite file %s: another connection has held its lock for %d s", path,
               (int)(RL_SQLITE_WAIT_NS / 1000000000));
    if (err != NULL) {
        err->retryable = true;
    }
    return RL_STORE;
}

rl_status rl_sqlite_moved(const char *path, const char *what, rl_err *err)
{
    rl_err_set(err, RL_BUSY, "SQLite file %s: it%s%s was deleted or replaced meanwhile",
               path, what[0] != '\0' ? "s " : "", what);
    if (err != NULL) {
        err->moved = true;
    }
    return RL_BUSY;
}

/* The text of an error that is neither a lock nor a lack of memory. */
static void describe(rl_sqlite_conn *conn, int code, int system, rl_err *err)
{
    const int primary = code & 0xFF;
    const char *detail =
        conn->db != NULL ? sqlite3_errmsg(conn->db) : sqlite3_errstr(code);
    char cause[RL_ERR_TEXT];

    if (primary == SQLITE_FULL) {
        rl_err_set(err, RL_STORE, "SQLite file %s: the disk is full (%s)", conn->path,
                   detail);
    } else if (primary == SQLITE_IOERR && system == EFBIG) {
        rl_err_set(err, RL_STORE,
                   "SQLite file %s: %s: a limit of the process (ulimit -f) or of the "
                   "file system",
                   conn->path, strerror(system));
    } else if (primary == SQLITE_NOTADB) {
        rl_err_set(err, RL_STORE,
                   "SQLite file %s: it is not a SQLite database; give another path in "
                   "RUNLOG_SQLITE_PATH",
                   conn->path);
    } else if (may_have_cause(primary) &&
               rl_sqlite_cause(conn->path, primary == SQLITE_IOERR ? 0 : system, cause,
                               sizeof cause)) {
        rl_err_set(err, RL_STORE, "SQLite file %.300s%s: %s", conn->path,
                   strlen(conn->path) > 300 ? "..." : "", cause);
    } else if (primary == SQLITE_IOERR) { /* only the code says which error */
        rl_err_set(err, RL_STORE, "SQLite file %s: %s (%d)%s%s", conn->path, detail, code,
                   system != 0 ? ": " : "", system != 0 ? strerror(system) : "");
    } else {
        rl_err_set(err, RL_STORE, "SQLite file %s: %s", conn->path, detail);
    }
}

/* The file that a file control gives: the database file, or its -wal. NULL if there is
 * none. */
static sqlite3_file *file_of(rl_sqlite_conn *conn, int which)
{
    sqlite3_file *file = NULL;
    int rc = sqlite3_file_control(conn->db, "main", which, (void *)&file);

    return rc == SQLITE_OK && file != NULL && file->pMethods != NULL ? file : NULL;
}

/* The system's error. SQLite forgets that of a commit when it rolls back, but the files
 * know that of their last write. */
static int system_error(rl_sqlite_conn *conn, int code)
{
    static const int which[] = {SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER};
    int error = conn->db != NULL ? sqlite3_system_errno(conn->db) : 0;

    for (int i = 0; i < 2 && code == SQLITE_IOERR_WRITE && error == 0; i++) {
        sqlite3_file *file = file_of(conn, which[i]);

        if (file != NULL) {
            (void)file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error);
        }
    }
    return error;
}

rl_status rl_sqlite_conn_error(rl_sqlite_conn *conn, int code, rl_err *err)
{
    int primary = code & 0xFF;
    int system = system_error(conn, code);

    if (primary == SQLITE_NOMEM) {
        return rl_err_nomem(err);
    }
    if (is_read_only(primary, system)) {
        conn->broken = true;
    }
    if ((primary == SQLITE_BUSY && (conn->busy_at != 0 || conn->yielded)) ||
        (primary == SQLITE_INTERRUPT && conn->yielded)) {
        rl_err_set(err, RL_BUSY, "SQLite file %s: %s", conn->path,
                   conn->yielded ? "a fork is under way"
                                 : "another connection holds its lock");
        if (err != NULL) {
            err->locked = !conn->yielded;
        }
        return RL_BUSY;
    }
    if (primary == SQLITE_BUSY) {
        return rl_sqlite_locked_for_long(conn->path, err);
    }
    describe(conn, code, system, err);
    if (err != NULL) {
        err->retryable = primary == SQLITE_FULL || primary == SQLITE_IOERR;
        err->unusable = primary == SQLITE_NOTADB;
        err->rejected = primary == SQLITE_CONSTRAINT;
    }
    return RL_STORE;
}

/* When two connections set WAL mode at the same time, one gets SQLITE_BUSY without a call
 * of its busy handler. So this retries for as long as the handler would wait. */
static int set_wal(rl_sqlite_conn *conn, bool *is_wal)
{
    uint64_t end =
        conn->busy_at != 0 ? conn->busy_at : rl_monotonic_ns() + RL_SQLITE_WAIT_NS;
    struct timespec pause = {0, 1000000};
    sqlite3_stmt *stmt = NULL;
    int rc;

    for (;;) {
        rc = sqlite3_prepare_v2(conn->db, RL_SQLITE_WAL, -1, &stmt, NULL);
        if (rc == SQLITE_OK) {
            rc = sqlite3_step(stmt);
            if (rc == SQLITE_ROW) {
                const char *mode = (const char *)sqlite3_column_text(stmt, 0);

                *is_wal = mode != NULL && strcmp(mode, "wal") == 0;
                rc = sqlite3_step(stmt); /* only this writes the mode into the file */
            }
            rc = rc == SQLITE_DONE ? SQLITE_OK : rc;
        }
        sqlite3_finalize(stmt);
        stmt = NULL;
        conn->yielded = rl_fork_pending();
        if ((rc & 0xFF) != SQLITE_BUSY || conn->yielded || rl_monotonic_ns() > end) {
            return rc;
        }
        nanosleep(&pause, NULL);
    }
}

static int make_and_open(rl_sqlite_conn *conn, bool creates)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, rc;

#ifdef SQLITE_OPEN_EXRESCODE
    flags |= SQLITE_OPEN_EXRESCODE; /* also for errors of the open itself */
#endif

    pthread_mutex_lock(&make_lock);
    if (creates) {
        flags |= SQLITE_OPEN_CREATE;
        rl_sqlite_path_make(conn->path);
    }
    conn->inode = rl_sqlite_path_inode(conn->path, "");
    conn->is_new = rl_sqlite_path_empty(conn->path, "");
    rc = sqlite3_open_v2(conn->path, &conn->db, flags, rl_sqlite_vfs());
    pthread_mutex_unlock(&make_lock);
    if (conn->db != NULL) { /* without memory there is none */
        (void)sqlite3_extended_result_codes(conn->db, 1);
    }
    return rc;
}

/* Opens the file, and changes nothing of one that exists. */
static int open_file(rl_sqlite_conn *conn, bool creates)
{
    int rc = make_and_open(conn, creates);

    if (rc == SQLITE_OK) {
        rc = sqlite3_busy_handler(conn->db, wait_for_lock, conn);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_wal_autocheckpoint(conn->db, 0);
    }
    if (rc == SQLITE_OK && conn->is_new) {
        rc = sqlite3_exec(conn->db, RL_SQLITE_SYNC_OFF "; " RL_SQLITE_CAN_SHRINK, NULL,
                          NULL, NULL);
    }
    return rc;
}

/* Opens the -wal and -shm of an open file. */
static int open_wal(rl_sqlite_conn *conn, bool *is_wal)
{
    int rc = set_wal(conn, is_wal);

    if (rc == SQLITE_OK) { /* a read opens the -wal, which setting the mode does not */
        rc = sqlite3_exec(conn->db, RL_SQLITE_READ_SCHEMA, NULL, NULL, NULL);
    }
    conn->wal = rl_sqlite_path_inode(conn->path, "-wal");
    conn->shm = rl_sqlite_path_inode(conn->path, "-shm");
    return rc;
}

/* The -wal or -shm is not at the path. Either it was deleted while this connection was
 * being opened, so the next attempt finds a new one. Or another connection has a deleted
 * -shm open: a new one would have another (rl_sqlite_vfs refuses it), or the deleted one
 * too (the default VFS shares one among the connections of a process). */
static rl_status refuse_deleted(const rl_sqlite_conn *conn, int rc, rl_err *err)
{
    if (rc != SQLITE_IOERR_SHMOPEN && rl_sqlite_vfs() != NULL) {
        return rl_sqlite_moved(conn->path, "-wal or -shm", err);
    }
    rl_err_set(err, RL_BUSY,
               "SQLite file %s: its -wal or -shm was deleted, and another connection "
               "still has the old one open; close that connection, or end its process",
               conn->path);
    if (err != NULL) {
        err->moved = true;
    }
    return RL_BUSY;
}

rl_status rl_sqlite_conn_open(rl_sqlite_conn *conn, const char *path, bool creates,
                              rl_err *err)
{
    rl_status status = RL_OK;
    const uint64_t busy_at = conn->busy_at;
    bool is_wal = false;
    int rc;

    memset(conn, 0, sizeof *conn);
    conn->path = path;
    conn->busy_at = busy_at;
    conn->full_sync = true; /* SQLite's default */
    conn->jitter = rl_monotonic_ns();
    status = rl_filesystem_check(path, err);
    if (status != RL_OK) {
        return status;
    }
    rc = open_file(conn, creates);
    if (rc == SQLITE_OK && !conn->is_new) {
        status = rl_sqlite_schema_check(conn->db, path, &rc, err);
    }
    if (rc == SQLITE_OK && status == RL_OK) {
        rc = open_wal(conn, &is_wal);
    }
    if (rl_sqlite_path_lost(path, "", conn->inode)) {
        status = rl_sqlite_moved(path, "", err);
    } else if (status == RL_OK &&
               (rc == SQLITE_OK || rc == SQLITE_IOERR_SHORT_READ ||
                rc == SQLITE_IOERR_SHMOPEN) &&
               (conn->wal == 0 || conn->shm == 0)) {
        status = refuse_deleted(conn, rc, err);
    } else if (status == RL_OK && rc != SQLITE_OK) {
        status = rl_sqlite_conn_error(conn, rc, err);
    } else if (status == RL_OK && !is_wal) {
        status =
            rl_err_set(err, RL_STORE,
                       "SQLite file %s: this file system can't hold a database in WAL "
                       "mode; give a path on a local disk in RUNLOG_SQLITE_PATH",
                       path);
    }
    if (status != RL_OK) {
        rl_sqlite_conn_drop(conn);
    }
    return status;
}

/* `which` as of file_of. */
static int sync_file(rl_sqlite_conn *conn, int which)
{
    sqlite3_file *file = file_of(conn, which);

    return file != NULL ? file->pMethods->xSync(file, SQLITE_SYNC_NORMAL) : SQLITE_OK;
}

rl_status rl_sqlite_conn_settle(rl_sqlite_conn *conn, rl_err *err)
{
    int rc = SQLITE_OK;

    if (conn->is_new) {
        rc = sync_file(conn, SQLITE_FCNTL_FILE_POINTER);
        if (rc == SQLITE_OK) {
            rc = sync_file(conn, SQLITE_FCNTL_JOURNAL_POINTER);
        }
        if (rc == SQLITE_OK) {
            rc = sqlite3_exec(conn->db, RL_SQLITE_SYNC_FULL, NULL, NULL, NULL);
        }
        conn->is_new = rc != SQLITE_OK;
    }
    return rc == SQLITE_OK ? RL_OK : rl_sqlite_conn_error(conn, rc, err);
}

/* Every open connection holds a shared lock, so an exclusive one proves it is alone. */
void rl_sqlite_wait_until_closed(const char *path)
{
    uint64_t end = rl_monotonic_ns() + WAIT_CLOSED_NS;
    const struct timespec pause = {0, 1000000};
    int rc = SQLITE_BUSY;

    while (rc != SQLITE_OK && rl_sqlite_path_inode(path, "-shm") == 0 &&
           !rl_fork_pending() && rl_monotonic_ns() < end) {
        sqlite3 *db = NULL;

        rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, rl_sqlite_vfs());
        if (rc == SQLITE_OK) {
            rc = sqlite3_exec(db, RL_SQLITE_LOCK_ALL, NULL, NULL, NULL);
        }
        sqlite3_close(db);
        if (rc != SQLITE_OK) {
            nanosleep(&pause, NULL);
        }
    }
}

void rl_sqlite_conn_close(rl_sqlite_conn *conn)
{
    for (unsigned i = 0; i < RL_SQLITE_CACHE; i++) {
        sqlite3_finalize(conn->cache[i].stmt);
        rl_free(conn->cache[i].sql);
    }
    sqlite3_close(conn->db);
    *conn = (rl_sqlite_conn){.busy_at = conn->busy_at};
}

void rl_sqlite_conn_drop(rl_sqlite_conn *conn)
{
    if (conn->db != NULL) {
        (void)sqlite3_db_config(conn->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    rl_sqlite_conn_close(conn);
}

rl_status rl_sqlite_conn_stmt(rl_sqlite_conn *conn, const char *sql, sqlite3_stmt **stmt,
                              rl_err *err)
{
    unsigned slot;
    char *copy;
    int rc;

    for (slot = 0; slot < RL_SQLITE_CACHE; slot++) {
        if (conn->cache[slot].sql != NULL && strcmp(conn->cache[slot].sql, sql) == 0) {
            *stmt = conn->cache[slot].stmt;
            return RL_OK;
        }
    }
    slot = conn->next;
    copy = rl_strdup(sql);
    if (copy == NULL) {
        return rl_err_nomem(err);
    }
    rc = sqlite3_prepare_v3(conn->db, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL);
    if (rc != SQLITE_OK) {
        rl_free(copy);
        return rl_sqlite_conn_error(conn, rc, err);
    }
    sqlite3_finalize(conn->cache[slot].stmt);
    rl_free(conn->cache[slot].sql);
    conn->cache[slot].sql = copy;
    conn->cache[slot].stmt = *stmt;
    conn->next = (slot + 1) % RL_SQLITE_CACHE;
    return RL_OK;
}

rl_status rl_sqlite_conn_step(rl_sqlite_conn *conn, sqlite3_stmt *stmt, rl_err *err)
{
    rl_status status = RL_OK;
    int rc = sqlite3_step(stmt);

    if (rc != SQLITE_DONE && rc != SQLITE_ROW) {
        status = rl_sqlite_conn_error(conn, rc, err);
    }
    sqlite3_reset(stmt);
    return status;
}

rl_status rl_sqlite_conn_next(rl_sqlite_conn *conn, sqlite3_stmt *stmt, bool *found,
                              rl_err *err)
{
    int rc = sqlite3_step(stmt);

    *found = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? RL_OK
                                                 : rl_sqlite_conn_error(conn, rc, err);
}

rl_status rl_sqlite_conn_run(rl_sqlite_conn *conn, const char *sql, rl_err *err)
{
    sqlite3_stmt *stmt;
    rl_status status = rl_sqlite_conn_stmt(conn, sql, &stmt, err);

    return status == RL_OK ? rl_sqlite_conn_step(conn, stmt, err) : status;
}

void rl_sqlite_conn_rollback(rl_sqlite_conn *conn)
{
    if (conn->db != NULL && !sqlite3_get_autocommit(conn->db)) {
        /* not a cached statement: preparing it might lack memory, as the batch did */
        (void)sqlite3_exec(conn->db, RL_SQLITE_ROLLBACK, NULL, NULL, NULL);
        if (!sqlite3_get_autocommit(conn->db)) {
            /* closing ends the transaction, which the next write would otherwise join */
            rl_sqlite_conn_drop(conn);
        }
    }
}

rl_status rl_sqlite_conn_sync(rl_sqlite_conn *conn, bool full, rl_err *err)
{
    rl_status status = RL_OK;

    if (conn->full_sync != full) {
        status = rl_sqlite_conn_run(
            conn, full ? RL_SQLITE_SYNC_FULL : RL_SQLITE_SYNC_NORMAL, err);
        conn->full_sync = status == RL_OK ? full : conn->full_sync;
    }
    return status;
}
