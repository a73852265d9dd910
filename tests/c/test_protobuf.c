/* Test of the wire format of Protocol Buffers, of damaged answers of Milvus, and of both
 * without memory. tests/test_milvus_codec.py compares messages with those of the official
 * classes.
 */
#include "core/alloc.h"
#include "meaning/services/milvus_codec.h"
#include "meaning/services/milvus_filter.h"
#include "meaning/services/protobuf.h"
#include "meaning/services/utf8_prefix.h"

#include "check.h"
#include "failing.h"
#include "random.h"

#include <stdlib.h>

#define DAMAGES 20000
#define ANSWER_MAX 4096

static rl_pb_slice slice_of(const rl_buf *buf)
{
    return (rl_pb_slice){(const uint8_t *)buf->data, buf->len};
}

/* The example of the documentation: field 1 with 150. */
static void test_documented_examples(void)
{
    rl_buf buf;
    size_t opened;

    rl_buf_init(&buf, RL_BUF_MAX);
    rl_pb_uint(&buf, 1, 150);
    CHECK_MEM(buf.data, buf.len, "\x08\x96\x01");
    rl_buf_reset(&buf, SIZE_MAX);
    rl_pb_text(&buf, 2, "testing");
    CHECK_MEM(buf.data, buf.len, "\x12\x07testing");
    rl_buf_reset(&buf, SIZE_MAX);
    opened = rl_pb_open(&buf, 3);
    rl_pb_uint(&buf, 1, 150);
    rl_pb_close(&buf, opened);
    CHECK_MEM(buf.data, buf.len, "\x1a\x03\x08\x96\x01");
    rl_buf_reset(&buf, SIZE_MAX);
    opened = rl_pb_open(&buf, 6);
    rl_pb_varint(&buf, 3);
    rl_pb_varint(&buf, 270);
    rl_pb_varint(&buf, 86942);
    rl_pb_close(&buf, opened);
    CHECK_MEM(buf.data, buf.len, "\x32\x06\x03\x8e\x02\x9e\xa7\x05");
    rl_buf_free(&buf);
}

/* Lengths whose varint takes one, two, three and four bytes, two levels deep. */
static void test_long_contents(void)
{
    static const size_t sizes[] = {0, 1, 127, 128, 16383, 16384, 2097151, 2097152};
    char *content = calloc(1, 2097152);

    REQUIRE(content != NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rl_buf buf;
        rl_pb_slice rest, inner;
        rl_pb_field field;
        size_t outer;

        rl_buf_init(&buf, RL_BUF_MAX);
        outer = rl_pb_open(&buf, 536870911);
        rl_pb_bytes(&buf, 1, content, sizes[i]);
        rl_pb_close(&buf, outer);
        CHECK(!buf.failed);
        rest = slice_of(&buf);
        CHECK(rl_pb_next(&rest, &field));
        CHECK_INT(rest.len, 0);
        CHECK_INT(field.number, 536870911);
        inner = field.bytes;
        CHECK(rl_pb_next(&inner, &field));
        CHECK_INT(inner.len, 0);
        CHECK_INT(field.bytes.len, sizes[i]);
        CHECK(!rl_pb_next(&inner, &field));
        rl_buf_free(&buf);
    }
    free(content);
}

static void test_over_the_cap(void)
{
    static const float values[4] = {0};
    rl_buf buf;
    size_t opened;

    rl_buf_init(&buf, 10);
    opened = rl_pb_open(&buf, 1);
    rl_pb_add_floats(&buf, values, 4);
    rl_pb_close(&buf, opened);
    CHECK(buf.failed);
    rl_buf_free(&buf);
    rl_buf_init(&buf, 10);
    rl_pb_add_floats(&buf, values, SIZE_MAX / 2);
    CHECK(buf.failed);
    rl_buf_free(&buf);
    rl_buf_init(&buf, 131); /* one byte less than the longer length needs */
    opened = rl_pb_open(&buf, 1);
    for (int i = 0; i < 129; i++) {
        rl_buf_add_char(&buf, 'a');
    }
    CHECK(!buf.failed);
    rl_pb_close(&buf, opened);
    CHECK(buf.failed);
    rl_buf_free(&buf);
}

static size_t prefix(const char *text, size_t max)
{
    return rl_utf8_prefix(text, strlen(text), max);
}

static void test_a_prefix_ends_between_two_characters(void)
{
    CHECK_INT(prefix("", 0), 0);
    CHECK_INT(prefix("abc", 3), 3);
    CHECK_INT(prefix("abc", 2), 2);
    CHECK_INT(prefix("a\xE2\x82\xAC", 4), 4);
    CHECK_INT(prefix("a\xE2\x82\xAC", 3), 1);
    CHECK_INT(prefix("a\xE2\x82\xAC", 2), 1);
    CHECK_INT(prefix("\xF0\x9F\x9A\x80", 3), 0);
    CHECK_INT(prefix("\xF0\x9F\x9A\x80", 0), 0);
}

/* An answer with the fields of all readers, so that each can read it. */
static void put_answer(rl_buf *buf)
{
    static const float scores[3] = {0.5F, 0.25F, 0.125F};
    size_t outer = rl_pb_open(buf, 1), inner, innermost;

    rl_pb_uint(buf, 1, 1);
    rl_pb_text(buf, 2, "not found");
    rl_pb_uint(buf, 3, 100);
    rl_pb_close(buf, outer);
    outer = rl_pb_open(buf, 2);
    for (size_t i = 0; i < RL_MILVUS_FIELDS; i++) {
        inner = rl_pb_open(buf, 4);
        rl_pb_text(buf, 2, rl_milvus_fields[i].name);
        rl_pb_uint(buf, 3, 1);
        rl_pb_uint(buf, 5, rl_milvus_fields[i].type);
        innermost = rl_pb_open(buf, 6);
        rl_pb_text(buf, 1, "dim");
        rl_pb_text(buf, 2, "384");
        rl_pb_close(buf, innermost);
        rl_pb_close(buf, inner);
    }
    rl_pb_close(buf, outer);
    outer = rl_pb_open(buf, 2);
    inner = rl_pb_open(buf, 3);
    rl_pb_text(buf, 1, "metric_type");
    rl_pb_text(buf, 2, "COSINE");
    rl_pb_close(buf, inner);
    rl_pb_text(buf, 4, "embedding");
    rl_pb_close(buf, outer);
    outer = rl_pb_open(buf, 2);
    inner = rl_pb_open(buf, 4);
    rl_pb_add_floats(buf, scores, 3);
    rl_pb_close(buf, inner);
    inner = rl_pb_open(buf, 5);
    innermost = rl_pb_open(buf, 2);
    for (int i = 0; i < 3; i++) {
        rl_pb_text(buf, 1, "01234567-89ab-cdef-0123-456789abcdef");
    }
    rl_pb_close(buf, innermost);
    rl_pb_close(buf, inner);
    rl_pb_close(buf, outer);
    rl_pb_uint(buf, 8, 3);
}

static void read_everything(rl_pb_slice answer)
{
    rl_milvus_column columns[RL_MILVUS_FIELDS];
    rl_milvus_hit hits[2];
    rl_milvus_status status;
    rl_pb_slice metric;
    uint64_t number;
    size_t count;
    bool exists;

    (void)rl_milvus_get_schema(answer, columns);
    (void)rl_milvus_get_index(answer, &exists, &metric);
    (void)rl_milvus_get_load_state(answer, &number);
    (void)rl_milvus_get_upserted(answer, &number);
    if (rl_milvus_get_status(answer, false, &status)) {
        CHECK(status.reason.len <= answer.len);
    }
    (void)rl_milvus_get_status(answer, true, &status);
    if (rl_milvus_get_hits(answer, hits, 2, &count)) {
        CHECK(count <= 2);
        for (size_t i = 0; i < count; i++) {
            CHECK(memchr(hits[i].id, 0, RL_MILVUS_ID) != NULL);
        }
    }
}

/* Flips, cuts, doubles and removes bytes. */
static size_t damage(uint8_t *data, size_t len, uint64_t *random)
{
    const size_t times = 1 + random_below(random, 4);

    for (size_t i = 0; i < times && len > 0; i++) {
        const size_t at = random_below(random, len);
        const size_t kind = random_below(random, 5);

        if (kind == 0) {
            data[at] = (uint8_t)random_next(random);
        } else if (kind == 1) {
            data[at] ^= (uint8_t)(1u << random_below(random, 8));
        } else if (kind == 2) {
            len = at;
        } else if (kind == 3) {
            memmove(data + at, data + at + 1, len - at - 1);
            len--;
        } else if (len < ANSWER_MAX) {
            memmove(data + at + 1, data + at, len - at);
            len++;
        }
    }
    return len;
}

/* In an allocation of exactly the answer's size, so that AddressSanitizer sees an
 * overrun. */
static void test_damaged_answers(void)
{
    uint64_t random = 20260712;
    rl_buf whole;

    rl_buf_init(&whole, ANSWER_MAX);
    put_answer(&whole);
    REQUIRE(!whole.failed);
    read_everything(slice_of(&whole));
    for (size_t i = 0; i < DAMAGES; i++) {
        uint8_t work[ANSWER_MAX];
        uint8_t *exact;
        size_t len;

        memcpy(work, whole.data, whole.len);
        len = damage(work, whole.len, &random);
        exact = malloc(len);
        if (len != 0 && exact != NULL) {
            memcpy(exact, work, len);
        }
        read_everything((rl_pb_slice){exact, exact != NULL ? len : 0});
        free(exact);
    }
    rl_buf_free(&whole);
}

/* Writes an upsert and a search; false without memory. */
static bool write_requests(rl_buf *buf, rl_buf *filter)
{
    static float vector[2048];
    static const size_t max[RL_MILVUS_FIELDS] = {36, 65535, 64, 65535, 0, 0};
    const rl_milvus_row rows[2] = {{"a", "b", "c", "d", -1, vector},
                                   {"e", "f", "g", "h", 5, vector}};
    const rl_milvus_search search = {.vector = vector,
                                     .dim = 2048,
                                     .wpk_id = "a",
                                     .status = "b",
                                     .since = 3,
                                     .limit = 9};

    rl_buf_reset(buf, SIZE_MAX);
    rl_buf_reset(filter, SIZE_MAX);
    rl_milvus_put_upsert(buf, "c", rows, 2, 2048, max);
    rl_milvus_add_filter(filter, &search, max);
    rl_milvus_put_search(buf, "c", &search, filter, false);
    return !buf->failed && !filter->failed;
}

static void test_without_memory(void)
{
    rl_buf whole, buf, filter;

    rl_buf_init(&whole, RL_BUF_MAX);
    rl_buf_init(&filter, RL_BUF_MAX);
    CHECK(write_requests(&whole, &filter));
    rl_buf_free(&filter);
    for (int go_on = 0; go_on < 2; go_on++) {
        struct failing failing = {.go_on = go_on != 0};
        const rl_allocator allocator = {failing_resize, failing_release, &failing};
        size_t refused = 0;

        do {
            bool written;

            failing.count = 0;
            failing.fail_at++;
            rl_buf_init(&buf, RL_BUF_MAX);
            rl_set_allocator(&allocator);
            written = write_requests(&buf, &filter);
            rl_set_allocator(NULL);
            refused += !written;
            CHECK(written == (failing.count < failing.fail_at));
            CHECK(write_requests(&buf, &filter));
            CHECK(buf.len == whole.len && memcmp(buf.data, whole.data, buf.len) == 0);
            rl_buf_free(&buf);
            rl_buf_free(&filter);
        } while (failing.count >= failing.fail_at && failing.fail_at < 1000);
        CHECK(refused >= 3);
    }
    rl_buf_free(&whole);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_documented_examples),
    CHECK_TEST(test_long_contents),
    CHECK_TEST(test_over_the_cap),
    CHECK_TEST(test_a_prefix_ends_between_two_characters),
    CHECK_TEST(test_damaged_answers),
    CHECK_TEST(test_without_memory),
};
CHECK_MAIN(tests)
