/* Tests of core/clock.h; the calendar is compared with that of the C library. */
#include "core/clock.h"

#include "check.h"
#include "random.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000)
#define DAY (86400 * SECOND)

/* Formats a stamp with the C library. */
static void slow_format(int64_t stamp, char out[64])
{
    int64_t micros = (stamp % SECOND + SECOND) % SECOND;
    time_t seconds = (time_t)((stamp - micros) / SECOND);
    struct tm parts;

    gmtime_r(&seconds, &parts);
    snprintf(out, 64, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", parts.tm_year + 1900,
             parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
             (int)micros);
}

static void check_stamp(int64_t stamp)
{
    char text[RL_TIME_TEXT], want[64];
    int64_t parsed = -1;

    rl_time_format(stamp, text);
    slow_format(stamp, want);
    CHECK_STR(text, want);
    CHECK(rl_time_parse(text, RL_TIME_TEXT - 1, &parsed));
    CHECK_INT(parsed, stamp);
}

static void test_time_round_trip(void)
{
    static const char *const known[] = {
        "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00.000000Z", "1969-12-31T23:59:59.999999Z",
        "2000-02-29T12:00:00.000001Z", "1900-02-28T23:59:59.999999Z",
        "1900-03-01T00:00:00.000000Z", "2024-02-29T23:59:59.999999Z"};
    const uint64_t range = (uint64_t)(RL_TIME_MAX - RL_TIME_MIN);
    uint64_t state = 2;
    char text[RL_TIME_TEXT];
    int64_t stamp;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        CHECK(rl_time_parse(known[i], RL_TIME_TEXT - 1, &stamp));
        rl_time_format(stamp, text);
        CHECK_STR(text, known[i]);
        check_stamp(stamp);
    }
    for (int i = 0; i < 50000; i++) {
        check_stamp(RL_TIME_MIN + (int64_t)(random_next(&state) % range));
    }
    for (stamp = -100 * 366 * DAY; stamp < 140 * 366 * DAY; stamp += DAY) {
        check_stamp(stamp);
        check_stamp(stamp - 1);
    }
}

static void test_time_is_clamped(void)
{
    static const int64_t low[] = {RL_TIME_MIN - 1, INT64_MIN, RL_TIME_MIN};
    static const int64_t high[] = {RL_TIME_MAX + 1, INT64_MAX, RL_TIME_MAX};
    char text[RL_TIME_TEXT];

    for (int i = 0; i < 3; i++) {
        rl_time_format(low[i], text);
        CHECK_STR(text, "0001-01-01T00:00:00.000000Z");
        rl_time_format(high[i], text);
        CHECK_STR(text, "9999-12-31T23:59:59.999999Z");
    }
}

static bool parses(const char *text, size_t len)
{
    char *copy = malloc(len); /* AddressSanitizer finds a read beyond it */
    int64_t stamp;
    bool parsed;

    memcpy(copy, text, len);
    parsed = rl_time_parse(copy, len, &stamp);
    free(copy);
    return parsed;
}

static void test_time_parse_rejects_other_texts(void)
{
    static const char good[] = "2026-11-23T18:45:51.123456Z";
    static const char *const bad[] = {
        "0000-11-23T18:45:51.123456Z", "2026-00-23T18:45:51.123456Z",
        "2026-13-23T18:45:51.123456Z", "2026-11-00T18:45:51.123456Z",
        "2026-11-32T18:45:51.123456Z", "2026-11-23T24:45:51.123456Z",
        "2026-11-23T18:60:51.123456Z", "2026-11-23T18:45:60.123456Z",
        "2026-11-23T18:45:51.123456z", "2026-11-23T18:45:51.+23456Z",
        "+026-11-23T18:45:51.123456Z", "2026-11-23T-8:45:51.123456Z"};
    char text[RL_TIME_TEXT + 1];

    for (size_t len = 0; len < RL_TIME_TEXT + 1; len++) {
        memcpy(text, good, RL_TIME_TEXT);
        CHECK(parses(text, len) == (len == RL_TIME_TEXT - 1));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(!parses(bad[i], RL_TIME_TEXT - 1));
    }
    for (size_t at = 0; at < RL_TIME_TEXT - 1; at++) {
        for (int c = 0; c < 256; c++) {
            memcpy(text, good, RL_TIME_TEXT);
            text[at] = (char)c;
            if (text[at] != good[at] && (c < '0' || c > '9')) {
                CHECK(!parses(text, RL_TIME_TEXT - 1));
            } else if (good[at] < '0' || good[at] > '9') {
                CHECK(parses(text, RL_TIME_TEXT - 1) == (text[at] == good[at]));
            }
        }
    }
}

static void test_clocks_advance(void)
{
    int64_t now = rl_time_now();
    uint64_t since = rl_monotonic_ns();

    CHECK(now / SECOND - (int64_t)time(NULL) <= 1 && now / SECOND >= time(NULL) - 1);
    usleep(2000);
    CHECK(rl_monotonic_ns() - since >= 2000000);
    CHECK(rl_time_now() > now);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_time_round_trip),
    CHECK_TEST(test_time_is_clamped),
    CHECK_TEST(test_time_parse_rejects_other_texts),
    CHECK_TEST(test_clocks_advance),
};

CHECK_MAIN(tests)
