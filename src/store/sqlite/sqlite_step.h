/* The steps of long work on a SQLite file, such as a deletion: each is a transaction that
 * holds the lock so briefly that nobody notices.
 *
 * Threads: as rl_sqlite_file.
 */
#ifndef RL_SQLITE_STEP_H
#define RL_SQLITE_STEP_H

#include "core/clock.h"
#include "store/sqlite/sqlite_file.h"

/* A step ends after this time with the lock, plus that of its commit; or when another
 * thread wants to write. */
#define RL_SQLITE_STEP_NS UINT64_C(1000000)
/* The pause after a step: so many times as long as that, and at most so long. */
#define RL_SQLITE_STEP_PAUSES 2
#define RL_SQLITE_STEP_PAUSE_MAX_NS UINT64_C(50000000)
/* How often, and how long, a step waits for a checkpoint. */
#define RL_SQLITE_STEP_WAITS 500
#define RL_SQLITE_STEP_WAIT_NS UINT64_C(2000000)

/* Whether a step that began at `start` ends here, after so many things done: one at least,
 * so that the work ends also where others always wait, or the machine is slow. */
static inline bool rl_sqlite_step_is_over(rl_sqlite_file *file, uint64_t start,
                                          size_t done)
{
    return done > 0 && (rl_monotonic_ns() - start >= RL_SQLITE_STEP_NS ||
                        rl_sqlite_file_has_waiting(file));
}

/* The pause after a step, nanoseconds. */
static inline uint64_t rl_sqlite_step_pause(uint64_t start)
{
    const uint64_t pause = RL_SQLITE_STEP_PAUSES * (rl_monotonic_ns() - start);

    return pause < RL_SQLITE_STEP_PAUSE_MAX_NS ? pause : RL_SQLITE_STEP_PAUSE_MAX_NS;
}

/* A checkpoint, which writes as much as a disk takes, goes first: then true, with the
 * pause. */
static inline bool rl_sqlite_step_waits(rl_sqlite_file *file, unsigned *waits,
                                        uint64_t *pause_ns)
{
    const bool wait =
        rl_sqlite_file_is_checkpointing(file) && *waits < RL_SQLITE_STEP_WAITS;

    *waits = wait ? *waits + 1 : 0;
    if (wait) {
        *pause_ns = RL_SQLITE_STEP_WAIT_NS;
    }
    return wait;
}

#endif
