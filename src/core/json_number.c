/* JSON's numbers as doubles. See json_read.h.
 *
 * Most have few digits and a small exponent: the digits and the power of ten are then
 * exact doubles, and one operation on them gives the nearest double (W. D. Clinger, "How
 * to Read Floating Point Numbers Accurately", 1990). The others are read by strtod_l, in
 * the locale "C".
 */
#include "core/json_read.h"

#include <locale.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

#define EXACT_WHOLE (UINT64_C(1) << 53) /* whole numbers up to this are exact doubles */
#define EXACT_TEN 22                    /* powers of ten up to this are exact doubles */
#define WORD_DIGITS 19                  /* always fit a uint64_t */

/* A number halfway between two doubles has at most 767 digits. Further digits matter only
 * by being zero or not. */
#define DIGITS 800
#define EXPONENT_MAX 100000 /* a number beyond is 0 or infinite */

typedef struct decimal {
    bool negative;
    char digits[DIGITS + 1]; /* without leading zeros */
    size_t count;
    int64_t exponent; /* the value is 0.digits * 10^exponent */
} decimal;

static void add_digit(decimal *number, char digit)
{
    if (number->count < DIGITS && (number->count > 0 || digit != '0')) {
        number->digits[number->count++] = digit;
    } else if (number->count == DIGITS && digit != '0') {
        number->digits[DIGITS - 1] = '1'; /* not zero, as the dropped digit */
    }
}

/* Reads the parts of a valid number. */
static void read_parts(rl_json_value value, decimal *number)
{
    const char *at = value.text, *end = value.text + value.len;
    int64_t exponent = 0;
    bool minus = false;

    number->negative = *at == '-';
    number->count = 0;
    number->exponent = 0;
    at += number->negative ? 1 : 0;
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        add_digit(number, *at);
        number->exponent += number->count > 0 ? 1 : 0;
    }
    if (at < end && *at == '.') {
        for (at++; at < end && *at >= '0' && *at <= '9'; at++) {
            add_digit(number, *at);
            number->exponent -= number->count > 0 ? 0 : 1;
        }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        minus = end - at > 1 && at[1] == '-';
        for (at++; at < end; at++) {
            if (*at >= '0' && *at <= '9' && exponent < INT64_MAX / 100) {
                exponent = exponent * 10 + (*at - '0');
            }
        }
    }
    number->exponent += minus ? -exponent : exponent;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t c_locale;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static double convert_by_strtod(decimal *number)
{
    char text[DIGITS + 40];
    int64_t exponent = number->exponent;

    if (exponent > EXPONENT_MAX) {
        exponent = EXPONENT_MAX;
    } else if (exponent < -EXPONENT_MAX) {
        exponent = -EXPONENT_MAX;
    }
    number->digits[number->count] = '\0';
    snprintf(text, sizeof text, "0.%se%d", number->digits, (int)exponent);
    (void)pthread_once(&once, make_c_locale);
    return strtod_l(text, NULL, c_locale);
}

/* False when the digits or the power of ten are not an exact double. */
static bool convert_exactly(const decimal *number, double *result)
{
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const int64_t exponent = number->exponent - (int64_t)number->count;
    uint64_t whole = 0;

    if (number->count > WORD_DIGITS || exponent > EXACT_TEN || exponent < -EXACT_TEN) {
        return false;
    }
    for (size_t i = 0; i < number->count; i++) {
        whole = whole * 10 + (uint64_t)(number->digits[i] - '0');
    }
    *result =
        exponent < 0 ? (double)whole / tens[-exponent] : (double)whole * tens[exponent];
    return whole <= EXACT_WHOLE;
}

bool rl_json_number(rl_json_value value, double *number)
{
    decimal parts;

    if (rl_json_kind_of(value) != RL_JSON_NUMBER) {
        return false;
    }
    read_parts(value, &parts);
    if (parts.count == 0) {
        *number = 0;
    } else if (!convert_exactly(&parts, number)) {
        *number = convert_by_strtod(&parts);
    }
    *number = parts.negative ? -*number : *number;
    return true;
}
