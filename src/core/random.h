/* Random bytes of the kernel.
 * Threads: any. No state.
 */
#ifndef RL_RANDOM_H
#define RL_RANDOM_H

#include <stdbool.h>
#include <stddef.h>

/* Fills `to` with `len` bytes, 256 at most. False, with errno, if the kernel gives none:
 * in a sandbox, or, without `wait`, early in the boot. */
bool rl_random_bytes(void *to, size_t len, bool wait);

#endif
