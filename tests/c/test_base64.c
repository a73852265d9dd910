/* Tests of core/base64.h: encoding, against a slow reference, and decoding, which accepts
 * encoded data and nothing else. Inputs and outputs have memory of exactly their size, so
 * that AddressSanitizer finds an access beyond them.
 */
#include "core/base64.h"

#include "check.h"
#include "exactly.h"
#include "random.h"

#include <stdlib.h>

#define LONGEST 70

/* Base64, bit by bit. */
static size_t slow_encode(char *out, const uint8_t *data, size_t len)
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

static void test_data_is_encoded(void)
{
    /* RFC 4648, section 10 */
    static const char *const known[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                        "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    uint8_t data[LONGEST];
    char text[4 * LONGEST];
    uint64_t state = 4;

    for (size_t len = 0; len < sizeof known / sizeof *known; len++) {
        CHECK_SAME(text, rl_base64_encode(text, (const uint8_t *)"foobar", len),
                   known[len], strlen(known[len]));
    }
    for (int round = 0; round < 5000; round++) {
        size_t len = random_below(&state, LONGEST + 1);
        char *out = malloc(4 * ((len + 2) / 3));
        uint8_t *from;

        for (size_t i = 0; i < len; i++) {
            data[i] = (uint8_t)random_next(&state);
        }
        from = exactly(data, len);
        CHECK_SAME(out, rl_base64_encode(out, from, len), text,
                   slow_encode(text, data, len));
        free(from);
        free(out);
    }
}

/* Decodes into memory of exactly the size, which the caller frees. */
static uint8_t *decode(const char *text, size_t len, size_t *size, bool *valid)
{
    char *from = exactly(text, len);
    uint8_t *out = malloc(RL_BASE64_ROOM(len));

    *valid = rl_base64_decode(from, len, out, size);
    free(from);
    return out;
}

static void test_encoded_data_is_decoded(void)
{
    char text[4 * LONGEST];
    uint8_t data[LONGEST];
    uint64_t state = 11;

    for (int round = 0; round < 5000; round++) {
        size_t len = random_below(&state, LONGEST + 1), size, text_len;
        uint8_t *out;
        bool valid;

        for (size_t i = 0; i < len; i++) {
            data[i] = (uint8_t)random_next(&state);
        }
        text_len = rl_base64_encode(text, data, len);
        out = decode(text, text_len, &size, &valid);
        CHECK(valid);
        CHECK_SAME(out, size, data, len);
        free(out);
    }
}

/* If a random text is decoded, encoding the result gives the same text. */
static void test_only_canonical_texts_are_decoded(void)
{
    static const char alphabet[] = "AQgw/+=9z.\n -_";
    uint64_t state = 12;
    int read = 0;

    for (int round = 0; round < 200000; round++) {
        char text[13], again[20];
        size_t len = random_below(&state, sizeof text), size, again_len;
        uint8_t *out;
        bool valid, same;

        for (size_t i = 0; i < len; i++) {
            /* most are of the alphabet, so that many texts are valid */
            size_t choice = random_below(&state, 8) > 0 ? 6 : sizeof alphabet - 1;

            text[i] = alphabet[random_below(&state, choice)];
        }
        out = decode(text, len, &size, &valid);
        if (valid) {
            again_len = rl_base64_encode(again, out, size);
            same = again_len == len && memcmp(again, text, len) == 0;
            CHECK(same);
            read++;
        }
        free(out);
    }
    CHECK(read > 10000);
}

static void test_invalid_texts_are_rejected(void)
{
    static const char *const texts[] = {"A",
                                        "AA",
                                        "AAA",
                                        "AAAAA",
                                        "A===",
                                        "====",
                                        "AB==",
                                        "AAB=",
                                        "AA=A",
                                        "AA==AAAA",
                                        "AA==\n",
                                        " AAAA",
                                        "AAA\xC3",
                                        "AA-_",
                                        "QUJD====",
                                        "A=AA",
                                        "=AAA",
                                        "AAAAAA=A",
                                        "QQ=\n",
                                        "QQ=="
                                        "QQ=="};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t size;
        bool valid;

        free(decode(texts[i], strlen(texts[i]), &size, &valid));
        CHECK(!valid);
    }
}

static const struct check_test tests[] = {
    CHECK_TEST(test_data_is_encoded),
    CHECK_TEST(test_encoded_data_is_decoded),
    CHECK_TEST(test_only_canonical_texts_are_decoded),
    CHECK_TEST(test_invalid_texts_are_rejected),
};

CHECK_MAIN(tests)
