/* Deltas of JSON objects. See delta.h. */
#include "core/delta.h"

#include "core/text.h"
#include "core/value.h"

#include <string.h>

#define NO_TAIL (-1)
#define SHORT ((size_t)128) /* bytes: a value that is not worth a hash */

/* A member of the snapshot, by offsets into the arena. An array that has grown since it
 * was written also has tails: each adds a comma and its text before the closing
 * bracket. */
typedef struct entry {
    size_t key_at, key_len;
    size_t value_at, value_len;
    size_t whole; /* bytes of the value with its tails */
    ptrdiff_t first_tail, last_tail;
    bool seen; /* the object being compared has the key */
    bool is_hashed, is_array;
    uint64_t hash[2]; /* of the value, of an array without its last bracket */
} entry;

typedef struct tail {
    size_t at, len;
    ptrdiff_t next;
} tail;

typedef enum change {
    SAME,
    APPENDED,
    SET
} change;

/* The result of comparing one member. */
typedef struct finding {
    change change;
    ptrdiff_t entry; /* index in the snapshot, or -1 */
} finding;

void rl_snapshot_init(rl_snapshot *snapshot)
{
    snapshot->since = RL_SINCE_NOTHING;
    rl_buf_init(&snapshot->entries, RL_BUF_MAX);
    rl_buf_init(&snapshot->tails, RL_BUF_MAX);
}

void rl_snapshot_free(rl_snapshot *snapshot)
{
    rl_buf_free(&snapshot->entries);
    rl_buf_free(&snapshot->tails);
}

static entry *entry_at(const rl_snapshot *snapshot, size_t index)
{
    return (entry *)(void *)snapshot->entries.data + index;
}

static tail *tail_at(const rl_snapshot *snapshot, ptrdiff_t index)
{
    return (tail *)(void *)snapshot->tails.data + index;
}

static size_t entry_count(const rl_snapshot *snapshot)
{
    return snapshot->entries.len / sizeof(entry);
}

static void set_entry(entry *to, size_t value_at, size_t value_len)
{
    to->value_at = value_at;
    to->value_len = value_len;
    to->whole = value_len;
    to->first_tail = NO_TAIL;
    to->last_tail = NO_TAIL;
    to->is_hashed = false;
}

/* Remembers a text by its hash. */
static void set_hash(entry *to, const char *text, size_t len, bool array)
{
    rl_value_hash(text, len - array, to->hash);
    set_entry(to, 0, len);
    to->is_hashed = true;
    to->is_array = array;
}

void rl_snapshot_take(rl_snapshot *snapshot, const rl_object *object, size_t at,
                      int64_t since)
{
    snapshot->entries.len = 0;
    snapshot->tails.len = 0;
    snapshot->since = RL_SINCE_NOTHING;
    if (object->members == NULL) {
        return;
    }
    for (size_t i = 0; i < object->count; i++) {
        const rl_member *member = &object->members[i];
        entry fresh = {.key_at = at + member->key_at, .key_len = member->key_len};

        set_entry(&fresh, at + member->value_at, member->value_len);
        rl_buf_add(&snapshot->entries, &fresh, sizeof fresh);
    }
    if (!snapshot->entries.failed) {
        snapshot->since = since;
    }
}

static bool is_array(const entry *old, const char *arena)
{
    return old->is_hashed ? old->is_array : arena[old->value_at] == '[' && old->whole > 2;
}

/* Whether a text begins with the first `len` bytes of the snapshot's. */
static bool begins_as(const entry *old, const char *arena, const char *text, size_t len)
{
    uint64_t hash[2];

    if (!old->is_hashed) {
        return memcmp(arena + old->value_at, text, len) == 0;
    }
    rl_value_hash(text, len, hash);
    return hash[0] == old->hash[0] && hash[1] == old->hash[1];
}

/* How a value differs from one of the snapshot. An array has only grown if it has the
 * same bytes up to the old one's last element, and then a comma: the equal bytes put both
 * texts at depth 1 there. */
static change compare(const rl_snapshot *snapshot, const char *arena, const entry *old,
                      const char *text, size_t len)
{
    bool array = is_array(old, arena);
    size_t at = old->value_len - array; /* without the bracket */

    if (len < old->whole || (len > old->whole && !array) ||
        !begins_as(old, arena, text, at)) {
        return SET;
    }
    for (ptrdiff_t i = old->first_tail; i != NO_TAIL; i = tail_at(snapshot, i)->next) {
        const tail *more = tail_at(snapshot, i);

        if (text[at] != ',' || memcmp(arena + more->at, text + at + 1, more->len) != 0) {
            return SET;
        }
        at += 1 + more->len;
    }
    if (len == old->whole) {
        return !array || text[at] == ']' ? SAME : SET;
    }
    return text[at] == ',' ? APPENDED : SET;
}

static bool same_key(const char *arena, const entry *old, const char *key, size_t len)
{
    return old->key_len == len && memcmp(arena + old->key_at, key, len) == 0;
}

/* The progress of a comparison. */
typedef struct key_cursor {
    size_t next; /* the entry after the last match: states keep the order of their keys */
    size_t steps;   /* comparisons of keys that are still allowed */
    bool reordered; /* an entry was found before `next` */
} key_cursor;

/* The index of a key's entry, searched from `next` on and then from the start. -1 when
 * there is none, or when no steps are left. */
static ptrdiff_t find_entry(const rl_snapshot *snapshot, const char *arena,
                            const char *key, size_t len, key_cursor *cursor)
{
    size_t count = entry_count(snapshot);

    for (size_t i = 0; i < count && cursor->steps != 0; i++, cursor->steps--) {
        size_t at =
            cursor->next + i < count ? cursor->next + i : cursor->next + i - count;

        if (same_key(arena, entry_at(snapshot, at), key, len)) {
            return (ptrdiff_t)at;
        }
    }
    return -1;
}

/* Whether the object has a key more than `most` times: Python's 1 and "1" both become
 * "1". Also true when no steps are left, so that an unusual object takes bounded time. */
static bool is_duplicate(const rl_object *object, const char *key, size_t len,
                         size_t most, key_cursor *cursor)
{
    size_t found = 0;

    if (cursor->steps < object->count) {
        return true;
    }
    cursor->steps -= object->count;
    for (size_t i = 0; i < object->count; i++) {
        const rl_member *member = &object->members[i];

        found += member->key_len == len &&
                 memcmp(object->text + member->key_at, key, len) == 0;
    }
    return found > most;
}

/* Compares a member with the snapshot; false when a delta can't express the object. Of
 * two members with one key the last counts: so a duplicate is allowed only if it is
 * unchanged, and the order of the members too. */
static bool examine(const rl_snapshot *snapshot, const char *arena,
                    const rl_object *object, const rl_member *member, key_cursor *cursor,
                    finding *found)
{
    const char *key = object->text + member->key_at;

    found->change = SET;
    found->entry = find_entry(snapshot, arena, key, member->key_len, cursor);
    if (found->entry >= 0) {
        entry *old = entry_at(snapshot, (size_t)found->entry);

        if (old->seen) {
            return false;
        }
        old->seen = true;
        cursor->reordered |= (size_t)found->entry < cursor->next;
        cursor->next = (size_t)found->entry + 1;
        found->change = compare(snapshot, arena, old, object->text + member->value_at,
                                member->value_len);
    }
    return (found->change == SAME && !cursor->reordered) ||
           !is_duplicate(object, key, member->key_len, 1, cursor);
}

/* Compares all members, and sets *size to about the bytes of the delta. False when a
 * delta can't express the object, or would not be much shorter than the object. */
static bool compare_all(const rl_snapshot *snapshot, const char *arena,
                        const rl_object *object, finding *findings, size_t *size)
{
    size_t count = entry_count(snapshot);
    key_cursor cursor = {.steps = 64 * (object->count + count + 1)};
    bool possible = true;

    *size = 64;
    for (size_t i = 0; i < count; i++) {
        entry_at(snapshot, i)->seen = false;
    }
    for (size_t i = 0; i < object->count && possible; i++) {
        const rl_member *member = &object->members[i];

        possible = examine(snapshot, arena, object, member, &cursor, &findings[i]);
        if (possible && findings[i].change != SAME) {
            *size += member->key_len + member->value_len + 2;
        }
        if (possible && findings[i].change == APPENDED) {
            *size -= entry_at(snapshot, (size_t)findings[i].entry)->whole;
        }
    }
    for (size_t i = 0; i < count && possible; i++) {
        const entry *old = entry_at(snapshot, i);

        if (!old->seen) {
            *size += old->key_len + 1;
            possible =
                !is_duplicate(object, arena + old->key_at, old->key_len, 0, &cursor);
        }
    }
    return possible && *size < object->len - object->len / 4;
}

/* Updates the snapshot after a value was written in full, at `at`. */
static void follow_set(rl_snapshot *snapshot, ptrdiff_t index, size_t key_at,
                       size_t key_len, size_t at, size_t len)
{
    entry fresh = {.key_at = key_at, .key_len = key_len, .seen = true};

    if (index >= 0) {
        set_entry(entry_at(snapshot, (size_t)index), at, len);
    } else {
        set_entry(&fresh, at, len);
        rl_buf_add(&snapshot->entries, &fresh, sizeof fresh);
    }
}

/* Updates the snapshot after the new tail of an array was written. */
static void follow_append(rl_snapshot *snapshot, ptrdiff_t index, size_t at, size_t len,
                          size_t whole)
{
    entry *grown = entry_at(snapshot, (size_t)index);
    tail more = {at, len, NO_TAIL};
    ptrdiff_t last = (ptrdiff_t)(snapshot->tails.len / sizeof more);

    rl_buf_add(&snapshot->tails, &more, sizeof more);
    if (snapshot->tails.failed) {
        return;
    }
    if (grown->last_tail == NO_TAIL) {
        grown->first_tail = last;
    } else {
        tail_at(snapshot, grown->last_tail)->next = last;
    }
    grown->last_tail = last;
    grown->whole = whole;
}

/* Writes a member that has changed. */
static void write_member(rl_snapshot *snapshot, const rl_object *object,
                         const rl_member *member, const finding *found, rl_buf *arena,
                         bool follow)
{
    const char *value = object->text + member->value_at;
    size_t len = member->value_len, key_at = arena->len, at;

    rl_buf_add(arena, object->text + member->key_at, member->key_len);
    rl_buf_add_char(arena, ':');
    at = arena->len;
    if (found->change == SET) {
        rl_buf_add(arena, value, len);
        if (follow) {
            follow_set(snapshot, found->entry, key_at, member->key_len, at, len);
        }
    } else { /* a comma is in the place of the old text's bracket */
        entry *grown = entry_at(snapshot, (size_t)found->entry);
        size_t old = grown->whole;

        rl_buf_add_char(arena, '[');
        rl_buf_add(arena, value + old, len - old);
        if (follow && grown->is_hashed) {
            set_hash(grown, value, len, true);
        } else if (follow) {
            follow_append(snapshot, found->entry, at + 1, len - old - 1, len);
        }
    }
}

/* Writes "set":{...} or "append":{...}: the members with that change. */
static void write_changed(rl_snapshot *snapshot, const rl_object *object,
                          const finding *findings, change which, rl_buf *arena,
                          bool follow)
{
    bool any = false;

    for (size_t i = 0; i < object->count; i++) {
        if (findings[i].change == which) {
            rl_buf_add_text(arena, any            ? ","
                                   : which == SET ? ",\"set\":{"
                                                  : ",\"append\":{");
            any = true;
            write_member(snapshot, object, &object->members[i], &findings[i], arena,
                         follow);
        }
    }
    if (any) {
        rl_buf_add_char(arena, '}');
    }
}

/* Writes "unset":[...]: the keys among the first `count` entries that the object no
 * longer has. With `follow`, removes these entries. */
static void write_unset(rl_snapshot *snapshot, rl_buf *arena, size_t count, bool follow)
{
    size_t retained = 0, all = entry_count(snapshot);
    bool any = false;

    for (size_t i = 0; i < all; i++) {
        const entry *old = entry_at(snapshot, i);

        if (i >= count || old->seen) {
            if (follow && retained != i) {
                *entry_at(snapshot, retained) = *old;
            }
            retained++;
            continue;
        }
        rl_buf_add_text(arena, any ? "," : ",\"unset\":[");
        any = true;
        /* not rl_buf_add: the key is in the arena itself, which reserving may move */
        if (rl_buf_reserve(arena, old->key_len)) {
            memcpy(arena->data + arena->len, arena->data + old->key_at, old->key_len);
            arena->len += old->key_len;
        }
    }
    if (any) {
        rl_buf_add_char(arena, ']');
    }
    if (follow) {
        snapshot->entries.len = retained * sizeof(entry);
    }
}

bool rl_snapshot_delta(rl_snapshot *snapshot, const rl_object *object, rl_buf *arena,
                       bool follow, int64_t since)
{
    size_t count = entry_count(snapshot), size = 0;
    rl_buf findings;
    bool shorter = false;

    if (snapshot->since == RL_SINCE_NOTHING || object->members == NULL) {
        return false;
    }
    rl_buf_init(&findings, RL_BUF_MAX);
    if (rl_buf_reserve(&findings, (object->count + 1) * sizeof(finding))) {
        shorter = compare_all(snapshot, arena->data, object,
                              (finding *)(void *)findings.data, &size);
    }
    if (shorter && rl_buf_reserve(arena, size)) {
        const finding *found = (const finding *)(const void *)findings.data;

        if (snapshot->since == RL_SINCE_INPUTS) {
            rl_buf_add_text(arena, "{\"since\":null");
        } else {
            rl_buf_add_text(arena, "{\"since\":");
            if (rl_buf_reserve(arena, 20)) {
                arena->len += rl_put_i64(arena->data + arena->len, snapshot->since);
            }
        }
        if (follow) {
            snapshot->since = since;
        }
        write_changed(snapshot, object, found, SET, arena, follow);
        write_changed(snapshot, object, found, APPENDED, arena, follow);
        write_unset(snapshot, arena, count, follow);
        rl_buf_add_char(arena, '}');
        if (snapshot->entries.failed || snapshot->tails.failed || arena->failed) {
            snapshot->since = RL_SINCE_NOTHING;
        }
    }
    rl_buf_free(&findings);
    return shorter;
}

/* Puts the value of an entry, with its tails, at the end of `to`; of an array without the
 * last bracket. */
static void put_whole(const rl_snapshot *snapshot, const entry *old, const char *arena,
                      rl_buf *to)
{
    rl_buf_add(to, arena + old->value_at, old->value_len - is_array(old, arena));
    for (ptrdiff_t i = old->first_tail; i != NO_TAIL; i = tail_at(snapshot, i)->next) {
        rl_buf_add_char(to, ',');
        rl_buf_add(to, arena + tail_at(snapshot, i)->at, tail_at(snapshot, i)->len);
    }
}

/* Makes the value of an entry independent of the arena. False without memory. */
static bool detach(const rl_snapshot *snapshot, entry *old, const char *arena, rl_buf *to)
{
    bool array = is_array(old, arena), done = true;
    size_t at = to->len;
    rl_buf whole;

    if (old->whole <= SHORT && !old->is_hashed) {
        put_whole(snapshot, old, arena, to);
        rl_buf_add(to, "]", array);
        set_entry(old, at, old->whole);
    } else if (old->first_tail != NO_TAIL) {
        rl_buf_init(&whole, RL_BUF_MAX);
        put_whole(snapshot, old, arena, &whole);
        done = !whole.failed;
        if (done) {
            set_hash(old, whole.data, old->whole, array);
        }
        rl_buf_free(&whole);
    } else if (!old->is_hashed) {
        set_hash(old, arena + old->value_at, old->whole, array);
    }
    return done;
}

void rl_snapshot_detach(rl_snapshot *snapshot, const char *arena, rl_buf *to)
{
    bool done = true;

    for (size_t i = 0; i < entry_count(snapshot) && done; i++) {
        entry *old = entry_at(snapshot, i);
        size_t key_at = to->len;

        rl_buf_add(to, arena + old->key_at, old->key_len);
        old->key_at = key_at;
        done = detach(snapshot, old, arena, to);
    }
    rl_buf_free(&snapshot->tails);
    rl_buf_trim(&snapshot->entries);
    if (!done || to->failed) {
        snapshot->since = RL_SINCE_NOTHING;
    }
}

size_t rl_snapshot_detached_size(const rl_snapshot *snapshot)
{
    size_t sum = 0;

    for (size_t i = 0; i < entry_count(snapshot); i++) {
        const entry *old = entry_at(snapshot, i);

        sum += old->key_len + (old->whole <= SHORT ? old->whole : 0);
    }
    return sum;
}
