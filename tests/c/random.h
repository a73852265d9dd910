/* Pseudo-random numbers for the C tests, the same at each run: S. Vigna's splitmix64,
 * with a seed that the test chooses.
 */
#ifndef RUNLOG_TESTS_RANDOM_H
#define RUNLOG_TESTS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A number from 0 to count - 1. */
static inline size_t random_below(uint64_t *state, size_t count)
{
    return (size_t)(random_next(state) % count);
}

#endif
