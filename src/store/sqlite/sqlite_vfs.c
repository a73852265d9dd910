/* The VFS of runlog's databases. See sqlite_vfs.h. */
#include "store/sqlite/sqlite_vfs.h"

#include "store/sqlite/sqlite_fd.h"
#include "store/sqlite/sqlite_shm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 4096 /* bytes */
/* What a checkpoint writes goes to the disk in pieces of so many bytes. A commit whose own
 * sync meets one waits for that piece, and not for all that a checkpoint has. */
#define PIECE (128 * 1024)

/* An open database file. SQLite allocates it. */
typedef struct database {
    sqlite3_file base;  /* the first, as SQLite knows only this */
    const char *path;   /* SQLite's */
    rl_sqlite_fd *file; /* owned */
    rl_sqlite_shm shm;  /* owned */
    int level;          /* SQLITE_LOCK_NONE or what it has locked */
    int unsynced;       /* bytes written since the last sync */
    int error;          /* errno of the last write that failed */
} database;

static sqlite3_vfs vfs; /* the copy of *unix_vfs that is registered */
static sqlite3_vfs *unix_vfs;

static database *of(sqlite3_file *base)
{
    return (database *)base;
}

static int close_file(sqlite3_file *base)
{
    rl_sqlite_shm_close(&of(base)->shm, of(base)->path, false);
    rl_sqlite_fd_close(of(base)->file);
    base->pMethods = NULL;
    return SQLITE_OK;
}

static int read_file(sqlite3_file *base, void *data, int len, sqlite3_int64 at)
{
    const int fd = of(base)->file->fd;
    int done = 0;

    while (done < len) {
        ssize_t count =
            pread(fd, (char *)data + done, (size_t)(len - done), (off_t)(at + done));

        if (count > 0) {
            done += (int)count;
        } else if (count == 0) { /* SQLite expects zeros behind the end */
            memset((char *)data + done, 0, (size_t)(len - done));
            return SQLITE_IOERR_SHORT_READ;
        } else if (errno != EINTR) {
            return SQLITE_IOERR_READ;
        }
    }
    return SQLITE_OK;
}

static int sync_file(sqlite3_file *base, int flags)
{
    (void)flags;
    of(base)->unsynced = 0;
#ifdef __linux__
    return fdatasync(of(base)->file->fd) == 0 ? SQLITE_OK : SQLITE_IOERR_FSYNC;
#else
    return fsync(of(base)->file->fd) == 0 ? SQLITE_OK : SQLITE_IOERR_FSYNC;
#endif
}

static int write_file(sqlite3_file *base, const void *data, int len, sqlite3_int64 at)
{
    const int fd = of(base)->file->fd;
    int done = 0;

    while (done < len) {
        ssize_t count = pwrite(fd, (const char *)data + done, (size_t)(len - done),
                               (off_t)(at + done));

        if (count > 0) {
            done += (int)count;
        } else if (count == 0 || errno == ENOSPC) {
            return SQLITE_FULL;
        } else if (errno != EINTR) {
            of(base)->error = errno;
            return SQLITE_IOERR_WRITE;
        }
    }
    of(base)->unsynced += len;
    return of(base)->unsynced < PIECE ? SQLITE_OK : sync_file(base, SQLITE_SYNC_NORMAL);
}

static int truncate_file(sqlite3_file *base, sqlite3_int64 size)
{
    int rc;

    do {
        rc = ftruncate(of(base)->file->fd, (off_t)size);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

static int size_of_file(sqlite3_file *base, sqlite3_int64 *size)
{
    struct stat info;
    int rc = fstat(of(base)->file->fd, &info);

    *size = rc == 0 ? info.st_size : 0;
    return rc == 0 ? SQLITE_OK : SQLITE_IOERR_FSTAT;
}

static int set_lock(const database *db, short type, off_t start, off_t len)
{
    return rl_sqlite_fd_lock(db->file, type, start, len,
                             type == F_UNLCK   ? SQLITE_IOERR_UNLOCK
                             : type == F_RDLCK ? SQLITE_IOERR_RDLOCK
                                               : SQLITE_IOERR_LOCK);
}

/* Who waits for an exclusive lock has PENDING, so that no new reader comes. */
static int lock_shared(const database *db)
{
    int rc, unlocked;

    if (db->shm.file == NULL && rl_sqlite_shm_is_lost(db->path, db->file)) {
        return SQLITE_IOERR_SHMOPEN;
    }
    rc = set_lock(db, F_RDLCK, RL_SQLITE_PENDING, 1);
    if (rc == SQLITE_OK) {
        rc = set_lock(db, F_RDLCK, RL_SQLITE_SHARED_FIRST, RL_SQLITE_SHARED_SIZE);
        unlocked = set_lock(db, F_UNLCK, RL_SQLITE_PENDING, 1);
        rc = rc == SQLITE_OK ? unlocked : rc;
    }
    return rc;
}

static int lock_file(sqlite3_file *base, int level)
{
    database *db = of(base);
    int rc = SQLITE_OK;

    if (db->level >= level) {
        return SQLITE_OK;
    }
    if (level == SQLITE_LOCK_SHARED) {
        rc = lock_shared(db);
    } else if (level == SQLITE_LOCK_RESERVED) {
        rc = set_lock(db, F_WRLCK, RL_SQLITE_RESERVED, 1);
    } else {
        if (db->level < SQLITE_LOCK_PENDING) {
            rc = set_lock(db, F_WRLCK, RL_SQLITE_PENDING, 1);
        }
        if (rc == SQLITE_OK) {
            db->level = SQLITE_LOCK_PENDING;
            rc = set_lock(db, F_WRLCK, RL_SQLITE_SHARED_FIRST, RL_SQLITE_SHARED_SIZE);
        }
    }
    if (rc == SQLITE_OK) {
        db->level = level;
    }
    return rc;
}

static int unlock_file(sqlite3_file *base, int level)
{
    database *db = of(base);
    int rc = SQLITE_OK;

    if (db->level <= level) {
        return SQLITE_OK;
    }
    if (level == SQLITE_LOCK_NONE) {
        rc = set_lock(db, F_UNLCK, 0, 0);
    } else {
        if (db->level == SQLITE_LOCK_EXCLUSIVE) {
            rc = set_lock(db, F_RDLCK, RL_SQLITE_SHARED_FIRST, RL_SQLITE_SHARED_SIZE);
        }
        if (rc == SQLITE_OK) { /* and RESERVED, the next byte */
            rc = set_lock(db, F_UNLCK, RL_SQLITE_PENDING, 2);
        }
    }
    if (rc == SQLITE_OK) {
        db->level = level;
    }
    return rc;
}

static int is_reserved(sqlite3_file *base, int *reserved)
{
    short type = F_WRLCK;
    pid_t pid;
    int rc = SQLITE_OK;

    if (of(base)->level < SQLITE_LOCK_RESERVED) {
        rc = rl_sqlite_fd_find_lock(of(base)->file, RL_SQLITE_RESERVED, 1, &type, &pid,
                                    SQLITE_IOERR_CHECKRESERVEDLOCK);
    }
    *reserved = rc == SQLITE_OK && type != F_UNLCK;
    return rc;
}

static int control_file(sqlite3_file *base, int what, void *value)
{
    const database *db = of(base);
    struct stat info;

    if (what == SQLITE_FCNTL_LAST_ERRNO) {
        *(int *)value = db->error;
        return SQLITE_OK;
    }
    if (what != SQLITE_FCNTL_HAS_MOVED) {
        return SQLITE_NOTFOUND;
    }
    *(int *)value = stat(db->path, &info) != 0 || info.st_ino != db->file->inode;
    return SQLITE_OK;
}

static int sector_size(sqlite3_file *base)
{
    (void)base;
    return SECTOR;
}

/* As the default VFS says: a power loss changes no byte beside those that are written. */
static int characteristics(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int map_shm(sqlite3_file *base, int region, int size, int extend,
                   void volatile **out)
{
    database *db = of(base);
    int rc = SQLITE_OK;

    *out = NULL;
    if (db->shm.file == NULL) {
        rc = rl_sqlite_shm_open(&db->shm, db->path, db->file);
    }
    return rc == SQLITE_OK ? rl_sqlite_shm_map(&db->shm, region, size, extend != 0, out)
                           : rc;
}

static int lock_shm(sqlite3_file *base, int first, int count, int flags)
{
    return of(base)->shm.file != NULL
               ? rl_sqlite_shm_lock(&of(base)->shm, first, count, flags)
               : SQLITE_IOERR_SHMLOCK;
}

static void shm_barrier(sqlite3_file *base)
{
    (void)base;
    __sync_synchronize();
}

static int unmap_shm(sqlite3_file *base, int remove)
{
    rl_sqlite_shm_close(&of(base)->shm, of(base)->path, remove != 0);
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2, /* with a -shm, without a mapped database */
    .xClose = close_file,
    .xRead = read_file,
    .xWrite = write_file,
    .xTruncate = truncate_file,
    .xSync = sync_file,
    .xFileSize = size_of_file,
    .xLock = lock_file,
    .xUnlock = unlock_file,
    .xCheckReservedLock = is_reserved,
    .xFileControl = control_file,
    .xSectorSize = sector_size,
    .xDeviceCharacteristics = characteristics,
    .xShmMap = map_shm,
    .xShmLock = lock_shm,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = unmap_shm,
};

/* A file that can't be opened for writing is opened for reading, as SQLite's users
 * expect. */
static int open_database(const char *path, sqlite3_file *base, int flags, int *got)
{
    database *db = of(base);
    const int more = (flags & SQLITE_OPEN_NOFOLLOW) != 0 ? O_NOFOLLOW : 0;
    const int create = (flags & SQLITE_OPEN_CREATE) != 0 ? O_CREAT : 0;

    memset(db, 0, sizeof *db);
    errno = 0;
    if (strlen(path) >= RL_SQLITE_PATH_SIZE) {
        errno = ENAMETOOLONG;
        return SQLITE_CANTOPEN;
    }
    if ((flags & SQLITE_OPEN_READWRITE) != 0) {
        db->file = rl_sqlite_fd_open(path, O_RDWR | create | more, 0600);
    }
    if (db->file == NULL && errno != EISDIR && errno != ENOMEM) {
        flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) |
                SQLITE_OPEN_READONLY;
        db->file = rl_sqlite_fd_open(path, O_RDONLY | more, 0);
    }
    if (db->file == NULL) {
        return errno == ENOMEM ? SQLITE_NOMEM : SQLITE_CANTOPEN;
    }
    db->path = path;
    base->pMethods = &methods;
    if (got != NULL) {
        *got = flags;
    }
    return SQLITE_OK;
}

static int open_file(sqlite3_vfs *self, const char *path, sqlite3_file *base, int flags,
                     int *got)
{
    (void)self;
    return path != NULL && (flags & SQLITE_OPEN_MAIN_DB) != 0
               ? open_database(path, base, flags, got)
               : unix_vfs->xOpen(unix_vfs, path, base, flags, got);
}

static const char *name;

static void start(void)
{
    unix_vfs = rl_sqlite_fd_can_lock() ? sqlite3_vfs_find("unix") : NULL;
    if (unix_vfs != NULL) {
        rl_sqlite_fd_join();
        vfs = *unix_vfs;
        vfs.pNext = NULL;
        vfs.zName = "runlog";
        vfs.xOpen = open_file;
        if (vfs.szOsFile < (int)sizeof(database)) {
            vfs.szOsFile = sizeof(database);
        }
        name = sqlite3_vfs_register(&vfs, 0) == SQLITE_OK ? vfs.zName : NULL;
    }
}

const char *rl_sqlite_vfs(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, start);
    return name;
}
