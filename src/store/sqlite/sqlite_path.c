/* The files of a SQLite database at their path. See sqlite_path.h. */
#include "store/sqlite/sqlite_path.h"

#include "core/buf.h"
#include "store/sqlite/sqlite_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define LINKS 40 /* that are followed, as by the kernel */

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

void rl_sqlite_path_remove(const char *path, const char *suffix, ino_t inode)
{
    char name[PATH_SIZE + 8];

    if (inode != 0 && rl_sqlite_path_inode(path, suffix) == inode) {
        (void)unlink(name_of(name, path, suffix));
    }
}

/* An exclusive lock on the database file excludes every connection to it, and so all that
 * could have created a -wal and -shm for it between a look and a deletion. */
void rl_sqlite_path_remove_parts(const char *path, ino_t wal, ino_t shm)
{
    const bool can_lock = rl_sqlite_fd_can_lock();
    rl_sqlite_fd *file = can_lock ? rl_sqlite_fd_open(path, O_RDWR, 0) : NULL;
    bool is_alone = !can_lock, is_empty;

    if (file != NULL) {
        is_alone =
            rl_sqlite_fd_lock(file, F_WRLCK, 0, 0, SQLITE_IOERR_LOCK) == SQLITE_OK &&
            rl_sqlite_path_inode(path, "") == file->inode;
    }
    if (is_alone) {
        is_empty = rl_sqlite_path_empty(path, "");
        rl_sqlite_path_remove(path, "-wal",
                              is_empty ? rl_sqlite_path_inode(path, "-wal") : wal);
        rl_sqlite_path_remove(path, "-shm",
                              is_empty ? rl_sqlite_path_inode(path, "-shm") : shm);
    }
    rl_sqlite_fd_close(file);
}

void rl_sqlite_path_make(const char *path)
{
    int created = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (created >= 0) {
        (void)fchmod(created, 0600); /* the umask may have taken too much */
        close(created);
    }
    if (rl_sqlite_path_empty(path, "")) {
        rl_sqlite_path_remove_parts(path, 0, 0);
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

void rl_sqlite_path_inherit(int fd, const struct stat *database)
{
    struct stat info;

    if (fstat(fd, &info) == 0 && info.st_size == 0) {
        if ((info.st_mode & 0777) != (database->st_mode & 0777)) {
            (void)fchmod(fd, database->st_mode & 0777);
        }
        if (geteuid() == 0 && fchown(fd, database->st_uid, database->st_gid) != 0) {
            errno = 0;
        }
    }
}

void rl_sqlite_path_make_part(const char *path, const char *suffix)
{
    char name[PATH_SIZE + 8];
    struct stat info;
    int fd = -1;

    if (stat(path, &info) == 0) {
        fd = open(name_of(name, path, suffix), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
                  0600);
    }
    if (fd >= 0) {
        rl_sqlite_path_inherit(fd, &info);
        close(fd);
    }
}
