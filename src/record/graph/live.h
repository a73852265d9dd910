/* Writes open runs to the database: the worker writes those whose interval has passed,
 * flush and close write all, and a thread that needs memory the least recently used.
 *
 * Threads: every function from any thread; those that write may wait. Ownership: the
 * struct is its recorder's. It has no table of graphs (borrowed) before the first
 * rl_live_watch or rl_live_call.
 */
#ifndef RL_LIVE_H
#define RL_LIVE_H

#include "record/graph/graph.h"

#include <stdatomic.h>

typedef struct rl_live {
    _Atomic(rl_graphs *) graphs;
    atomic_uint_fast64_t next; /* the worker's next write; nanoseconds, monotonic clock */
    atomic_bool short_of_memory; /* the worker was notified */
} rl_live;

void rl_live_init(rl_live *live);

/* A graph was opened in the table, to be written every `interval_ns` after its first
 * write (see rl_live_first). True when the caller must wake the worker: at most once in
 * the time until that. */
bool rl_live_watch(rl_live *live, rl_graphs *graphs, uint64_t interval_ns);

/* Commits a sealed run. */
typedef rl_status (*rl_live_commit)(void *ctx, rl_run *run, rl_err *err);

/* For the worker: takes back memory if there is little, and writes the graphs of this
 * recorder that have changed and whose interval has passed. Returns the time of the next
 * write (nanoseconds, monotonic clock). */
uint64_t rl_live_write_scheduled(rl_live *live, const void *recorder,
                                 rl_live_commit commit, void *ctx);

/* For any other thread: writes all graphs of this recorder that have changed. */
void rl_live_write_all(rl_live *live, const void *recorder, rl_live_commit commit,
                       void *ctx);

/* Memory is short: true when the caller must wake the worker. */
bool rl_live_call(rl_live *live, rl_graphs *graphs);

/* For the thread of an event: takes back a little memory if open runs take more than
 * their limit. */
void rl_live_relieve(rl_graphs *graphs, const void *recorder, rl_live_commit commit,
                     void *ctx);

#endif
