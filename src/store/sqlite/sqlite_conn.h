/* One connection to the SQLite file: opening, waiting, errors, cached statements.
 *
 * Threads: a connection is used by one thread at a time; its owner sees to that.
 * Ownership: the connection owns the handle and the statements; it borrows the path.
 */
#ifndef RL_SQLITE_CONN_H
#define RL_SQLITE_CONN_H

#include "core/err.h"
#include "store/migrate.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define RL_SQLITE_CACHE 32 /* statements kept prepared */
#define RL_SQLITE_WAIT_NS \
    UINT64_C(10000000000) /* how long another's lock is waited for */

typedef struct rl_sqlite_conn {
    sqlite3 *db;            /* owned; NULL while it is not open */
    const char *path;       /* borrowed */
    bool may_wait;          /* false: a lock held by another gives RL_BUSY at once */
    bool yielded;           /* the last wait was given up, as a fork wants the lock */
    bool full_sync;         /* as PRAGMA synchronous was last set */
    bool broken;            /* it was opened by halves: only a new one will do */
    ino_t inode, wal, shm;  /* the files that are open: itself, its -wal, its -shm */
    uint64_t waiting_since; /* nanoseconds: when the busy handler was first called */
    uint64_t jitter;        /* the state of the busy handler's random numbers */
    struct {
        char *sql;          /* owned */
        sqlite3_stmt *stmt; /* owned */
    } cache[RL_SQLITE_CACHE];
    unsigned next; /* the cache entry to be replaced next */
} rl_sqlite_conn;

/* Opens the file, making it with mode 0600 where there is none, in WAL mode. No commit on
 * the connection checkpoints the WAL (rl_sqlite_file sees to that). RL_BUSY where the file
 * was replaced meanwhile: opened again, it may be well. */
rl_status rl_sqlite_conn_open(rl_sqlite_conn *conn, const char *path, rl_err *err);
void rl_sqlite_conn_close(rl_sqlite_conn *conn);

/* Where there is no -shm beside the file: waits until no connection at all has the file open,
 * and checkpoints the WAL that lies there; or until there is a -shm, as another process has
 * done so; but no longer than half a second, nor while a fork is pending. */
void rl_sqlite_wait_until_closed(const char *path);

/* The same, quickly: the WAL stays as it is. For a fork, after which it is opened again. */
void rl_sqlite_conn_drop(rl_sqlite_conn *conn);

/* Gives a reset statement for the SQL, prepared before or now. The connection keeps it. */
rl_status rl_sqlite_conn_stmt(rl_sqlite_conn *conn, const char *sql, sqlite3_stmt **stmt,
                              rl_err *err);

/* Runs one statement without values and without rows. */
rl_status rl_sqlite_conn_run(rl_sqlite_conn *conn, const char *sql, rl_err *err);

/* Steps a statement that gives no rows, and resets it. */
rl_status rl_sqlite_conn_step(rl_sqlite_conn *conn, sqlite3_stmt *stmt, rl_err *err);

/* Ends the transaction, if one is open, undoing it. Where there is no memory even for that
 * the connection is closed. */
void rl_sqlite_conn_rollback(rl_sqlite_conn *conn);

/* Sets synchronous to FULL or NORMAL, if it is not set so already. */
rl_status rl_sqlite_conn_sync(rl_sqlite_conn *conn, bool full, rl_err *err);

/* Describes a failed call with the file's path; RL_BUSY where the connection may not
 * wait or a fork is pending, else RL_STORE (or RL_NOMEM). */
rl_status rl_sqlite_conn_error(rl_sqlite_conn *conn, int code, rl_err *err);

/* Applies the migrations that the file lacks; RL_STORE when it has others than are known. */
rl_status rl_sqlite_migrate(rl_sqlite_conn *conn, const rl_migrations *known,
                            rl_err *err);

#endif
