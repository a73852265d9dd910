/* What waits in the journal. See held.h. */
#include "record/commit/held.h"

#include "core/hash.h"

#include <string.h>

static uint64_t hash_text(const rl_run *run, rl_column field)
{
    const char *text = rl_run_text(run, field);

    return rl_hash(text, strlen(text));
}

uint64_t rl_held_workflow(const rl_run *run)
{
    return hash_text(run, RL_WPK_ID);
}

uint64_t rl_held_run(const rl_run *run)
{
    return hash_text(run, RL_WPK_ID) * 31 + hash_text(run, RL_RUN_ID);
}

/* held->count if there is none. */
static size_t find(const rl_held *held, uint64_t key)
{
    size_t at = 0;

    while (at < held->count && held->keys[at] != key) {
        at++;
    }
    return at;
}

static void move(rl_held *held, size_t to, size_t from)
{
    held->keys[to] = held->keys[from];
    held->until[to] = held->until[from];
    held->pauses[to] = held->pauses[from];
}

bool rl_held_add(rl_held *held, uint64_t key, uint64_t now, uint64_t pause_ns,
                 uint64_t most_ns)
{
    size_t at = find(held, key);
    const bool added = at == held->count;

    if (!added) {
        pause_ns = held->pauses[at] < most_ns / 2 ? held->pauses[at] * 2 : most_ns;
    } else if (held->count < RL_HELD_MAX) {
        held->count++;
    } else {
        at = 0;
        for (size_t i = 1; i < held->count; i++) {
            at = held->until[i] < held->until[at] ? i : at;
        }
    }
    held->keys[at] = key;
    held->until[at] = now + pause_ns;
    held->pauses[at] = pause_ns;
    return added;
}

void rl_held_remove(rl_held *held, uint64_t key)
{
    const size_t at = find(held, key);

    if (at < held->count) {
        move(held, at, --held->count);
    }
}

bool rl_held_knows(const rl_held *held, uint64_t key)
{
    return find(held, key) < held->count;
}

bool rl_held_has(const rl_held *held, uint64_t key, uint64_t now)
{
    const size_t at = find(held, key);

    return at < held->count && held->until[at] > now;
}

bool rl_held_tidy(rl_held *held, uint64_t now, uint64_t kept_ns)
{
    size_t kept = 0;

    for (size_t i = 0; i < held->count; i++) {
        if (held->until[i] + kept_ns > now) {
            move(held, kept++, i);
        }
    }
    held->count = kept;
    return kept > 0;
}
