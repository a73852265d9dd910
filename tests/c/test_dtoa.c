/* Tests of core/dtoa.c: known texts, reading back, shortness and layout.
 *
 * The reference is the C library: strtod() for reading back, snprintf("%.*e") with 1 to
 * 17 digits for the shortest. The program also contains the code for machines without
 * 128-bit integers and SSE2, which must write the same. Exits with 1 on a failure.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/dtoa.h"

#include "random.h"

size_t rl_dtoa_portable(double value, char *out);
#define RL_DTOA_PORTABLE
#define rl_dtoa rl_dtoa_portable
#include "core/dtoa.c"
#undef rl_dtoa

#define RANDOM_PATTERNS 2000000
#define COMPARED_EVERY 100 /* of the random patterns: 20,000 are compared with snprintf */
#define TEXT_MAX (RL_DTOA_MAX + 1)
#define INF_BITS UINT64_C(0x7ff0000000000000)
#define SIGN_BIT (UINT64_C(1) << 63)

static int failures;

#define CHECK(ok, ...)                                      \
    do {                                                    \
        if (!(ok)) {                                        \
            failures++;                                     \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__); \
            fprintf(stderr, __VA_ARGS__);                   \
            fputc('\n', stderr);                            \
        }                                                   \
    } while (0)

static double from_bits(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t to_bits(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Writes a double as a string; checks that both builds agree, within RL_DTOA_MAX
 * bytes. */
static void print(double value, char text[TEXT_MAX])
{
    char room[RL_DTOA_MAX + 8], portable[RL_DTOA_MAX];
    size_t len, portable_len;

    memset(room, '#', sizeof room);
    len = rl_dtoa(value, room);
    CHECK(len > 0 && len <= RL_DTOA_MAX, "%a: length %zu", value, len);
    CHECK(!memcmp(room + RL_DTOA_MAX, "########", 8), "%a: wrote past the end", value);
    if (len > RL_DTOA_MAX) {
        len = RL_DTOA_MAX;
    }
    memcpy(text, room, len);
    text[len] = '\0';
    portable_len = rl_dtoa_portable(value, portable);
    CHECK(portable_len == len && !memcmp(portable, text, len),
          "%a: %s, but %.*s in the portable build", value, text, (int)portable_len,
          portable);
}

static const char *skip_digits(const char *at)
{
    while (*at >= '0' && *at <= '9') {
        at++;
    }
    return at;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?(e-?[1-9][0-9]*)? with a point or an exponent. */
static bool is_json_float(const char *at)
{
    const char *start;
    bool marked = false;

    at += *at == '-';
    start = at;
    at = skip_digits(at);
    if (at == start || (*start == '0' && at - start > 1)) {
        return false;
    }
    if (*at == '.') {
        start = ++at;
        at = skip_digits(at);
        if (at == start) {
            return false;
        }
        marked = true;
    }
    if (*at == 'e') {
        at++;
        at += *at == '-';
        start = at;
        at = skip_digits(at);
        if (at == start || *start == '0') {
            return false;
        }
        marked = true;
    }
    return marked && *at == '\0';
}

/* Checks a text of any value: its form, and that it reads back as the value. */
static void check_text(double value, const char *text)
{
    double size = value < 0 ? -value : value;
    bool scientific = size != 0 && (size < 1e-4 || size >= 1e16);
    char *end;
    double back = strtod(text, &end);

    CHECK(*end == '\0' && to_bits(back) == to_bits(value), "%a: %s reads back as %a",
          value, text, back);
    CHECK(is_json_float(text), "%a: %s is no JSON float", value, text);
    CHECK((strchr(text, 'e') != NULL) == scientific, "%a: %s has the wrong form", value,
          text);
}

/* The significant digits of `text`, without the point. */
static int digits_of(const char *text, char digits[TEXT_MAX])
{
    int n = 0;

    for (; *text && *text != 'e'; text++) {
        if ((*text >= '1' && *text <= '9') || (*text == '0' && n > 0)) {
            digits[n++] = *text;
        }
    }
    while (n > 0 && digits[n - 1] == '0') {
        n--;
    }
    digits[n] = '\0';
    return n;
}

/*
 * Compares the text with the fewest digits of snprintf that read back. At a power of two
 * it may have fewer: the nearest decimal of that length may be outside the interval on
 * its narrow side, and the next one inside on the other.
 */
static void check_shortest(double value, const char *text)
{
    char digits[TEXT_MAX], expected[TEXT_MAX], reference[40];
    bool power_of_two = (to_bits(value) << 12) == 0;
    int n, count;

    for (n = 0; n < 17; n++) {
        snprintf(reference, sizeof reference, "%.*e", n, value);
        if (to_bits(strtod(reference, NULL)) == to_bits(value)) {
            break;
        }
    }
    n = digits_of(reference, expected);
    count = digits_of(text, digits);
    CHECK(count == n || (count < n && power_of_two), "%a: %s, but %s has %d digits",
          value, text, reference, n);
    CHECK(count != n || !strcmp(digits, expected), "%a: %s, but %s is closer", value,
          text, reference);
}

static void check_value(double value)
{
    char text[TEXT_MAX];

    print(value, text);
    check_text(value, text);
    check_shortest(value, text);
}

static void check_around(double value)
{
    uint64_t bits = to_bits(value);

    check_value(value);
    check_value(from_bits(bits ^ SIGN_BIT));
    if (value > 0) {
        check_value(from_bits(bits - 1));
    }
    if (bits + 1 < INF_BITS) {
        check_value(from_bits(bits + 1));
    }
}

static const struct {
    double value;
    const char *text;
} known[] = {
    {0.0, "0.0"},
    {-0.0, "-0.0"},
    {1.0, "1.0"},
    {-1.0, "-1.0"},
    {10.0, "10.0"},
    {100.0, "100.0"},
    {0.1, "0.1"},
    {0.25, "0.25"},
    {-0.5, "-0.5"},
    {0.3, "0.3"},
    {0.1 + 0.2, "0.30000000000000004"},
    {3.14, "3.14"},
    {123.5, "123.5"},
    {1.0 / 3, "0.3333333333333333"},
    {2.0 / 3, "0.6666666666666666"},
    {0.1f, "0.10000000149011612"},
    {3.14159274f, "3.1415927410125732"},
    {1e-3, "0.001"},
    {1e-4, "0.0001"},
    {-0.00012345678901234567, "-0.00012345678901234567"},
    {9.999999999999999e-05, "9.999999999999999e-5"},
    {1e-5, "1e-5"},
    {1.5e-7, "1.5e-7"},
    {1e-10, "1e-10"},
    {1e7, "10000000.0"},
    {12345678.9, "12345678.9"},
    {99999999.0, "99999999.0"},
    {100000000.0, "100000000.0"},
    {123456789012.5, "123456789012.5"},
    {1e15, "1000000000000000.0"},
    {1234567890123456.0, "1234567890123456.0"},
    {123456789012345.67, "123456789012345.67"},
    {9007199254740991.0, "9007199254740991.0"},
    {9007199254740992.0, "9007199254740992.0"},
    {9007199254740993.0, "9007199254740992.0"},
    {9007199254740994.0, "9007199254740994.0"},
    {9999999999999998.0, "9999999999999998.0"},
    {1e16, "1e16"},
    {12345678901234568.0, "1.2345678901234568e16"},
    {1e21, "1e21"},
    {1e22, "1e22"},
    {1e23, "1e23"},
    {9.999999999999999e22, "1e23"},
    {1.0000000000000001e23, "1.0000000000000001e23"},
    {1e100, "1e100"},
    {-1.5e300, "-1.5e300"},
    {0x1p-44, "5.684341886080802e-14"}, /* the nearest of 16 digits is outside */
    {0x1p-24, "5.960464477539063e-8"},
    {0x1p63, "9.223372036854776e18"},
    {0x1p64, "1.8446744073709552e19"},
    {2e-323, "2e-323"},
    {5e-324, "5e-324"},
    {1e-323, "1e-323"},
    {1.2e-322, "1.2e-322"},
    {2.2250738585072009e-308, "2.225073858507201e-308"},  /* the largest subnormal */
    {2.2250738585072014e-308, "2.2250738585072014e-308"}, /* the smallest normal */
    {1.7976931348623157e308, "1.7976931348623157e308"},
    {-1.7976931348623157e308, "-1.7976931348623157e308"},
};

static void test_known(void)
{
    char text[TEXT_MAX];

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        print(known[i].value, text);
        CHECK(!strcmp(text, known[i].text), "%a: %s instead of %s", known[i].value, text,
              known[i].text);
        check_around(known[i].value);
    }
}

/* Every power of two and of ten with its neighbours, and doubles of each exponent with
 * few bits, whose scaled value often ends in exactly one half. */
static void test_boundaries(void)
{
    uint64_t state = 1;
    char text[16];

    for (int i = 0; i < 52; i++) {
        check_around(from_bits(UINT64_C(1) << i));
        check_around((double)(UINT64_C(1) << i));
        check_around((double)((UINT64_C(1) << (i + 1)) - 1));
    }
    for (uint64_t exponent = 1; exponent < 2047; exponent++) {
        check_around(from_bits(exponent << 52));
        for (int i = 0; i < 4; i++) {
            check_value(from_bits(exponent << 52 | random_next(&state) >> 41 << 29));
        }
    }
    for (int exponent = -323; exponent <= 308; exponent++) {
        snprintf(text, sizeof text, "1e%d", exponent);
        check_around(strtod(text, NULL));
    }
}

static void test_whole_numbers_and_hundredths(void)
{
    char text[TEXT_MAX], want[TEXT_MAX];

    for (int i = 0; i < 200000; i++) {
        print(i, text);
        snprintf(want, sizeof want, "%d.0", i);
        CHECK(!strcmp(text, want), "%d: %s", i, text);
        print(i / 100.0, text);
        snprintf(want, sizeof want, i % 10 ? "%d.%02d" : "%d.%d", i / 100,
                 i % 10 ? i % 100 : i % 100 / 10);
        CHECK(!strcmp(text, want), "%d hundredths: %s", i, text);
    }
}

static void test_random(void)
{
    uint64_t state = 20240229;
    char text[TEXT_MAX];
    int done = 0;

    while (done < RANDOM_PATTERNS) {
        uint64_t bits = random_next(&state);

        if ((bits & INF_BITS) == INF_BITS) {
            continue;
        }
        print(from_bits(bits), text);
        check_text(from_bits(bits), text);
        if (done++ % COMPARED_EVERY == 0) {
            check_shortest(from_bits(bits), text);
        }
    }
}

/* Infinities and NaNs are not allowed, but must not overflow the buffer. */
static void test_not_finite(void)
{
    char out[RL_DTOA_MAX];

    CHECK(rl_dtoa(from_bits(INF_BITS), out) <= RL_DTOA_MAX, "infinity");
    CHECK(rl_dtoa(from_bits(INF_BITS | SIGN_BIT), out) <= RL_DTOA_MAX, "-infinity");
    CHECK(rl_dtoa(from_bits(INF_BITS | 1), out) <= RL_DTOA_MAX, "a NaN");
}

int main(void)
{
    test_known();
    test_boundaries();
    test_whole_numbers_and_hundredths();
    test_random();
    test_not_finite();
    if (failures) {
        fprintf(stderr, "test_dtoa: %d failures\n", failures);
    }
    return failures ? 1 : 0;
}
