/* The -shm of a SQLite database. See sqlite_shm.h. */
#include "store/sqlite/sqlite_shm.h"

#include "core/alloc.h"
#include "store/sqlite/sqlite_fd.h"
#include "store/sqlite/sqlite_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Bytes of the file that are locked: one for each of SQLite's locks, and one that every
 * connection shares, so that who has it alone knows that the content is stale. */
#define FIRST_LOCK 120
#define IN_USE (FIRST_LOCK + SQLITE_SHM_NLOCK)

#define BLOCK 4096      /* bytes; of the unit in which a file system allocates */
#define STALE_SIZE 3    /* bytes: a file that was not in use is cut to this */
#define APPEAR_TRIES 20 /* half a millisecond apart */

static const char *name_of(char name[RL_SQLITE_PATH_SIZE + 8], const char *path)
{
    snprintf(name, RL_SQLITE_PATH_SIZE + 8, "%s-shm", path);
    return name;
}

/* Source: SQLite's file format, "The Database Header": the version that reads need. */
static bool is_in_wal_mode(const rl_sqlite_fd *database)
{
    char version = 0;

    return pread(database->fd, &version, 1, 19) == 1 && version == 2;
}

bool rl_sqlite_shm_is_lost(const char *path, const rl_sqlite_fd *database)
{
    const struct timespec pause = {0, 500000};
    char name[RL_SQLITE_PATH_SIZE + 8];
    short type = F_RDLCK;
    pid_t pid;
    int tries = 0;

    name_of(name, path);
    while (tries < APPEAR_TRIES &&
           (access(name, F_OK) != 0 || rl_sqlite_path_inode(path, "-wal") == 0) &&
           is_in_wal_mode(database) &&
           rl_sqlite_fd_find_lock(database, RL_SQLITE_SHARED_FIRST, RL_SQLITE_SHARED_SIZE,
                                  &type, &pid, SQLITE_IOERR_LOCK) == SQLITE_OK &&
           type == F_RDLCK) { /* an exclusive lock keeps this connection out anyway */
        nanosleep(&pause, NULL);
        tries++;
    }
    return tries == APPEAR_TRIES;
}

/* Shares the lock that says that the file is in use. Who is the first to have it empties
 * the file. */
static int join_users(const rl_sqlite_fd *file)
{
    short type;
    pid_t pid;
    int rc = rl_sqlite_fd_find_lock(file, IN_USE, 1, &type, &pid, SQLITE_IOERR_LOCK);

    if (rc == SQLITE_OK && type == F_WRLCK) {
        rc = SQLITE_BUSY; /* it is being emptied */
    } else if (rc == SQLITE_OK && type == F_UNLCK) {
        rc = rl_sqlite_fd_lock(file, F_WRLCK, IN_USE, 1, SQLITE_IOERR_SHMLOCK);
        if (rc == SQLITE_OK && ftruncate(file->fd, STALE_SIZE) != 0) {
            rc = SQLITE_IOERR_SHMSIZE;
        }
    }
    return rc == SQLITE_OK
               ? rl_sqlite_fd_lock(file, F_RDLCK, IN_USE, 1, SQLITE_IOERR_SHMLOCK)
               : rc;
}

int rl_sqlite_shm_open(rl_sqlite_shm *shm, const char *path, const rl_sqlite_fd *database)
{
    char name[RL_SQLITE_PATH_SIZE + 8];
    struct stat info;
    int rc;

    if (fstat(database->fd, &info) != 0) {
        return SQLITE_IOERR_FSTAT;
    }
    shm->file = rl_sqlite_fd_open(name_of(name, path), O_RDWR | O_CREAT | O_NOFOLLOW,
                                  info.st_mode & 0777);
    if (shm->file == NULL) {
        return errno == ENOMEM ? SQLITE_NOMEM : SQLITE_CANTOPEN;
    }
    rl_sqlite_path_inherit(shm->file->fd, &info);
    rc = join_users(shm->file);
    if (rc != SQLITE_OK) {
        rl_sqlite_shm_close(shm, path, false);
    }
    return rc;
}

bool rl_sqlite_shm_in_use(const char *path)
{
    char name[RL_SQLITE_PATH_SIZE + 8];
    rl_sqlite_fd *file = rl_sqlite_fd_can_lock()
                             ? rl_sqlite_fd_open(name_of(name, path), O_RDWR, 0)
                             : NULL;
    short type = F_WRLCK;
    pid_t pid;

    if (file != NULL) {
        (void)rl_sqlite_fd_find_lock(file, IN_USE, 1, &type, &pid, SQLITE_IOERR_LOCK);
        rl_sqlite_fd_close(file);
    }
    return type != F_UNLCK;
}

/* How many regions are mapped at a time: a page of the system may be longer than one. */
static int regions_per_map(int size)
{
    long page = sysconf(_SC_PAGESIZE);

    return page > size ? (int)(page / size) : 1;
}

/* Makes the file at least `need` bytes long, with `extend`; sets *enough. Each block is
 * written, so that a full disk is an error here and no signal later. */
static int extend_file(const rl_sqlite_fd *file, off_t need, bool extend, bool *enough)
{
    struct stat info;

    if (fstat(file->fd, &info) != 0) {
        return SQLITE_IOERR_SHMSIZE;
    }
    *enough = extend || info.st_size >= need;
    for (off_t at = info.st_size / BLOCK; extend && at < need / BLOCK; at++) {
        if (pwrite(file->fd, "", 1, at * BLOCK + BLOCK - 1) != 1) {
            return SQLITE_IOERR_SHMSIZE;
        }
    }
    return SQLITE_OK;
}

static int map_next(rl_sqlite_shm *shm, int per_map)
{
    void **more =
        rl_realloc(shm->regions, (size_t)(shm->count + per_map) * sizeof *shm->regions);
    const size_t len = (size_t)shm->size * (size_t)per_map;
    char *map;

    if (more == NULL) {
        return SQLITE_NOMEM;
    }
    shm->regions = more;
    map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, shm->file->fd,
               (off_t)shm->size * shm->count);
    if (map == MAP_FAILED) {
        return SQLITE_IOERR_SHMMAP;
    }
    for (int i = 0; i < per_map; i++) {
        more[shm->count + i] = map + (size_t)i * (size_t)shm->size;
    }
    shm->count += per_map;
    return SQLITE_OK;
}

int rl_sqlite_shm_map(rl_sqlite_shm *shm, int region, int size, bool extend,
                      void volatile **out)
{
    const int per_map = regions_per_map(size);
    const int need = (region + per_map) / per_map * per_map;
    bool enough = true;
    int rc = SQLITE_OK;

    shm->size = size;
    if (shm->count < need) {
        rc = extend_file(shm->file, (off_t)need * size, extend, &enough);
    }
    while (rc == SQLITE_OK && enough && shm->count < need) {
        rc = map_next(shm, per_map);
    }
    *out = region < shm->count ? shm->regions[region] : NULL;
    return rc;
}

int rl_sqlite_shm_lock(const rl_sqlite_shm *shm, int first, int count, int flags)
{
    short type = (flags & SQLITE_SHM_UNLOCK) != 0   ? F_UNLCK
                 : (flags & SQLITE_SHM_SHARED) != 0 ? F_RDLCK
                                                    : F_WRLCK;

    return rl_sqlite_fd_lock(shm->file, type, FIRST_LOCK + first, count,
                             SQLITE_IOERR_SHMLOCK);
}

void rl_sqlite_shm_close(rl_sqlite_shm *shm, const char *path, bool remove)
{
    char name[RL_SQLITE_PATH_SIZE + 8];
    const int per_map = shm->count > 0 ? regions_per_map(shm->size) : 1;

    for (int i = 0; i < shm->count; i += per_map) {
        (void)munmap(shm->regions[i], (size_t)shm->size * (size_t)per_map);
    }
    if (remove && shm->file != NULL) {
        (void)unlink(name_of(name, path));
    }
    rl_free(shm->regions);
    rl_sqlite_fd_close(shm->file);
    *shm = (rl_sqlite_shm){.file = NULL};
}
