/* When a request may start. See backoff.h. */
#include "net/backoff.h"

#include "core/clock.h"
#include "core/random.h"

#include <curl/curl.h>
#include <string.h>

#define LONGEST_S INT64_C(999999999) /* nine digits of seconds: 30 years */
#define DATE_TEXT 64
#define GAP_MAX 1.0 /* seconds; a longer pause says nothing about the rate */
#define NS_PER_S 1e9

/* Uses the clock where the kernel gives no random bytes (in a sandbox). */
static uint64_t random_bits(void)
{
    uint64_t bits;

    if (!rl_random_bytes(&bits, sizeof bits, false)) {
        bits = rl_monotonic_ns() * UINT64_C(0x9e3779b97f4a7c15);
    }
    return bits;
}

uint64_t rl_backoff_ns(unsigned failures)
{
    uint64_t pause = RL_BACKOFF_FIRST_NS;

    for (unsigned i = 1; i < failures && pause < RL_BACKOFF_LAST_NS; i++) {
        pause *= 2;
    }
    return pause - random_bits() % (pause / 2 + 1);
}

bool rl_retry_after(const char *value, size_t len, int64_t now, uint64_t *ns)
{
    int64_t seconds = 0;
    size_t digits = 0;
    char date[DATE_TEXT];
    time_t at;

    while (len > 0 && (*value == ' ' || *value == '\t')) {
        value++;
        len--;
    }
    while (len > 0 && strchr(" \t\r\n", value[len - 1]) != NULL) {
        len--;
    }
    if (len == 0 || len >= sizeof date) {
        return false;
    }
    for (; digits < len && value[digits] >= '0' && value[digits] <= '9'; digits++) {
        seconds = seconds > LONGEST_S ? seconds : seconds * 10 + (value[digits] - '0');
    }
    if (digits < len) {
        memcpy(date, value, len);
        date[len] = '\0';
        at = curl_getdate(date, NULL);
        if (at == (time_t)-1) {
            return false;
        }
        seconds = (int64_t)at - now / 1000000;
        seconds = seconds > 0 ? seconds : 0;
    }
    seconds = seconds > LONGEST_S ? LONGEST_S : seconds;
    *ns = (uint64_t)seconds * UINT64_C(1000000000);
    return true;
}

void rl_bucket_init(rl_bucket *bucket)
{
    *bucket = (rl_bucket){.rate = RL_BUCKET_UNLIMITED, .tokens = 1, .gap = GAP_MAX};
}

/* Adds the tokens of the time since the last update. */
static void refill(rl_bucket *bucket, uint64_t now)
{
    const double most = bucket->rate > 1 ? bucket->rate : 1;

    if (now > bucket->counted_at) {
        bucket->tokens += (double)(now - bucket->counted_at) / NS_PER_S * bucket->rate;
        bucket->counted_at = now;
    }
    bucket->tokens = bucket->tokens < most ? bucket->tokens : most;
}

uint64_t rl_bucket_wait_ns(rl_bucket *bucket, uint64_t now)
{
    uint64_t wait = 0;

    if (bucket->rate < RL_BUCKET_UNLIMITED) {
        refill(bucket, now);
        if (bucket->tokens < 1) { /* 1 ns more, as the division rounds down */
            wait = (uint64_t)((1 - bucket->tokens) / bucket->rate * NS_PER_S) + 1;
        }
    }
    return wait;
}

void rl_bucket_take(rl_bucket *bucket, uint64_t now)
{
    double gap = GAP_MAX;

    if (bucket->started_at != 0 && now > bucket->started_at) {
        gap = (double)(now - bucket->started_at) / NS_PER_S;
        gap = gap < GAP_MAX ? gap : GAP_MAX;
    }
    bucket->gap += (gap - bucket->gap) / 4;
    bucket->started_at = now;
    refill(bucket, now);
    bucket->tokens = bucket->tokens > 1 ? bucket->tokens - 1 : 0;
}

void rl_bucket_throttle(rl_bucket *bucket)
{
    const double seen = 1 / (bucket->gap > 1e-3 ? bucket->gap : 1e-3);

    bucket->rate = (bucket->rate < seen ? bucket->rate : seen) / 2;
    bucket->rate = bucket->rate > RL_BUCKET_MIN ? bucket->rate : RL_BUCKET_MIN;
    bucket->tokens = 0;
}

void rl_bucket_succeed(rl_bucket *bucket)
{
    if (bucket->rate < RL_BUCKET_UNLIMITED) {
        bucket->rate *= 1.1;
    }
}
