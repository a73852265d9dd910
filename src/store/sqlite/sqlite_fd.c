/* Descriptors whose locks belong to them. See sqlite_fd.h. */
#include "store/sqlite/sqlite_fd.h"

#include "core/alloc.h"
#include "core/fork.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__linux__) && defined(F_OFD_SETLK)
#define SET_LOCK F_OFD_SETLK
#define GET_LOCK F_OFD_GETLK
#define HAS_LOCKS true
#else
#define SET_LOCK F_SETLK
#define GET_LOCK F_GETLK
#define HAS_LOCKS false
#endif

#define LEAST_FD 3 /* lower ones are standard streams, which anybody may write to */

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the list */
static rl_sqlite_fd *kept;

static int call_fcntl(int fd, int command, struct flock *lock)
{
    int rc;

    do {
        rc = fcntl(fd, command, lock);
    } while (rc != 0 && errno == EINTR);
    return rc;
}

static struct flock lock_of(short type, off_t start, off_t len)
{
    return (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

bool rl_sqlite_fd_can_lock(void)
{
    struct flock lock = lock_of(F_WRLCK, 0, 0);
    bool can = HAS_LOCKS && sizeof(off_t) >= 8;
    int fd;

    if (can) { /* some sandboxes have a system call without these locks */
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
            can = call_fcntl(fd, GET_LOCK, &lock) == 0;
            close(fd);
        }
    }
    return can;
}

int rl_sqlite_fd_lock(const rl_sqlite_fd *file, short type, off_t start, off_t len,
                      int error)
{
    struct flock lock = lock_of(type, start, len);

    if (call_fcntl(file->fd, SET_LOCK, &lock) == 0) {
        return SQLITE_OK;
    }
    return errno == EAGAIN || errno == EACCES || errno == ENOLCK ? SQLITE_BUSY : error;
}

int rl_sqlite_fd_find_lock(const rl_sqlite_fd *file, off_t start, off_t len, short *type,
                           pid_t *pid, int error)
{
    struct flock lock = lock_of(F_WRLCK, start, len);

    if (call_fcntl(file->fd, GET_LOCK, &lock) != 0) {
        return error;
    }
    *type = lock.l_type;
    *pid = lock.l_pid;
    return SQLITE_OK;
}

/* Takes a kept descriptor of a file out of the list; NULL if there is none. List locked.
 * Those that are read-only never get there: see close_or_keep. */
static rl_sqlite_fd *take_kept(const struct stat *info)
{
    rl_sqlite_fd **at = &kept, *found;

    while (*at != NULL &&
           ((*at)->device != info->st_dev || (*at)->inode != info->st_ino)) {
        at = &(*at)->next;
    }
    found = *at;
    if (found != NULL) {
        *at = found->next;
    }
    return found;
}

/* Closes a descriptor, or puts it into the list. List locked.
 *
 * An exclusive lock of the whole file proves that there is no other, and prevents new
 * ones until the descriptor is closed. One that can't have it, as it is read-only, does
 * no harm: there are no writers. */
static void close_or_keep(rl_sqlite_fd *file)
{
    if (rl_sqlite_fd_lock(file, F_WRLCK, 0, 0, SQLITE_IOERR_LOCK) == SQLITE_BUSY) {
        file->next = kept;
        kept = file;
    } else {
        close(file->fd);
        rl_free(file);
    }
}

/* Closes what need not be kept any longer. List locked. */
static void sweep(void)
{
    rl_sqlite_fd *rest = kept;

    kept = NULL;
    while (rest != NULL) {
        rl_sqlite_fd *next = rest->next;

        close_or_keep(rest);
        rest = next;
    }
}

/* Opens a file at a number that is no standard stream's. */
static int open_high(const char *path, int flags, mode_t mode)
{
    int fd = open(path, flags | O_CLOEXEC, mode), high;

    if (fd >= 0 && fd < LEAST_FD) {
        high = fcntl(fd, F_DUPFD_CLOEXEC, LEAST_FD);
        close(fd);
        fd = high;
    }
    return fd;
}

/* List locked. */
static rl_sqlite_fd *open_new(const char *path, int flags, mode_t mode)
{
    rl_sqlite_fd *file = rl_calloc(1, sizeof *file);
    struct stat info = {.st_ino = 0};
    int error = ENOMEM;

    if (file != NULL) {
        file->fd = open_high(path, flags, mode);
        error = file->fd >= 0 && fstat(file->fd, &info) == 0 ? 0 : errno;
        file->device = info.st_dev;
        file->inode = info.st_ino;
    }
    if (error != 0 && file != NULL) {
        if (file->fd >= 0) {
            close_or_keep(file);
        } else {
            rl_free(file);
        }
        file = NULL;
    }
    errno = error;
    return file;
}

rl_sqlite_fd *rl_sqlite_fd_open(const char *path, int flags, mode_t mode)
{
    rl_sqlite_fd *file = NULL;
    struct stat info;

    pthread_mutex_lock(&kept_lock);
    if ((flags & O_ACCMODE) == O_RDWR && stat(path, &info) == 0) {
        file = take_kept(&info);
    }
    if (file == NULL) {
        file = open_new(path, flags, mode);
    }
    pthread_mutex_unlock(&kept_lock);
    return file;
}

void rl_sqlite_fd_close(rl_sqlite_fd *file)
{
    if (file != NULL) {
        (void)rl_sqlite_fd_lock(file, F_UNLCK, 0, 0, SQLITE_IOERR_UNLOCK);
        pthread_mutex_lock(&kept_lock);
        close_or_keep(file);
        sweep();
        pthread_mutex_unlock(&kept_lock);
    }
}

static void before_fork(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&kept_lock);
}

static void after_fork_in_parent(void *ctx)
{
    (void)ctx;
    pthread_mutex_unlock(&kept_lock);
}

/* No POSIX lock is inherited, so nothing is dropped. */
static void after_fork_in_child(void *ctx)
{
    (void)ctx;
    while (kept != NULL) {
        rl_sqlite_fd *next = kept->next;

        close(kept->fd);
        rl_free(kept);
        kept = next;
    }
    pthread_mutex_unlock(&kept_lock);
}

static void join(void)
{
    static rl_fork_member member = {.prepare = before_fork,
                                    .parent = after_fork_in_parent,
                                    .child = after_fork_in_child};

    rl_fork_join(&member);
}

void rl_sqlite_fd_join(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, join);
}
