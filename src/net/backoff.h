/* When a request may be made, or made again: pauses that grow, Retry-After, a token bucket.
 *
 * Threads: the functions may be called from any; a bucket is used by one at a time.
 * Ownership: none; nothing is allocated.
 */
#ifndef RL_BACKOFF_H
#define RL_BACKOFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_BACKOFF_FIRST_NS UINT64_C(250000000)
#define RL_BACKOFF_LAST_NS UINT64_C(8000000000)

/* The pause after so many failures in a row (1 or more): it doubles from 0.25 s to 8 s, and
 * a random part of at most a half is taken off, so that clients that failed together don't
 * come back together. */
uint64_t rl_backoff_ns(unsigned failures);

/* Reads the value of Retry-After, seconds or a date (RFC 9110, section 10.2.3), as the time
 * from `now` (microseconds since 1970) on; a date that is over gives 0. At most 30 years.
 * False when it is neither. */
bool rl_retry_after(const char *value, size_t len, int64_t now, uint64_t *ns);

/* Tokens for requests. There is no limit until the server answers that there were too many;
 * the rate is then half of what it was, and each success raises it by a tenth until it is
 * without a limit again. */
typedef struct rl_bucket {
    double rate;   /* tokens a second; RL_BUCKET_FREE or more: no limit */
    double tokens; /* that there are; at most what a second brings, or 1 */
    double gap;    /* seconds between two requests, of late */
    uint64_t at;   /* when tokens were counted (monotonic, ns) */
    uint64_t last; /* when the last request started (monotonic, ns); 0: none yet */
} rl_bucket;

#define RL_BUCKET_FREE 100.0
#define RL_BUCKET_MIN \
    0.25 /* a request in four seconds is let through, whatever happens */

void rl_bucket_init(rl_bucket *bucket);

/* How long a request has to wait from `now` (monotonic, ns) on until there is a token. */
uint64_t rl_bucket_wait_ns(rl_bucket *bucket, uint64_t now);

void rl_bucket_take(rl_bucket *bucket, uint64_t now); /* a request starts */
void rl_bucket_refused(rl_bucket *bucket);            /* it was one too many */
void rl_bucket_passed(rl_bucket *bucket);             /* it was not */

#endif
