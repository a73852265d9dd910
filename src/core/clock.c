/* Clocks and time stamps. Dates are counted in the proleptic Gregorian calendar, in eras
 * of 400 years that begin on 1 March (Howard Hinnant, "chrono-compatible low-level date
 * algorithms").
 */
#include "core/clock.h"

#include "core/text.h"

#include <string.h>
#include <time.h>

#define US_PER_SECOND INT64_C(1000000)
#define US_PER_DAY (INT64_C(86400) * US_PER_SECOND)
#define DAYS_PER_ERA 146097
#define DAYS_TO_EPOCH 719468 /* from 0000-03-01 to 1970-01-01 */

int64_t rl_time_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

uint64_t rl_monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Writes a two-digit number at out. */
static void put2(char *out, unsigned value)
{
    memcpy(out, rl_two_digits + 2 * value, 2);
}

struct timespec rl_timespec(uint64_t ns)
{
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000),
                            .tv_nsec = (long)(ns % 1000000000)};

    return time;
}

void rl_time_format(int64_t stamp, char out[RL_TIME_TEXT])
{
    static const char form[RL_TIME_TEXT] = "0000-00-00T00:00:00.000000Z";
    int64_t days;
    unsigned seconds, micros, era, day, year_of_era, day_of_year, month_index, year;

    if (stamp < RL_TIME_MIN) {
        stamp = RL_TIME_MIN;
    } else if (stamp > RL_TIME_MAX) {
        stamp = RL_TIME_MAX;
    }
    days = stamp / US_PER_DAY - (stamp % US_PER_DAY < 0);
    stamp -= days * US_PER_DAY;
    micros = (unsigned)(stamp % US_PER_SECOND);
    seconds = (unsigned)(stamp / US_PER_SECOND);

    days += DAYS_TO_EPOCH; /* not negative, as the year is at least 1 */
    era = (unsigned)(days / DAYS_PER_ERA);
    day = (unsigned)(days % DAYS_PER_ERA);
    year_of_era = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    month_index = (5 * day_of_year + 2) / 153; /* 0 is March */
    year = year_of_era + era * 400 + (month_index >= 10);

    memcpy(out, form, sizeof form);
    put2(out, year / 100);
    put2(out + 2, year % 100);
    put2(out + 5, month_index < 10 ? month_index + 3 : month_index - 9);
    put2(out + 8, day_of_year - (153 * month_index + 2) / 5 + 1);
    put2(out + 11, seconds / 3600);
    put2(out + 14, seconds / 60 % 60);
    put2(out + 17, seconds % 60);
    put2(out + 20, micros / 10000);
    put2(out + 22, micros / 100 % 100);
    put2(out + 24, micros % 100);
}

/* Reads `count` digits; -1 when one of the characters is not a digit. */
static int read_digits(const char *text, int count)
{
    int value = 0;

    for (int i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

static int64_t days_from_civil(int year, int month, int day)
{
    int shifted = year - (month <= 2);
    int era = shifted / 400;
    int year_of_era = shifted - era * 400;
    int day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return (int64_t)era * DAYS_PER_ERA + day_of_era - DAYS_TO_EPOCH;
}

bool rl_time_parse(const char *text, size_t len, int64_t *stamp)
{
    int year, month, day, hour, minute, second, micros;
    char again[RL_TIME_TEXT];

    if (len != RL_TIME_TEXT - 1 || text[4] != '-' || text[7] != '-' || text[10] != 'T' ||
        text[13] != ':' || text[16] != ':' || text[19] != '.' || text[26] != 'Z') {
        return false;
    }
    year = read_digits(text, 4);
    month = read_digits(text + 5, 2);
    day = read_digits(text + 8, 2);
    hour = read_digits(text + 11, 2);
    minute = read_digits(text + 14, 2);
    second = read_digits(text + 17, 2);
    micros = read_digits(text + 20, 6);
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 ||
        hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 ||
        micros < 0) {
        return false;
    }
    *stamp = days_from_civil(year, month, day) * US_PER_DAY +
             (int64_t)(hour * 3600 + minute * 60 + second) * US_PER_SECOND + micros;
    rl_time_format(*stamp, again); /* 30 February would be formatted as 2 March */
    return memcmp(again, text, len) == 0;
}
