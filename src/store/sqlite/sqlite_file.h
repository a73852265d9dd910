/* One SQLite file, shared by the threads of this process over several connections: one
 * writes, a few read, one checkpoints the WAL. The first use opens a connection, a fork
 * closes it. A pending fork also ends a long read, which then starts again. The store and
 * the journal are built on this.
 *
 * Somebody may delete or replace the file, its -wal or its -shm while they are open.
 * Every call checks the path for that, but at most once in 5 ms. It then closes all
 * connections, adds an ERROR to the notices, and continues with the file at the path, or
 * a new one.
 *
 * Threads: every function from any thread; a callback runs under the lock of its
 * connection, in one thread at a time.
 * Ownership: the file owns its path and connections, and borrows the migrations and the
 * notices.
 */
#ifndef RL_SQLITE_FILE_H
#define RL_SQLITE_FILE_H

#include "core/notice.h"
#include "store/sqlite/sqlite_conn.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>

/* The work of a caller on a connection. After RL_BUSY it is rolled back, and called again
 * if the caller may wait. */
typedef rl_status (*rl_sqlite_work)(rl_sqlite_conn *conn, void *ctx, rl_err *err);

/* The first is for quick reads alone, so that slow ones delay nobody. */
#define RL_SQLITE_READERS 5

typedef struct rl_sqlite_file {
    char *path; /* owned, absolute */
    const rl_migrations *migrations;
    rl_notices *notices; /* or NULL */
    pthread_mutex_t write_lock, read_locks[RL_SQLITE_READERS], checkpoint_lock;
    rl_sqlite_conn writer, readers[RL_SQLITE_READERS], checkpointer; /* under its lock */
    atomic_uint waiting;            /* threads that wait for the write lock */
    atomic_uint next_reader;        /* to wait for, when all are in use */
    _Atomic ino_t inode;            /* of the file that was opened last; 0: none */
    _Atomic ino_t wal, shm;         /* of the open -wal and -shm; 0: none, or unknown */
    atomic_uint_fast64_t check_at;  /* monotonic nanoseconds: when to check the path */
    bool later_logged;              /* that indexes are missing; under the write lock */
    bool names_logged;              /* that runs may not be renamed; the same */
    atomic_bool only_existing;      /* a file that is not there is not created */
    atomic_bool in_use;             /* the writing connection is open */
    atomic_bool needs_checkpoint;   /* the WAL is long enough for one */
    atomic_bool checkpointing;      /* a checkpoint is running */
    atomic_bool restarting;         /* it has SQLite's lock, so that the WAL restarts */
    atomic_uint checkpointed_pages; /* pages of the WAL that are in the file already */
    atomic_uint wal_pages;          /* length of the WAL after the last commit, pages */
    atomic_uint_fast64_t write_ns;  /* the total duration of all writes */
} rl_sqlite_file;

/* Opens nothing. Makes a relative path absolute now, as the working directory may change
 * before the file is opened. */
rl_status rl_sqlite_file_init(rl_sqlite_file *file, const char *path,
                              const rl_migrations *migrations, rl_notices *notices,
                              rl_err *err);

/* Closes the file and frees what the struct owns. No call may be running. */
void rl_sqlite_file_free(rl_sqlite_file *file);

/* Calls `work` on the writing connection, with synchronous FULL or NORMAL, and rolls back
 * a transaction that it left open. RL_NO_WAIT: RL_BUSY instead of waiting for a lock or
 * opening the file. RL_WAIT_BRIEFLY: RL_BUSY when a lock, of another thread or another
 * connection, is not free within RL_SQLITE_BRIEF_NS. */
rl_status rl_sqlite_file_write(rl_sqlite_file *file, bool full_sync, rl_wait wait,
                               rl_sqlite_work work, void *ctx, rl_err *err);

/* Calls `work` on a free reading connection. */
rl_status rl_sqlite_file_read(rl_sqlite_file *file, rl_sqlite_work work, void *ctx,
                              rl_err *err);

/* The same for work that takes a moment: slow work never has all connections. */
rl_status rl_sqlite_file_read_quickly(rl_sqlite_file *file, rl_sqlite_work work,
                                      void *ctx, rl_err *err);

/* The same, but RL_BUSY when a lock is not free within RL_SQLITE_BRIEF_NS. */
rl_status rl_sqlite_file_read_briefly(rl_sqlite_file *file, rl_sqlite_work work,
                                      void *ctx, rl_err *err);

/* Opens the file and applies the migrations, unless it is open. */
rl_status rl_sqlite_file_open(rl_sqlite_file *file, rl_wait wait, rl_err *err);

/* Whether the WAL is long enough to be worth a checkpoint. */
static inline bool rl_sqlite_file_needs_checkpoint(rl_sqlite_file *file)
{
    return atomic_load_explicit(&file->needs_checkpoint, memory_order_relaxed);
}

/* Whether another thread waits for the writing connection. */
static inline bool rl_sqlite_file_has_waiting(rl_sqlite_file *file)
{
    return atomic_load_explicit(&file->waiting, memory_order_relaxed) > 0;
}

/* Whether a checkpoint is running, or is about to. */
static inline bool rl_sqlite_file_is_checkpointing(rl_sqlite_file *file)
{
    return atomic_load(&file->checkpointing) || rl_sqlite_file_needs_checkpoint(file);
}

/* Checkpoints the WAL. Writers continue meanwhile, but may have to wait for a moment at
 * the end so that the WAL can restart. */
rl_status rl_sqlite_file_checkpoint(rl_sqlite_file *file, rl_err *err);

/* The same, and then has the -wal be empty: writers have to wait until the last reader has
 * moved on, but not for long; if one does not, the -wal stays. */
rl_status rl_sqlite_file_empty_wal(rl_sqlite_file *file, rl_err *err);

/* Around a fork: takes the locks and closes the file; releases the locks. */
void rl_sqlite_file_before_fork(rl_sqlite_file *file);
void rl_sqlite_file_after_fork(rl_sqlite_file *file);

#endif
