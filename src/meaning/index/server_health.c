/* The health of a server. See server_health.h. */
#include "meaning/index/server_health.h"

#include "core/clock.h"

#include <stdio.h>
#include <string.h>

void rl_server_health_init(rl_server_health *health, const char *work,
                           rl_notices *notices)
{
    memset(health, 0, sizeof *health);
    health->work = work;
    health->notices = notices;
    pthread_mutex_init(&health->lock, NULL);
}

void rl_server_health_destroy(rl_server_health *health)
{
    pthread_mutex_destroy(&health->lock);
}

bool rl_server_health_may_ask(const rl_server_health *health, uint64_t now)
{
    return now >= rl_server_health_again_at(health);
}

uint64_t rl_server_health_again_at(const rl_server_health *health)
{
    return rl_breaker_is_open(&health->breaker) ? atomic_load(&health->breaker.retry_at)
                                                : 0;
}

void rl_server_health_ok(rl_server_health *health)
{
    bool changed;

    if (!rl_breaker_is_open(&health->breaker)) {
        return;
    }
    pthread_mutex_lock(&health->lock);
    changed = rl_breaker_record_success(&health->breaker);
    health->refuses = false;
    pthread_mutex_unlock(&health->lock);
    if (changed) {
        rl_notices_add(health->notices, RL_NOTICE_WARNING, "%s continues", health->work);
    }
}

void rl_server_health_failed(rl_server_health *health, const rl_err *err)
{
    const bool refuses = !err->retryable && !err->garbled;
    const uint64_t after = err->retry_after_ns < RL_INDEX_AFTER_MOST_NS
                               ? err->retry_after_ns
                               : RL_INDEX_AFTER_MOST_NS;
    uint64_t now = rl_monotonic_ns();
    bool changed;

    pthread_mutex_lock(&health->lock);
    changed = rl_breaker_record_failure(&health->breaker, now);
    changed = changed || health->refuses != refuses;
    health->refuses = refuses;
    health->error = *err;
    if (refuses) {
        atomic_store(&health->breaker.retry_at, now + RL_INDEX_REFUSED_NS);
    } else if (now + after > atomic_load(&health->breaker.retry_at)) {
        atomic_store(&health->breaker.retry_at, now + after);
    }
    pthread_mutex_unlock(&health->lock);
    if (changed) {
        rl_notices_add(health->notices, refuses ? RL_NOTICE_ERROR : RL_NOTICE_WARNING,
                       "%s waits: %s", health->work, err->text);
    }
}

void rl_server_health_error(rl_server_health *health, char *text, size_t size)
{
    pthread_mutex_lock(&health->lock);
    snprintf(text, size, "%s",
             rl_breaker_is_open(&health->breaker) ? health->error.text : "");
    pthread_mutex_unlock(&health->lock);
}

bool rl_server_health_refuses(rl_server_health *health)
{
    bool refuses;

    pthread_mutex_lock(&health->lock);
    refuses = health->refuses;
    pthread_mutex_unlock(&health->lock);
    return refuses;
}
