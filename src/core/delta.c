/* Deltas of JSON objects. See delta.h. */
#include "core/delta.h"

#include "core/text.h"

#include <string.h>

#define NO_TAIL (-1)

/* A value of the snapshot: a text in the arena, and for an array that grew since, tails that
 * each stand for one more comma and their text before the closing bracket. */
typedef struct entry {
    size_t key_at, key_len;
    size_t value_at, value_len;
    size_t whole; /* the length of the value with its tails */
    ptrdiff_t first_tail, last_tail;
    bool seen; /* by the comparison under way */
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

/* What the comparison found about a member. */
typedef struct finding {
    change change;
    ptrdiff_t entry; /* its place in the snapshot, or -1 */
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

/* How a value differs from one of the snapshot. An array that goes on behind the old one's
 * last item has only grown: up to there both are the same bytes, so both are at depth 1. */
static change compare(const rl_snapshot *snapshot, const char *arena, const entry *old,
                      const char *text, size_t len)
{
    const char *before = arena + old->value_at;
    bool array = before[0] == '[' && old->whole > 2;
    size_t at = old->value_len - array; /* without the bracket */

    if (len < old->whole || (len > old->whole && !array) ||
        memcmp(before, text, at) != 0) {
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

/* Where a comparison stands. */
typedef struct search {
    size_t hint;  /* the entry behind the one found last: states keep their order */
    size_t steps; /* that may still be made */
    bool moved;   /* a member was found before the hint, so the order is another */
} search;

/* The entry of a key, looked for from the hint on and around. -1 when there is none, or when
 * the steps are used up. */
static ptrdiff_t find_entry(const rl_snapshot *snapshot, const char *arena,
                            const char *key, size_t len, search *where)
{
    size_t count = entry_count(snapshot);

    for (size_t i = 0; i < count && where->steps != 0; i++, where->steps--) {
        size_t at = where->hint + i < count ? where->hint + i : where->hint + i - count;

        if (same_key(arena, entry_at(snapshot, at), key, len)) {
            return (ptrdiff_t)at;
        }
    }
    return -1;
}

/* Whether a key stands more than `most` times in the object: Python's 1 and "1" are both
 * "1". True as well when the steps are used up, so that nobody waits for odd objects. */
static bool is_double(const rl_object *object, const char *key, size_t len, size_t most,
                      search *where)
{
    size_t found = 0;

    if (where->steps < object->count) {
        return true;
    }
    where->steps -= object->count;
    for (size_t i = 0; i < object->count; i++) {
        const rl_member *member = &object->members[i];

        found += member->key_len == len &&
                 memcmp(object->text + member->key_at, key, len) == 0;
    }
    return found > most;
}

/* Finds out what became of a member; false when the object can't be told by its changes. Of
 * two with one key the last counts, so while they keep their order, and only then, both may
 * be the same as before. */
static bool examine(const rl_snapshot *snapshot, const char *arena,
                    const rl_object *object, const rl_member *member, search *where,
                    finding *found)
{
    const char *key = object->text + member->key_at;

    found->change = SET;
    found->entry = find_entry(snapshot, arena, key, member->key_len, where);
    if (found->entry >= 0) {
        entry *old = entry_at(snapshot, (size_t)found->entry);

        if (old->seen) {
            return false;
        }
        old->seen = true;
        where->moved |= (size_t)found->entry < where->hint;
        where->hint = (size_t)found->entry + 1;
        found->change = compare(snapshot, arena, old, object->text + member->value_at,
                                member->value_len);
    }
    return (found->change == SAME && !where->moved) ||
           !is_double(object, key, member->key_len, 1, where);
}

/* Compares all members; false when the object can't be told by its changes, or they are too
 * many. *size gets about the bytes that the delta takes. */
static bool compare_all(const rl_snapshot *snapshot, const char *arena,
                        const rl_object *object, finding *findings, size_t *size)
{
    size_t count = entry_count(snapshot);
    search where = {.steps = 64 * (object->count + count + 1)};
    bool told = true;

    *size = 64;
    for (size_t i = 0; i < count; i++) {
        entry_at(snapshot, i)->seen = false;
    }
    for (size_t i = 0; i < object->count && told; i++) {
        const rl_member *member = &object->members[i];

        told = examine(snapshot, arena, object, member, &where, &findings[i]);
        if (told && findings[i].change != SAME) {
            *size += member->key_len + member->value_len + 2;
        }
        if (told && findings[i].change == APPENDED) {
            *size -= entry_at(snapshot, (size_t)findings[i].entry)->whole;
        }
    }
    for (size_t i = 0; i < count && told; i++) {
        const entry *old = entry_at(snapshot, i);

        if (!old->seen) {
            *size += old->key_len + 1;
            told = !is_double(object, arena + old->key_at, old->key_len, 0, &where);
        }
    }
    return told && *size < object->len - object->len / 4;
}

/* A value that was written at `at`, whole, is the snapshot's from here on. */
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

/* The same for the new tail of an array. */
static void follow_append(rl_snapshot *snapshot, ptrdiff_t index, size_t at, size_t len,
                          size_t whole)
{
    entry *mine = entry_at(snapshot, (size_t)index);
    tail more = {at, len, NO_TAIL};
    ptrdiff_t last = (ptrdiff_t)(snapshot->tails.len / sizeof more);

    rl_buf_add(&snapshot->tails, &more, sizeof more);
    if (snapshot->tails.failed) {
        return;
    }
    if (mine->last_tail == NO_TAIL) {
        mine->first_tail = last;
    } else {
        tail_at(snapshot, mine->last_tail)->next = last;
    }
    mine->last_tail = last;
    mine->whole = whole;
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
    } else { /* behind the old text, without its bracket, stands a comma */
        size_t old = entry_at(snapshot, (size_t)found->entry)->whole;

        rl_buf_add_char(arena, '[');
        rl_buf_add(arena, value + old, len - old);
        if (follow) {
            follow_append(snapshot, found->entry, at + 1, len - old - 1, len);
        }
    }
}

/* Writes what has changed in one way: "set":{...} or "append":{...}. */
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

/* Writes the keys that are gone, of the first `count` entries, and drops them. */
static void write_unset(rl_snapshot *snapshot, rl_buf *arena, size_t count, bool follow)
{
    size_t kept = 0, all = entry_count(snapshot);
    bool any = false;

    for (size_t i = 0; i < all; i++) {
        const entry *old = entry_at(snapshot, i);

        if (i >= count || old->seen) {
            if (follow && kept != i) {
                *entry_at(snapshot, kept) = *old;
            }
            kept++;
            continue;
        }
        rl_buf_add_text(arena, any ? "," : ",\"unset\":[");
        any = true;
        if (rl_buf_reserve(arena,
                           old->key_len)) { /* the key stands in the arena itself */
            memcpy(arena->data + arena->len, arena->data + old->key_at, old->key_len);
            arena->len += old->key_len;
        }
    }
    if (any) {
        rl_buf_add_char(arena, ']');
    }
    if (follow) {
        snapshot->entries.len = kept * sizeof(entry);
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

/* Behind a text that begins at `at` with its quote. */
static size_t behind_text(const char *text, size_t len, size_t at)
{
    at++;
    while (at < len && text[at] != '"') {
        at += text[at] == '\\' ? 2 : 1;
    }
    return at + 1;
}

/* The comma or bracket that ends the value at `at`. */
static size_t behind_value(const char *text, size_t len, size_t at)
{
    size_t depth = 0;

    while (at < len) {
        char c = text[at];

        if (c == '"') {
            at = behind_text(text, len, at);
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}')) {
            break;
        }
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        at++;
    }
    return at;
}

bool rl_object_split(const char *text, size_t len, rl_buf *members)
{
    size_t at = 1;

    if (len < 2 || text[0] != '{' || text[len - 1] != '}') {
        return false;
    }
    while (at < len - 1) {
        rl_member member = {.key_at = at};

        at = behind_text(text, len, at);
        member.key_len = at - member.key_at;
        member.value_at = at + 1; /* behind the colon */
        at = behind_value(text, len, member.value_at);
        member.value_len = at - member.value_at;
        rl_buf_add(members, &member, sizeof member);
        at++;
    }
    return !members->failed;
}
