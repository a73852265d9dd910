/* A server that the indexer works with. See index_peer.h. */
#include "meaning/index/index_peer.h"

#include "core/clock.h"

#include <stdio.h>
#include <string.h>

void rl_index_peer_init(rl_index_peer *peer, const char *work, rl_notices *notices)
{
    memset(peer, 0, sizeof *peer);
    peer->work = work;
    peer->notices = notices;
    pthread_mutex_init(&peer->lock, NULL);
}

void rl_index_peer_destroy(rl_index_peer *peer)
{
    pthread_mutex_destroy(&peer->lock);
}

bool rl_index_peer_may_ask(const rl_index_peer *peer, uint64_t now)
{
    return now >= rl_index_peer_again_at(peer);
}

uint64_t rl_index_peer_again_at(const rl_index_peer *peer)
{
    return rl_breaker_is_open(&peer->breaker) ? atomic_load(&peer->breaker.retry_at) : 0;
}

void rl_index_peer_well(rl_index_peer *peer)
{
    bool news;

    if (!rl_breaker_is_open(&peer->breaker)) {
        return;
    }
    pthread_mutex_lock(&peer->lock);
    news = rl_breaker_pass(&peer->breaker);
    peer->refuses = false;
    pthread_mutex_unlock(&peer->lock);
    if (news) {
        rl_notices_add(peer->notices, RL_NOTICE_WARNING, "%s goes on", peer->work);
    }
}

void rl_index_peer_failed(rl_index_peer *peer, const rl_err *err)
{
    const bool refuses = !err->retryable && !err->garbled;
    const uint64_t after =
        err->again_ns < RL_INDEX_AFTER_MOST_NS ? err->again_ns : RL_INDEX_AFTER_MOST_NS;
    uint64_t now = rl_monotonic_ns();
    bool news;

    pthread_mutex_lock(&peer->lock);
    news = rl_breaker_fail(&peer->breaker, now);
    news = news || peer->refuses != refuses;
    peer->refuses = refuses;
    peer->error = *err;
    if (refuses) {
        atomic_store(&peer->breaker.retry_at, now + RL_INDEX_REFUSED_NS);
    } else if (now + after > atomic_load(&peer->breaker.retry_at)) {
        atomic_store(&peer->breaker.retry_at, now + after);
    }
    pthread_mutex_unlock(&peer->lock);
    if (news) {
        rl_notices_add(peer->notices, refuses ? RL_NOTICE_ERROR : RL_NOTICE_WARNING,
                       "%s waits: %s", peer->work, err->text);
    }
}

void rl_index_peer_error(rl_index_peer *peer, char *text, size_t size)
{
    pthread_mutex_lock(&peer->lock);
    snprintf(text, size, "%s",
             rl_breaker_is_open(&peer->breaker) ? peer->error.text : "");
    pthread_mutex_unlock(&peer->lock);
}

bool rl_index_peer_refuses(rl_index_peer *peer)
{
    bool refuses;

    pthread_mutex_lock(&peer->lock);
    refuses = peer->refuses;
    pthread_mutex_unlock(&peer->lock);
    return refuses;
}
