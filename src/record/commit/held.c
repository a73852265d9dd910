/* Workflows that wait. See held.h. */
#include "record/commit/held.h"

#include "core/hash.h"

#include <string.h>

void rl_held_add(rl_held *held, const char *wpk_id, uint64_t until)
{
    size_t at = held->count;

    if (at == RL_HELD_MAX) {
        at = 0;
        for (size_t i = 1; i < held->count; i++) {
            at = held->until[i] < held->until[at] ? i : at;
        }
    } else {
        held->count++;
    }
    held->hashes[at] = rl_hash(wpk_id, strlen(wpk_id));
    held->until[at] = until;
}

bool rl_held_has(const rl_held *held, const char *wpk_id, uint64_t now)
{
    const uint64_t hash = rl_hash(wpk_id, strlen(wpk_id));
    bool found = false;

    for (size_t i = 0; i < held->count && !found; i++) {
        found = held->hashes[i] == hash && held->until[i] > now;
    }
    return found;
}

bool rl_held_tidy(rl_held *held, uint64_t now)
{
    size_t kept = 0;

    for (size_t i = 0; i < held->count; i++) {
        if (held->until[i] > now) {
            held->hashes[kept] = held->hashes[i];
            held->until[kept++] = held->until[i];
        }
    }
    held->count = kept;
    return kept > 0;
}
