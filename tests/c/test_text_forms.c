/* Tests of core/text.h: base64 against a slow reference, integers against the C library.
 * Inputs and outputs have memory of exactly their size, so that AddressSanitizer finds an
 * access beyond them.
 */
#include "core/text.h"

#include "check.h"
#include "exactly.h"
#include "random.h"

#include <stdlib.h>

#define LONGEST 70

/* Base64, bit by bit. */
static size_t slow_base64(char *out, const uint8_t *data, size_t len)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t size = 0;

    for (size_t bit = 0; bit < 8 * len; bit += 6) {
        unsigned digit = 0;

        for (size_t i = bit; i < bit + 6; i++) {
            digit =
                digit * 2 + (i < 8 * len ? (unsigned)data[i / 8] >> (7 - i % 8) & 1 : 0);
        }
        out[size++] = digits[digit];
    }
    while (size % 4 != 0) {
        out[size++] = '=';
    }
    return size;
}

static void test_base64_is_encoded(void)
{
    /* RFC 4648, section 10 */
    static const char *const known[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                        "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    uint8_t data[LONGEST];
    char text[4 * LONGEST];
    uint64_t state = 4;

    for (size_t len = 0; len < sizeof known / sizeof *known; len++) {
        CHECK_SAME(text, rl_base64(text, (const uint8_t *)"foobar", len), known[len],
                   strlen(known[len]));
    }
    for (int round = 0; round < 5000; round++) {
        size_t len = random_below(&state, LONGEST + 1);
        char *out = malloc(4 * ((len + 2) / 3));
        uint8_t *from;

        for (size_t i = 0; i < len; i++) {
            data[i] = (uint8_t)random_next(&state);
        }
        from = exactly(data, len);
        CHECK_SAME(out, rl_base64(out, from, len), text, slow_base64(text, data, len));
        free(from);
        free(out);
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
    CHECK_TEST(test_base64_is_encoded),
    CHECK_TEST(test_integers_are_written),
};

CHECK_MAIN(tests)
