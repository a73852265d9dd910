/* Tests of core/json_read.h: paths, depth, strings, and invalid texts.
 * tests/test_json_read.py compares the reader with Python's. Texts have memory of exactly
 * their size, so that AddressSanitizer finds an access beyond them.
 */
#include "core/json_read.h"

#include "core/alloc.h"

#include "check.h"
#include "exactly.h"
#include "failing.h"
#include "random.h"

#include <locale.h>
#include <stdlib.h>

static const char sample[] =
    " {\"a\": {\"b\": [1, [2, 3], {\"c\": \"x\\ny\"}], \"\": 0}, \"a.b\" "
    ":true,\"n\":null , "
    "\"dup\":1, \"d\\u0075p\": 2,\"text\":\"\xC3\xA4\\ud83d\\ude00\", \"empty\": [], "
    "\"\\u00e4\": -1.5e3} ";

/* The value at a path of the sample. */
static rl_json_value at(const char *path)
{
    rl_json_value root;

    CHECK(rl_json_read(sample, sizeof sample - 1, &root));
    return rl_json_find(root, path);
}

static void test_find_follows_a_path(void)
{
    static const struct {
        const char *path, *text; /* NULL: no value */
    } cases[] = {
        {"a.b.0", "1"},
        {"a.b.1", "[2, 3]"},
        {"a.b.1.-1", "3"},
        {"a.b.-2.-2", "2"},
        {"a.b.-1.c", "\"x\\ny\""},
        {"a.b.-3", "1"},
        {"a.", "0"},
        {"n", "null"},
        {"dup", "2"},
        {"text", "\"\xC3\xA4\\ud83d\\ude00\""},
        {"\xC3\xA4", "-1.5e3"},
        {"empty", "[]"},
        {"a.b.3", NULL},
        {"a.b.-4", NULL},
        {"a.b.-0", NULL},
        {"a.b.", NULL},
        {"a.b.-", NULL},
        {"a.b.+1", NULL},
        {"a.b.0x", NULL},
        {"a.b.1 ", NULL},
        {"a.b", "[1, [2, 3], {\"c\": \"x\\ny\"}]"}, /* not the key with the dot */
        {"a.b.0.0", NULL},
        {"text.0", NULL},
        {"empty.0", NULL},
        {"empty.-1", NULL},
        {"nothing", NULL},
        {"n.x", NULL},
        {"A", NULL},
        {".", NULL},
        {"a.b.99999999999999999999999999", NULL},
        {"a.b.-99999999999999999999999", NULL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const rl_json_value found = at(cases[i].path);

        if (cases[i].text == NULL) {
            CHECK(found.text == NULL && found.len == 0);
        } else {
            CHECK_SAME(found.text, found.len, cases[i].text, strlen(cases[i].text));
        }
    }
    CHECK(at("").len == sizeof sample - 3); /* the white space around it is left out */
}

static void test_kinds_of_values(void)
{
    CHECK_INT(rl_json_kind_of(at("")), RL_JSON_OBJECT);
    CHECK_INT(rl_json_kind_of(at("empty")), RL_JSON_ARRAY);
    CHECK_INT(rl_json_kind_of(at("text")), RL_JSON_STRING);
    CHECK_INT(rl_json_kind_of(at("dup")), RL_JSON_NUMBER);
    CHECK_INT(rl_json_kind_of(at("\xC3\xA4")), RL_JSON_NUMBER);
    CHECK_INT(rl_json_kind_of(at("n")), RL_JSON_NULL);
    CHECK_INT(rl_json_kind_of(at("no")), RL_JSON_NONE);
    CHECK_INT(rl_json_last(at("a.b.1")).len, 1);
    CHECK_INT(rl_json_last(at("empty")).len, 0);
    CHECK_INT(rl_json_last(at("a")).len, 0);
}

static void test_values_of_another_kind(void)
{
    rl_json_reader reader;
    rl_json_value key, value;
    double number = 7;
    rl_buf out;

    rl_buf_init(&out, RL_BUF_MAX);
    CHECK(!rl_json_number(at("text"), &number));
    CHECK(!rl_json_number(at("no"), &number));
    CHECK(number == 7);
    CHECK(!rl_json_unescape(at("dup"), &out));
    CHECK(!rl_json_unescape(at("no"), &out));
    CHECK(!rl_json_equals(at("dup"), "2", 1));
    CHECK(!rl_json_equals(at("no"), "", 0));
    CHECK_INT(rl_json_member(at("a.b"), "c", 1).len, 0);
    rl_json_enter(&reader, at("text"));
    CHECK(!rl_json_next(&reader, &key, &value) && !reader.failed);
    rl_json_enter(&reader, at("no"));
    CHECK(!rl_json_next(&reader, &key, &value) && !reader.failed);
    CHECK_INT(out.len, 0);
    rl_buf_free(&out);
}

static bool reads(const char *text, size_t len)
{
    char *copy = exactly(text, len);
    rl_json_value value;
    bool valid = rl_json_read(copy, len, &value);

    free(copy);
    return valid;
}

/* Nested containers with a number inside. */
static void check_depth(unsigned depth, char open, char close, bool valid)
{
    rl_buf text;

    rl_buf_init(&text, RL_BUF_MAX);
    for (unsigned i = 0; i < depth; i++) {
        rl_buf_add_text(&text, open == '{' ? "{\"k\":" : "[");
    }
    rl_buf_add_text(&text, "1");
    for (unsigned i = 0; i < depth; i++) {
        rl_buf_add_char(&text, close);
    }
    CHECK(reads(text.data, text.len) == valid);
    CHECK(!reads(text.data, text.len - (depth > 0 ? 1 : text.len)));
    rl_buf_free(&text);
}

static void test_depth_is_limited(void)
{
    static const unsigned valid[] = {0, 1, 63, 64, 65, 200, 511, RL_JSON_READ_DEPTH};

    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
        check_depth(valid[i], '{', '}', true);
        check_depth(valid[i], '[', ']', true);
    }
    check_depth(RL_JSON_READ_DEPTH + 1, '{', '}', false);
    check_depth(1000000, '[', ']', false);
}

static void test_invalid_texts_are_rejected(void)
{
    static const char *const texts[] = {"",           " ",           "{",
                                        "[",          "]",           "{]",
                                        "[}",         "[1,]",        "[,1]",
                                        "{\"a\":1,}", "{\"a\"}",     "{a:1}",
                                        "{1:1}",      "{\"a\":}",    "{\"a\" 1}",
                                        "[1 2]",      "\"a",         "\"\\",
                                        "\"\\\"",     "'a'",         "\"\\x\"",
                                        "\"\\u12\"",  "\"\\u12g4\"", "\"\n\"",
                                        "\"\x1F\"",   "nul",         "nulll",
                                        "True",       "NaN",         "Infinity",
                                        "+1",         "01",          "-",
                                        "1.",         ".5",          "1e",
                                        "1e+",        "0x10",        "1 2",
                                        "[]]",        "{}{}",        "\xEF\xBB\xBF[]",
                                        "[1],",       "--1",         "\"\\u\"",
                                        "1_0",        "/**/1",       "\v1",
                                        "-a"};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (reads(texts[i], strlen(texts[i]))) {
            CHECK_STR(texts[i], "an invalid text");
        }
    }
    CHECK(!reads("\0", 1));
    CHECK(!reads("\"\\\0\"", 4));
    CHECK(!rl_json_read(NULL, 0, &(rl_json_value){NULL, 0}));
}

static void test_a_reader_of_an_invalid_text_fails(void)
{
    static const char text[] = "[1, {\"a\" 2}, 3]";
    rl_json_reader reader;
    rl_json_value key, value;

    rl_json_enter(&reader, rl_json_unchecked(text, sizeof text - 1));
    CHECK(rl_json_next(&reader, &key, &value));
    CHECK(!rl_json_next(&reader, &key, &value));
    CHECK(reader.failed);
    CHECK(!rl_json_next(&reader, &key, &value));
    CHECK_INT(value.len, 0);
    CHECK_INT(rl_json_unchecked("  \n", 3).len, 0);
    CHECK_INT(rl_json_unchecked(NULL, 0).len, 0);
}

/* Reads a value with every function; returns a number that depends on all results. */
static size_t read_all(rl_json_value value, unsigned depth)
{
    rl_json_reader reader;
    rl_json_value key, member;
    double number = 0;
    size_t sum = value.len;
    rl_buf out;

    rl_buf_init(&out, RL_BUF_MAX);
    sum += rl_json_unescape(value, &out) + out.len + rl_json_number(value, &number);
    rl_buf_free(&out);
    sum += rl_json_find(value, "a.b.-1.c").len + rl_json_find(value, "0.-1").len;
    rl_json_enter(&reader, value);
    while (depth < 40 && rl_json_next(&reader, &key, &member)) {
        sum += read_all(member, depth + 1) + rl_json_equals(key, "dup", 3);
    }
    return sum;
}

/* A changed text gives a slice of it, or is rejected; reading it never goes beyond it. */
static void test_mutated_texts_are_read_or_rejected(void)
{
    static const char bits[] = "{}[]\",:\\u-+.eE019tfna \n\x80\xFF";
    uint64_t state = 31;
    size_t valid = 0;

    for (int round = 0; round < 100000; round++) {
        char text[sizeof sample];
        size_t len = sizeof sample - 1, changes = 1 + random_below(&state, 3);
        rl_json_value value;
        char *copy;

        memcpy(text, sample, sizeof sample);
        while (changes-- > 0) {
            size_t place = random_below(&state, len);

            if (random_below(&state, 4) > 0) {
                text[place] = bits[random_below(&state, sizeof bits)];
            } else if (len > 2) { /* remove some bytes */
                size_t piece = 1 + random_below(&state, 3);

                piece = piece < len - place ? piece : len - place;
                memmove(text + place, text + place + piece, len - place - piece);
                len -= piece;
            }
            len = len > 0 ? len : 1;
        }
        copy = exactly(text, len);
        if (rl_json_read(copy, len, &value)) {
            CHECK(value.text >= copy && value.text + value.len <= copy + len);
            CHECK(read_all(value, 0) > 0);
            valid++;
        } else {
            CHECK(value.len == 0);
        }
        (void)read_all(rl_json_unchecked(copy, len), 0);
        free(copy);
    }
    CHECK(valid > 10000);
}

static void test_without_memory(void)
{
    struct failing failing = {.fail_at = 1, .go_on = true};
    const rl_allocator allocator = {failing_resize, failing_release, &failing};
    rl_buf out;

    rl_buf_init(&out, RL_BUF_MAX);
    rl_set_allocator(&allocator);
    CHECK(rl_json_unescape(at("text"), &out));
    rl_set_allocator(NULL);
    CHECK(out.failed);
    CHECK_INT(out.len, 0);
    rl_buf_free(&out);
}

/* A decimal comma of the locale, if the system has one, makes no difference. */
static void test_numbers_are_read_in_any_locale(void)
{
    static const char text[] = "0.12345678901234567890123";
    rl_json_value value;
    double number = 0;

    (void)(setlocale(LC_ALL, "de_DE.UTF-8") != NULL || setlocale(LC_ALL, "fr_FR.UTF-8"));
    CHECK(rl_json_read(text, sizeof text - 1, &value));
    CHECK(rl_json_number(value, &number) && number == 0.12345678901234567890123);
    setlocale(LC_ALL, "C");
}

static const struct check_test tests[] = {
    CHECK_TEST(test_find_follows_a_path),
    CHECK_TEST(test_kinds_of_values),
    CHECK_TEST(test_values_of_another_kind),
    CHECK_TEST(test_depth_is_limited),
    CHECK_TEST(test_invalid_texts_are_rejected),
    CHECK_TEST(test_a_reader_of_an_invalid_text_fails),
    CHECK_TEST(test_mutated_texts_are_read_or_rejected),
    CHECK_TEST(test_without_memory),
    CHECK_TEST(test_numbers_are_read_in_any_locale),
};

CHECK_MAIN(tests)
