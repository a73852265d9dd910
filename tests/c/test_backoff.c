/* Tests of net/backoff.h, with a simulated clock, and of net/printable.h. */
#include "net/backoff.h"

#include "net/printable.h"

#include "check.h"
#include "exactly.h"

#include <stdlib.h>

#define S UINT64_C(1000000000)

static void test_pauses_double_and_differ(void)
{
    static const double longest[] = {0.25, 0.5, 1, 2, 4, 8, 8, 8};

    for (unsigned failures = 1; failures <= 8; failures++) {
        const double most = longest[failures - 1] * 1e9;
        double low = most, high = 0;

        for (int i = 0; i < 300; i++) {
            double pause = (double)rl_backoff_ns(failures);

            low = pause < low ? pause : low;
            high = pause > high ? pause : high;
        }
        CHECK(low >= most / 2 - 1 && low < most * 0.6);
        CHECK(high <= most && high > most * 0.9);
    }
    CHECK(rl_backoff_ns(4000000000u) <= RL_BACKOFF_LAST_NS);
}

static void test_retry_after(void)
{
    static const struct {
        const char *value;
        int64_t seconds; /* -1: invalid */
    } cases[] = {
        {"0", 0},
        {"1", 1},
        {" 120 \r\n", 120},
        {"99999999999999999999999", 999999999},
        {"Mon, 23 Nov 2026 18:00:30 GMT", 30},
        {"Monday, 23-Nov-26 18:01:00 GMT", 60},
        {"Mon Nov 23 18:00:10 2026", 10},
        {"Mon, 23 Nov 2026 17:59:59 GMT", 0},
        {"", -1},
        {" ", -1},
        {"-1", -1},
        {"1.5", -1},
        {"soon", -1},
        {"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25", -1},
    };
    const int64_t now = INT64_C(1795456800000000); /* 2026-11-23 18:00:00 */

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len = strlen(cases[i].value);
        char *value = exactly(cases[i].value, len);
        uint64_t ns = 7;
        bool read = rl_retry_after(value, len, now, &ns);

        if (read != (cases[i].seconds >= 0)) {
            CHECK_STR(cases[i].value, read ? "not read" : "read");
        } else if (read) {
            CHECK_INT(ns / S, cases[i].seconds);
        }
        free(value);
    }
}

/* Starts as many requests as the bucket allows in `ns`; returns their number. */
static unsigned start_for(rl_bucket *bucket, uint64_t *now, uint64_t ns)
{
    const uint64_t end = *now + ns;
    unsigned count = 0;

    while (*now < end && count < 100000) {
        uint64_t wait = rl_bucket_wait_ns(bucket, *now);

        if (wait > 0) {
            *now += wait;
        } else {
            rl_bucket_take(bucket, *now);
            *now += S / 50; /* as long as a request takes */
            count++;
        }
    }
    return count;
}

static void test_a_429_halves_the_rate(void)
{
    rl_bucket bucket;
    uint64_t now = 5 * S;
    unsigned free_rate, halved, least;

    rl_bucket_init(&bucket);
    free_rate = start_for(&bucket, &now, 10 * S);
    CHECK_INT(free_rate, 500);
    rl_bucket_throttle(&bucket);
    halved = start_for(&bucket, &now, 10 * S);
    CHECK(halved > 200 && halved < 300);
    rl_bucket_throttle(&bucket);
    CHECK(rl_bucket_wait_ns(&bucket, now) > 0);
    halved = start_for(&bucket, &now, 10 * S);
    CHECK(halved > 90 && halved < 160);
    for (int i = 0; i < 100; i++) {
        rl_bucket_throttle(&bucket);
    }
    least = start_for(&bucket, &now, 100 * S);
    CHECK(least >= 24 && least <= 26); /* one every four seconds */
}

static void test_successes_restore_the_rate(void)
{
    rl_bucket bucket;
    uint64_t now = 5 * S;

    rl_bucket_init(&bucket);
    (void)start_for(&bucket, &now, 5 * S);
    rl_bucket_throttle(&bucket);
    for (int i = 0; i < 20; i++) {
        rl_bucket_succeed(&bucket);
    }
    CHECK(bucket.rate > 100);
    CHECK_INT(rl_bucket_wait_ns(&bucket, now), 0);
    CHECK_INT(start_for(&bucket, &now, 10 * S), 500);
}

static void test_a_long_pause_saves_one_second_of_tokens(void)
{
    rl_bucket bucket;
    uint64_t now = 5 * S;
    unsigned burst = 0;

    rl_bucket_init(&bucket);
    (void)start_for(&bucket, &now, 5 * S);
    rl_bucket_throttle(&bucket);
    now += 3600 * S;
    while (rl_bucket_wait_ns(&bucket, now) == 0) {
        rl_bucket_take(&bucket, now);
        burst++;
    }
    CHECK(burst >= 10 && burst <= 50);
}

static void check_printable(const char *text, size_t len, size_t size, const char *want)
{
    char *copy = exactly(text, len), *out = malloc(size);

    rl_printable(out, size, copy, len);
    CHECK_STR(out, want);
    free(out);
    free(copy);
}

#define CHECK_PRINTABLE(text, size, want) \
    check_printable((text), sizeof(text) - 1, (size), (want))

static void test_printable_replaces_unsafe_characters(void)
{
    CHECK_PRINTABLE("hello", 20, "hello");
    CHECK_PRINTABLE("hello", 6, "hello");
    CHECK_PRINTABLE("hello", 5, "hell");
    CHECK_PRINTABLE("hello", 1, "");
    CHECK_PRINTABLE("a\r\nb\0c\x1B[31m\x7F", 20, "a  b c [31m");
    CHECK_PRINTABLE("\xC2\x9B"
                    "31m\xC2\xA0",
                    20, " 31m\xC2\xA0");
    CHECK_PRINTABLE("\xC3\xA4\xC3\xA4", 4, "\xC3\xA4");
    CHECK_PRINTABLE("\xF0\x9F\x98\x80!", 5, "\xF0\x9F\x98\x80");
    CHECK_PRINTABLE("\xF0\x9F\x98\x80!", 4, "");
    CHECK_PRINTABLE("a\xFF\xC3.\xE2\x82\xED\xA0\x80\xC0\x80\xF5", 40,
                    "a?"
                    "?."
                    "???"
                    "?????");
    CHECK_PRINTABLE("\xC3", 4, "?");
    CHECK_PRINTABLE("line \n\n", 20, "line");
    CHECK_PRINTABLE("", 1, "");
}

static void test_secrets_are_hidden(void)
{
    char text[] = "key sk-12345 and sk-12345sk-12345.";

    rl_hide(text, "sk-12345");
    CHECK_STR(text, "key *** and ******.");
    rl_hide(text, NULL);
    rl_hide(text, "");
    rl_hide(text, "and"); /* too short for a secret */
    CHECK_STR(text, "key *** and ******.");
}

static const struct check_test tests[] = {
    CHECK_TEST(test_pauses_double_and_differ),
    CHECK_TEST(test_retry_after),
    CHECK_TEST(test_a_429_halves_the_rate),
    CHECK_TEST(test_successes_restore_the_rate),
    CHECK_TEST(test_a_long_pause_saves_one_second_of_tokens),
    CHECK_TEST(test_printable_replaces_unsafe_characters),
    CHECK_TEST(test_secrets_are_hidden),
};

CHECK_MAIN(tests)
