/* Notices: messages for Python's logging. They arise in threads that may not touch
 * Python, and wait in a queue until a thread with the GIL logs them.
 *
 * Threads: any. The queue holds RL_NOTICES; further notices are dropped while it is full.
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

/* Adds a notice; does nothing when `notices` is NULL. */
void rl_notices_add(rl_notices *notices, rl_notice_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Takes the oldest notice; false when there is none, without taking the lock. */
bool rl_notices_take(rl_notices *notices, rl_notice *notice);

#endif
