/* The files of a SQLite database at their path. See sqlite_path.h. */
#include "store/sqlite/sqlite_path.h"

#include "core/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define LINKS 40       /* that are followed, as by the kernel */
#define LOCK_TRIES 200 /* half a millisecond apart */

/* Follows a link, or a chain of them, to the file that it names, which need not exist:
 * SQLite has the -wal and -shm beside that file, and would create it with another mode.
 * A chain without an end is left to SQLite, which says so. */
static void follow_links(rl_buf *path)
{
    char target[4096];
    ssize_t len = 0;

    for (int i = 0; i < LINKS && len >= 0 && !path->failed; i++) {
        len = readlink(path->data, target, sizeof target);
        if (len > 0 && len < (ssize_t)sizeof target) {
            path->len = target[0] == '/'
                            ? 0
                            : (size_t)(strrchr(path->data, '/') + 1 - path->data);
            rl_buf_add(path, target, (size_t)len);
            rl_buf_add_char(path, '\0');
        }
    }
}

rl_status rl_sqlite_path_resolve(const char *path, char **out, rl_err *err)
{
    rl_status status = RL_OK;
    rl_buf buf;

    rl_buf_init(&buf, RL_BUF_MAX);
    if (path[0] != '/' && rl_buf_reserve(&buf, 4096)) {
        if (getcwd(buf.data, buf.cap) == NULL) {
            status =
                rl_err_set(err, RL_STORE,
                           "SQLite file %s: the current directory is unknown; give an "
                           "absolute path in RUNLOG_SQLITE_PATH",
                           path);
        } else {
            buf.len = strlen(buf.data);
            rl_buf_add_char(&buf, '/');
        }
    }
    rl_buf_add(&buf, path, strlen(path) + 1);
    if (status == RL_OK && !buf.failed) {
        follow_links(&buf);
    }
    if (status == RL_OK && buf.failed) {
        status = rl_err_nomem(err);
    }
    if (status != RL_OK) {
        rl_buf_free(&buf);
    }
    *out = buf.data;
    return status;
}

static const char *name_of(char name[PATH_SIZE + 8], const char *path, const char *suffix)
{
    snprintf(name, PATH_SIZE + 8, "%.*s%s", PATH_SIZE - 1, path, suffix);
    return name;
}

/* Locks the folder of the path; closing the descriptor unlocks it. -1 if the lock is not
 * free within LOCK_TRIES half milliseconds. */
static int lock_folder(const char *path)
{
    const struct timespec pause = {0, 500000};
    const char *slash = strrchr(path, '/');
    char folder[PATH_SIZE];
    int fd;

    if (slash == NULL || slash - path + 1 >= PATH_SIZE) {
        return -1;
    }
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path + 1), path);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int tries = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0; tries++) {
        if (tries == LOCK_TRIES) {
            close(fd);
            return -1;
        }
        nanosleep(&pause, NULL);
    }
    return fd;
}

/* A process that still has the deleted file open maps the old -shm, which two databases
 * must not share. Several processes may create the file at once, and as soon as it exists
 * its -wal and -shm may be in use. So this removes the old ones under a lock, and only
 * while no file exists. */
void rl_sqlite_path_make(const char *path)
{
    char name[PATH_SIZE + 8];
    int folder, created;

    if (access(path, F_OK) == 0) {
        return;
    }
    folder = lock_folder(path);
    if (folder >= 0 && access(path, F_OK) != 0) {
        (void)unlink(name_of(name, path, "-wal"));
        (void)unlink(name_of(name, path, "-shm"));
    }
    created = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (created >= 0) {
        (void)fchmod(created, 0600); /* the umask may have taken too much */
        close(created);
    }
    if (folder >= 0) {
        close(folder);
    }
}

bool rl_sqlite_path_empty(const char *path, const char *suffix)
{
    char name[PATH_SIZE + 8];
    struct stat info;

    return stat(name_of(name, path, suffix), &info) == 0 && info.st_size == 0;
}

ino_t rl_sqlite_path_inode(const char *path, const char *suffix)
{
    char name[PATH_SIZE + 8];
    struct stat info;

    return stat(name_of(name, path, suffix), &info) == 0 ? info.st_ino : 0;
}

bool rl_sqlite_path_lost(const char *path, const char *suffix, ino_t inode)
{
    char name[PATH_SIZE + 8];
    struct stat info;

    if (inode == 0) {
        return false;
    }
    return stat(name_of(name, path, suffix), &info) == 0
               ? info.st_ino != inode
               : errno == ENOENT || errno == ENOTDIR;
}

bool rl_sqlite_path_sync(const char *path, const char *suffix)
{
    char name[PATH_SIZE + 8];
    int fd = open(name_of(name, path, suffix), O_RDONLY | O_CLOEXEC);
    bool synced = fd >= 0 ? fsync(fd) == 0 : errno == ENOENT;

    if (fd >= 0) {
        close(fd);
    }
    return synced;
}

void rl_sqlite_path_make_part(const char *path, const char *suffix)
{
    char name[PATH_SIZE + 8];
    int fd =
        open(name_of(name, path, suffix), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd >= 0) {
        close(fd);
    }
}

/* Under the lock under which a new file is created: else another process might create new
 * ones between the look and the deletion. */
void rl_sqlite_path_remove(const char *path, const char *suffix, ino_t inode)
{
    char name[PATH_SIZE + 8];
    int folder = inode != 0 ? lock_folder(path) : -1;

    if (inode != 0 && rl_sqlite_path_inode(path, suffix) == inode) {
        (void)unlink(name_of(name, path, suffix));
    }
    if (folder >= 0) {
        close(folder);
    }
}
