/* The three files of a SQLite database in WAL mode: the database file at its path, and
 * its -wal and -shm beside it. SQLite finds these two by their names, so a process that
 * has them open must check whether the files of these names are still the ones that it
 * opened.
 *
 * A suffix is "", "-wal" or "-shm".
 * Threads: any. No state.
 */
#ifndef RL_SQLITE_PATH_H
#define RL_SQLITE_PATH_H

#include "core/err.h"

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Gives the absolute path of the file that a path names now, without links at its end
 * (rl_malloc, the caller's); the file need not exist. */
rl_status rl_sqlite_path_resolve(const char *path, char **out, rl_err *err);

/* Creates an empty file with mode 0600, unless one exists. Removes the -wal and -shm that
 * a deleted file has left beside one that is empty: a process that still has that file
 * open maps its -shm, which two databases must not share. Reports no error: SQLite will
 * when it opens the file. */
void rl_sqlite_path_make(const char *path);

/* Whether a file exists and has no bytes. */
bool rl_sqlite_path_empty(const char *path, const char *suffix);

/* The inode of a file; 0 if it does not exist or can't be read. */
ino_t rl_sqlite_path_inode(const char *path, const char *suffix);

/* Whether the path no longer names the file with this inode. False if that is unknown,
 * and for inode 0. */
bool rl_sqlite_path_lost(const char *path, const char *suffix, ino_t inode);

/* Has a file survive a power loss as it is now; false, with errno, if that fails. A file
 * that does not exist has nothing to lose. */
bool rl_sqlite_path_sync(const char *path, const char *suffix);

/* Gives a new -wal or -shm, which is empty, the rights of the database file, and its owner
 * if this is root's process. An error is not one yet: this process can use the file. */
void rl_sqlite_path_inherit(int fd, const struct stat *database);

/* Creates an empty -wal or -shm, unless one exists or the file is gone. Reports no
 * error. */
void rl_sqlite_path_make_part(const char *path, const char *suffix);

/* Removes a -wal or -shm if it has this inode. The caller makes sure that nobody may put
 * another in its place meanwhile. */
void rl_sqlite_path_remove(const char *path, const char *suffix, ino_t inode);

/* Removes the -wal and -shm with these inodes, which are those of another file that was at
 * the path; and any, if the file at the path is empty, as it can't have them. Only while
 * no connection has the file open. */
void rl_sqlite_path_remove_parts(const char *path, ino_t wal, ino_t shm);

#endif
