/* The VFS through which SQLite opens runlog's databases: as the default one, but with the
 * locks of sqlite_fd.h, on the same bytes. So other connections, also of other
 * programs, exclude runlog's and the other way round, but nothing that this process does
 * with the file drops runlog's locks: another SQLite that is linked to it, open() and
 * close().
 *
 * It opens the database file and the -shm. All others, which have no locks, are the
 * default VFS's.
 * Threads: any. State: a VFS is registered once a process.
 */
#ifndef RL_SQLITE_VFS_H
#define RL_SQLITE_VFS_H

/* Its name, for sqlite3_open_v2; NULL, the default VFS, on a system without such locks. */
const char *rl_sqlite_vfs(void);

#endif
