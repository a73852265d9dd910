/* What a fork leaves behind. See fork.h. */
#include "record/fork.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_uint generation;
static atomic_int open_files;
static atomic_int inherited_files;

/* Runs in the child, which has one thread then. */
static void after_fork_in_child(void)
{
    atomic_fetch_add(&generation, 1);
    atomic_fetch_add(&inherited_files, atomic_exchange(&open_files, 0));
}

static void start_watching(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

void rl_fork_watch(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, start_watching);
}

unsigned rl_fork_generation(void)
{
    return atomic_load_explicit(&generation, memory_order_relaxed);
}

void rl_fork_opened_sqlite(void)
{
    atomic_fetch_add(&open_files, 1);
}

void rl_fork_closed_sqlite(void)
{
    atomic_fetch_sub(&open_files, 1);
}

bool rl_fork_inherited_sqlite(void)
{
    return atomic_load(&inherited_files) > 0;
}
