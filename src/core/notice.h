/* What a user should be told through Python's logging. It comes up in threads that may not
 * touch Python, so it waits here until a thread with the GIL passes by.
 *
 * Threads: any. Bounded: when nobody takes them, the newest are dropped.
 */
#ifndef RL_NOTICE_H
#define RL_NOTICE_H

#include "core/err.h"

#include <pthread.h>
#include <stdatomic.h>

#define RL_NOTICES 16

typedef enum rl_notice_level {
    RL_NOTICE_INFO,
    RL_NOTICE_WARNING,
    RL_NOTICE_ERROR
} rl_notice_level;

typedef struct rl_notice {
    rl_notice_level level;
    char text[RL_ERR_TEXT + 256];
} rl_notice;

typedef struct rl_notices {
    pthread_mutex_t lock;
    atomic_uint count; /* written under the lock */
    rl_notice list[RL_NOTICES];
} rl_notices;

void rl_notices_init(rl_notices *notices);
void rl_notices_destroy(rl_notices *notices);

/* Adds one; nothing where notices is NULL. */
void rl_notices_add(rl_notices *notices, rl_notice_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Takes the oldest; false when there is none. Quick then. */
bool rl_notices_take(rl_notices *notices, rl_notice *notice);

#endif
