/* A set of keys whose values are replaced by RL_REDACTED before anything is stored.
 *
 * ASCII case is ignored, and '-' equals '_': "API-Key" matches "api_key".
 * Threads: any may match, once all keys are added. Ownership: the set owns its texts.
 */
#ifndef RL_REDACT_H
#define RL_REDACT_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_REDACTED "<redacted>"
#define RL_REDACT_DEFAULT \
    "password,passwd,secret,token,api_key,apikey,authorization,cookie"

typedef struct rl_redact {
    char **keys; /* owned; in lower case, with '_' for '-' */
    size_t count;
    /* A filter: ends[first byte & 31] has bit (last byte & 31) set for each key. */
    uint32_t ends[32];
} rl_redact;

/* Adds the keys of a list separated by commas, without the white space around them, to a
 * set (at first all zeros). RL_NOMEM. */
rl_status rl_redact_add(rl_redact *set, const char *list, rl_err *err);
void rl_redact_free(rl_redact *set); /* the members, not the struct */

/* The slow path of rl_redact_match: compares the texts. */
bool rl_redact_find(const rl_redact *set, const char *key, size_t len);

/* Whether the set has the key, of `len` bytes. */
static inline bool rl_redact_match(const rl_redact *set, const char *key, size_t len)
{
    return len > 0 && (set->ends[key[0] & 31] >> (key[len - 1] & 31) & 1) != 0 &&
           rl_redact_find(set, key, len);
}

#endif
