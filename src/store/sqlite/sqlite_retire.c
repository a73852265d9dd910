/* Retires a WAL. See sqlite_retire.h. */
#include "store/sqlite/sqlite_retire.h"

#include "core/clock.h"
#include "core/fork.h"
#include "store/sqlite/sqlite_path.h"
#include "store/sqlite/sqlite_sql.h"

#include <time.h>

#define REGION (32 * 1024)    /* bytes of the first part of a -shm */
#define NO_VERSION UINT32_MAX /* no SQLite has or will have it */
#define PAUSE_NS 200000       /* between attempts */

/* The header of a -shm, in 32-bit words of the machine's byte order: twice what
 * HEADER_WORDS says, and then how much of the WAL is in the database file. */
enum {
    VERSION = 0,
    FRAMES = 4, /* in the WAL */
    CHECKSUM = 10,
    HEADER_WORDS = 12,
    COPIED = 24 /* frames */
};

/* The header in the memory that all connections share; NULL if there is none. */
static volatile uint32_t *header_of(rl_sqlite_conn *conn)
{
    sqlite3_file *file = NULL;
    void volatile *region = NULL;
    int rc =
        sqlite3_file_control(conn->db, "main", SQLITE_FCNTL_FILE_POINTER, (void *)&file);

    if (rc == SQLITE_OK && file != NULL && file->pMethods != NULL &&
        file->pMethods->iVersion >= 2) {
        rc = file->pMethods->xShmMap(file, 0, REGION, 0, &region);
    }
    return rc == SQLITE_OK ? region : NULL;
}

/* The write lock of the WAL held. Readers compare the two copies, so that the second is
 * written first: until both are there, they try again. */
static void set_version(volatile uint32_t *header)
{
    uint32_t words[HEADER_WORDS], first = 0, second = 0;

    for (int i = 0; i < HEADER_WORDS; i++) {
        words[i] = header[i];
    }
    words[VERSION] = NO_VERSION;
    for (int i = 0; i < CHECKSUM; i += 2) {
        first += words[i] + second;
        second += words[i + 1] + first;
    }
    words[CHECKSUM] = first;
    words[CHECKSUM + 1] = second;
    for (int copy = 1; copy >= 0; copy--) {
        for (int i = 0; i < HEADER_WORDS; i++) {
            header[copy * HEADER_WORDS + i] = words[i];
        }
        __sync_synchronize();
    }
}

/* One attempt; SQLite's result. Between the checkpoint and the transaction, which has the
 * write lock, another process may have committed: then it is not all copied. */
static int try_retire(rl_sqlite_conn *conn, volatile uint32_t *header)
{
    int rc =
        sqlite3_wal_checkpoint_v2(conn->db, NULL, SQLITE_CHECKPOINT_FULL, NULL, NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(conn->db, RL_SQLITE_BEGIN, NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK) {
        if (header[COPIED] >= header[FRAMES]) {
            /* Still at the path if only the -wal was deleted. A new one is made only by
             * who sees the new version, so one with this inode is the old. */
            rl_sqlite_path_remove(conn->path, "-shm", conn->shm);
            set_version(header);
        }
        rc = sqlite3_exec(conn->db, RL_SQLITE_ROLLBACK, NULL, NULL, NULL);
    }
    return rc;
}

bool rl_sqlite_retire_wal(rl_sqlite_conn *conn)
{
    const uint64_t end = rl_monotonic_ns() + RL_SQLITE_WAIT_NS;
    const struct timespec pause = {0, PAUSE_NS};
    volatile uint32_t *header = header_of(conn);
    int rc = header != NULL ? try_retire(conn, header) : SQLITE_IOERR_SHMMAP;

    while (header != NULL && header[VERSION] != NO_VERSION &&
           (rc == SQLITE_OK || (rc & 0xFF) == SQLITE_BUSY) && !rl_fork_pending() &&
           rl_monotonic_ns() < end) {
        nanosleep(&pause, NULL);
        rc = try_retire(conn, header);
    }
    return header != NULL && header[VERSION] == NO_VERSION;
}
