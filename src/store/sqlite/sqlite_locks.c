/* SQLite's global mutexes around a fork. See sqlite_locks.h. */
#include "store/sqlite/sqlite_locks.h"

#include "core/fork.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

/* Source: sqlite3.h, "Mutex Types": the static ones that SQLite itself uses. */
static const int types[] = {
    SQLITE_MUTEX_STATIC_MAIN, SQLITE_MUTEX_STATIC_MEM,  SQLITE_MUTEX_STATIC_OPEN,
    SQLITE_MUTEX_STATIC_PRNG, SQLITE_MUTEX_STATIC_LRU,  SQLITE_MUTEX_STATIC_PMEM,
    SQLITE_MUTEX_STATIC_VFS1, SQLITE_MUTEX_STATIC_VFS2, SQLITE_MUTEX_STATIC_VFS3,
};
#define COUNT (sizeof types / sizeof *types)

static sqlite3_mutex *locks[COUNT]; /* NULL in a library built without threads */

static void leave(size_t count)
{
    while (count > 0) {
        sqlite3_mutex_leave(locks[--count]);
    }
}

/* All or none, as SQLite's order of taking them is not documented: waiting for one while
 * holding another could deadlock. */
static bool try_all(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (sqlite3_mutex_try(locks[i]) != SQLITE_OK) {
            leave(i);
            return false;
        }
    }
    return true;
}

static void before_fork(void *ctx)
{
    const struct timespec moment = {0, 20000};

    (void)ctx;
    while (!try_all()) { /* SQLite holds none of them during a transaction or an fsync */
        nanosleep(&moment, NULL);
    }
}

static void after_fork(void *ctx)
{
    (void)ctx;
    leave(COUNT);
}

static void join(void)
{
    static rl_fork_member member = {
        .prepare = before_fork, .parent = after_fork, .child = after_fork};

    for (size_t i = 0; i < COUNT; i++) {
        locks[i] = sqlite3_mutex_alloc(types[i]);
    }
    rl_fork_join(&member);
}

void rl_sqlite_locks_join(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, join);
}
