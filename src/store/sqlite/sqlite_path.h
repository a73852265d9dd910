/* The three files of a SQLite database in WAL mode, as they lie at their path: the file, and
 * beside it its -wal and -shm. SQLite finds the two by their names, so a process that has
 * them open must know whether the files of these names are still its own.
 *
 * A suffix is "", "-wal" or "-shm". Threads: any. No state.
 */
#ifndef RL_SQLITE_PATH_H
#define RL_SQLITE_PATH_H

#include <stdbool.h>
#include <sys/types.h>

/* Makes an empty file with mode 0600 where there is none. A -wal and -shm that a deleted file
 * has left there are removed first. What fails here fails again when SQLite opens the file. */
void rl_sqlite_path_make(const char *path);

/* The inode of a file; 0 where there is none, or that can't be told. */
ino_t rl_sqlite_path_inode(const char *path, const char *suffix);

/* Whether the file with this inode is no longer the one at the path. False where that can't
 * be told, and for inode 0. */
bool rl_sqlite_path_lost(const char *path, const char *suffix, ino_t inode);

/* Removes a file from the path, if it is the one with this inode. */
void rl_sqlite_path_remove(const char *path, const char *suffix, ino_t inode);

#endif
