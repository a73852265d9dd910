/* Why a database file can't be used. See sqlite_cause.h. */
#include "store/sqlite/sqlite_cause.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define SQLITE_PATH_MAX 512 /* bytes that SQLite takes (os_unix.c), with those it adds */
#define SUFFIX_MAX 8        /* "-journal" */

typedef struct answer {
    char *out;
    size_t size;
} answer;

static bool say(const answer *to, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool say(const answer *to, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(to->out, to->size, format, args);
    va_end(args);
    return true;
}

/* Whether this process may not, as the user it acts as; errno says why. Another process
 * may just have deleted the file. */
static bool may_not(const char *path, int how)
{
    return faccessat(AT_FDCWD, path, how, AT_EACCESS) != 0 && errno != ENOENT;
}

/* A folder above the file, of `len` bytes; `parent` bytes name the folder above it. */
static bool is_folder_wrong(const answer *to, const char *path, size_t len, size_t parent)
{
    char folder[PATH_SIZE];
    struct stat info;

    snprintf(folder, sizeof folder, "%.*s", (int)len, path);
    if (stat(folder, &info) == 0) {
        return S_ISDIR(info.st_mode)
                   ? false
                   : say(to, "%s is a file, not a folder: give another path", folder);
    }
    if (errno == ENOENT) {
        return say(to, "there is no folder %s: create it, or give another path", folder);
    }
    return say(to, "%s: %s, in the folder %.*s", folder, strerror(errno),
               (int)(parent > 0 ? parent : 1), path);
}

static bool is_any_folder_wrong(const answer *to, const char *path)
{
    size_t parent = 0;
    bool wrong = false;

    for (const char *at = strchr(path + 1, '/'); at != NULL && !wrong;
         at = strchr(at + 1, '/')) {
        wrong = is_folder_wrong(to, path, (size_t)(at - path), parent);
        parent = (size_t)(at - path);
    }
    return wrong;
}

/* The database file or one beside it. */
static bool is_file_wrong(const answer *to, const char *path, const char *suffix)
{
    char name[PATH_SIZE + SUFFIX_MAX + 1];
    struct stat info;

    snprintf(name, sizeof name, "%s%s", path, suffix);
    if (stat(name, &info) != 0) {
        return errno == ENOENT
                   ? false
                   : say(to, "%s: %s: give another path", name, strerror(errno));
    }
    if (S_ISDIR(info.st_mode)) {
        return say(to, "%s is a folder: give the path of a file", name);
    }
    if (!S_ISREG(info.st_mode)) {
        return say(to, "%s is not a regular file: give another path", name);
    }
    if (may_not(name, R_OK)) {
        return say(to,
                   "the user %u may not read %s, which belongs to the user %u (%s): "
                   "change its owner or mode, or give another path",
                   (unsigned)geteuid(), name, (unsigned)info.st_uid, strerror(errno));
    }
    if (may_not(name, W_OK)) {
        return say(to,
                   "the user %u may not write %s, which belongs to the user %u (%s): "
                   "change its owner or mode, or give another path",
                   (unsigned)geteuid(), name, (unsigned)info.st_uid, strerror(errno));
    }
    return false;
}

/* The folder of the file: its -wal and -shm are made there, too. */
static bool is_own_folder_wrong(const answer *to, const char *path)
{
    const char *slash = strrchr(path, '/');
    const size_t len = slash != NULL && slash != path ? (size_t)(slash - path) : 1;
    char folder[PATH_SIZE];

    snprintf(folder, sizeof folder, "%.*s", (int)len, slash != NULL ? path : ".");
    return may_not(folder, W_OK | X_OK)
               ? say(to,
                     "the user %u may not make files in the folder %s (%s): change its "
                     "owner or mode, or give another path",
                     (unsigned)geteuid(), folder, strerror(errno))
               : false;
}

static const char *advice(int error)
{
    switch (error) {
    case EMFILE:
        return ": close files, or raise the limit (ulimit -n)";
    case ENFILE:
        return ": the machine has too many files open";
    case ENOSPC:
    case EDQUOT:
        return ": make room, or give a path on another disk";
    default:
        return "";
    }
}

bool rl_sqlite_cause(const char *path, int error, char *out, size_t size)
{
    static const char *const beside[] = {"", "-wal", "-shm", "-journal"};
    const answer to = {out, size};
    bool found = false;

    out[0] = '\0';
    if (strlen(path) >= SQLITE_PATH_MAX - SUFFIX_MAX) {
        return say(&to, "SQLite takes a path of less than %d bytes: give a shorter one",
                   SQLITE_PATH_MAX - SUFFIX_MAX);
    }
    found = is_any_folder_wrong(&to, path);
    for (size_t i = 0; i < sizeof beside / sizeof *beside && !found; i++) {
        found = is_file_wrong(&to, path, beside[i]);
    }
    found = found || is_own_folder_wrong(&to, path);
    if (!found && error != 0 && error != ENOENT) {
        found = say(&to, "%s%s", strerror(error), advice(error));
    }
    return found;
}

static rl_status refuse(rl_status code, const char *path, const char *why, rl_err *err)
{
    return rl_err_set(err, code, "SQLite file %.300s%s: %s", path,
                      strlen(path) > 300 ? "..." : "", why);
}

/* Whether another file system, or a part of one, is mounted at the path. */
static bool is_mounted(const char *path)
{
#ifdef STATX_ATTR_MOUNT_ROOT
    struct statx info;

    return statx(AT_FDCWD, path, 0, 0, &info) == 0 &&
           (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
#else
    (void)path;
    return false;
#endif
}

rl_status rl_sqlite_check(const char *path, rl_err *err)
{
    char cause[RL_ERR_TEXT];
    const answer to = {cause, sizeof cause};
    struct stat info;

    if (stat(path, &info) != 0) { /* SQLite says why the file itself can't be reached */
        return is_any_folder_wrong(&to, path) ? refuse(RL_STORE, path, cause, err)
                                              : RL_OK;
    }
    if (!S_ISREG(info.st_mode)) {
        (void)is_file_wrong(&to, path, "");
        return refuse(RL_STORE, path, cause, err);
    }
    if (info.st_nlink > 1) {
        return refuse(RL_CONFIG, path,
                      "it has hard links, and each of its names would have a -wal of its "
                      "own, which loses runs and damages the file: delete the other "
                      "names (find DIRECTORY -samefile FILE lists them), or give the "
                      "path of a copy",
                      err);
    }
    if (is_mounted(path)) {
        return refuse(RL_CONFIG, path,
                      "the file is mounted by itself, so its -wal would be in another "
                      "folder than that of the file, which loses runs and damages the "
                      "file: mount its folder",
                      err);
    }
    return RL_OK;
}
