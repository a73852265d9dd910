/* Deltas of JSON objects: what changed since the last snapshot, key by key.
 *
 * LangGraph hands the whole state to every node. A snapshot remembers the state that was
 * stored last, by slices of the arena in which it was stored, so it costs no copy of it; the
 * next state is compared with it by its encoded bytes, and stored as
 *
 *     {"since": 3, "set": {"k": ...}, "append": {"k": [...]}, "unset": ["k"]}
 *
 * with empty members left out. "since" names the base, a number that the caller chooses;
 * "append" holds the new tail of an array that only grew.
 * Ownership: a snapshot owns its lists; texts belong to the arena, which only ever grows.
 * Not thread-safe. Failures (no memory) show in the arena's `failed`.
 */
#ifndef RL_DELTA_H
#define RL_DELTA_H

#include "core/buf.h"

#include <stdint.h>

/* A member of a JSON object, by offsets into its text; the key with its quotes. */
typedef struct rl_member {
    size_t key_at, key_len;
    size_t value_at, value_len;
} rl_member;

/* A JSON object with its members: no members (NULL) stand for a text that is no object, or
 * whose members are not known. */
typedef struct rl_object {
    const char *text;
    size_t len;
    const rl_member *members;
    size_t count;
} rl_object;

#define RL_SINCE_NOTHING (-2) /* there is no snapshot */
#define RL_SINCE_INPUTS (-1)  /* the run's own inputs; "since" is null */

typedef struct rl_snapshot {
    int64_t since;
    rl_buf entries; /* of struct entry, in delta.c */
    rl_buf tails;   /* of struct tail */
} rl_snapshot;

void rl_snapshot_init(rl_snapshot *snapshot);
void rl_snapshot_free(rl_snapshot *snapshot);

/* Makes the object the snapshot, named `since`. Its text stands in the arena from `at` on. */
void rl_snapshot_take(rl_snapshot *snapshot, const rl_object *object, size_t at,
                      int64_t since);

/* Appends to the arena the object as a delta, and true; false (and nothing) when there is no
 * snapshot, or when the object's own text is hardly longer. With `follow` the object becomes
 * the snapshot, named `since`. */
bool rl_snapshot_delta(rl_snapshot *snapshot, const rl_object *object, rl_buf *arena,
                       bool follow, int64_t since);

/* Finds the members of a JSON text that was written by rl_json, appending rl_member to
 * `members`; false when it is no object. */
bool rl_object_split(const char *text, size_t len, rl_buf *members);

#endif
