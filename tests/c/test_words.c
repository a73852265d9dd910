/* Tests of src/words without a database: what is a word, what of a run is searched, and
 * what becomes of a text that is searched for. Texts are in allocations of exactly their
 * size, so that AddressSanitizer sees an overrun.
 */
#include "words/plain.h"
#include "words/run_text.h"
#include "words/terms.h"

#include "check.h"
#include "exactly.h"
#include "failing.h"
#include "random.h"

#include <stdlib.h>

static void check_plain(const char *text, const char *want)
{
    const size_t len = strlen(text);
    char *copy = exactly(text, len);
    rl_buf out;

    rl_buf_init(&out, RL_BUF_MAX);
    rl_words_plain(copy, len, SIZE_MAX, &out);
    rl_buf_add_char(&out, '\0');
    CHECK_STR(out.data, want);
    rl_buf_free(&out);
    free(copy);
}

static void test_plain(void)
{
    char longer[401], shorter[130];

    check_plain("", "");
    check_plain(" - ,", "");
    check_plain("One, two-THREE_4", " one two three 4");
    check_plain("\xE6\x97\xA5\xE6\x9C\xAC"
                "go",
                " \xE6\x97\xA5 \xE6\x9C\xAC go");
    check_plain("caf\xC3\xA9", " caf\xC3\xA9");
    check_plain("a\xC2\xA0"
                "b",
                " a b");
    check_plain("\xF0\x9F\x8E\x89\xF0\x9F\x8E\x89", " u1f389 u1f389");
    check_plain("\xE2\x9D\xA4\xEF\xB8\x8F", " u2764");
    check_plain("a\xFF\xC3(b\xE2\x82", " a b");
    check_plain("a\xC0\xAF"
                "b",
                " a b");
    memset(longer, 'x', 400);
    longer[400] = '\0';
    memset(shorter, 'x', 129);
    shorter[0] = ' ';
    shorter[129] = '\0';
    check_plain(longer, shorter);
}

static void test_plain_of_any_bytes(void)
{
    uint64_t state = 7;

    for (int round = 0; round < 2000; round++) {
        char bytes[40];
        size_t len = random_below(&state, sizeof bytes);
        char *copy;
        rl_buf out;

        for (size_t i = 0; i < len; i++) {
            bytes[i] = (char)(random_below(&state, 256));
        }
        copy = exactly(bytes, len);
        rl_buf_init(&out, RL_BUF_MAX);
        rl_words_plain(copy, len, 20, &out);
        CHECK(out.len < 20 + 12);
        for (size_t i = 0; i < out.len; i++) {
            unsigned char c = (unsigned char)out.data[i];

            CHECK(c == ' ' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                  c >= 0x80);
        }
        rl_buf_free(&out);
        free(copy);
    }
}

static const char logs[] =
    "[{\"node\":\"draft\",\"status\":\"completed\",\"started_at\":\"2026-01-01\","
    "\"inputs\":{\"status\":\"mine\",\"deep\":[[{\"x\":\"deep\"}]]},"
    "\"calls\":[{\"kind\":\"llm\",\"name\":\"Clerk\",\"tools\":{\"a\":\"definition\"},"
    "\"messages\":{\"new\":[{\"content\":\"asked\\nagain\"}],\"$messages\":[[0,1]]},"
    "\"outputs\":[{\"content\":\"answered\"}]}],\"error_text\":\"broken\"},\"plain\"]";

static void scan(rl_words_role role, const char *json, size_t len, bool as_words,
                 rl_buf *out)
{
    char *copy = exactly(json, len);
    rl_words_scan *scan = malloc(sizeof *scan);

    rl_words_scan_init(scan);
    rl_words_scan_begin(scan, as_words, 10000, out);
    rl_words_scan_json(scan, role, copy, len);
    rl_words_scan_free(scan);
    free(scan);
    free(copy);
}

static void check_scan(rl_words_role role, const char *json, const char *want)
{
    rl_buf out;

    rl_buf_init(&out, RL_BUF_MAX);
    scan(role, json, strlen(json), true, &out);
    rl_buf_add_char(&out, '\0');
    CHECK_STR(out.data, want);
    rl_buf_free(&out);
}

static void test_what_is_searched(void)
{
    char blob[1200] = "\"";

    check_scan(RL_WORDS_LOGS, logs,
               " draft mine deep clerk asked again answered broken plain");
    check_scan(RL_WORDS_PAYLOAD, "{\"status\" : \"mine\", \"n\": [1, \"two\"]}",
               " mine two");
    check_scan(RL_WORDS_PAYLOAD, "\"alone\"", " alone");
    check_scan(RL_WORDS_PAYLOAD, "{\"a\":{\"$value\":\"00ff\",\"head\":\"head\"}}", "");
    check_scan(RL_WORDS_PAYLOAD,
               "[\"only once in a run\",\"only once in a run\",\"x\",\"x\"]",
               " only once in a run x x");
    check_scan(RL_WORDS_SKIP, "[\"nothing\"]", "");
    check_scan(RL_WORDS_PAYLOAD, "{\"\\u0041\":\"\\u0041\\\"b\\\\\"}", " a b");
    memset(blob + 1, 'A', 1100);
    blob[1101] = '"';
    check_scan(RL_WORDS_PAYLOAD, blob, "");
    memcpy(blob + 1, "data:image/png;base64,", 22);
    check_scan(RL_WORDS_PAYLOAD, blob, "");
}

/* Broken JSON, of any length: something is found or not, and nothing read beyond it. */
static void test_broken_json(void)
{
    uint64_t state = 3;
    char copy[sizeof logs];

    for (size_t len = 0; len < sizeof logs; len++) {
        for (int round = 0; round < 4; round++) {
            rl_buf out;

            memcpy(copy, logs, sizeof logs);
            for (int i = 0; i < round && len > 0; i++) {
                copy[random_below(&state, len)] = "\"\\{}[]:,x"[random_below(&state, 9)];
            }
            rl_buf_init(&out, RL_BUF_MAX);
            scan(RL_WORDS_LOGS, copy, len, round % 2 == 0, &out);
            CHECK(!out.failed);
            rl_buf_free(&out);
        }
    }
}

static void test_deep_json(void)
{
    char *deep = malloc(4000);
    rl_buf out;

    memset(deep, '[', 2000);
    memset(deep + 2000, ']', 2000);
    rl_buf_init(&out, RL_BUF_MAX);
    scan(RL_WORDS_PAYLOAD, deep, 4000, true, &out);
    CHECK_INT(out.len, 0);
    rl_buf_free(&out);
    free(deep);
}

static void check_terms(const char *text, rl_words_dialect dialect, const char *want)
{
    rl_err err = {.code = RL_OK};
    rl_buf out;
    rl_status status;

    rl_buf_init(&out, RL_BUF_MAX);
    status = rl_words_terms(text, dialect, &out, &err);
    CHECK_INT(status, want != NULL ? RL_OK : RL_INVALID);
    if (status == RL_OK && want != NULL) {
        CHECK_STR(out.data, want);
    }
    rl_buf_free(&out);
}

static void test_terms(void)
{
    check_terms("One two*", RL_WORDS_FTS5, "\"one\" AND \"two\" *");
    check_terms("One two*", RL_WORDS_TSQUERY, "('one') & ('two':*)");
    check_terms(" \"a b\"* c-d ", RL_WORDS_FTS5, "\"a b\" * AND \"c d\"");
    check_terms("\"a b\"*", RL_WORDS_TSQUERY, "('a' <-> 'b':*)");
    check_terms("a\"b c\"d", RL_WORDS_FTS5, "\"a\" AND \"b c\" AND \"d\"");
    check_terms("\"open", RL_WORDS_FTS5, "\"open\"");
    check_terms("it's ':*)", RL_WORDS_TSQUERY, "('it' <-> 's')");
    check_terms("x-ray GER*", RL_WORDS_TRIGRAM, "\"x-ray\" AND \"GER\"");
    check_terms("\"a \\ b\"*", RL_WORDS_TRIGRAM, "\"a \\ b\"");
    check_terms("ab*", RL_WORDS_TRIGRAM, NULL);
    check_terms("", RL_WORDS_FTS5, NULL);
    check_terms("* \"\" -", RL_WORDS_FTS5, NULL);
    check_terms("\"", RL_WORDS_TSQUERY, NULL);
}

static rl_status make_terms(rl_err *err)
{
    rl_buf out;
    rl_status status;

    rl_buf_init(&out, RL_BUF_MAX);
    status = rl_words_terms("one \"two three\"* four", RL_WORDS_TSQUERY, &out, err);
    rl_buf_free(&out);
    return status;
}

static rl_status scan_logs(rl_err *err)
{
    rl_words_scan *scan = malloc(sizeof *scan);
    rl_status status;
    rl_buf out;

    rl_buf_init(&out, RL_BUF_MAX);
    rl_words_scan_init(scan);
    rl_words_scan_begin(scan, true, 10000, &out);
    rl_words_scan_json(scan, RL_WORDS_LOGS, logs, sizeof logs - 1);
    status = out.failed ? rl_err_nomem(err) : RL_OK;
    rl_words_scan_free(scan);
    rl_buf_free(&out);
    free(scan);
    return status;
}

static void test_without_memory(void)
{
    fail_everywhere(make_terms, 2);
    fail_everywhere(scan_logs, 2);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_plain),
    CHECK_TEST(test_plain_of_any_bytes),
    CHECK_TEST(test_what_is_searched),
    CHECK_TEST(test_broken_json),
    CHECK_TEST(test_deep_json),
    CHECK_TEST(test_terms),
    CHECK_TEST(test_without_memory),
};

CHECK_MAIN(tests)
