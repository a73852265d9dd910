/* Test of meaning/outbox/embed_text.h: where the text of a run is found, and that broken
 * outputs have none. Outputs are in allocations of exactly their size, so that
 * AddressSanitizer sees an overrun.
 */
#include "meaning/outbox/embed_text.h"

#include "core/alloc.h"

#include "check.h"
#include "exactly.h"
#include "failing.h"
#include "random.h"

#include <stdlib.h>

static const rl_json_value no_values = {NULL, 0};

/* Checks the text that is found; want: NULL for none. */
static void check_found(const char *outputs, const char *path, const char *want)
{
    const size_t len = strlen(outputs);
    char *copy = exactly(outputs, len);
    rl_buf out;
    bool found;

    rl_buf_init(&out, RL_BUF_MAX);
    found = rl_embed_text_find(copy, len, path, no_values, &out);
    rl_buf_add_char(&out, '\0');
    if (found != (want != NULL) || strcmp(out.data, want != NULL ? want : "") != 0) {
        CHECK_STR(outputs, "found as it should be");
        CHECK_STR(found ? out.data : "(none)", want != NULL ? want : "(none)");
    }
    CHECK(rl_embed_text_has(copy, len, path, no_values) == found);
    rl_buf_free(&out);
    free(copy);
}

struct given {
    const char *outputs, *path, *want;
};

static void check_all(const struct given *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check_found(cases[i].outputs, cases[i].path, cases[i].want);
    }
}

#define CHECK_ALL(cases) check_all((cases), sizeof(cases) / sizeof *(cases))

static void test_text(void)
{
    static const struct given cases[] = {
        {"{\"text\":\"hello\"}", NULL, "hello"},
        {"  {\"a\": 1, \"text\": \" a\\n\\u00e4\\ud83d\\ude00\\ud800 \"} ", NULL,
         " a\n\xC3\xA4\xF0\x9F\x98\x80\xEF\xBF\xBD "},
        {"{\"text\":\"one\",\"t\\u0065xt\":\"two\"}", NULL, "two"},
        {"{\"text\":\"t\",\"messages\":[{\"content\":\"m\"}]}", NULL, "t"},
        {"{\"text\":\"\"}", NULL, NULL},
        {"{\"text\":\" \\t\\r\\n\\u000b\\u000c\\u00a0\\u2003\\u3000\\u0085\"}", NULL,
         NULL},
        {"{\"text\":\"\xC2\xA0\xE2\x80\x8A\xE2\x80\xA8\xE2\x81\x9F\xE1\x9A\x80\"}", NULL,
         NULL},
        {"{\"text\":\"\xE2\x80\x8B\"}", NULL,
         "\xE2\x80\x8B"}, /* zero width, but not white space */
        {"{\"text\":\"\xC2\xA1\"}", NULL, "\xC2\xA1"},
        {"{\"text\":null}", NULL, NULL},
        {"{\"text\":7}", NULL, NULL},
        {"{\"text\":[\"a\"]}", NULL, NULL},
        {"{\"text\":{\"text\":\"a\"}}", NULL, NULL},
        {"{\"Text\":\"a\"}", NULL, NULL},
        {"\"text\"", NULL, NULL},
        {"[\"text\"]", NULL, NULL},
        {"null", NULL, NULL},
        {"{}", NULL, NULL},
        {"", NULL, NULL},
        {"{\"text\":\"a\"", NULL, NULL},
    };

    CHECK_ALL(cases);
}

static void test_messages(void)
{
    static const struct given cases[] = {
        {"{\"messages\":[{\"content\":\"a\"},{\"type\":\"ai\",\"content\":\"b\"}]}", NULL,
         "b"},
        {"{\"messages\": [], \"text\": \"t\"}", NULL, "t"},
        {"{\"text\":\" \",\"messages\":[{\"content\":\"b\"}]}", NULL, "b"},
        {"{\"text\":3,\"messages\":[{\"content\":\"b\"}]}", NULL, "b"},
        {"{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"a\"},\"b\",{"
         "\"type\":"
         "\"image_url\",\"text\":\"x\"},{\"text\":\"y\"},{\"type\":\"text\",\"text\":\" "
         "\"},3,"
         "{\"type\":\"text\",\"text\":\"c\"}]}]}",
         NULL, "a\nb\nc"},
        {"{\"messages\":[{\"content\":[{\"type\":\"tool_use\",\"input\":{}}]}]}", NULL,
         NULL},
        {"{\"messages\":[{\"content\":[]}]}", NULL, NULL},
        {"{\"messages\":[{\"content\":\"a\"},{\"content\":\"\",\"tool_calls\":[1]}]}",
         NULL, NULL},
        {"{\"messages\":[{\"lc\":1,\"type\":\"constructor\",\"id\":[\"langchain\"],"
         "\"kwargs\":"
         "{\"content\":\"k\"}}]}",
         NULL, "k"},
        {"{\"messages\":[{\"lc\":1,\"kwargs\":{\"content\":[{\"text\":\"k\",\"type\":"
         "\"text\"}"
         "]}}]}",
         NULL, "k"},
        {"{\"messages\":[{\"kwargs\":{\"content\":\"k\"}}]}", NULL, NULL},
        {"{\"messages\":[{\"lc\":1,\"kwargs\":[]}]}", NULL, NULL},
        {"{\"messages\":[]}", NULL, NULL},
        {"{\"messages\":[[\"ai\",\"x\"]]}", NULL, NULL},
        {"{\"messages\":[\"x\"]}", NULL, NULL},
        {"{\"messages\":[null]}", NULL, NULL},
        {"{\"messages\":\"x\"}", NULL, NULL},
        {"{\"messages\":{\"-1\":{\"content\":\"x\"}}}", NULL, NULL},
        {"[{\"content\":\"x\"}]", NULL, NULL},
    };

    CHECK_ALL(cases);
}

static void test_paths(void)
{
    static const char outputs[] =
        "{\"text\":\"t\",\"answer\":{\"parts\":[\"one\",\"two\"],\"n\":1,\"blank\":\" "
        "\"},"
        "\"messages\":[{\"content\":\"first\"},{\"content\":[{\"type\":\"text\",\"text\":"
        "\"last\"}]}]}";
    const struct given cases[] = {
        {outputs, "text", "t"},
        {outputs, "answer.parts.0", "one"},
        {outputs, "answer.parts.-1", "two"},
        {outputs, "answer.parts", "one\ntwo"}, /* a list of strings is a content */
        {outputs, "answer.n", NULL},
        {outputs, "answer.blank", NULL},
        {outputs, "answer", NULL},
        {outputs, "nothing", NULL},
        {outputs, "messages.0.content", "first"},
        {outputs, "messages.-1.content", "last"},
        {outputs, "", NULL},
        {"\"just text\"", "", "just text"},
        {"\"just text\"", NULL, NULL},
        {"{\"text\":\"t\"", "text", NULL},
        {"{\"text\":\"t\"}x", "text", NULL},
    };

    CHECK_ALL(cases);
}

static void test_mutations(void)
{
    static const char sample[] =
        "{\"a\":[1,{}],\"text\":\"\\u0020 \",\"messages\":[{\"content\":\"x\"},{\"lc\":1,"
        "\"kwargs\":{\"content\":[{\"type\":\"text\",\"text\":\"b\\ud83d\\ude00\"},\"c\"]"
        "}}]}";
    static const char bits[] = "{}[]\",:\\u-.e0 tx\xE2\x80";
    uint64_t state = 41;
    size_t found = 0, missing = 0;

    for (int round = 0; round < 100000; round++) {
        char text[sizeof sample];
        size_t len = sizeof sample - 1, changes = 1 + random_below(&state, 3);
        bool has;
        char *copy;
        rl_buf out;

        memcpy(text, sample, sizeof sample);
        while (changes-- > 0) {
            text[random_below(&state, len)] = bits[random_below(&state, sizeof bits)];
        }
        len -= random_below(&state, 8) == 0 ? random_below(&state, len) : 0;
        copy = exactly(text, len);
        rl_buf_init(&out, RL_BUF_MAX);
        has = rl_embed_text_has(copy, len, NULL, no_values);
        CHECK(rl_embed_text_find(copy, len, NULL, no_values, &out) == has);
        CHECK(has == (out.len > 0));
        CHECK(out.len < len);
        (void)rl_embed_text_has(copy, len, "messages.-1.kwargs.content.0.text",
                                no_values);
        found += has;
        missing += !has;
        rl_buf_free(&out);
        free(copy);
    }
    CHECK(found > 5000);
    CHECK(missing > 10000);
}

/* A large text is beside the outputs, or else the head of its mark counts. */
static void test_values(void)
{
    static const char values[] = "{\"aa\":\"the \\u00e4 whole\",\"bb\":\"\\u0020 \"}";
    static const struct {
        const char *outputs, *path, *with, *without;
    } cases[] = {
#define MARK(name) "{\"$value\":\"" name "\",\"bytes\":9,\"head\":\"the\"}"
        {"{\"text\":" MARK("aa") "}", NULL, "the \xc3\xa4 whole", "the"},
        {"{\"text\":" MARK("bb") "}", NULL, NULL, "the"},
        {"{\"text\":" MARK("cc") "}", NULL, "the", "the"},
        {"{\"messages\":[{\"content\":" MARK("aa") "}]}", NULL, "the \xc3\xa4 whole",
         "the"},
        {"{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":" MARK(
             "aa") "},"
                   "\"and\"," MARK("aa") "]}]}",
         NULL, "the \xc3\xa4 whole\nand\nthe \xc3\xa4 whole", "the\nand\nthe"},
        {"{\"a\":[" MARK("aa") "]}", "a.0", "the \xc3\xa4 whole", "the"},
        {"{\"text\":{\"$value\":\"cc\"}}", NULL, NULL, NULL},
        {"{\"text\":{\"$value\":1,\"head\":\"x\"}}", NULL, NULL, NULL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const rl_json_value given[] = {{values, sizeof values - 1}, no_values};
        const char *want[] = {cases[i].with, cases[i].without};

        for (int j = 0; j < 2; j++) {
            const size_t len = strlen(cases[i].outputs);
            rl_buf out;
            bool found;

            rl_buf_init(&out, RL_BUF_MAX);
            found =
                rl_embed_text_find(cases[i].outputs, len, cases[i].path, given[j], &out);
            rl_buf_add_char(&out, '\0');
            CHECK_STR(found ? out.data : "(none)", want[j] != NULL ? want[j] : "(none)");
            CHECK(found ==
                  rl_embed_text_has(cases[i].outputs, len, cases[i].path, given[j]));
            rl_buf_free(&out);
        }
    }
}

static void test_without_memory(void)
{
    static const char outputs[] = "{\"text\":\"hello\"}";
    struct failing failing = {.fail_at = 1, .go_on = true};
    const rl_allocator allocator = {failing_resize, failing_release, &failing};
    rl_buf out;

    rl_buf_init(&out, RL_BUF_MAX);
    rl_set_allocator(&allocator);
    CHECK(!rl_embed_text_find(outputs, sizeof outputs - 1, NULL, no_values, &out));
    CHECK(rl_embed_text_has(outputs, sizeof outputs - 1, NULL, no_values));
    rl_set_allocator(NULL);
    CHECK(out.failed);
    CHECK_INT(failing.count, 1);
    rl_buf_free(&out);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_text),   CHECK_TEST(test_messages),
    CHECK_TEST(test_paths),  CHECK_TEST(test_mutations),
    CHECK_TEST(test_values), CHECK_TEST(test_without_memory),
};

CHECK_MAIN(tests)
