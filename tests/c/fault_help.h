/* Fault injection: the core's memory, SQLite's memory and system calls, libpq.
 *
 * This counts the calls of the chosen kinds, and makes the one with a given number fail:
 * alone, or with all that follow. fault_everywhere plays a scenario many times: the first
 * call fails, then the second and so on, until the scenario ends before it reaches the
 * failing call. A function that a program wraps by the linker calls fault_strikes itself.
 *
 * Threads: the counters are atomic, so any thread may call. The program calls
 * fault_install before it uses SQLite.
 */
#ifndef RUNLOG_TESTS_FAULT_HELP_H
#define RUNLOG_TESTS_FAULT_HELP_H

#include "core/alloc.h"

#include "check.h"
#include "store_help.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* The kinds, as bits. */
enum {
    FAULT_MEMORY = 1,        /* the core's allocations */
    FAULT_SQLITE_MEMORY = 2, /* SQLite's allocations */
    FAULT_FILE = 4,          /* SQLite's system calls; they set the plan's errno */
    FAULT_WRITE = 8,         /* only those that write: write, sync, truncate */
    FAULT_SHORT = 16,        /* SQLite's writes write half; not an error */
    FAULT_LOCK = 32,    /* SQLite's locks; it takes any errno for "held by another" */
    FAULT_SERVER = 64,  /* calls of libpq */
    FAULT_SYSTEM = 128, /* other calls that a program wraps */
    FAULT_SQLITE = 256  /* calls of SQLite that a program wraps */
};

static struct {
    atomic_uint kinds; /* that may fail now, and are counted */
    atomic_long calls, fail_at;
    atomic_long struck; /* calls that failed */
    atomic_bool go_on;
    atomic_int error; /* errno of system calls */
} fault;

/* Counts a call; whether it must fail. */
static inline bool fault_strikes(unsigned kind)
{
    long call, at = atomic_load(&fault.fail_at);

    if ((atomic_load(&fault.kinds) & kind) == 0) {
        return false;
    }
    call = atomic_fetch_add(&fault.calls, 1) + 1;
    if (at == 0 || call < at || (call > at && !atomic_load(&fault.go_on))) {
        return false;
    }
    atomic_fetch_add(&fault.struck, 1);
    errno = atomic_load(&fault.error);
    return true;
}

static inline void fault_begin(unsigned kinds, int error, long fail_at, bool go_on)
{
    atomic_store(&fault.calls, 0);
    atomic_store(&fault.struck, 0);
    atomic_store(&fault.fail_at, fail_at);
    atomic_store(&fault.go_on, go_on);
    atomic_store(&fault.error, error);
    atomic_store(&fault.kinds, kinds);
}

/* From now on no call fails. */
static inline void fault_over(void)
{
    atomic_store(&fault.kinds, 0);
}

static inline bool fault_hit(void)
{
    return atomic_load(&fault.struck) > 0;
}

/* Defines a function of the linker's --wrap that returns `failed` when the call must fail. */
#define WRAP(kind, failed, result, name, parameters, arguments) \
    result __real_##name parameters;                            \
    result __wrap_##name parameters;                            \
    result __wrap_##name parameters                             \
    {                                                           \
        if (fault_strikes(kind)) {                              \
            return failed;                                      \
        }                                                       \
        return __real_##name arguments;                         \
    }

/* The core's memory. */
static void *fault_resize(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    return fault_strikes(FAULT_MEMORY) ? NULL : realloc(ptr, size);
}

static void fault_release(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

/* SQLite's memory. */
static sqlite3_mem_methods fault_memory;

static void *fault_sqlite_malloc(int size)
{
    return fault_strikes(FAULT_SQLITE_MEMORY) ? NULL : fault_memory.xMalloc(size);
}

static void *fault_sqlite_realloc(void *ptr, int size)
{
    return fault_strikes(FAULT_SQLITE_MEMORY) ? NULL : fault_memory.xRealloc(ptr, size);
}

/* The system calls of SQLite, replaced in its table of them, and those of runlog's own VFS
 * in a program that includes fault_files.h, and so has the linker wrap them. */
#ifndef FAULT_REAL
#define FAULT_REAL(name) name
#endif

static sqlite3_vfs *fault_vfs;

static int fault_open(const char *path, int flags, int mode)
{
    return fault_strikes(FAULT_FILE) ? -1 : FAULT_REAL(open)(path, flags, mode);
}

static int fault_access(const char *path, int mode)
{
    return fault_strikes(FAULT_FILE) ? -1 : access(path, mode);
}

static int fault_stat(const char *path, struct stat *info)
{
    return fault_strikes(FAULT_FILE) ? -1 : stat(path, info);
}

static int fault_fstat(int fd, struct stat *info)
{
    return fault_strikes(FAULT_FILE) ? -1 : FAULT_REAL(fstat)(fd, info);
}

static int fault_truncate(int fd, off_t size)
{
    return fault_strikes(FAULT_FILE | FAULT_WRITE) ? -1 : FAULT_REAL(ftruncate)(fd, size);
}

/* Only requests for a lock fail, not its release, nor the lock of a whole file by which
 * runlog learns whether it may close a descriptor. */
static int fault_fcntl(int fd, int command, ...)
{
    struct flock *lock = NULL;
    va_list args;
    void *arg;

    va_start(args, command);
    arg = va_arg(args, void *);
    va_end(args);
    if (command == F_SETLK || command == F_OFD_SETLK) {
        lock = arg;
    }
    if (lock != NULL && lock->l_type != F_UNLCK && lock->l_len != 0 &&
        fault_strikes(FAULT_LOCK)) {
        return -1;
    }
    return FAULT_REAL(fcntl)(fd, command, arg);
}

static ssize_t fault_read(int fd, void *data, size_t size)
{
    return fault_strikes(FAULT_FILE) ? -1 : read(fd, data, size);
}

static ssize_t fault_pread(int fd, void *data, size_t size, off_t at)
{
    return fault_strikes(FAULT_FILE) ? -1 : FAULT_REAL(pread)(fd, data, size, at);
}

static size_t fault_size(size_t size)
{
    return size > 1 && fault_strikes(FAULT_SHORT) ? size / 2 : size;
}

static ssize_t fault_write(int fd, const void *data, size_t size)
{
    return fault_strikes(FAULT_FILE | FAULT_WRITE) ? -1
                                                   : write(fd, data, fault_size(size));
}

static ssize_t fault_pwrite(int fd, const void *data, size_t size, off_t at)
{
    return fault_strikes(FAULT_FILE | FAULT_WRITE)
               ? -1
               : FAULT_REAL(pwrite)(fd, data, fault_size(size), at);
}

static int fault_unlink(const char *path)
{
    return fault_strikes(FAULT_FILE) ? -1 : unlink(path);
}

static void *fault_mmap(void *at, size_t size, int rights, int flags, int fd, off_t from)
{
    return fault_strikes(FAULT_FILE)
               ? MAP_FAILED
               : FAULT_REAL(mmap)(at, size, rights, flags, fd, from);
}

/* These replace the C library's for SQLite too, which has no entries for them in its
 * table. They do not sync, as no test here simulates power loss. */
#define FAULT_EXPORT __attribute__((visibility("default")))

FAULT_EXPORT int fdatasync(int fd);
FAULT_EXPORT int fsync(int fd);

int fdatasync(int fd)
{
    (void)fd;
    return fault_strikes(FAULT_FILE | FAULT_WRITE) ? -1 : 0;
}

int fsync(int fd)
{
    (void)fd;
    return fault_strikes(FAULT_FILE | FAULT_WRITE) ? -1 : 0;
}

static inline void fault_set(const char *name, sqlite3_syscall_ptr call)
{
    help_need(fault_vfs->xSetSystemCall(fault_vfs, name, call) == SQLITE_OK, name);
}

static inline void fault_install(void)
{
    static const rl_allocator allocator = {fault_resize, fault_release, NULL};
    static bool installed;
    sqlite3_mem_methods own;

    if (installed) {
        return;
    }
    installed = true;
    rl_set_allocator(&allocator);
    help_need(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &fault_memory) == SQLITE_OK &&
                  sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK,
              "SQLite's memory");
    own = fault_memory;
    own.xMalloc = fault_sqlite_malloc;
    own.xRealloc = fault_sqlite_realloc;
    help_need(sqlite3_config(SQLITE_CONFIG_MALLOC, &own) == SQLITE_OK &&
                  sqlite3_initialize() == SQLITE_OK,
              "SQLite");
    fault_vfs = sqlite3_vfs_find(NULL);
    fault_set("open", (sqlite3_syscall_ptr)fault_open);
    fault_set("access", (sqlite3_syscall_ptr)fault_access);
    fault_set("stat", (sqlite3_syscall_ptr)fault_stat);
    fault_set("fstat", (sqlite3_syscall_ptr)fault_fstat);
    fault_set("ftruncate", (sqlite3_syscall_ptr)fault_truncate);
    fault_set("fcntl", (sqlite3_syscall_ptr)fault_fcntl);
    fault_set("read", (sqlite3_syscall_ptr)fault_read);
    fault_set("pread", (sqlite3_syscall_ptr)fault_pread);
    fault_set("pread64", (sqlite3_syscall_ptr)fault_pread);
    fault_set("write", (sqlite3_syscall_ptr)fault_write);
    fault_set("pwrite", (sqlite3_syscall_ptr)fault_pwrite);
    fault_set("pwrite64", (sqlite3_syscall_ptr)fault_pwrite);
    fault_set("unlink", (sqlite3_syscall_ptr)fault_unlink);
    fault_set("mmap", (sqlite3_syscall_ptr)fault_mmap);
}

/* Copies a file that a scenario begins with. */
static inline void copy_file(const char *given, const char *path)
{
    struct stat info;
    int from = open(given, O_RDONLY), to = open(path, O_WRONLY | O_CREAT, 0600);

    help_need(from >= 0 && to >= 0 && fstat(from, &info) == 0, "a copy");
    help_need(sendfile(to, from, NULL, (size_t)info.st_size) == info.st_size, "a copy");
    close(from);
    close(to);
}

static inline int count_entries(const char *path)
{
    DIR *folder = opendir(path);
    int count = 0;

    help_need(folder != NULL, path);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

#ifdef __SANITIZE_THREAD__
static inline void *end_at_once(void *arg)
{
    return arg;
}
#endif

/* With the first thread of a process begins one of TSan's own, which stays: has both begin
 * before threads are counted. */
static inline void begin_threads(void)
{
#ifdef __SANITIZE_THREAD__
    pthread_t first;

    help_need(pthread_create(&first, NULL, end_at_once, NULL) == 0, "a thread");
    pthread_join(first, NULL);
    sleep(1); /* until the kernel has forgotten it */
#endif
}

/* The number of open descriptors of this process. A thread that was left, as that of an
 * attempt to connect which took too long, has its own until it ends: waits until there are
 * no more threads than at first. */
static inline int count_descriptors(void)
{
    const struct timespec pause = {0, 1000000};
    static int at_first;
    int threads;

    if (at_first == 0) {
        begin_threads();
        at_first = count_entries("/proc/self/task");
    }
    threads = count_entries("/proc/self/task");
    for (int i = 0; i < 30000 && threads > at_first; i++) {
        nanosleep(&pause, NULL);
        threads = count_entries("/proc/self/task");
    }
    CHECK(threads <= at_first);
    return count_entries("/proc/self/fd");
}

/* Checks the error of a call that may have failed by injection. */
static inline void check_error(rl_status status, const rl_err *err)
{
    if (status != RL_OK) {
        CHECK(fault_hit());
        CHECK_INT(err->code, status);
        CHECK(err->text[0] != '\0');
        CHECK(status == RL_STORE || status == RL_NOMEM || status == RL_TIMEOUT);
    }
}

/* Which calls fail: the first, the second and so on, each alone and with all that follow.
 * From the `dense`th on only some calls, at growing distances. */
struct fault_plan {
    const char *name;
    unsigned kinds;
    int error;  /* errno */
    long least; /* the scenario makes at least so many calls */
    long dense; /* 0: every call fails once */
    bool once;  /* never with all that follow */
};

/* Plays a scenario whose call number `at` fails; false if it makes fewer calls. */
static inline bool fault_play(const struct fault_plan *plan, long at, bool go_on,
                              void (*scenario)(void))
{
    static char current[200];
    const char *name = check_current;
    int descriptors = count_descriptors();

    snprintf(current, sizeof current, "%s, %s: call %ld%s", name, plan->name, at,
             go_on ? " and on" : "");
    check_current = current;
    fault_begin(plan->kinds, plan->error, at, go_on);
    scenario();
    fault_over();
    CHECK_INT(count_descriptors(), descriptors);
    check_current = name;
    return fault_hit();
}

/* Plays a scenario once for each call that it makes, which fails. In a CHECK_LOOP plays
 * only this process's rounds. The scenario itself calls fault_over before it checks the
 * result, and must close all files. */
static inline void fault_everywhere(const struct fault_plan *plan, void (*scenario)(void))
{
    for (int go_on = 0; go_on < (plan->once ? 1 : 2); go_on++) {
        long at = 1, round = 0;

        for (bool hit = true; hit; round++) {
            int before = atomic_load(&check_failures);

            if (check_mine(round)) {
                hit = fault_play(plan, at, go_on != 0, scenario);
            }
            if (atomic_load(&check_failures) > before + 20) {
                return; /* the rest would fail alike */
            }
            at += plan->dense > 0 && at >= plan->dense ? at / 16 + 1 : 1;
        }
        CHECK(at > plan->least);
    }
}

/* Plays a scenario with every kind of fault that a SQLite file can have. `least`: of the
 * plans for the core's memory, SQLite's memory, EIO, ENOSPC, short writes, and locks.
 * SQLite makes thousands of allocations for the migrations: `dense` is for these. */
static inline void fault_sqlite_file(void (*scenario)(void), const long least[6],
                                     long dense)
{
    const struct fault_plan plans[] = {
        {"the core's memory", FAULT_MEMORY, ENOMEM, least[0], 0, false},
        {"SQLite's memory", FAULT_SQLITE_MEMORY, ENOMEM, least[1], dense, false},
        {"EIO", FAULT_FILE, EIO, least[2], 0, false},
        {"ENOSPC", FAULT_WRITE, ENOSPC, least[3], 0, false},
        {"short writes", FAULT_SHORT, EIO, least[4], 0, false},
        {"locks", FAULT_LOCK, EAGAIN, least[5], 0, true},
    };

    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        fault_everywhere(&plans[i], scenario);
    }
}

#endif
