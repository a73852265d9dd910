/* A server that the indexer works with, as it has found it: well, away, or refusing.
 *
 * Threads: the indexer's thread changes it; rl_server_health_error from any. Ownership: borrows
 * what it is made with.
 */
#ifndef RL_SERVER_HEALTH_H
#define RL_SERVER_HEALTH_H

#include "core/err.h"
#include "core/notice.h"
#include "record/breaker.h"

#include <pthread.h>

/* The longest Retry-After that is followed. */
#define RL_INDEX_AFTER_MOST_NS UINT64_C(3600000000000)
/* Before a server that refuses is asked again: nothing is wrong with the network there. */
#define RL_INDEX_REFUSED_NS UINT64_C(300000000000)

typedef struct rl_server_health {
    const char *work; /* what waits for it, in what is told */
    rl_notices *notices;
    rl_breaker breaker;   /* open: it is away, or refuses */
    pthread_mutex_t lock; /* guards what follows; held for no time */
    bool refuses;
    rl_err error; /* why, when it is open */
} rl_server_health;

void rl_server_health_init(rl_server_health *health, const char *work,
                           rl_notices *notices);
void rl_server_health_destroy(rl_server_health *health);

/* Whether it may be asked at `now` (monotonic nanoseconds), and from when on. */
bool rl_server_health_may_ask(const rl_server_health *health, uint64_t now);
uint64_t rl_server_health_again_at(const rl_server_health *health);

/* It has answered as it should; or has not, or refuses whatever it is asked (an error that
 * is neither retryable nor garbled). What is new about that is told. */
void rl_server_health_ok(rl_server_health *health);
void rl_server_health_failed(rl_server_health *health, const rl_err *err);

/* Copies why it is not well; "" when it is. */
void rl_server_health_error(rl_server_health *health, char *text, size_t size);
bool rl_server_health_refuses(rl_server_health *health);

#endif
