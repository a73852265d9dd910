/* Tests of core/json.h: the writer, up to its cap, and
 * rl_json_widen, against strtod().
 */
#include "core/json.h"

#include "check.h"
#include "json_valid.h"
#include "random.h"

#include <math.h>
#include <stdlib.h>

static void put_small_document(rl_json *json)
{
    rl_json_open(json, '{');
    rl_json_key(json, "", 0);
    rl_json_open(json, '[');
    rl_json_close(json);
    rl_json_key(json, "an \"odd\" key", 12);
    rl_json_open(json, '{');
    rl_json_close(json);
    rl_json_key(json, "a key of sixteen", 16);
    rl_json_open(json, '[');
    rl_json_int(json, INT64_MIN);
    rl_json_int(json, 7);
    rl_json_double(json, 0.5);
    rl_json_double(json, (double)NAN);
    rl_json_double(json, (double)INFINITY);
    rl_json_double(json, -(double)INFINITY);
    rl_json_raw(json, "true", 4);
    rl_json_text(json, "", 0);
    rl_json_text(json, "a\\b\0c", 5);
    rl_json_open(json, '[');
    rl_json_open(json, '{');
    rl_json_key(json, "k", 1);
    rl_json_raw(json, "null", 4);
    rl_json_close(json);
    rl_json_close(json);
    rl_json_close(json);
    rl_json_close(json);
}

#define SMALL_DOCUMENT                                                                  \
    "{\"\":[],\"an \\\"odd\\\" key\":{},\"a key of sixteen\":[-9223372036854775808,"    \
    "7,0.5,\"NaN\",\"Infinity\",\"-Infinity\",true,\"\",\"a\\\\b" RL_REPLACEMENT "c\"," \
    "[{\"k\":null}]]}"

static void test_small_document(void)
{
    rl_json json;
    rl_buf buf;

    rl_buf_init(&buf, RL_BUF_MAX);
    rl_json_begin(&json, &buf, 1000);
    put_small_document(&json);
    rl_json_end(&json);
    CHECK_MEM(buf.data, buf.len, SMALL_DOCUMENT);
    CHECK(!json.wide_number);
    rl_buf_free(&buf);
}

/* A buffer that becomes full in the middle of a text. */
static void test_a_full_buffer_fails(void)
{
    rl_json json;
    rl_buf buf;

    for (size_t max = 0; max < 2 * sizeof SMALL_DOCUMENT; max++) {
        rl_buf_init(&buf, max);
        rl_json_begin(&json, &buf, max % 3 != 0 ? 1000 : max / 2);
        put_small_document(&json);
        rl_json_end(&json);
        CHECK(buf.len <= max);
        CHECK(buf.failed || json.over || is_json(buf.data, buf.len));
        CHECK(buf.failed ||
              json.over == (max % 3 == 0 && max / 2 < sizeof SMALL_DOCUMENT - 1));
        CHECK(buf.failed || max >= sizeof SMALL_DOCUMENT / 2);
        rl_buf_free(&buf);
    }
}

/* A text that is longer than its cap is known as soon as it is, with its brackets. */
static void test_the_cap(void)
{
    char text[400];
    rl_json json;
    rl_buf buf;

    memset(text, 'x', sizeof text);
    rl_buf_init(&buf, RL_BUF_MAX);
    for (size_t cap = 0; cap < 2 * sizeof SMALL_DOCUMENT; cap++) {
        rl_buf_reset(&buf, RL_BUF_MAX);
        rl_json_begin(&json, &buf, cap);
        put_small_document(&json);
        CHECK(json.over == (cap < sizeof SMALL_DOCUMENT - 1));
    }
    for (size_t cap = 350; cap < 450; cap++) {
        rl_buf_reset(&buf, RL_BUF_MAX);
        rl_json_begin(&json, &buf, cap);
        rl_json_open(&json, '[');
        rl_json_text(&json, text, sizeof text);
        CHECK(json.over == (cap < sizeof text + 4));
        CHECK(buf.cap <= 4096);
    }
    rl_buf_free(&buf);
}

/* Whether the container at a depth of test_the_deepest_nesting is an object. */
static bool is_object(int depth)
{
    return depth % 3 == 0 || depth >= 190;
}

static void test_the_deepest_nesting(void)
{
    rl_json json;
    rl_buf buf, want;

    rl_buf_init(&buf, RL_BUF_MAX);
    rl_buf_init(&want, RL_BUF_MAX);
    rl_json_begin(&json, &buf, RL_BUF_MAX / 2);
    for (int i = 0; i < RL_JSON_DEPTH; i++) {
        rl_json_open(&json, is_object(i) ? '{' : '[');
        rl_buf_add_char(&want, is_object(i) ? '{' : '[');
        if (is_object(i) && i < RL_JSON_DEPTH - 1) {
            rl_json_key(&json, "k", 1);
            rl_buf_add_text(&want, "\"k\":");
        }
    }
    for (int i = RL_JSON_DEPTH - 1; i >= 0; i--) {
        rl_json_close(&json);
        rl_buf_add_char(&want, is_object(i) ? '}' : ']');
    }
    rl_json_end(&json);
    check_mem(buf.data, buf.len, want.data, want.len, "text", __FILE__, __LINE__);
    rl_buf_free(&buf);
    rl_buf_free(&want);
}

/* rl_json_widen: a number changes its form if it is a double of 1e16 or more, and then
 * reads back as the same. */
static void check_widened(double value, rl_buf *buf, rl_buf *out)
{
    bool wide = fabs(value) >= 1e16;
    rl_json json;
    char *end;

    rl_buf_reset(buf, RL_BUF_MAX);
    rl_buf_reset(out, RL_BUF_MAX);
    rl_json_begin(&json, buf, 1000);
    rl_json_double(&json, value);
    rl_json_end(&json);
    CHECK(json.wide_number == wide);
    rl_json_widen(out, buf->data, buf->len);
    CHECK(out->data[out->len] == '\0');
    if (wide) {
        double back = strtod(out->data, &end);

        CHECK(memcmp(&back, &value, sizeof back) == 0 && end == out->data + out->len);
        CHECK(strchr(out->data, 'e') == NULL);
        CHECK(out->len >= 19 && memcmp(end - 2, ".0", 2) == 0);
        CHECK(is_json(out->data, out->len));
    } else {
        CHECK_STR(out->data, buf->data);
    }
}

static void test_widen_numbers(void)
{
    uint64_t state = 7;
    rl_buf buf, out;

    rl_buf_init(&buf, RL_BUF_MAX);
    rl_buf_init(&out, RL_BUF_MAX);
    for (int round = 0; round < 20000; round++) {
        uint64_t bits = random_next(&state);
        double value;

        memcpy(&value, &bits, sizeof value);
        check_widened(isfinite(value) ? value : 1e16, &buf, &out);
        check_widened((double)(int64_t)bits, &buf, &out);
    }
    for (double value = 1e-300; value < 1e308; value *= 10) {
        check_widened(value, &buf, &out);
        check_widened(-value, &buf, &out);
    }
    check_widened(9999999999999998.0, &buf, &out);
    rl_buf_free(&buf);
    rl_buf_free(&out);
}

static void test_widen_leaves_the_rest(void)
{
    static const char text[] =
        "{\"1e20\":[\"a 2e30 \\\" "
        "3e40\\\\\",4e16,-5.25e17,6e-7,123456789012345678901234567890,"
        "true,false,null,0.5,-1],\"\\\\\":\"7e80\\u001f\",\"x\":8.5e16,\"\\\"\":{\"e\":[]"
        "}}";
    static const char want[] =
        "{\"1e20\":[\"a 2e30 \\\" "
        "3e40\\\\\",40000000000000000.0,-525000000000000000.0,6e-7,"
        "123456789012345678901234567890,true,false,null,0.5,-1],\"\\\\\":\"7e80\\u001f\","
        "\"x\":85000000000000000.0,\"\\\"\":{\"e\":[]}}";
    rl_buf out;

    rl_buf_init(&out, RL_BUF_MAX);
    rl_json_widen(&out, text, sizeof text - 1);
    CHECK_MEM(out.data, out.len, want);
    rl_buf_free(&out);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_small_document),        CHECK_TEST(test_the_deepest_nesting),
    CHECK_TEST(test_a_full_buffer_fails),   CHECK_TEST(test_widen_numbers),
    CHECK_TEST(test_widen_leaves_the_rest), CHECK_TEST(test_the_cap),
};

CHECK_MAIN(tests)
