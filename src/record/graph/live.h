/* Open runs, written while they last: by the worker, once in a while, and by flush and close.
 *
 * Threads: every function from any thread; those that write may wait. Ownership: the struct is
 * its recorder's, who has no table of graphs until one is to be watched.
 */
#ifndef RL_LIVE_H
#define RL_LIVE_H

#include "record/graph/graph.h"

#include <stdatomic.h>

typedef struct rl_live {
    _Atomic(rl_graphs *) graphs;
    atomic_uint_fast64_t next; /* when the worker looks again, monotonic nanoseconds */
} rl_live;

void rl_live_init(rl_live *live);

/* A graph was opened that is to be written in `interval_ns`. True when the worker has to be
 * woken for that; a stream of short runs wakes it once an interval. */
bool rl_live_watch(rl_live *live, rl_graphs *graphs, uint64_t interval_ns);

/* Commits a sealed run. */
typedef rl_status (*rl_live_commit)(void *ctx, rl_run *run, rl_err *err);

/* For the worker: writes the graphs of this recorder that have changed and are due. Returns
 * when to look again. */
uint64_t rl_live_write_scheduled(rl_live *live, const void *recorder,
                                 rl_live_commit commit, void *ctx);

/* For any other thread: writes all that have changed. When the worker looks again stays. */
void rl_live_write_all(rl_live *live, const void *recorder, rl_live_commit commit,
                       void *ctx);

#endif
