/* Tests of core/text.h: escaping, its inverse and cutting, each against a slow reference.
 * Integers are compared with the C library.
 *
 * Inputs and outputs have memory of exactly their size, so that AddressSanitizer finds an
 * access beyond them. This program also contains the code for machines without SSE2 and
 * NEON.
 */
#include "core/text.h"

#include "check.h"
#include "exactly.h"
#include "random.h"

#include <stdlib.h>

enum {
    HAS_BLOCKS = RL_BLOCKS
};

#undef __SSE2__
#undef RL_BLOCKS
#define RL_BLOCKS 0
#define rl_two_digits portable_two_digits
#define rl_escape_utf8 portable_escape_utf8
#define rl_escape_ucs1 portable_escape_ucs1
#define rl_escape_ucs2 portable_escape_ucs2
#define rl_escape_ucs4 portable_escape_ucs4
#define rl_unescape portable_unescape
#define rl_escaped_prefix portable_escaped_prefix
#define rl_put_u64 portable_put_u64
#include "core/text.c"
#undef rl_escape_utf8
#undef rl_escape_ucs1
#undef rl_escape_ucs2
#undef rl_escape_ucs4
#undef rl_unescape
#undef rl_escaped_prefix
#undef rl_put_u64

#define LONGEST 70 /* more than four blocks of SSE2, and a tail */
#define POINTS 0x110000

/* Writes a code point for the inside of a JSON string. */
static size_t slow_point(char *out, uint32_t point)
{
    static const char short_forms[] = "\bb\tt\nn\ff\rr\"\"\\\\";

    if (point == 0 || (point >= 0xD800 && point <= 0xDFFF)) {
        point = 0xFFFD;
    }
    for (const char *form = short_forms; *form != '\0'; form += 2) {
        if (point == (uint32_t)*form) {
            out[0] = '\\';
            out[1] = form[1];
            return 2;
        }
    }
    if (point < 0x20) {
        return (size_t)snprintf(out, 7, "\\u%04x", (unsigned)point);
    }
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    /* the first byte has the number of the bytes that follow, with six bits each */
    unsigned more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;

    out[0] = (char)(0xFF00u >> (more + 1) | point >> (6 * more));
    for (unsigned i = 1; i <= more; i++) {
        out[i] = (char)(0x80 | (point >> (6 * (more - i)) & 0x3F));
    }
    return more + 1;
}

static size_t slow_escape_bytes(char *out, const char *text, size_t len)
{
    size_t size = 0;

    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x80) {
            size += slow_point(out + size, (unsigned char)text[i]);
        } else {
            out[size++] = text[i];
        }
    }
    return size;
}

static void check_utf8(const char *text, size_t len)
{
    char want[RL_ESCAPE_MAX * LONGEST + 1];
    char *from = exactly(text, len), *out = malloc(RL_ESCAPE_MAX * len);
    size_t want_len = slow_escape_bytes(want, text, len);

    CHECK_SAME(out, rl_escape_utf8(out, from, len), want, want_len);
    CHECK_SAME(out, portable_escape_utf8(out, from, len), want, want_len);
    free(from);
    free(out);
}

/* Escapes code points from each representation that can hold them. */
static void check_points(const uint32_t *points, size_t count)
{
    char *want = malloc(RL_ESCAPE_MAX * count + 1), *out = malloc(RL_ESCAPE_MAX * count);
    uint32_t *ucs4 = exactly(points, count * sizeof *ucs4), all = 0;
    uint16_t *ucs2 = malloc(count * sizeof *ucs2);
    uint8_t *ucs1 = malloc(count);
    size_t want_len = 0;

    for (size_t i = 0; i < count; i++) {
        want_len += slow_point(want + want_len, points[i]);
        all |= points[i];
        ucs2[i] = (uint16_t)points[i];
        ucs1[i] = (uint8_t)points[i];
    }
    CHECK_SAME(out, rl_escape_ucs4(out, ucs4, count), want, want_len);
    CHECK_SAME(out, portable_escape_ucs4(out, ucs4, count), want, want_len);
    if (all < 0x10000) {
        CHECK_SAME(out, rl_escape_ucs2(out, ucs2, count), want, want_len);
        CHECK_SAME(out, portable_escape_ucs2(out, ucs2, count), want, want_len);
    }
    if (all < 0x100) {
        CHECK_SAME(out, rl_escape_ucs1(out, ucs1, count), want, want_len);
    }
    free(want);
    free(out);
    free(ucs4);
    free(ucs2);
    free(ucs1);
}

/* Each byte that needs an escape, and similar ones, at each place of each length. */
static void test_escape_utf8_at_every_place(void)
{
    static const char others[] = " !#[]\x7f\x80\xa2\xdc\xff\"\\";
    char text[LONGEST];

    for (size_t len = 0; len <= LONGEST; len++) {
        memset(text, 'a', sizeof text);
        check_utf8(text, len);
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 0x20 + (int)sizeof others - 1; c++) {
                text[at] = c < 0x20 ? (char)c : others[c - 0x20];
                check_utf8(text, len);
            }
            text[at] = 'a';
        }
    }
}

static void test_escape_utf8_of_random_texts(void)
{
    static const char letters[] = "abcdefgh \"\\\n\x01\x1f/\xc3\xa4\xf0\x9f\x98\x80";
    uint64_t state = 1;
    char text[LONGEST];

    for (int round = 0; round < 20000; round++) {
        /* from no special characters to nothing else */
        size_t first = random_below(&state, 12), used = sizeof letters - 1 - first;

        for (size_t i = 0; i < LONGEST; i++) {
            text[i] = random_below(&state, 4) > (size_t)round % 4
                          ? 'x'
                          : letters[first + random_below(&state, used)];
        }
        check_utf8(text, random_below(&state, LONGEST + 1));
    }
}

/* Any byte at any place of a text of fewer than 16 bytes. */
static void test_copy_clean(void)
{
    char text[16];

    for (size_t len = 0; len < sizeof text; len++) {
        for (int c = 0; c < 256; c++) {
            for (size_t at = 0; at < len; at++) {
                bool special = c < 0x20 || c == '"' || c == '\\', clean;
                char *from, *out = malloc(len);

                memset(text, 'a', len);
                text[at] = (char)c;
                from = exactly(text, len);
                clean = rl_copy_clean(out, from, len);
                CHECK(clean == !special);
                CHECK(!clean || memcmp(out, text, len) == 0);
                free(from);
                free(out);
            }
        }
    }
    CHECK(rl_copy_clean(text, text, 0));
}

/* The same for texts of up to 32 bytes, which bytes that need an escape may precede.
 * rl_copy_clean_inside may store eight bytes. */
static void test_copy_clean_inside(void)
{
    char *block, *out, text[32 + 1];

    for (size_t len = 0; len < sizeof text; len++) {
        for (int c = 0; c < 256; c++) {
            for (size_t at = 0; at <= len; at++) { /* at len: nothing special in it */
                bool special = at < len && (c < 0x20 || c == '"' || c == '\\'), clean;

                memset(text, 'a', sizeof text);
                text[at] = (char)c;
                block = malloc(16 + len);
                out = malloc(len < 8 ? 8 : len);
                memset(block, c, 16);
                memcpy(block + 16, text, len);
                clean = rl_copy_clean_inside(out, block + 16, len);
                CHECK(clean == (!special && (HAS_BLOCKS || len < 16)));
                CHECK(!clean || memcmp(out, text, len) == 0);
                free(block);
                free(out);
            }
        }
    }
}

/* All code points, with surrogates and NUL: together in long texts, and then single ones
 * between letters, at different places of a block of 16. */
static void test_transcode_every_code_point(void)
{
    uint32_t points[4096];

    for (uint32_t start = 0; start < POINTS; start += 4096) {
        for (uint32_t i = 0; i < 4096; i++) {
            points[i] = start + i;
        }
        check_points(points, 4096);
    }
    for (uint32_t point = 0; point < POINTS; point += point < 0x300 ? 1 : 577) {
        for (size_t i = 0; i < 40; i++) {
            points[i] = 'a' + (uint32_t)i % 26;
        }
        points[point % 40] = point;
        check_points(points, 40);
    }
}

static void test_transcode_at_every_place(void)
{
    static const uint32_t special[] = {0,      '"',     '\\',    '\n',   0x1F,   0x7F,
                                       0x80,   0xFF,    0x100,   0x7FF,  0x800,  0x7FFF,
                                       0x8000, 0xD7FF,  0xD800,  0xDFFF, 0xE000, 0xFFFF,
                                       0xFF41, 0x10041, 0x10FFFF};
    uint32_t points[50];

    for (size_t len = 0; len <= 50; len++) {
        for (size_t at = 0; at < len; at++) {
            for (size_t c = 0; c < sizeof special / sizeof *special; c++) {
                for (size_t i = 0; i < len; i++) {
                    points[i] = i == at ? special[c] : 'x';
                }
                check_points(points, len);
            }
        }
        check_points(points, 0);
    }
}

/* A random text: as UTF-8, escaped, and the ends of its characters in the escaped
 * form. */
struct sample {
    char plain[4 * LONGEST], escaped[RL_ESCAPE_MAX * LONGEST];
    size_t plain_len, escaped_len, ends[LONGEST], count;
};

static void draw_sample(struct sample *sample, uint64_t *state)
{
    static const uint32_t limits[] = {0x20, 0x80, 0x80, 0x800, 0x10000, POINTS};
    char one[8];

    sample->plain_len = 0;
    sample->escaped_len = 0;
    sample->count = random_below(state, LONGEST + 1);
    for (size_t i = 0; i < sample->count; i++) {
        uint32_t point = (uint32_t)random_below(state, limits[random_below(state, 6)]);
        size_t len;

        if (point == 0 || (point >= 0xD800 && point <= 0xDFFF)) {
            point = random_below(state, 2) != 0 ? '"' : '\\'; /* not replaced by U+FFFD */
        }
        len = slow_point(one, point);
        memcpy(sample->escaped + sample->escaped_len, one, len);
        sample->escaped_len += len;
        sample->ends[i] = sample->escaped_len;
        if (point < 0x80) {
            one[0] = (char)point;
            len = 1;
        }
        memcpy(sample->plain + sample->plain_len, one, len);
        sample->plain_len += len;
    }
}

static void test_unescape_is_the_inverse(void)
{
    struct sample sample;
    uint64_t state = 2;

    for (int round = 0; round < 20000; round++) {
        char *from, *out;

        draw_sample(&sample, &state);
        from = exactly(sample.escaped, sample.escaped_len);
        out = malloc(sample.escaped_len);
        CHECK_SAME(out, rl_unescape(out, from, sample.escaped_len), sample.plain,
                   sample.plain_len);
        free(from);
        free(out);
    }
}

static void test_escaped_prefix(void)
{
    struct sample sample;
    uint64_t state = 3;

    for (int round = 0; round < 500; round++) {
        char *from;

        draw_sample(&sample, &state);
        from = exactly(sample.escaped, sample.escaped_len);
        for (size_t max = 0; max <= sample.escaped_len + 8; max++) {
            size_t want = 0;

            for (size_t i = 0; i < sample.count && sample.ends[i] <= max; i++) {
                want = sample.ends[i];
            }
            CHECK_INT(rl_escaped_prefix(from, sample.escaped_len, max), want);
        }
        free(from);
    }
}

static void check_integer(uint64_t value)
{
    char *out = malloc(20), want[24];
    size_t len = rl_put_u64(out, value);

    CHECK_SAME(out, len, want, (size_t)snprintf(want, sizeof want, "%" PRIu64, value));
    len = rl_put_i64(out, (int64_t)value);
    CHECK_SAME(out, len, want,
               (size_t)snprintf(want, sizeof want, "%" PRId64, (int64_t)value));
    free(out);
}

static void test_integers_are_written(void)
{
    uint64_t state = 5, power = 1;

    for (uint64_t value = 0; value < 20000; value++) {
        check_integer(value);
        check_integer(0 - value);
    }
    check_integer(UINT64_MAX);
    check_integer((uint64_t)INT64_MAX);
    check_integer((uint64_t)INT64_MIN);
    for (int digits = 0; digits < 20; digits++, power *= 10) {
        for (uint64_t value = power - 2; value != power + 3; value++) {
            check_integer(value);
            check_integer(0 - value);
        }
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        for (uint64_t value = (UINT64_C(1) << bit) - 2; value != (UINT64_C(1) << bit) + 3;
             value++) {
            check_integer(value);
        }
    }
    for (int round = 0; round < 100000; round++) {
        check_integer(random_next(&state) >> random_below(&state, 64));
    }
}

static const struct check_test tests[] = {
    CHECK_TEST(test_escape_utf8_at_every_place),
    CHECK_TEST(test_escape_utf8_of_random_texts),
    CHECK_TEST(test_copy_clean),
    CHECK_TEST(test_copy_clean_inside),
    CHECK_TEST(test_transcode_every_code_point),
    CHECK_TEST(test_transcode_at_every_place),
    CHECK_TEST(test_unescape_is_the_inverse),
    CHECK_TEST(test_escaped_prefix),
    CHECK_TEST(test_integers_are_written),
};

CHECK_MAIN(tests)
