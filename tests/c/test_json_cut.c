/* Test of where core/json.h cuts a text: documents of all sorts, each under every cap.
 *
 * A document is drawn from a seed, so that the same one can be written again under
 * another cap. The cut text must be JSON, not longer than it may, and the whole one up to
 * its mark.
 */
#include "core/json.h"

#include "check.h"
#include "json_valid.h"
#include "random.h"

#include <stdlib.h>

#define BEFORE "before," /* what stands in the buffer already */
#define LONGEST_ITEM \
    (48 * RL_ESCAPE_MAX + 40) /* what a cut may leave out below the cap */

/* A document, drawn from a seed. */
struct document {
    uint64_t state;
    size_t longest_text; /* characters */
    unsigned deepest, depth;
    int values; /* to come */
};

static size_t draw_text(struct document *doc, char *text, size_t count)
{
    static const char *const letters[] = {"a",    "b", " ", "\"", "\n",
                                          "\x02", "ä", "€", "😀"};
    /* clean, or with all sorts of characters */
    size_t used =
        random_below(&doc->state, 3) != 0 ? 3 : sizeof letters / sizeof *letters;
    size_t len = 0;

    for (size_t i = 0; i < count; i++) {
        const char *letter = letters[random_below(&doc->state, used)];

        memcpy(text + len, letter, strlen(letter));
        len += strlen(letter);
    }
    return len;
}

/* Writes a text in one go, or in pieces, as the encoder of Python's texts does. */
static void put_text(rl_json *json, struct document *doc, size_t count, bool key)
{
    char *text = malloc(4 * count + 1);
    size_t len = draw_text(doc, text, count), at = 0;
    rl_json_string string;

    if (random_below(&doc->state, 3) != 0) {
        (key ? rl_json_key : rl_json_text)(json, text, len);
        len = 0;
    } else {
        rl_json_string_begin(json, &string, key);
        while (at < len && rl_buf_reserve(json->buf, RL_ESCAPE_MAX * (len - at))) {
            size_t piece = rl_escaped_prefix(text + at, len - at,
                                             4 + random_below(&doc->state, len));

            rl_json_string_add(
                json, &string,
                rl_escape_utf8(json->buf->data + json->buf->len, text + at, piece));
            at += piece;
        }
        rl_json_string_end(json, &string);
    }
    free(text);
}

static void put_number(rl_json *json, struct document *doc)
{
    uint64_t bits = random_next(&doc->state) >> random_below(&doc->state, 64);
    double value;

    memcpy(&value, &bits, sizeof value);
    switch (random_below(&doc->state, 4)) {
    case 0:
        rl_json_int(json, (int64_t)bits);
        break;
    case 1:
        rl_json_raw(json, "null", 4);
        break;
    case 2:
        rl_json_double(json, (double)bits / 8);
        break;
    default:
        rl_json_double(json, value);
    }
}

static void put_value(rl_json *json, struct document *doc)
{
    size_t what =
        doc->depth == 0 ? 3 + random_below(&doc->state, 3) : random_below(&doc->state, 6);

    doc->values--;
    if (what < 2) {
        put_number(json, doc);
    } else if (what < 4 || doc->depth >= 12) {
        put_text(json, doc, random_below(&doc->state, doc->longest_text + 1), false);
    } else {
        size_t members = doc->depth == 0 ? 1000 : random_below(&doc->state, 5);

        doc->depth++;
        doc->deepest = doc->depth > doc->deepest ? doc->depth : doc->deepest;
        rl_json_open(json, what == 4 ? '{' : '[');
        while (members-- > 0 && doc->values > 0) {
            if (what == 4) {
                put_text(json, doc, random_below(&doc->state, 48), true);
            }
            put_value(json, doc);
        }
        rl_json_close(json);
        doc->depth--;
    }
}

/* Writes the document of a seed behind BEFORE. Gives its length. */
static size_t put_document(rl_buf *buf, uint64_t seed, size_t longest_text, size_t cap,
                           struct document *doc)
{
    rl_json json;

    *doc = (struct document){.state = seed, .longest_text = longest_text};
    doc->values = 1 + (int)random_below(&doc->state, 25);
    rl_buf_reset(buf, RL_BUF_MAX);
    rl_buf_add_text(buf, BEFORE);
    rl_json_begin(&json, buf, cap);
    put_value(&json, doc);
    CHECK(!rl_json_gave_up(&json));
    rl_json_end(&json);
    CHECK(!buf->failed);
    CHECK(memcmp(buf->data, BEFORE, sizeof BEFORE - 1) == 0);
    CHECK(buf->data[buf->len] == '\0');
    return buf->len - (sizeof BEFORE - 1);
}

/* Checks a text that had to be cut, against the whole one. */
static void check_cut(const char *text, size_t len, const char *whole, size_t whole_len,
                      size_t cap, unsigned deepest)
{
    static const char member[] = "\"<cut>\":\"";
    char marker[64];
    size_t marker_len =
        (size_t)snprintf(marker, sizeof marker, "<cut: %zu bytes>\"", whole_len);
    const char *at = memmem(text, len, marker, marker_len);
    size_t kept, closers;

    CHECK(is_json(text, len));
    CHECK(at != NULL);
    if (at == NULL) {
        return;
    }
    kept = (size_t)(at - text);
    closers = len - kept - marker_len;
    CHECK(strspn(at + marker_len, "]}") == closers && closers <= deepest);
    CHECK(kept <= cap + sizeof member);
    if (memcmp(text, whole, kept) != 0) { /* cut between items, not in a text */
        CHECK(kept > 0 && text[kept - 1] == '"');
        kept -= kept >= sizeof member - 1 &&
                        memcmp(at - (sizeof member - 1), member, sizeof member - 1) == 0
                    ? sizeof member - 1
                    : 1;
        CHECK(memcmp(text, whole, kept) == 0);
    }
    CHECK(kept + LONGEST_ITEM + deepest >= cap);
}

static void check_under_cap(rl_buf *buf, uint64_t seed, size_t longest_text, size_t cap,
                            const char *whole, size_t whole_len)
{
    struct document doc;
    size_t len = put_document(buf, seed, longest_text, cap, &doc);
    const char *text = buf->data + sizeof BEFORE - 1;

    if (cap >= whole_len) {
        check_mem(text, len, whole, whole_len, "text", __FILE__, __LINE__);
    } else {
        check_cut(text, len, whole, whole_len, cap, doc.deepest);
    }
}

/* Writes a document under each cap, or under many where it is long. */
static void check_document(uint64_t seed, size_t longest_text)
{
    struct document doc;
    uint64_t state = seed;
    rl_buf buf, whole_buf;
    size_t whole_len;
    const char *whole;

    rl_buf_init(&buf, RL_BUF_MAX);
    rl_buf_init(&whole_buf, RL_BUF_MAX);
    whole_len = put_document(&whole_buf, seed, longest_text, RL_BUF_MAX / 2, &doc);
    whole = whole_buf.data + sizeof BEFORE - 1;
    CHECK(is_json(whole, whole_len));
    for (size_t cap = 0; cap < whole_len + 3;
         cap +=
         longest_text < 1000 || cap + 40 > whole_len ? 1 : random_below(&state, 8000)) {
        check_under_cap(&buf, seed, longest_text, cap, whole, whole_len);
    }
    rl_buf_free(&buf);
    rl_buf_free(&whole_buf);
}

static void test_cut_everywhere(void)
{
    for (uint64_t seed = 0; seed < 40; seed++) {
        check_document(seed, 60);
    }
}

static void test_cut_long_texts(void)
{
    for (uint64_t seed = 0; seed < 5; seed++) {
        check_document(seed, 40000);
    }
}

/* Characters of three bytes, on whose middle a piece of a long text may end. */
static void test_cut_beside_the_end_of_a_piece(void)
{
    size_t len = 3 * (RL_JSON_PIECE - 500), near = RL_JSON_PIECE + 12;
    char *text = malloc(len);
    rl_json json;
    rl_buf buf;

    rl_buf_init(&buf, RL_BUF_MAX);
    for (size_t at = 0; at < len; at += 3) {
        memcpy(text + at, "€", 3);
    }
    for (size_t cap = near - 40; cap < near + 40; cap++) {
        char marker[64];
        int marker_len = snprintf(marker, sizeof marker, "<cut: %zu bytes>\"", len + 14);

        rl_buf_reset(&buf, RL_BUF_MAX);
        rl_json_begin(&json, &buf, cap);
        for (int i = 0; i < 6; i++) {
            rl_json_open(&json, '[');
        }
        rl_json_text(&json, text, len);
        for (int i = 0; i < 6; i++) {
            rl_json_close(&json);
        }
        rl_json_end(&json);
        CHECK(is_json(buf.data, buf.len));
        CHECK(memmem(buf.data, buf.len, marker, (size_t)marker_len) != NULL);
        CHECK(buf.len <= cap + 1 + (size_t)marker_len + 6);
    }
    rl_buf_free(&buf);
    free(text);
}

/* After the cut nothing is kept; far beyond it the writer tells its caller to stop. */
static void test_gives_up(void)
{
    size_t size = (size_t)1 << 20, written = 0;
    char *text = malloc(size);
    rl_json json;
    rl_buf buf;

    memset(text, 'x', size);
    rl_buf_init(&buf, RL_BUF_MAX);
    rl_json_begin(&json, &buf, 1000);
    rl_json_open(&json, '[');
    while (!rl_json_gave_up(&json) && written < 100) {
        rl_json_text(&json, text, size);
        written++;
    }
    CHECK_INT(written, RL_JSON_COUNTED((size_t)1000) / size + 1);
    rl_json_close(&json);
    rl_json_end(&json);
    CHECK(buf.cap <= 16 * RL_JSON_PIECE);
    CHECK(is_json(buf.data, buf.len) && buf.len < 1050);
    CHECK(memmem(buf.data, buf.len, "<cut: over 17", 13) != NULL);
    rl_buf_free(&buf);
    free(text);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_cut_everywhere),
    CHECK_TEST(test_cut_long_texts),
    CHECK_TEST(test_cut_beside_the_end_of_a_piece),
    CHECK_TEST(test_gives_up),
};

CHECK_MAIN(tests)
