/* Tests of core/redact_text.h. Texts have memory of exactly their size, so that
 * AddressSanitizer finds an access beyond them; the pieces are put together at random.
 */
#include "core/redact_text.h"

#include "check.h"
#include "random.h"

#include <stdlib.h>

#define ROUNDS 20000
#define SECRET "S3cr3tS3cr3tS3cr3t"

static rl_redact set;

static void make_set(void)
{
    rl_err err;

    if (set.rules == 0) {
        CHECK_INT(rl_redact_add(&set, RL_REDACT_DEFAULT, &err), RL_OK);
    }
}

/* Searches a copy of exactly the text's size. */
static bool search(const char *text, size_t len, rl_text_form form, size_t from,
                   size_t to, rl_buf *out)
{
    char *copy = malloc(len + (form == RL_ESCAPED ? RL_WINDOW : 0) + (len == 0));
    bool found;

    memcpy(copy, text, len);
    rl_buf_init(out, RL_BUF_MAX);
    found = rl_redact_text(&set, copy, len, form, from, to, out);
    free(copy);
    return found;
}

static void test_pieces_in_any_order(void)
{
    static const char *const pieces[] = {"password",
                                         "=",
                                         ":",
                                         " ",
                                         "\\\"",
                                         "\\n",
                                         "'",
                                         "{",
                                         "}",
                                         "[",
                                         "]",
                                         "://",
                                         "@",
                                         "u:",
                                         "eyJ",
                                         "sk-",
                                         ".",
                                         "-----",
                                         "BEGIN PRIVATE KEY",
                                         "-----END",
                                         "Bearer ",
                                         "a",
                                         "9",
                                         "\xC3\xA4",
                                         "\\",
                                         "\\u00e4",
                                         "&",
                                         "token",
                                         "Cookie",
                                         "hooks.slack.com/services/",
                                         "aB3daB3daB3daB3daB3daB3d",
                                         "word word word word word word word "};
    const rl_text_form forms[] = {RL_PLAIN, RL_ESCAPED, RL_BYTES};
    uint64_t seed = 1;
    char text[1024];
    rl_buf out, again;

    make_set();
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t len = 0, count = random_below(&seed, 20);
        rl_text_form form = forms[round % 3];

        for (size_t i = 0; i < count; i++) {
            const char *piece =
                pieces[random_below(&seed, sizeof pieces / sizeof *pieces)];

            memcpy(text + len, piece, strlen(piece));
            len += strlen(piece);
        }
        if (search(text, len, form, 0, len, &out)) {
            CHECK(memmem(out.data, out.len, RL_REDACTED, 10) != NULL);
        } else {
            CHECK_INT(out.len, 0);
        }
        (void)search(text, len, form, len / 3, len - len / 4, &again);
        rl_buf_free(&again);
        rl_buf_free(&out);
    }
}

/* A secret at every place of a text, and every part of that text wanted. */
static void test_every_place(void)
{
    char text[200];
    rl_buf out;

    make_set();
    for (size_t at = 0; at < 140; at++) {
        memset(text, ' ', sizeof text);
        memcpy(text + at, "token=" SECRET, 6 + sizeof SECRET - 1);
        CHECK(search(text, sizeof text, RL_BYTES, 0, sizeof text, &out));
        CHECK(memmem(out.data, out.len, "S3", 2) == NULL);
        rl_buf_free(&out);
        for (size_t cut = at + 7; cut < at + 6 + sizeof SECRET - 1; cut++) {
            CHECK(search(text, sizeof text, RL_ESCAPED, 0, cut, &out));
            CHECK_INT(out.len, at + 16);
            rl_buf_free(&out);
            CHECK(search(text, sizeof text, RL_ESCAPED, cut, sizeof text, &out));
            CHECK_INT(out.len, 10 + sizeof text - (at + 6 + sizeof SECRET - 1));
            rl_buf_free(&out);
        }
    }
}

/* What the first look must find, one byte at a time. */
static bool may_have_secret(const char *text, size_t len)
{
    bool found = false;
    size_t row = 0;

    for (size_t i = 0; i < len && !found; i++) {
        bool sign = text[i] == ':' || text[i] == '=';
        bool time = i > 0 && i + 1 < len && text[i - 1] >= '0' && text[i - 1] <= '9' &&
                    text[i + 1] >= '0' && text[i + 1] <= '9';

        row = sign || (signed char)text[i] < '-' ? 0 : row + 1;
        found = (sign && !time) || row == RL_ROW;
    }
    return found;
}

static bool needs_escape(const char *text, size_t len)
{
    bool found = false;

    for (size_t i = 0; i < len && !found; i++) {
        found = (unsigned char)text[i] < ' ' || text[i] == '"' || text[i] == '\\';
    }
    return found;
}

/* Checks the first look at a text, which has sixteen readable bytes before it and
 * RL_WINDOW behind it, all of them `around`. */
static void look(const char *text, size_t len, char around)
{
    const bool expected = may_have_secret(text, len);
    char block[16 + 400 + RL_WINDOW], out[40];

    memset(block, around, sizeof block);
    memcpy(block + 16, text, len);
    if (len <= 32) {
        CHECK_INT(rl_text_suspects(block + 16, len), expected);
        CHECK_INT(rl_copy_and_look(out, block + 16, len),
                  needs_escape(text, len)              ? RL_SEEN_DIRTY
                  : expected && len >= RL_REDACT_LEAST ? RL_SEEN_SUSPECT
                                                       : RL_SEEN_NOTHING);
        CHECK(needs_escape(text, len) || memcmp(out, text, len) == 0);
    } else {
        CHECK(!expected || rl_text_suspects(block + 16, len));
    }
}

/* A row, and a sign, at every place of texts of every length. */
static void test_first_look_at_every_place(void)
{
    char text[300];

    for (size_t len = 1; len <= sizeof text; len++) {
        memset(text, ' ', len);
        CHECK(!may_have_secret(text, len));
        for (size_t at = 0; at < len; at++) {
            memset(text, ' ', len);
            text[at] = at % 2 == 0 ? ':' : '=';
            look(text, len, 'a');
            if (at + RL_ROW <= len) {
                memset(text + at, 'a', RL_ROW);
                look(text, len, ' ');
                CHECK(may_have_secret(text, len));
            }
        }
    }
}

static void test_first_look_at_random(void)
{
    static const char characters[] = " ,+-./09:;<=>@AZ_az\"\\\n\x7F\x80\xFF";
    uint64_t seed = 3;
    char text[300];

    for (size_t round = 0; round < ROUNDS; round++) {
        size_t len = random_below(&seed, round % 2 == 0 ? 33 : sizeof text);
        size_t count = 1 + random_below(&seed, sizeof characters - 1);

        for (size_t i = 0; i < len; i++) {
            text[i] = random_below(&seed, 12) == 0
                          ? characters[random_below(&seed, count)]
                          : (char)('a' + random_below(&seed, 26));
        }
        look(text, len, characters[random_below(&seed, sizeof characters - 1)]);
    }
}

/* Ordinary text needs no second look. */
static void test_prose_is_passed_over(void)
{
    static const char prose[] =
        "the graph retrieves three passages and ranks them before the model answers a "
        "question about shipping delays in northern ports, at 10-30, while the planner "
        "decides which tool to call next and whether enough evidence has been found";
    char text[sizeof prose + RL_WINDOW] = "";

    memcpy(text, prose, sizeof prose);
    for (size_t len = 0; len < sizeof prose; len++) {
        CHECK(!rl_text_suspects(text, len));
    }
}

static const struct check_test tests[] = {
    CHECK_TEST(test_first_look_at_every_place),
    CHECK_TEST(test_first_look_at_random),
    CHECK_TEST(test_prose_is_passed_over),
    CHECK_TEST(test_pieces_in_any_order),
    CHECK_TEST(test_every_place),
};

CHECK_MAIN(tests)
