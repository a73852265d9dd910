/* The -shm of a SQLite database, which its connections share: mapped into memory, with
 * locks of sqlite_fd.h.
 *
 * Source: SQLite's file format, "The WAL-Index File Format", and its os_unix.c for the
 * lock that says that the file is in use. The default VFS does the same with POSIX locks.
 * Threads: one at a time uses a connection's. Results are SQLite's.
 */
#ifndef RL_SQLITE_SHM_H
#define RL_SQLITE_SHM_H

#include "store/sqlite/sqlite_fd.h"

#include <sqlite3.h>
#include <stdbool.h>

typedef struct rl_sqlite_shm {
    rl_sqlite_fd *file; /* owned; NULL while it is not open */
    void **regions;     /* owned */
    int count, size;    /* of the regions: how many, and the bytes of each */
} rl_sqlite_shm;

/* Whether the -wal or -shm of a database was deleted while a connection of any process has
 * them open: a new one would have others, and so there would be two WALs. For a connection
 * that has no lock. One that is being opened has its shared lock a moment before these, so
 * that this waits for 10 ms before it says yes. */
bool rl_sqlite_shm_is_lost(const char *path, const rl_sqlite_fd *database);

/* Opens the -shm of a database file, which has a shared lock. */
int rl_sqlite_shm_open(rl_sqlite_shm *shm, const char *path,
                       const rl_sqlite_fd *database);

/* Whether a connection of any process uses the -shm that is at the path. Not for the
 * default VFS, whose POSIX locks a look would drop: it says yes. */
bool rl_sqlite_shm_in_use(const char *path);

/* See sqlite3_io_methods for these: xShmMap, xShmLock and xShmUnmap. */
int rl_sqlite_shm_map(rl_sqlite_shm *shm, int region, int size, bool extend,
                      void volatile **out);
int rl_sqlite_shm_lock(const rl_sqlite_shm *shm, int first, int count, int flags);
void rl_sqlite_shm_close(rl_sqlite_shm *shm, const char *path, bool remove);

#endif
