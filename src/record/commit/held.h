/* Workflows whose runs the server does not take for now, while it takes those of others:
 * where the tables lie on several servers, one of these may be away.
 *
 * Threads: the worker alone. All zero: none.
 */
#ifndef RL_HELD_H
#define RL_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_HELD_MAX 256 /* of more, those are forgotten whose time ends first */

typedef struct rl_held {
    uint64_t hashes[RL_HELD_MAX]; /* of the workflows; two of one hash wait together */
    uint64_t until[RL_HELD_MAX];  /* when to ask again; nanoseconds, monotonic clock */
    size_t count;
} rl_held;

void rl_held_add(rl_held *held, const char *wpk_id, uint64_t until);
bool rl_held_has(const rl_held *held, const char *wpk_id, uint64_t now);

/* Forgets those whose time has come. Whether any is left. */
bool rl_held_tidy(rl_held *held, uint64_t now);

#endif
