/* What waits in the journal while others are forwarded: workflows whose server is away,
 * where the tables lie on several servers, and runs that take the server too long.
 *
 * Threads: the worker alone. All zero: none.
 */
#ifndef RL_HELD_H
#define RL_HELD_H

#include "core/run.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_HELD_MAX 256 /* of more, those are forgotten whose time ends first */

typedef struct rl_held {
    uint64_t keys[RL_HELD_MAX];   /* hashes: two of one key wait together */
    uint64_t until[RL_HELD_MAX];  /* when to ask again; nanoseconds, monotonic clock */
    uint64_t pauses[RL_HELD_MAX]; /* how long it was held, the last time */
    size_t count;
} rl_held;

uint64_t rl_held_workflow(const rl_run *run); /* the key of its workflow */
uint64_t rl_held_run(const rl_run *run);      /* of the run: all logs of its name */

/* Holds a key from now on for `pause_ns`, and for twice as long each time again, up to
 * `most_ns`. Whether it was not held before. */
bool rl_held_add(rl_held *held, uint64_t key, uint64_t now, uint64_t pause_ns,
                 uint64_t most_ns);
void rl_held_remove(rl_held *held, uint64_t key);

/* Whether a key was added, and not removed or forgotten; whether its time has not come. */
bool rl_held_knows(const rl_held *held, uint64_t key);
bool rl_held_has(const rl_held *held, uint64_t key, uint64_t now);

/* Forgets those whose time came `kept_ns` ago. Whether any is left. */
bool rl_held_tidy(rl_held *held, uint64_t now, uint64_t kept_ns);

#endif
