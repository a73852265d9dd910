/* One connection to a SQLite file: opening, waiting for locks, errors, cached statements.
 *
 * Threads: one thread at a time uses a connection; its owner ensures that.
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

#define RL_SQLITE_CACHE 32 /* prepared statements */
/* How long to wait for another connection's lock: at most, and where RL_BUSY is better
 * than waiting. */
#define RL_SQLITE_WAIT_NS UINT64_C(10000000000)
#define RL_SQLITE_BRIEF_NS UINT64_C(25000000)

struct rl_sqlite_file;

typedef struct rl_sqlite_conn {
    sqlite3 *db;                 /* owned; NULL while it is not open */
    struct rl_sqlite_file *file; /* borrowed: whose it is; NULL while it is not open */
    const char *path;            /* borrowed */
    int64_t target;        /* of rows that are added to a journal; journal_target.h */
    bool yielded;          /* the last wait ended early, as a fork is pending */
    bool full_sync;        /* as PRAGMA synchronous was last set */
    bool is_new;           /* the file was empty, and synchronous is OFF */
    bool broken;           /* a file could only be opened for reading: must be reopened */
    ino_t inode, wal, shm; /* of the open files: database, -wal, -shm */
    /* Monotonic nanoseconds: when a wait for a lock ends with RL_BUSY. 0: it ends with
     * RL_STORE, after RL_SQLITE_WAIT_NS. Opening and dropping keep it. */
    uint64_t busy_at;
    uint64_t waiting_since; /* monotonic nanoseconds: when the current wait began */
    uint64_t jitter;        /* the state of the busy handler's random numbers */
    struct {
        char *sql;          /* owned */
        sqlite3_stmt *stmt; /* owned */
    } cache[RL_SQLITE_CACHE];
    unsigned next; /* the cache entry to be replaced next */
} rl_sqlite_conn;

/* Opens the file in WAL mode. One that does not exist is created with mode 0600, if it may
 * be, else RL_STORE. No commit on the connection checkpoints the WAL (rl_sqlite_file does
 * that). `path` must outlive the connection. RL_BUSY if the file was replaced meanwhile:
 * try again. */
rl_status rl_sqlite_conn_open(rl_sqlite_conn *conn, const char *path, bool creates,
                              rl_err *err);
void rl_sqlite_conn_close(rl_sqlite_conn *conn);

/* Once the tables of a file are made: syncs what was written to a new one. Creating it
 * with a sync for each step would take longer than a caller may wait for a lock. */
rl_status rl_sqlite_conn_settle(rl_sqlite_conn *conn, rl_err *err);

/* Closes quickly, without a checkpoint: before a fork, or to reopen the file. */
void rl_sqlite_conn_drop(rl_sqlite_conn *conn);

/* After the -shm was deleted: waits until no connection of any process has the file open,
 * and then checkpoints the -wal. Returns early when a -shm exists, as then another
 * process has done so, when a fork is pending, and after half a second. */
void rl_sqlite_wait_until_closed(const char *path);

/* Gives a reset statement, from the cache or prepared now; the connection owns it. */
rl_status rl_sqlite_conn_stmt(rl_sqlite_conn *conn, const char *sql, sqlite3_stmt **stmt,
                              rl_err *err);

/* Runs one statement without parameters and rows. */
rl_status rl_sqlite_conn_run(rl_sqlite_conn *conn, const char *sql, rl_err *err);

/* Steps a statement that gives no rows, and resets it. */
rl_status rl_sqlite_conn_step(rl_sqlite_conn *conn, sqlite3_stmt *stmt, rl_err *err);

/* Steps a statement to its next row; *found is false after the last one, and on errors.
 * The caller resets the statement. */
rl_status rl_sqlite_conn_next(rl_sqlite_conn *conn, sqlite3_stmt *stmt, bool *found,
                              rl_err *err);

/* Rolls back the transaction, if one is open. Closes the connection if even that fails
 * for lack of memory. */
void rl_sqlite_conn_rollback(rl_sqlite_conn *conn);

/* Sets PRAGMA synchronous to FULL or NORMAL, unless it is set so already. */
rl_status rl_sqlite_conn_sync(rl_sqlite_conn *conn, bool full, rl_err *err);

/* Fills err for a failed call, from SQLite's result code; the text names the file.
 * RL_BUSY at busy_at or if a fork is pending, else RL_STORE or RL_NOMEM. */
rl_status rl_sqlite_conn_error(rl_sqlite_conn *conn, int code, rl_err *err);

/* Fills err for a file, or `what` of it ("-wal"), that was deleted or replaced meanwhile:
 * RL_BUSY, as the next try may find it well. */
rl_status rl_sqlite_moved(const char *path, const char *what, rl_err *err);

/* Fills err for a wait that has ended after RL_SQLITE_WAIT_NS: RL_STORE, retryable. */
rl_status rl_sqlite_locked_for_long(const char *path, rl_err *err);

/* Applies the missing migrations; RL_STORE if the file has changed or unknown ones.
 * *later: it has many runs, and lacks migrations of indexes. */
rl_status rl_sqlite_migrate(rl_sqlite_conn *conn, const rl_migrations *known, bool *later,
                            rl_err *err);

/* Reads which migrations are applied, and checks these; records one. */
rl_status rl_sqlite_migrations(rl_sqlite_conn *conn, const rl_migrations *known,
                               rl_applied *applied, rl_err *err);
rl_status rl_sqlite_migration_record(rl_sqlite_conn *conn, const rl_migration *migration,
                                     rl_err *err);

#endif
