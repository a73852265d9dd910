/* Doubles as the shortest text that reads back as the same double. See dtoa.h.
 *
 * After Raffaele Giulietti, "The Schubfach way to render doubles" (2020). A table of
 * powers of ten scales the double so that its rounding interval (the reals that read back
 * as it) is 1 to 10 units wide. A multiple of ten in the interval is then the shortest
 * decimal; if there is none, the nearest whole number is. shortest_exact() is the paper's
 * procedure. shortest_quick() makes the same comparisons with one multiplication instead
 * of three, to 60 bits after the point, and reports a comparison that is too close to
 * decide.
 */
#include "core/dtoa.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/pow10_table.h"

/* RL_DTOA_PORTABLE leaves out all that is not plain C11, so that a test covers the
 * rest. */
#if defined(__GNUC__) && !defined(RL_DTOA_PORTABLE)
#define RL_DTOA_GNU
#if defined(__x86_64__)
#define RL_DTOA_SSE2
#include <emmintrin.h>
#endif
#endif

#ifdef RL_DTOA_GNU
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NOINLINE __attribute__((noinline))
#else
#define UNLIKELY(x) (x)
#define NOINLINE
#endif

/* Negative exponents are shifted right below: that must round towards minus infinity. */
_Static_assert((-3 >> 1) == -2, "an arithmetic right shift is needed");
_Static_assert(sizeof(double) == 8, "IEEE 754 binary64 is needed");

#define FRACTION_BITS 52
#define FRACTION_MASK ((UINT64_C(1) << FRACTION_BITS) - 1)
#define HIDDEN_BIT (UINT64_C(1) << FRACTION_BITS)
#define EXPONENT_MASK 0x7ffu
#define EXPONENT_BIAS 1075
#define Q_MIN (-1074)

#define TEN_TO_8 UINT64_C(100000000)
#define TEN_TO_16 UINT64_C(10000000000000000)
#define DIGITS 17                          /* enough for every double */
#define ZEROS UINT64_C(0x3030303030303030) /* "00000000" */

/* The number whole * 10^exp10. */
struct decimal {
    uint64_t whole;
    int exp10;
};

/* ---- scaling by a power of ten --------------------------------------------------- */

/* The low half of a * b; the high half goes to *high. */
static inline uint64_t mul_64x64(uint64_t a, uint64_t b, uint64_t *high)
{
#if defined(__SIZEOF_INT128__) && defined(RL_DTOA_GNU)
    __extension__ typedef unsigned __int128 uint128;
    uint128 product = (uint128)a * b;

    *high = (uint64_t)(product >> 64);
    return (uint64_t)product;
#else
    uint64_t a0 = a & UINT32_MAX, a1 = a >> 32;
    uint64_t b0 = b & UINT32_MAX, b1 = b >> 32;
    uint64_t low = a0 * b0;
    uint64_t mid1 = a1 * b0 + (low >> 32);
    uint64_t mid2 = a0 * b1 + (mid1 & UINT32_MAX);

    *high = a1 * b1 + (mid1 >> 32) + (mid2 >> 32);
    return (mid2 << 32) | (low & UINT32_MAX);
#endif
}

/* n * g / 2^128: returns the whole part, and sets *fraction to the 64 bits after the
 * point. */
static inline uint64_t scale(uint64_t n, const uint64_t g[2], uint64_t *fraction)
{
    uint64_t whole, carried;

    (void)mul_64x64(n, g[1], &carried);
    *fraction = mul_64x64(n, g[0], &whole) + carried;
    return whole + (*fraction < carried);
}

/*
 * The integer logarithms hold for every exponent of a double; gen_pow10.py proves it.
 * floor(log10(2^q)), floor(log10(3/4 * 2^q)) and floor(log2(10^i)).
 */
static inline int floor_log10_pow2(int q)
{
    return (q * 1262611) >> 22;
}

static inline int floor_log10_three_quarters_pow2(int q)
{
    return (q * 1262611 - 524031) >> 22;
}

static inline int floor_log2_pow10(int i)
{
    return (i * 1741647) >> 19;
}

/* ---- the shortest decimal -------------------------------------------------------- */

/*
 * n * g / 2^128 rounded to odd: the lowest bit of an inexact result is set, so that it
 * compares correctly with every even number. An exact result has no fraction, as n < 2^60
 * and g is too high by less than 1. Any other has one wherever that could change a
 * comparison: gen_pow10.py proves it.
 */
static uint64_t scale_to_odd(uint64_t n, const uint64_t g[2])
{
    uint64_t fraction;
    uint64_t whole = scale(n, g, &fraction);

    return whole | (fraction != 0);
}

/*
 * The paper's procedure for the double c * 2^q, c > 0, in quarters of a unit: the ends
 * and the middle of the interval are then whole numbers.
 */
static NOINLINE struct decimal shortest_exact(uint64_t c, int q)
{
    /* Doubles are twice as dense below a power of two as above: the interval is
     * lopsided. */
    bool lopsided = c == HIDDEN_BIT && q > Q_MIN;
    bool odd = c & 1; /* the ends themselves read back as c only when c is even */
    int k = lopsided ? floor_log10_three_quarters_pow2(q) : floor_log10_pow2(q);
    int shift = q + floor_log2_pow10(-k) + 1; /* 1 to 4 */
    const uint64_t *g = rl_pow10[-k - RL_POW10_MIN];
    uint64_t middle = scale_to_odd((4 * c) << shift, g);
    uint64_t lower = scale_to_odd((4 * c - (lopsided ? 1 : 2)) << shift, g) + odd;
    uint64_t upper = scale_to_odd((4 * c + 2) << shift, g) - odd;
    uint64_t whole = middle / 4;
    uint64_t tens = whole - whole % 10;
    bool tens_in = lower <= 4 * tens;
    bool next_tens_in = 4 * tens + 40 <= upper;
    bool whole_in = lower <= 4 * whole;
    bool next_in = 4 * whole + 4 <= upper;
    uint64_t half = 4 * whole + 2;
    bool up;

    if (tens_in != next_tens_in) { /* never both: the interval is too narrow */
        return (struct decimal){tens + (next_tens_in ? 10 : 0), k};
    }
    if (whole_in != next_in) {
        up = next_in;
    } else {
        up = middle > half || (middle == half && (whole & 1));
    }
    return (struct decimal){whole + up, k};
}

/* True when a and b are at most 4 apart; they may wrap around zero. */
static inline bool near(uint64_t a, uint64_t b)
{
    return a - b + 4 <= 8;
}

/*
 * The same, but returns false when a comparison is too close to decide.
 *
 * Let x be the distance of the scaled double above a multiple of ten. That multiple is in
 * the interval when x is less than the interval's reach downwards; the next one is when
 * 10 - x is less than the reach upwards. When neither is, the result is the nearest whole
 * number, as the interval reaches at least 1/2 upwards and, unless it is lopsided,
 * downwards.
 *
 * Distances are in units of 2^-60, each less than two units off: g and the multiplication
 * err by less than 2^-64 each, and cutting to 60 bits by less than one unit. So a
 * comparison is certain unless its sides are within four units.
 */
static inline bool shortest_quick(uint64_t c, int q, bool lopsided,
                                  struct decimal *result)
{
    int k = lopsided ? floor_log10_three_quarters_pow2(q) : floor_log10_pow2(q);
    int shift = q + floor_log2_pow10(-k) + 1; /* 1 to 4 */
    const uint64_t *g = rl_pow10[-k - RL_POW10_MIN];
    uint64_t fraction;
    uint64_t whole = scale(c << shift, g, &fraction);
    uint64_t reach_up = g[0] >> (5 - shift);
    uint64_t reach_down = lopsided ? reach_up / 2 : reach_up;
    uint64_t digit = whole % 10;
    uint64_t below = (digit << 60) | (fraction >> 4);
    uint64_t above = (UINT64_C(10) << 60) - below;
    uint64_t tens = whole - digit;
    uint64_t best = whole + (fraction >> 63);

    /* Written for conditional moves: a branch could not be predicted. */
    best = below < reach_down ? tens : best;
    best = above < reach_up ? tens + 10 : best;
    *result = (struct decimal){best, k};
    if (lopsided && (fraction >> 4) + 4 >= reach_down) {
        return false;
    }
    return ((unsigned)near(below, reach_down) | (unsigned)near(above, reach_up) |
            (unsigned)near(fraction >> 4, UINT64_C(1) << 59)) == 0;
}

/* The shortest decimal of c * 2^q, c > 0, written with exactly 17 digits. */
static inline struct decimal shortest(uint64_t c, int q)
{
    struct decimal d;
    bool sure, short_by_one;

    /* Called in two places, so that the compiler makes a copy for each constant. */
    if (UNLIKELY(c == HIDDEN_BIT && q > Q_MIN)) {
        sure = shortest_quick(c, q, true, &d);
    } else {
        sure = shortest_quick(c, q, false, &d);
    }
    if (UNLIKELY(!sure)) {
        d = shortest_exact(c, q);
    }
    while (UNLIKELY(c < HIDDEN_BIT) && d.whole < TEN_TO_16 / 10) {
        d.whole *= 10;
        d.exp10--;
    }
    short_by_one = d.whole < TEN_TO_16;
    d.whole *= short_by_one ? 10 : 1;
    d.exp10 -= short_by_one;
    return d;
}

/* ---- the text -------------------------------------------------------------------- */

/* Stores eight bytes, the lowest first. */
static inline void put_eight(char *out, uint64_t bytes)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && \
    !defined(RL_DTOA_PORTABLE)
    memcpy(out, &bytes, 8);
#else
    for (int i = 0; i < 8; i++) {
        out[i] = (char)(bytes >> (8 * i) & 0xff);
    }
#endif
}

/* The number of zero bytes at the low end of n > 0. */
static inline int low_zero_bytes(uint64_t n)
{
#ifdef RL_DTOA_GNU
    return __builtin_ctzll(n) / 8;
#else
    int count = 0;

    for (; !(n & 0xff); n >>= 8) {
        count++;
    }
    return count;
#endif
}

/*
 * The eight digits of n < 10^8, each as a number 0 to 9 in a byte, the first in the
 * lowest. Each step splits every part in two, the quotient below and the remainder above.
 * The multiplications by a reciprocal are exact for numbers of these sizes.
 */
static inline uint64_t eight_digits(uint64_t n)
{
    uint64_t q = n / 10000;

    n = q | (n - q * 10000) << 32;
    q = (n * 10486) >> 20 & UINT64_C(0x0000007f0000007f);
    n = q | (n - q * 100) << 16;
    q = (n * 103) >> 10 & UINT64_C(0x000f000f000f000f);
    return q | (n - q * 10) << 8;
}

/* The result of put_digits(): the first eight characters, the first in the lowest byte,
 * and the number of digits (of 17) without the zeros at the end. */
struct stored {
    uint64_t front;
    int count;
};

#ifdef RL_DTOA_SSE2

/* eight_digits() for the two halves of a vector at once. */
static inline __m128i sixteen_digits(__m128i n)
{
    __m128i q = _mm_srli_epi64(_mm_mul_epu32(n, _mm_set1_epi64x(0xd1b71759)), 45);

    n = _mm_sub_epi64(n, _mm_mul_epu32(q, _mm_set1_epi64x(10000)));
    n = _mm_or_si128(q, _mm_slli_epi64(n, 32));
    q = _mm_srli_epi16(_mm_mulhi_epu16(n, _mm_set1_epi32(5243)), 3);
    n = _mm_sub_epi16(n, _mm_mullo_epi16(q, _mm_set1_epi32(100)));
    n = _mm_or_si128(q, _mm_slli_epi32(n, 16));
    q = _mm_mulhi_epu16(n, _mm_set1_epi16(6554));
    n = _mm_sub_epi16(n, _mm_mullo_epi16(q, _mm_set1_epi16(10)));
    return _mm_or_si128(q, _mm_slli_epi16(n, 8));
}

/* Stores the 17 digits of n. */
static inline struct stored put_digits(char *out, uint64_t n)
{
    uint64_t first = n / TEN_TO_16;
    uint64_t rest = n - first * TEN_TO_16;
    uint64_t high = rest / TEN_TO_8;
    uint64_t low = rest - high * TEN_TO_8;
    __m128i digits = sixteen_digits(_mm_set_epi64x((int64_t)low, (int64_t)high));
    __m128i nonzero = _mm_cmpgt_epi8(digits, _mm_setzero_si128());
    unsigned mask = (unsigned)_mm_movemask_epi8(nonzero) << 1 | 1;
    struct stored s;

    first += '0';
    digits = _mm_or_si128(digits, _mm_set1_epi8('0'));
    out[0] = (char)first;
    _mm_storeu_si128((__m128i *)(void *)(out + 1), digits);
    s.front = (uint64_t)_mm_cvtsi128_si64(digits) << 8 | first;
    s.count = 32 - __builtin_clz(mask);
    return s;
}

#else

/* The number of digits (of eight, not all zero) without the zeros at the end. */
static inline int significant(uint64_t digits)
{
#ifdef RL_DTOA_GNU
    return 8 - __builtin_clzll(digits) / 8;
#else
    int n = 8;

    for (; !(digits >> 56); digits <<= 8) {
        n--;
    }
    return n;
#endif
}

/* Stores the 17 digits of n. */
static inline struct stored put_digits(char *out, uint64_t n)
{
    uint64_t first = n / TEN_TO_16 + '0';
    uint64_t rest = n % TEN_TO_16;
    uint64_t high = eight_digits(rest / TEN_TO_8);
    uint64_t low = eight_digits(rest % TEN_TO_8);
    struct stored s = {(high | ZEROS) << 8 | first, 1};

    out[0] = (char)first;
    put_eight(out + 1, high | ZEROS);
    put_eight(out + 9, low | ZEROS);
    if (low) {
        s.count = 9 + significant(low);
    } else if (high) {
        s.count = 1 + significant(high);
    }
    return s;
}

#endif

/* Stores d with a point after its first `point` digits, 1 to 16; returns the number of
 * digits without the zeros at the end. */
static inline int put_pointed(char *out, uint64_t d, int point)
{
    struct stored s = put_digits(out + 1, d);

    if (point < 8) { /* at once: the end of a loop could not be predicted */
        uint64_t before = (UINT64_C(1) << (8 * point)) - 1;
        uint64_t mark = (uint64_t)'.' << (8 * point);

        put_eight(out, (s.front & before) | mark | (s.front & ~before) << 8);
    } else {
        for (int i = 0; i < point; i++) {
            out[i] = out[i + 1];
        }
        out[point] = '.';
    }
    return s.count;
}

/* Stores 'e' and the exponent; returns the end. Without branches: each character is
 * stored, and the next one overwrites it if it is not needed. */
static inline char *put_exponent(char *out, int exponent)
{
    unsigned n = (unsigned)(exponent < 0 ? -exponent : exponent);

    out[0] = 'e';
    out[1] = '-';
    out += 1 + (exponent < 0);
    out[0] = (char)('0' + n / 100);
    out += n >= 100;
    out[0] = (char)('0' + n / 10 % 10);
    out += n >= 10;
    out[0] = (char)('0' + n % 10);
    return out + 1;
}

/* Stores d, which has 17 digits; returns the end. */
static inline char *put_decimal(char *out, struct decimal d)
{
    int point = d.exp10 + DIGITS; /* digits before the decimal point */
    int count;

    if (point > 0 && point <= 16) {
        count = put_pointed(out, d.whole, point);
        return out + (count > point ? count : point + 1) + 1;
    }
    if (point > -4 && point <= 0) {
        memcpy(out, "0.000", 5);
        out += 2 - point;
        return out + put_digits(out, d.whole).count;
    }
    count = put_pointed(out, d.whole, 1);
    return put_exponent(out + (count > 1 ? count + 1 : 1), point - 1);
}

/*
 * Stores c * 2^q, c > 0, if it is a whole number below 10^8, in half the time that other
 * numbers take; returns the end, or NULL. Its own digits are the shortest.
 */
static inline char *put_small_whole(char *out, uint64_t c, int q)
{
    uint64_t n, digits;
    int zeros;

    if (q > 0 || q < -FRACTION_BITS) {
        return NULL;
    }
    n = c >> -q;
    if (n << -q != c || n >= TEN_TO_8) {
        return NULL;
    }
    digits = eight_digits(n);
    zeros = low_zero_bytes(digits);
    put_eight(out, (digits | ZEROS) >> (8 * zeros));
    out += 8 - zeros;
    memcpy(out, ".0", 2);
    return out + 2;
}

size_t rl_dtoa(double value, char *out)
{
    char *at = out;
    char *end;
    uint64_t bits, c;
    int q;

    memcpy(&bits, &value, sizeof bits);
    *at = '-';
    at += bits >> 63;
    c = bits & FRACTION_MASK;
    q = (int)(bits >> FRACTION_BITS & EXPONENT_MASK);
    if (UNLIKELY(q == 0)) {
        if (c == 0) {
            memcpy(at, "0.0", 3);
            return (size_t)(at + 3 - out);
        }
        q = Q_MIN;
    } else {
        c |= HIDDEN_BIT;
        q -= EXPONENT_BIAS;
    }
    end = put_small_whole(at, c, q);
    if (!end) {
        end = put_decimal(at, shortest(c, q));
    }
    return (size_t)(end - out);
}
