/* Deltas of JSON objects: the members that changed since a snapshot.
 *
 * LangGraph hands the whole state to every node. A snapshot refers to the state that was
 * stored last by offsets into the arena that holds its text, so it copies nothing. The
 * next state is compared with the snapshot, by encoded bytes, and stored as
 *
 *     {"since": 3, "set": {"k": ...}, "append": {"k": [...]}, "unset": ["k"]}
 *
 * Empty members are left out. "since" names the snapshot, by a number that the caller
 * chooses; "append" has the new elements of an array that has only grown.
 * A text that has left the arena is known by its hash (value.h).
 * Ownership: a snapshot owns its lists. The texts belong to the arena, which must only
 * grow.
 * Not thread-safe. Without memory, the arena's `failed` is set.
 */
#ifndef RL_DELTA_H
#define RL_DELTA_H

#include "core/split.h"

#include <stdint.h>

/* A JSON object with its members, all borrowed. `members` is NULL for a text that is not
 * an object, or whose members are not known. */
typedef struct rl_object {
    const char *text;
    size_t len;
    const rl_member *members;
    size_t count;
} rl_object;

#define RL_SINCE_NOTHING (-2) /* no snapshot has been taken */
#define RL_SINCE_INPUTS (-1)  /* the run's own inputs; "since" is null */

typedef struct rl_snapshot {
    int64_t since;  /* its name, or one of the two above */
    rl_buf entries; /* of struct entry, in delta.c */
    rl_buf tails;   /* of struct tail */
} rl_snapshot;

void rl_snapshot_init(rl_snapshot *snapshot);
void rl_snapshot_free(rl_snapshot *snapshot);

/* Makes the object the snapshot, named `since`. The object's text must be in the arena,
 * at offset `at`. */
void rl_snapshot_take(rl_snapshot *snapshot, const rl_object *object, size_t at,
                      int64_t since);

/* Appends the object to the arena as a delta from the snapshot. With `follow`, the object
 * then becomes the snapshot, named `since`. False, with nothing written, when there is no
 * snapshot, or when the delta would take more than about three quarters of the object's
 * text. */
bool rl_snapshot_delta(rl_snapshot *snapshot, const rl_object *object, rl_buf *arena,
                       bool follow, int64_t since);

/* Makes the snapshot independent of the arena, whose texts `arena` still has: keys and
 * short values move to the end of `to`, which is the arena from here on; of long values
 * only a hash stays. rl_snapshot_detached_size is the room that takes in `to`. */
void rl_snapshot_detach(rl_snapshot *snapshot, const char *arena, rl_buf *to);
size_t rl_snapshot_detached_size(const rl_snapshot *snapshot);

#endif
