/* The set of keys whose values are replaced before anything is stored.
 *
 * A key matches without regard to ASCII case, and with '-' as '_': "API-Key" is "api_key".
 * Ownership: the set owns its texts. Read-only after rl_redact_add, so any thread may match.
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
    char **keys; /* owned, folded */
    size_t count;
    uint32_t
        ends[32]; /* by first byte & 31: bit b & 31 for each last byte b of the keys */
} rl_redact;

/* Adds the keys of a list separated by commas; white space around a key is left out. */
rl_status rl_redact_add(rl_redact *set, const char *list, rl_err *err);
void rl_redact_free(rl_redact *set);

/* The slow half of rl_redact_match: compares the text. */
bool rl_redact_find(const rl_redact *set, const char *key, size_t len);

static inline bool rl_redact_match(const rl_redact *set, const char *key, size_t len)
{
    return len > 0 && (set->ends[key[0] & 31] >> (key[len - 1] & 31) & 1) != 0 &&
           rl_redact_find(set, key, len);
}

#endif
