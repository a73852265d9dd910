/* When a request may start: exponential backoff, Retry-After, and a token bucket.
 *
 * Threads: any; one at a time uses a bucket. Nothing is allocated.
 */
#ifndef RL_BACKOFF_H
#define RL_BACKOFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_BACKOFF_FIRST_NS UINT64_C(250000000)
#define RL_BACKOFF_LAST_NS UINT64_C(8000000000)

/* The pause in nanoseconds after `failures` attempts in a row (1 or more). It doubles
 * from 0.25 s to 8 s; a random part of up to a half is subtracted, so that clients that
 * failed together don't retry together. */
uint64_t rl_backoff_ns(unsigned failures);

/* Reads the value of Retry-After, seconds or a date (RFC 9110, section 10.2.3). Sets *ns
 * to the nanoseconds from `now` (microseconds since 1970) on: 0 for a date in the past,
 * at most 30 years. False when the value is neither. */
bool rl_retry_after(const char *value, size_t len, int64_t now, uint64_t *ns);

/* A token bucket; each request takes a token. There is no limit until the server answers
 * 429. That sets the rate to half the current one, and each success raises it by a tenth,
 * until there is no limit again. */
typedef struct rl_bucket {
    double rate;         /* tokens per second; RL_BUCKET_UNLIMITED or more: no limit */
    double tokens;       /* available; at most those of one second, or 1 */
    double gap;          /* moving average of the seconds between two requests */
    uint64_t counted_at; /* when `tokens` was updated (monotonic, ns) */
    uint64_t started_at; /* when the last request started (monotonic, ns); 0: none yet */
} rl_bucket;

#define RL_BUCKET_UNLIMITED 100.0 /* tokens per second */
#define RL_BUCKET_MIN 0.25        /* tokens per second: the lowest rate */

void rl_bucket_init(rl_bucket *bucket);

/* The nanoseconds from `now` (monotonic, ns) until there is a token; 0: there is one. */
uint64_t rl_bucket_wait_ns(rl_bucket *bucket, uint64_t now);

void rl_bucket_take(rl_bucket *bucket, uint64_t now); /* a request starts */
void rl_bucket_throttle(rl_bucket *bucket);           /* the server answered 429 */
void rl_bucket_succeed(rl_bucket *bucket);            /* the server took the request */

#endif
