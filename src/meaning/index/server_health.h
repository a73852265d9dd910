/* The health of a server that the indexer works with: available, unavailable, or refusing
 * every request.
 *
 * Threads: one thread, the one of the stage, reports answers and asks
 * rl_server_health_may_ask; _error and _refuses from any. Ownership: borrows the name of
 * the work and the notices.
 */
#ifndef RL_SERVER_HEALTH_H
#define RL_SERVER_HEALTH_H

#include "core/breaker.h"
#include "core/err.h"
#include "core/notice.h"

#include <pthread.h>

/* The longest Retry-After that is obeyed. */
#define RL_INDEX_AFTER_MOST_NS UINT64_C(3600000000000)
/* Between two requests to a server that refuses: a retry only helps after somebody has
 * changed a setting. */
#define RL_INDEX_REFUSED_NS UINT64_C(300000000000)

typedef struct rl_server_health {
    const char *work; /* what waits for the server, as log messages call it */
    rl_notices *notices;
    rl_breaker breaker;   /* open: the server is unavailable, or refuses */
    pthread_mutex_t lock; /* guards what follows; never held while waiting */
    bool refuses;
    rl_err error; /* the last failure */
} rl_server_health;

void rl_server_health_init(rl_server_health *health, const char *work,
                           rl_notices *notices);
void rl_server_health_destroy(rl_server_health *health);

/* Whether the server may get a request at `now` (monotonic nanoseconds). */
bool rl_server_health_may_ask(const rl_server_health *health, uint64_t now);

/* When it may get the next one: monotonic nanoseconds, or 0 for at once. */
uint64_t rl_server_health_again_at(const rl_server_health *health);

/* Records a success, or a failure. A failure that is neither retryable nor garbled means
 * that the server refuses every request. Each logs a change. */
void rl_server_health_ok(rl_server_health *health);
void rl_server_health_failed(rl_server_health *health, const rl_err *err);

/* Copies the last failure; "" while the server is available. */
void rl_server_health_error(rl_server_health *health, char *text, size_t size);

/* Whether the last failure was a refusal of every request. */
bool rl_server_health_refuses(rl_server_health *health);

#endif
