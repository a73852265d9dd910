/* Tests of core/delta.h: the texts of deltas, splitting a text into members, and states
 * that are stored as deltas and restored by an expander of the test (object_help.h).
 */
#include "core/delta.h"

#include "check.h"
#include "core/alloc.h"
#include "core/value.h"
#include "exactly.h"
#include "failing.h"
#include "object_help.h"
#include "random.h"

#define STATES 400
#define PAD "\"pad\":\"" PAD50 PAD50 PAD50 PAD50 PAD50 PAD50 "\""
#define PAD50 "0123456789abcdefghij0123456789abcdefghij0123456789"

/* States that are stored one after another, as in the node logs of a run. */
struct history {
    rl_buf arena;
    rl_snapshot snapshot;
    struct object states[STATES]; /* as a reader restores them; first the run's inputs */
    size_t count, deltas;
};

static void begin_history(struct history *history)
{
    rl_buf_init(&history->arena, RL_BUF_MAX);
    rl_snapshot_init(&history->snapshot);
    history->count = 0;
    history->deltas = 0;
}

static void end_history(struct history *history)
{
    for (size_t i = 0; i < history->count; i++) {
        object_free(&history->states[i]);
    }
    rl_snapshot_free(&history->snapshot);
    rl_buf_free(&history->arena);
}

/* A text with its members, in memory of exactly its size. */
struct text_object {
    rl_object object;
    rl_buf members;
    char *text;
};

static void make_object(struct text_object *made, const char *text)
{
    static const rl_member none;
    size_t len = strlen(text);

    rl_buf_init(&made->members, RL_BUF_MAX);
    made->text = exactly(text, len);
    made->object = (rl_object){made->text, len, NULL, 0};
    if (rl_object_split(made->text, len, &made->members)) {
        made->object.count = made->members.len / sizeof(rl_member);
        made->object.members = made->object.count > 0
                                   ? (const rl_member *)(const void *)made->members.data
                                   : &none;
    }
}

static void free_object(struct text_object *made)
{
    rl_buf_free(&made->members);
    free(made->text);
}

/* Stores a state as node logs are stored: as a delta (*is_delta), or in full, at *at of
 * the arena. False without memory. */
static bool store(struct history *history, const char *text, bool follow, size_t *at,
                  bool *is_delta)
{
    int64_t index = (int64_t)history->count - 1;
    struct text_object made;

    make_object(&made, text);
    *at = history->arena.len;
    *is_delta = index >= 0 && rl_snapshot_delta(&history->snapshot, &made.object,
                                                &history->arena, follow, index);
    if (!*is_delta) {
        rl_buf_add(&history->arena, made.text, made.object.len);
        if (follow) {
            rl_snapshot_take(&history->snapshot, &made.object, *at,
                             index >= 0 ? index : RL_SINCE_INPUTS);
        }
    }
    free_object(&made);
    return !history->arena.failed;
}

/* Restores the state from the text at `at`. */
static void read_back(struct history *history, size_t at, bool is_delta,
                      struct object *found)
{
    char *text =
        piece_of(history->arena.data + at, history->arena.data + history->arena.len);
    struct object delta = {.count = 0};
    size_t base = 0;

    if (!is_delta) {
        CHECK(object_parse(found, text));
    } else {
        CHECK(object_parse(&delta, text) && delta.count > 0);
        if (strcmp(delta.members[0].value, "null") != 0) {
            base = 1 + strtoul(delta.members[0].value, NULL, 10);
        }
        CHECK(base < history->count);
        object_expand(found, &history->states[base], &delta);
        object_free(&delta);
    }
    free(text);
}

/* Stores a state and restores it. False without memory. */
static bool store_and_restore(struct history *history, const char *text, bool follow)
{
    struct object want, *found = &history->states[history->count];
    bool is_delta;
    size_t at;

    if (!store(history, text, follow, &at, &is_delta)) {
        return false;
    }
    CHECK(object_parse(&want, text));
    read_back(history, at, is_delta, found);
    if (!object_same(found, &want)) {
        char *stored =
            piece_of(history->arena.data + at, history->arena.data + history->arena.len);

        CHECK_STR(stored, text);
        free(stored);
    }
    object_free(&want);
    history->count++;
    history->deltas += is_delta;
    return true;
}

/* The delta between two states with these members and a long one that does not change, or
 * NULL. Owned by the caller. */
static char *delta_between(const char *before, const char *after)
{
    struct history history;
    char text[2000], *delta = NULL;
    bool is_delta = false;
    size_t at = 0;

    begin_history(&history);
    snprintf(text, sizeof text, "{" PAD "%s%s}", before[0] != '\0' ? "," : "", before);
    CHECK(store_and_restore(&history, text, true));
    snprintf(text, sizeof text, "{" PAD "%s%s}", after[0] != '\0' ? "," : "", after);
    CHECK(store(&history, text, true, &at, &is_delta));
    if (is_delta) {
        delta = piece_of(history.arena.data + at, history.arena.data + history.arena.len);
    }
    end_history(&history);
    return delta;
}

static void test_texts_of_deltas(void)
{
    static const struct {
        const char *before, *after, *want; /* the delta after "since"; NULL: none */
    } cases[] = {
        {"\"a\":1", "\"a\":1", ""},
        {"", "", ""},
        {"\"a\":1", "\"a\":2", ",\"set\":{\"a\":2}"},
        {"\"a\":1", "\"a\":1,\"b\":null", ",\"set\":{\"b\":null}"},
        {"\"a\":1,\"b\":2", "\"a\":\"x\",\"b\":{}", ",\"set\":{\"a\":\"x\",\"b\":{}}"},
        {"\"a\":1,\"b\":2", "\"b\":2", ",\"unset\":[\"a\"]"},
        {"\"a\":1,\"b\":2", "", ",\"unset\":[\"a\",\"b\"]"},
        {"\"l\":[1]", "\"l\":[1,2,3]", ",\"append\":{\"l\":[2,3]}"},
        {"\"l\":[[1]],\"m\":[\"a\"]", "\"l\":[[1],[2]],\"m\":[\"a\",\"b\"]",
         ",\"append\":{\"l\":[[2]],\"m\":[\"b\"]}"},
        {"\"a\":1,\"l\":[{}],\"z\":0", "\"a\":2,\"l\":[{},{\"x\":[]}]",
         ",\"set\":{\"a\":2},\"append\":{\"l\":[{\"x\":[]}]},\"unset\":[\"z\"]"},
        /* arrays that have changed in other ways */
        {"\"l\":[1]", "\"l\":[12]", ",\"set\":{\"l\":[12]}"},
        {"\"l\":[1]", "\"l\":[1.5,2]", ",\"set\":{\"l\":[1.5,2]}"},
        {"\"l\":[1,2]", "\"l\":[1]", ",\"set\":{\"l\":[1]}"},
        {"\"l\":[[1]]", "\"l\":[[1,2]]", ",\"set\":{\"l\":[[1,2]]}"},
        {"\"l\":[1,2]", "\"l\":[3,2,1]", ",\"set\":{\"l\":[3,2,1]}"},
        {"\"l\":[1]", "\"l\":\"[1,2]\"", ",\"set\":{\"l\":\"[1,2]\"}"},
        {"\"l\":\"[1]\"", "\"l\":\"[1],2\"", ",\"set\":{\"l\":\"[1],2\"}"},
        {"\"l\":{\"a\":1}", "\"l\":{\"a\":1,\"b\":2}",
         ",\"set\":{\"l\":{\"a\":1,\"b\":2}}"},
        {"\"l\":1", "\"l\":1,\"m\":2", ",\"set\":{\"m\":2}"},
        /* empty ones */
        {"\"l\":[]", "\"l\":[]", ""},
        {"\"l\":[]", "\"l\":[1]", ",\"set\":{\"l\":[1]}"},
        {"\"l\":[1]", "\"l\":[]", ",\"set\":{\"l\":[]}"},
        {"\"l\":[[]]", "\"l\":[[],[]]", ",\"append\":{\"l\":[[]]}"},
        {"\"l\":{}", "\"l\":[]", ",\"set\":{\"l\":[]}"},
        /* another order is no change */
        {"\"a\":1,\"b\":2", "\"b\":2,\"a\":1", ""},
        {"\"a\":1,\"b\":2,\"c\":3", "\"c\":4,\"b\":2,\"a\":1", ",\"set\":{\"c\":4}"},
        /* keys with escapes, brackets and common prefixes */
        {"\"a\\\"}\":1,\"\\\\\":2", "\"a\\\"}\":3,\"\\\\\":2", ",\"set\":{\"a\\\"}\":3}"},
        {"\"{[\\u0001\":1", "", ",\"unset\":[\"{[\\u0001\"]"},
        {"\"ab\":1", "\"a\":1", ",\"set\":{\"a\":1},\"unset\":[\"ab\"]"},
        {"\"\":[1]", "\"\":[1,2]", ",\"append\":{\"\":[2]}"},
        /* duplicate keys (Python's 1 and "1"), which a delta can't express */
        {"\"1\":1", "\"1\":1,\"1\":2", NULL},
        {"\"1\":1,\"1\":2", "\"1\":1", NULL},
        {"\"1\":1,\"1\":2", "\"1\":2,\"1\":1", NULL},
        {"\"1\":1,\"1\":2", "\"1\":1,\"1\":3", NULL},
        {"\"1\":[1],\"1\":[2]", "\"1\":[1,2],\"1\":[2]", NULL},
        {"\"a\":0", "\"a\":0,\"1\":1,\"1\":2", NULL},
        {"\"1\":1,\"1\":2", "\"1\":1,\"1\":2", ""},
        {"\"1\":1,\"1\":2,\"a\":0", "\"1\":1,\"1\":2,\"a\":1", ",\"set\":{\"a\":1}"},
        {"\"1\":1,\"a\":0,\"1\":2", "\"a\":0,\"1\":1,\"1\":2", NULL},
        {"\"1\":1,\"a\":0,\"1\":2", "\"a\":0,\"1\":2,\"1\":1", NULL},
        {"\"1\":1,\"1\":2,\"a\":0", "\"a\":0", ",\"unset\":[\"1\",\"1\"]"},
        /* as long as the state itself */
        {"",
         "\"a\":\"" PAD50 PAD50 PAD50 PAD50 PAD50 PAD50
         "\",\"b\":\"" PAD50 PAD50 PAD50 PAD50 PAD50 PAD50 PAD50 PAD50 "\"",
         NULL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *delta = delta_between(cases[i].before, cases[i].after), want[400];

        if (cases[i].want == NULL) {
            CHECK_STR(delta, NULL);
        } else {
            snprintf(want, sizeof want, "{\"since\":null%s}", cases[i].want);
            CHECK_STR(delta, want);
        }
        free(delta);
    }
}

/* Checks the deltas of a member that changes step by step. */
static void check_steps(const char *const steps[][2], size_t count)
{
    struct history history;
    char text[1000], want[400];

    begin_history(&history);
    for (size_t i = 0; i < count; i++) {
        size_t at = history.arena.len;

        snprintf(text, sizeof text, "{" PAD "%s%s}", steps[i][0][0] != '\0' ? "," : "",
                 steps[i][0]);
        REQUIRE(store_and_restore(&history, text, true));
        if (steps[i][1] != NULL) {
            char since[24] = "null", *got;

            if (i > 1) {
                snprintf(since, sizeof since, "%zu", i - 2);
            }
            snprintf(want, sizeof want, "{\"since\":%s%s}", since, steps[i][1]);
            got =
                piece_of(history.arena.data + at, history.arena.data + history.arena.len);
            CHECK_STR(got, want);
            free(got);
        }
    }
    CHECK_INT(history.deltas, count - 1);
    end_history(&history);
}

static void test_arrays_that_grow_by_steps(void)
{
    static const char *const steps[][2] = {
        {"\"l\":[1]", NULL},
        {"\"l\":[1,2]", ",\"append\":{\"l\":[2]}"},
        {"\"l\":[1,2]", ""},
        {"\"l\":[1,2,[3],\"4\"]", ",\"append\":{\"l\":[[3],\"4\"]}"},
        {"\"l\":[1,2,[3],\"4\",5]", ",\"append\":{\"l\":[5]}"},
        {"\"l\":[1,2,[3],\"5\",5]", ",\"set\":{\"l\":[1,2,[3],\"5\",5]}"},
        {"\"l\":[1,2,[3],\"5\",5,6]", ",\"append\":{\"l\":[6]}"},
        {"\"l\":[1,2,[3],\"5\",5,6,7]", ",\"append\":{\"l\":[7]}"},
        {"\"l\":[1,2,[3],\"5\",5,6,77]", ",\"set\":{\"l\":[1,2,[3],\"5\",5,6,77]}"},
        {"\"l\":[1,2]", ",\"set\":{\"l\":[1,2]}"},
        {"\"l\":[1,2,3]", ",\"append\":{\"l\":[3]}"},
        {"\"l\":[1,2]", ",\"set\":{\"l\":[1,2]}"}, /* the state before the last one */
        {"\"l\":[]", ",\"set\":{\"l\":[]}"},
        {"\"l\":[1]", ",\"set\":{\"l\":[1]}"},
    };

    check_steps(steps, sizeof steps / sizeof *steps);
}

static void test_keys_that_reappear(void)
{
    static const char *const steps[][2] = {
        {"\"a\":1,\"b\":[1]", NULL},
        {"\"b\":[1,2]", ",\"append\":{\"b\":[2]},\"unset\":[\"a\"]"},
        {"\"b\":[1,2],\"a\":1", ",\"set\":{\"a\":1}"},
        {"\"a\":1", ",\"unset\":[\"b\"]"},
        {"\"a\":1,\"c\":0", ",\"set\":{\"c\":0}"},
        {"\"b\":[1,2,3],\"a\":2", ",\"set\":{\"b\":[1,2,3],\"a\":2},\"unset\":[\"c\"]"},
        {"\"a\":2,\"b\":[1,2,3,4]", ",\"append\":{\"b\":[4]}"},
        {"", ",\"unset\":[\"a\",\"b\"]"},
        {"\"a\":2", ",\"set\":{\"a\":2}"},
    };

    check_steps(steps, sizeof steps / sizeof *steps);
}

/* Without a snapshot, or without known members, nothing is written. Without `follow`, the
 * snapshot is unchanged. */
static void test_objects_without_a_delta(void)
{
    struct text_object made, other;
    rl_snapshot snapshot;
    rl_buf arena;

    rl_buf_init(&arena, RL_BUF_MAX);
    rl_snapshot_init(&snapshot);
    make_object(&made, "{" PAD ",\"a\":1}");
    make_object(&other, "[" PAD50 "]");
    CHECK(other.object.members == NULL);
    CHECK(!rl_snapshot_delta(&snapshot, &made.object, &arena, true, 0));
    rl_snapshot_take(&snapshot, &other.object, 0, 0);
    CHECK(!rl_snapshot_delta(&snapshot, &made.object, &arena, true, 0));
    CHECK_INT(arena.len, 0);
    rl_buf_add(&arena, made.text, made.object.len);
    rl_snapshot_take(&snapshot, &made.object, 0, 41);
    CHECK(!rl_snapshot_delta(&snapshot, &other.object, &arena, true, 42));
    CHECK_INT(arena.len, made.object.len);
    free_object(&other);
    make_object(&other, "{" PAD ",\"a\":2}");
    for (int i = 0; i < 3; i++) {
        size_t at = arena.len;

        CHECK(rl_snapshot_delta(&snapshot, &other.object, &arena, i == 2, 42));
        CHECK_MEM(arena.data + at, arena.len - at, "{\"since\":41,\"set\":{\"a\":2}}");
    }
    {
        size_t at = arena.len;

        CHECK(rl_snapshot_delta(&snapshot, &made.object, &arena, true, 43));
        CHECK_MEM(arena.data + at, arena.len - at, "{\"since\":42,\"set\":{\"a\":1}}");
    }
    free_object(&made);
    free_object(&other);
    rl_snapshot_free(&snapshot);
    rl_buf_free(&arena);
}

/* Two objects with the same 3,000 keys in opposite order. */
static void test_many_keys_take_bounded_time(void)
{
    enum {
        KEYS = 3000
    };
    rl_buf arena, text;
    rl_snapshot snapshot;
    struct text_object made;
    bool is_delta;

    rl_buf_init(&arena, RL_BUF_MAX);
    rl_snapshot_init(&snapshot);
    for (int turn = 0; turn < 2; turn++) {
        rl_buf_init(&text, RL_BUF_MAX);
        for (int i = 0; i < KEYS; i++) {
            rl_buf_printf(&text, "%c\"k%d\":%d", i > 0 ? ',' : '{',
                          turn > 0 ? KEYS - 1 - i : i, i / 2);
        }
        rl_buf_add_text(&text, "}");
        rl_buf_add_char(&text, '\0');
        make_object(&made, text.data);
        CHECK_INT(made.object.count, KEYS);
        is_delta = rl_snapshot_delta(&snapshot, &made.object, &arena, true, turn);
        CHECK(!is_delta);
        rl_snapshot_take(&snapshot, &made.object, arena.len, turn);
        rl_buf_add(&arena, made.text, made.object.len);
        free_object(&made);
        rl_buf_free(&text);
    }
    rl_snapshot_free(&snapshot);
    rl_buf_free(&arena);
}

/* A JSON value. */
static void put_value(FILE *out, uint64_t *state, int depth)
{
    static const char *const scalars[] = {
        "0",        "-12",      "1.5e-7",          "true",
        "null",     "\"\"",     "\"}\"",           "\"[1,2],\"",
        "\"\\\"\"", "\"\\\\\"", "\"a\\\\\\\"b{\"", "\"\\u0007:\""};
    size_t kind = random_below(state, depth > 0 ? 5 : 3), count;

    if (kind < 2) {
        fputs(scalars[random_below(state, sizeof scalars / sizeof *scalars)], out);
    } else if (kind == 2) {
        fprintf(out, "\"%.*s\"", (int)random_below(state, 50), PAD50);
    } else {
        count = random_below(state, 4);
        fputc(kind == 3 ? '[' : '{', out);
        for (size_t i = 0; i < count; i++) {
            fputs(i > 0 ? "," : "", out);
            if (kind == 4) {
                fprintf(out, "\"%zu\":", i);
            }
            put_value(out, state, depth - 1);
        }
        fputc(kind == 3 ? ']' : '}', out);
    }
}

static char *random_value(uint64_t *state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    put_value(out, state, 3);
    fclose(out);
    return text;
}

static char *random_key(uint64_t *state)
{
    static const char *const keys[] = {
        "\"messages\"", "\"a\"", "\"ab\"",   "\"\"",    "\"a\\\"\"", "\"{\"", "\"1\"",
        "\"\\\\\"",     "\",\"", "\"\\n}\"", "\"set\"", "\"since\"", "\"k\"", "\"l\""};

    return strdup(keys[random_below(state, sizeof keys / sizeof *keys)]);
}

/* Appends an element to an array, or removes all but the first. */
static void change_array(char **value, uint64_t *state)
{
    char *tail, *item, *before = *value;

    if (strcmp(before, "[]") == 0 || before[0] != '[') {
        free(before);
        *value = strdup("[0,1]");
        return;
    }
    if (random_below(state, 4) == 0) { /* its first element alone */
        const char *end = skip_value(before + 1);

        tail = piece_of(before, end);
        *value = malloc(strlen(tail) + 2);
        snprintf(*value, strlen(tail) + 2, "%s]", tail);
        free(tail);
        free(before);
        return;
    }
    item = random_value(state);
    tail = malloc(strlen(item) + 3);
    snprintf(tail, strlen(item) + 3, "[%s]", item);
    *value = joined(before, tail);
    free(tail);
    free(item);
}

/* Makes up to three changes. */
static void change(struct object *object, uint64_t *state)
{
    size_t changes = random_below(state, 4);

    for (size_t i = 0; i < changes; i++) {
        size_t kind = random_below(state, 20);
        size_t at = object->count > 0 ? random_below(state, object->count) : 0;

        if (object->count < 4 || kind < 3) {
            char *key = random_key(state), *value = random_value(state);

            object_set(object, key, value);
            free(key);
            free(value);
        } else if (kind == 3 && object->count < 20) { /* perhaps a duplicate */
            object_add(object, random_key(state), random_value(state));
        } else if (kind < 6) {
            object_drop(object, at);
        } else if (kind < 9) {
            free(object->members[at].value);
            object->members[at].value = random_value(state);
        } else if (kind < 17) {
            change_array(&object->members[at].value, state);
        } else {
            size_t with = random_below(state, object->count);
            struct member moved = object->members[at];

            object->members[at] = object->members[with];
            object->members[with] = moved;
        }
        while (object->count > 16) {
            object_drop(object, 0);
        }
    }
}

/* Moves what a snapshot needs into another arena, and overwrites the old one. False
 * without memory. */
static bool detach(struct history *history)
{
    size_t size = rl_snapshot_detached_size(&history->snapshot);
    rl_buf arena;

    rl_buf_init(&arena, RL_BUF_MAX);
    if (!rl_buf_reserve(&arena, size)) {
        return false;
    }
    rl_snapshot_detach(&history->snapshot, history->arena.data, &arena);
    CHECK(!arena.failed && arena.len <= size);
    memset(history->arena.data, '#', history->arena.len);
    rl_buf_free(&history->arena);
    history->arena = arena;
    return true;
}

/* Every version of a randomly changing state is restored. */
static void test_states_are_restored(void)
{
    enum {
        ROUNDS = 300
    };
    static struct history history;
    uint64_t state = 20240229;
    size_t deltas = 0, all = 0;

    for (int round = 0; round < ROUNDS; round++) {
        struct object object = {.count = 0};
        size_t steps = 1 + random_below(&state, 80);
        int pushes = round % 3; /* none, some or many are stored without `follow` */

        begin_history(&history);
        for (size_t i = 0; i < steps; i++) {
            char *text;
            bool follow = i == 0 || random_below(&state, 10) >= (size_t)pushes * 4;

            change(&object, &state);
            text = object_text(&object);
            CHECK(store_and_restore(&history, text, follow));
            if (round % 2 == 1 && random_below(&state, 8) == 0) {
                CHECK(detach(&history));
            }
            free(text);
        }
        deltas += history.deltas;
        all += history.count;
        object_free(&object);
        end_history(&history);
        if (atomic_load(&check_failures) > 10) {
            return;
        }
    }
    CHECK(deltas > all / 3 && deltas < all); /* both ways were taken */
}

/* Texts that have left the arena are still compared: equal ones cost nothing, and a long
 * array may grow, before it leaves and after. */
static void test_texts_that_left_the_arena(void)
{
    static const char *const states[] = {
        "{" PAD ",\"l\":[" PAD50 "e0," PAD50 "e0," PAD50 "e0],\"s\":1}",
        "{" PAD ",\"l\":[" PAD50 "e0," PAD50 "e0," PAD50 "e0],\"s\":2}",
        "{" PAD ",\"l\":[" PAD50 "e0," PAD50 "e0," PAD50 "e0,1],\"s\":2}",
        "{" PAD ",\"l\":[" PAD50 "e0," PAD50 "e0," PAD50 "e0,1,2],\"s\":2}",
        "{" PAD ",\"l\":[" PAD50 "e0," PAD50 "e0," PAD50 "e0,1,3],\"s\":2}",
        "{" PAD ",\"l\":[" PAD50 "e0," PAD50 "e0," PAD50 "e0,1,3],\"t\":[]}",
    };
    static const char *const deltas[] = {
        "{\"since\":null,\"set\":{\"s\":2}}",
        "{\"since\":0,\"append\":{\"l\":[1]}}",
        "{\"since\":1,\"append\":{\"l\":[2]}}",
        NULL,
        "{\"since\":3,\"set\":{\"t\":[]},\"unset\":[\"s\"]}",
    };
    const size_t count = sizeof states / sizeof *states;

    for (unsigned when = 0; when < 1U << (count - 1); when++) { /* in all orders */
        static struct history history;

        begin_history(&history);
        for (size_t i = 0; i < count; i++) {
            size_t at = history.arena.len;

            CHECK(store_and_restore(&history, states[i], true));
            if (i > 0 && deltas[i - 1] != NULL) {
                CHECK_SAME(history.arena.data + at, history.arena.len - at, deltas[i - 1],
                           strlen(deltas[i - 1]));
            }
            if (when >> i & 1) {
                CHECK(detach(&history));
            }
        }
        end_history(&history);
    }
}

/* A change of any byte, or of the length, changes the hash, of short texts and long
 * ones. */
static void test_hashes_tell_texts_apart(void)
{
    static const size_t sizes[] = {0, 1, 7, 8, 129, 2047, 2048, 2049, 3072, 5000};
    static char text[5001];

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t whole[2], again[2], other[2];

        memset(text, 'a', sizeof text);
        rl_value_hash(text, sizes[i], whole);
        rl_value_hash(text, sizes[i], again);
        CHECK(memcmp(whole, again, sizeof whole) == 0);
        rl_value_hash(text, sizes[i] + 1, other);
        CHECK(memcmp(whole, other, sizeof whole) != 0);
        for (size_t at = 0; at < sizes[i]; at++) {
            text[at] ^= 1;
            rl_value_hash(text, sizes[i], other);
            CHECK(whole[0] != other[0] && whole[1] != other[1]);
            text[at] ^= 1;
        }
    }
}

static void check_split(const char *text)
{
    struct text_object made;
    struct object want;

    make_object(&made, text);
    REQUIRE(object_parse(&want, text));
    CHECK(made.object.members != NULL);
    CHECK_INT(made.object.count, want.count);
    for (size_t i = 0; i < want.count && i < made.object.count; i++) {
        const rl_member *member = &made.object.members[i];
        const struct member *wanted = &want.members[i];

        CHECK_SAME(made.text + member->key_at, member->key_len, wanted->key,
                   strlen(wanted->key));
        CHECK_SAME(made.text + member->value_at, member->value_len, wanted->value,
                   strlen(wanted->value));
    }
    object_free(&want);
    free_object(&made);
}

static void test_members_are_split(void)
{
    static const char *const texts[] = {
        "{}",
        "{\"\":0}",
        "{\"a\":{}}",
        "{\"a\":[],\"b\":{\"c\":[{}]},\"d\":-1.5e-7}",
        "{\"}\":\"}\",\"{\":\"{\",\"[\":\"]\",\",\":\",\",\":\":\":\"}",
        "{\"\\\"\":\"\\\"\",\"\\\\\":\"\\\\\",\"\\\\\\\"\":\"\\\\\\\"}\"}",
        "{\"a\":[\"]\",\"[\",[\"}\"]],\"b\":{\"}\":\"{\"}}",
        "{\"\\u0000\":\"\\u007d\",\"\xE2\x82\xAC\":\"\xF0\x9F\x98\x80\"}",
        "{\"1\":1,\"1\":2}",
        "{\"a\":null,\"b\":true,\"c\":false}",
    };
    static const char *const others[] = {"",  "{",      "}",    "[]", "[{}]",
                                         "1", "\"{}\"", "null", "{]", "[}"};
    uint64_t state = 7;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        check_split(texts[i]);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct text_object made;

        make_object(&made, others[i]);
        CHECK(made.object.members == NULL);
        free_object(&made);
    }
    for (int i = 0; i < 5000; i++) {
        struct object object = {.count = 0};
        size_t count = random_below(&state, 12);
        char *text;

        for (size_t j = 0; j < count; j++) {
            object_add(&object, random_key(&state), random_value(&state));
        }
        text = object_text(&object);
        check_split(text);
        free(text);
        object_free(&object);
    }
}

/* A state of many keys, so that lists grow, with an array that grows often. */
static char *state_at(int step)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    fprintf(out, "{" PAD ",\"l\":[0");
    for (int i = 0; i < step; i++) {
        fprintf(out, ",%d", i);
    }
    fputc(']', out);
    for (int i = step % 7; i < step % 7 + 15 + step / 4; i++) {
        fprintf(out, ",\"k%d\":[%d]", i, step / 10);
    }
    fputc('}', out);
    fclose(out);
    return text;
}

/* False when the arena had no memory: a program then loses the run. */
static bool store_states(char *const *texts, size_t count)
{
    static struct history history;
    bool stored = true;

    begin_history(&history);
    for (size_t i = 0; i < count && stored; i++) {
        stored = store_and_restore(&history, texts[i], i % 5 != 3);
        if (i % 16 == 15) {
            stored = stored && detach(&history);
        }
    }
    end_history(&history);
    return stored;
}

static void test_without_memory(void)
{
    enum {
        STEPS = 80
    };
    char *texts[STEPS];

    for (int i = 0; i < STEPS; i++) {
        texts[i] = state_at(i);
    }
    CHECK(store_states(texts, STEPS));
    for (int go_on = 0; go_on < 2; go_on++) {
        struct failing failing = {.go_on = go_on != 0};
        const rl_allocator allocator = {failing_resize, failing_release, &failing};
        int lost = 0, stored = 0;

        do {
            bool complete;

            failing.count = 0;
            failing.fail_at++;
            rl_set_allocator(&allocator);
            complete = store_states(texts, STEPS);
            rl_set_allocator(NULL);
            lost += !complete;
            stored += complete;
        } while (failing.count >= failing.fail_at && failing.fail_at < 10000);
        CHECK(lost > 3);
        CHECK(stored > (go_on ? 0 : STEPS)); /* in full, if the snapshot has no memory */
    }
    for (int i = 0; i < STEPS; i++) {
        free(texts[i]);
    }
}

static const struct check_test tests[] = {
    CHECK_TEST(test_texts_of_deltas),
    CHECK_TEST(test_arrays_that_grow_by_steps),
    CHECK_TEST(test_keys_that_reappear),
    CHECK_TEST(test_objects_without_a_delta),
    CHECK_TEST(test_many_keys_take_bounded_time),
    CHECK_TEST(test_states_are_restored),
    CHECK_TEST(test_texts_that_left_the_arena),
    CHECK_TEST(test_hashes_tell_texts_apart),
    CHECK_TEST(test_members_are_split),
    CHECK_TEST(test_without_memory),
};

CHECK_MAIN(tests)
