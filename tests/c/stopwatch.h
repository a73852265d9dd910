/* A clock for bounds that busy neighbours may not make fail: it stands still while this
 * thread is ready to run and others have the processors. Linux counts that; on another
 * system it is the monotonic clock.
 */
#ifndef RUNLOG_TESTS_STOPWATCH_H
#define RUNLOG_TESTS_STOPWATCH_H

#include "core/clock.h"

#include <inttypes.h>
#include <stdio.h>

/* Nanoseconds; only the difference of two of the same thread means something. */
static inline uint64_t stopwatch_ns(void)
{
    FILE *file = fopen("/proc/thread-self/schedstat", "r");
    uint64_t ran = 0, waited = 0;

    if (file != NULL) {
        if (fscanf(file, "%" SCNu64 " %" SCNu64, &ran, &waited) != 2) {
            waited = 0;
        }
        fclose(file);
    }
    return rl_monotonic_ns() - waited;
}

#endif
