/* Tests of core/source.h: texts of each kind, whole and with their middle cut, in every
 * room.
 *
 * A text is drawn from a seed as code points, and laid out in each of its forms. What is
 * written of it must be JSON (or UTF-8), no longer than the room, and the text itself up
 * to the mark and behind it. */
#include "core/source.h"

#include "core/base64.h"

#include "check.h"
#include "json_valid.h"
#include "random.h"

#include <stdlib.h>
#include <sys/mman.h>

#define MOST 3000 /* characters of a text */

struct text {
    uint8_t narrow[MOST];
    uint16_t middle[MOST];
    uint32_t wide[MOST];
    char utf8[4 * MOST];
    size_t count, utf8_len;
};

static size_t put_point(char *out, uint32_t point)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xC0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xE0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (point & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3F));
    out[2] = (char)(0x80 | (point >> 6 & 0x3F));
    out[3] = (char)(0x80 | (point & 0x3F));
    return 4;
}

/* Draws a text whose characters fit the units. */
static void draw(struct text *text, uint64_t *state, rl_units units)
{
    static const uint32_t points[] = {'a', 'b', ' ', '"', '\n', 2, 0xE4, 0x20AC, 0x1F642};
    size_t used = units == RL_UCS1 ? 7 : units == RL_UCS2 ? 8 : 9;

    used = random_below(state, 3) == 0 ? 3 : used;
    text->count = random_below(state, MOST);
    text->utf8_len = 0;
    for (size_t i = 0; i < text->count; i++) {
        uint32_t point = points[random_below(state, used)];

        text->narrow[i] = (uint8_t)point;
        text->middle[i] = (uint16_t)point;
        text->wide[i] = point;
        text->utf8_len += put_point(text->utf8 + text->utf8_len, point);
    }
}

static rl_source lay_out(const struct text *text, rl_units units)
{
    const void *const data[] = {text->utf8, text->narrow, text->middle, text->wide,
                                text->utf8};

    return (rl_source){.data = data[units],
                       .count = units == RL_UTF8 || units == RL_BASE64 ? text->utf8_len
                                                                       : text->count,
                       .units = units};
}

/* Checks `text`, which was cut, against the whole one, both without quotes. `escaped`:
 * the mark counts bytes of the text that stood there, without its escapes. */
static void check_cut(const char *text, size_t len, const char *whole, size_t whole_len,
                      size_t room, bool escaped)
{
    const char *mark = memmem(text, len, "<cut: ", 6), *behind;
    size_t head, tail, size;
    char *plain;

    REQUIRE(mark != NULL);
    behind = memchr(mark, '>', len - (size_t)(mark - text));
    REQUIRE(behind != NULL);
    head = (size_t)(mark - text);
    tail = len - (size_t)(behind + 1 - text);
    CHECK(head + tail < whole_len);
    CHECK(memcmp(text, whole, head) == 0);
    CHECK(memcmp(behind + 1, whole + whole_len - tail, tail) == 0);
    CHECK(len <= room && len + 40 + 2 * RL_ESCAPE_MAX >= room);
    CHECK(head + 6 + 40 >= tail && tail + 40 + 6 >= head);
    plain = malloc(whole_len);
    size = whole_len - head - tail;
    if (escaped) {
        size = rl_unescape(plain, whole + head, size);
    }
    CHECK_INT(strtoull(mark + 6, NULL, 10), size);
    free(plain);
}

static void check_text(const struct text *text, rl_units units)
{
    const rl_source source = lay_out(text, units);
    char *whole = malloc(RL_ESCAPE_MAX * 4 * MOST + 16);
    size_t len = units == RL_BASE64 ? rl_base64_encode(whole, (const uint8_t *)text->utf8,
                                                       text->utf8_len)
                                    : rl_escape_utf8(whole, text->utf8, text->utf8_len);
    rl_json json;
    rl_buf buf;

    rl_buf_init(&buf, RL_BUF_MAX);
    CHECK(rl_source_least(&source) <= len);
    rl_json_begin(&json, &buf, len + 2);
    rl_source_put(&json, &source, ',');
    CHECK(!json.over);
    rl_json_end(&json);
    check_mem(buf.data + 1, buf.len - 2, whole, len, "whole", __FILE__, __LINE__);
    for (size_t room = RL_CUT_MIN; room < len + 2; room += 1 + room / 7) {
        rl_buf_reset(&buf, RL_BUF_MAX);
        rl_json_begin(&json, &buf, room);
        rl_source_put(&json, &source, ',');
        CHECK(json.over);
        rl_buf_reset(&buf, RL_BUF_MAX);
        rl_source_cut(&buf, &source, room);
        CHECK(buf.len <= room);
        rl_buf_add_char(&buf, '\0');
        CHECK(is_json(buf.data, buf.len - 1));
        check_cut(buf.data + 1, buf.len - 3, whole, len, room - 2, units != RL_BASE64);
    }
    for (size_t room = RL_CUT_MIN; room < text->utf8_len; room += 1 + room / 7) {
        if (units != RL_BASE64) {
            rl_buf_reset(&buf, RL_BUF_MAX);
            rl_source_plain(&buf, &source, room);
            check_cut(buf.data, buf.len, text->utf8, text->utf8_len, room, false);
        }
    }
    rl_buf_free(&buf);
    free(whole);
}

static void test_texts_in_every_room(void)
{
    struct text *text = malloc(sizeof *text);
    uint64_t state = 7;

    for (int round = 0; round < 60; round++) {
        for (rl_units units = RL_UTF8; units <= RL_BASE64; units++) {
            draw(text, &state, units);
            check_text(text, units);
        }
    }
    free(text);
}

static void test_a_short_text_is_plain_as_it_is(void)
{
    const uint16_t units[] = {'a', 0, 0xD800, '"', '\n', 0xE4};
    const rl_source source = {.data = units, .count = 6, .units = RL_UCS2};
    rl_buf buf;

    rl_buf_init(&buf, RL_BUF_MAX);
    rl_source_plain(&buf, &source, RL_CUT_MIN);
    CHECK_MEM(buf.data, buf.len, "a" RL_REPLACEMENT RL_REPLACEMENT "\"\nä");
    rl_buf_free(&buf);
}

/* Only the ends of a text are read: this one's middle is memory that nobody may read. */
static void test_a_long_text_costs_what_is_kept(void)
{
    const size_t size = (size_t)1 << 30;
    char *data = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const rl_source source = {.data = data, .count = size, .units = RL_UTF8};
    rl_buf buf;

    REQUIRE(data != MAP_FAILED);
    REQUIRE(mprotect(data, 16384, PROT_READ | PROT_WRITE) == 0);
    REQUIRE(mprotect(data + size - 16384, 16384, PROT_READ | PROT_WRITE) == 0);
    memset(data, 'h', 16384);
    memset(data + size - 16384, 't', 16384);
    rl_buf_init(&buf, RL_BUF_MAX);
    rl_source_cut(&buf, &source, 20000);
    CHECK(buf.len <= 20000 && buf.len > 19900);
    CHECK(memmem(buf.data, buf.len, "hh<cut: 1073721", 15) != NULL);
    CHECK(buf.data[buf.len - 2] == 't');
    CHECK(buf.cap < 256 * 1024);
    rl_buf_free(&buf);
    munmap(data, size);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_texts_in_every_room),
    CHECK_TEST(test_a_short_text_is_plain_as_it_is),
    CHECK_TEST(test_a_long_text_costs_what_is_kept),
};

CHECK_MAIN(tests)
