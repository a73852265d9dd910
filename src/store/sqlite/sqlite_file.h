/* One SQLite file under the threads of this process: a connection that writes, one that
 * reads, one that checkpoints the WAL; each opened when it is needed, and closed before a
 * fork. The store and the journal are built on it.
 *
 * The file may be deleted or replaced while it is open, or its -wal or -shm. Every call looks
 * at the path for that, at most once in some milliseconds. It then closes all connections,
 * adds an ERROR to the notices and goes on with the file that is at the path, or a new one.
 *
 * Threads: every function from any thread; the work given runs under the lock of its
 * connection, by one thread at a time. Ownership: the file owns its path and connections,
 * and borrows the migrations and the notices.
 */
#ifndef RL_SQLITE_FILE_H
#define RL_SQLITE_FILE_H

#include "core/notice.h"
#include "store/sqlite/sqlite_conn.h"

#include <pthread.h>
#include <stdatomic.h>

/* What is done on a connection. RL_BUSY: undone, and done again if the caller may wait. */
typedef rl_status (*rl_sqlite_work)(rl_sqlite_conn *conn, void *ctx, rl_err *err);

typedef struct rl_sqlite_file {
    char *path; /* owned, absolute */
    const rl_migrations *migrations;
    rl_notices *notices; /* or NULL */
    pthread_mutex_t write_lock, read_lock, checkpoint_lock;
    rl_sqlite_conn writer, reader, checkpointer; /* each under its lock */
    _Atomic ino_t inode;                  /* the file that was opened last; 0: none yet */
    _Atomic ino_t wal, shm;        /* what is open beside it; 0: nothing, or not known */
    atomic_uint_fast64_t check_at; /* monotonic nanoseconds: when to look at the path */
    atomic_bool in_use;            /* the writing connection is open */
    atomic_bool needs_checkpoint;               /* the WAL has grown: checkpoint it */
    atomic_bool checkpointing;            /* a checkpoint is under way */
    atomic_uint checkpointed_pages;       /* of the WAL, which are in the file already */
    atomic_uint wal_pages;         /* of the WAL, after the last commit */
    atomic_uint_fast64_t write_ns; /* that writes have taken in all */
} rl_sqlite_file;

/* Makes it; nothing is opened. A relative path is fixed now. */
rl_status rl_sqlite_file_init(rl_sqlite_file *file, const char *path,
                              const rl_migrations *migrations, rl_notices *notices,
                              rl_err *err);
/* Closes it. No call may be under way. */
void rl_sqlite_file_free(rl_sqlite_file *file);

/* Does the work on the writing connection, in synchronous FULL or NORMAL. Without `may_wait`
 * RL_BUSY instead of waiting for a lock or opening the file. What the work left open is
 * rolled back. */
rl_status rl_sqlite_file_write(rl_sqlite_file *file, bool full_sync, bool may_wait,
                               rl_sqlite_work work, void *ctx, rl_err *err);

/* Does the work on the reading connection. */
rl_status rl_sqlite_file_read(rl_sqlite_file *file, rl_sqlite_work work, void *ctx,
                              rl_err *err);

/* Opens the file and applies the migrations, if that was not done yet. */
rl_status rl_sqlite_file_open(rl_sqlite_file *file, rl_err *err);

/* Checkpoints the WAL. Beside writers, who are held up for a moment at its end when
 * they have written meanwhile. */
rl_status rl_sqlite_file_checkpoint(rl_sqlite_file *file, rl_err *err);

/* Around a fork: takes the locks and closes the file; gives the locks back. */
void rl_sqlite_file_before_fork(rl_sqlite_file *file);
void rl_sqlite_file_after_fork(rl_sqlite_file *file);

#endif
