/* Descriptors of a SQLite file whose locks belong to them.
 *
 * A POSIX lock belongs to the process: closing any descriptor of the file drops it, and
 * two copies of SQLite in one process do not exclude each other. An open file description
 * lock belongs to its descriptor, and conflicts with every other lock, also of the same
 * process. The other way round, closing a descriptor here would drop the POSIX locks that
 * another SQLite of this process has on the file. So it is closed only while nobody else
 * has a lock on the file; until then it is kept, without locks, for the next open of the
 * file.
 *
 * Threads: any; one at a time uses a descriptor. State: the list of those that are kept.
 * A fork closes these in the child, and must find no other one open: a child shares the
 * locks of its parent's descriptors.
 */
#ifndef RL_SQLITE_FD_H
#define RL_SQLITE_FD_H

#include <stdbool.h>
#include <sys/types.h>

/* Source: SQLite's file format, "The Lock-Byte Page", and its os_unix.c. */
#define RL_SQLITE_PENDING 0x40000000
#define RL_SQLITE_RESERVED (RL_SQLITE_PENDING + 1)
#define RL_SQLITE_SHARED_FIRST (RL_SQLITE_PENDING + 2)
#define RL_SQLITE_SHARED_SIZE 510

#define RL_SQLITE_PATH_SIZE 4096 /* bytes; longer paths can't be opened */

typedef struct rl_sqlite_fd {
    int fd;
    dev_t device;
    ino_t inode;
    struct rl_sqlite_fd *next; /* of those that are kept */
} rl_sqlite_fd;

/* Whether this system has such locks. */
bool rl_sqlite_fd_can_lock(void);

/* Registers for forks. Idempotent. */
void rl_sqlite_fd_join(void);

/* Opens a file as open() does; NULL with errno. */
rl_sqlite_fd *rl_sqlite_fd_open(const char *path, int flags, mode_t mode);

/* Releases its locks, and closes it or keeps it. NULL does nothing. */
void rl_sqlite_fd_close(rl_sqlite_fd *file);

/* Sets F_RDLCK, F_WRLCK or F_UNLCK on `len` bytes, 0 for all that follow, without
 * waiting. SQLITE_OK; SQLITE_BUSY if another lock is in the way; else `error`. */
int rl_sqlite_fd_lock(const rl_sqlite_fd *file, short type, off_t start, off_t len,
                      int error);

/* Asks for a lock that excludes F_WRLCK on these bytes. *type: that of the lock, F_UNLCK
 * if there is none; *pid: its process, -1 if it belongs to a descriptor. SQLITE_OK or
 * `error`. */
int rl_sqlite_fd_find_lock(const rl_sqlite_fd *file, off_t start, off_t len, short *type,
                           pid_t *pid, int error);

#endif
