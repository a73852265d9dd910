/* Text: escaping, UTF-8, base64, integers. See text.h.
 *
 * Most text needs no escape, so the loops copy 16 bytes at a time (SSE2, NEON) or 8 (any
 * other machine) and look at single bytes only where one of them needs it. They store the
 * whole block before they know whether it was clean; the room that the callers must give
 * (six bytes a unit) covers that.
 */
#include "core/text.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

const char rl_two_digits[201] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940"
    "4142434445464748495051525354555657585960616263646566676869707172737475767778798081"
    "828384858687888990919293949596979899";

/* 0: as it is; 1: \u00XX; 2: U+FFFD; else the letter after the backslash. */
static const char escapes[256] = {
    [0] = 2,      [1] = 1,      [2] = 1,      [3] = 1,      [4] = 1,    [5] = 1,  [6] = 1,
    [7] = 1,      ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', [11] = 1,   ['\f'] = 'f',
    ['\r'] = 'r', [14] = 1,     [15] = 1,     [16] = 1,     [17] = 1,   [18] = 1, [19] = 1,
    [20] = 1,     [21] = 1,     [22] = 1,     [23] = 1,     [24] = 1,   [25] = 1, [26] = 1,
    [27] = 1,     [28] = 1,     [29] = 1,     [30] = 1,     [31] = 1,   ['"'] = '"',
    ['\\'] = '\\',
};

/* Writes one byte of ASCII, or of a longer UTF-8 sequence, escaped where it must be. */
static inline char *put_byte(char *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char kind = escapes[c];

    if (kind == 0) {
        *out++ = (char)c;
    } else if (kind == 1) {
        memcpy(out, "\\u00", 4);
        out[4] = hex[c >> 4];
        out[5] = hex[c & 15];
        out += 6;
    } else if (kind == 2) {
        memcpy(out, RL_REPLACEMENT, 3);
        out += 3;
    } else {
        out[0] = '\\';
        out[1] = kind;
        out += 2;
    }
    return out;
}

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

/* Not 0 when one of the eight bytes is below 0x20, a quote or a backslash
 * (S. E. Anderson, "Bit Twiddling Hacks": a word with a byte less than n). */
static inline uint64_t dirty8(uint64_t word)
{
    uint64_t quote = word ^ ONES * '"';
    uint64_t slash = word ^ ONES * '\\';

    return (((word - ONES * 0x20) & ~word) | ((quote - ONES) & ~quote) |
            ((slash - ONES) & ~slash)) & HIGHS;
}

/* The last bytes of a text, fewer than 16: two blocks that overlap where it is clean. */
static char *escape_tail(char *out, const unsigned char *text, size_t len)
{
    if (len >= 8) {
        uint64_t first, last;

        memcpy(&first, text, 8);
        memcpy(&last, text + len - 8, 8);
        if ((dirty8(first) | dirty8(last)) == 0) {
            memcpy(out, &first, 8);
            memcpy(out + len - 8, &last, 8);
            return out + len;
        }
    } else if (len >= 4) {
        uint32_t first, last;

        memcpy(&first, text, 4);
        memcpy(&last, text + len - 4, 4);
        if (dirty8((uint64_t)first << 32 | last) == 0) {
            memcpy(out, &first, 4);
            memcpy(out + len - 4, &last, 4);
            return out + len;
        }
    }
    for (size_t i = 0; i < len; i++) {
        out = put_byte(out, text[i]);
    }
    return out;
}

/* Copies one block of BLOCK bytes and returns how many of them, from the start, are clean. */
#if defined(__SSE2__)
#define BLOCK 16
static inline unsigned copy_block(char *out, const unsigned char *text)
{
    const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)text);
    const __m128i low = _mm_set1_epi8(0x1F);
    __m128i dirty = _mm_cmpeq_epi8(_mm_min_epu8(v, low), v);
    unsigned mask;

    dirty = _mm_or_si128(dirty, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
    dirty = _mm_or_si128(dirty, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
    _mm_storeu_si128((__m128i *)(void *)out, v);
    mask = (unsigned)_mm_movemask_epi8(dirty);
    return mask == 0 ? BLOCK : (unsigned)__builtin_ctz(mask);
}
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define BLOCK 16
static inline unsigned copy_block(char *out, const unsigned char *text)
{
    const uint8x16_t v = vld1q_u8(text);
    uint8x16_t dirty = vcltq_u8(v, vdupq_n_u8(0x20));
    uint64_t mask;

    dirty = vorrq_u8(dirty, vceqq_u8(v, vdupq_n_u8('"')));
    dirty = vorrq_u8(dirty, vceqq_u8(v, vdupq_n_u8('\\')));
    vst1q_u8((uint8_t *)out, v);
    /* four bits a byte: the narrowing shift is NEON's stand-in for a move mask */
    mask = vget_lane_u64(
        vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(dirty), 4)), 0);
    return mask == 0 ? BLOCK : (unsigned)__builtin_ctzll(mask) >> 2;
}
#else
#define BLOCK 8
static inline unsigned copy_block(char *out, const unsigned char *text)
{
    uint64_t word;
    unsigned clean = BLOCK;

    memcpy(&word, text, 8);
    memcpy(out, &word, 8);
    if (dirty8(word) != 0) {
        for (clean = 0; escapes[text[clean]] == 0; clean++) {
        }
    }
    return clean;
}
#endif

size_t rl_escape_utf8(char *out, const char *text, size_t len)
{
    const unsigned char *from = (const unsigned char *)text;
    const unsigned char *end = from + len;
    char *to = out;

    while ((size_t)(end - from) >= BLOCK) {
        unsigned clean = copy_block(to, from);

        to += clean;
        from += clean;
        if (clean != BLOCK) {
            to = put_byte(to, *from++);
        }
    }
    while ((size_t)(end - from) >= 16) { /* only where BLOCK is smaller than the tail's */
        to = put_byte(to, *from++);
    }
    return (size_t)(escape_tail(to, from, (size_t)(end - from)) - out);
}

/* Writes any code point. */
static inline char *put_point(char *out, uint32_t point)
{
    if (point < 0x80) {
        out = put_byte(out, (unsigned char)point);
    } else if (point < 0x800) {
        out[0] = (char)(0xC0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3F));
        out += 2;
    } else if (point >= 0xD800 && point < 0xE000) {
        memcpy(out, RL_REPLACEMENT, 3);
        out += 3;
    } else if (point < 0x10000) {
        out[0] = (char)(0xE0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (point & 0x3F));
        out += 3;
    } else {
        out[0] = (char)(0xF0 | point >> 18);
        out[1] = (char)(0x80 | (point >> 12 & 0x3F));
        out[2] = (char)(0x80 | (point >> 6 & 0x3F));
        out[3] = (char)(0x80 | (point & 0x3F));
        out += 4;
    }
    return out;
}

size_t rl_escape_ucs1(char *out, const uint8_t *text, size_t len)
{
    char *to = out;

    for (size_t i = 0; i < len; i++) {
        to = put_point(to, text[i]);
    }
    return (size_t)(to - out);
}

/* English with one emoji in it is UCS-4: so blocks of 16 units that are all ASCII are
 * narrowed and copied at once, where the machine has an instruction for it. */
#if defined(__SSE2__)
static inline bool narrow16_ucs2(unsigned char *out, const uint16_t *text)
{
    const __m128i a = _mm_loadu_si128((const __m128i *)(const void *)text);
    const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(text + 8));
    const __m128i high = _mm_and_si128(_mm_or_si128(a, b), _mm_set1_epi16(~0x7F));

    _mm_storeu_si128((__m128i *)(void *)out, _mm_packus_epi16(a, b));
    return _mm_movemask_epi8(_mm_cmpeq_epi8(high, _mm_setzero_si128())) == 0xFFFF;
}

static inline bool narrow16_ucs4(unsigned char *out, const uint32_t *text)
{
    const __m128i *from = (const __m128i *)(const void *)text;
    const __m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1);
    const __m128i c = _mm_loadu_si128(from + 2), d = _mm_loadu_si128(from + 3);
    const __m128i all = _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d));
    const __m128i high = _mm_and_si128(all, _mm_set1_epi32(~0x7F));

    _mm_storeu_si128((__m128i *)(void *)out,
                     _mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d)));
    return _mm_movemask_epi8(_mm_cmpeq_epi8(high, _mm_setzero_si128())) == 0xFFFF;
}
#else
static inline bool narrow16_ucs2(unsigned char *out, const uint16_t *text)
{
    unsigned all = 0;

    for (int i = 0; i < 16; i++) {
        all |= text[i];
        out[i] = (unsigned char)text[i];
    }
    return all < 0x80;
}

static inline bool narrow16_ucs4(unsigned char *out, const uint32_t *text)
{
    uint32_t all = 0;

    for (int i = 0; i < 16; i++) {
        all |= text[i];
        out[i] = (unsigned char)text[i];
    }
    return all < 0x80;
}
#endif

size_t rl_escape_ucs2(char *out, const uint16_t *text, size_t len)
{
    unsigned char block[16];
    char *to = out;
    size_t i = 0;

    while (i < len) {
        if (text[i] < 0x80 && len - i >= 16 && narrow16_ucs2(block, text + i)) {
            to += rl_escape_utf8(to, (const char *)block, 16);
            i += 16;
        } else {
            to = put_point(to, text[i++]);
        }
    }
    return (size_t)(to - out);
}

size_t rl_escape_ucs4(char *out, const uint32_t *text, size_t len)
{
    unsigned char block[16];
    char *to = out;
    size_t i = 0;

    while (i < len) {
        if (text[i] < 0x80 && len - i >= 16 && narrow16_ucs4(block, text + i)) {
            to += rl_escape_utf8(to, (const char *)block, 16);
            i += 16;
        } else {
            to = put_point(to, text[i++]);
        }
    }
    return (size_t)(to - out);
}

size_t rl_unescape(char *out, const char *text, size_t len)
{
    static const char letters[] = "btnfr", bytes[] = "\b\t\n\f\r";
    char *to = out;

    for (size_t i = 0; i < len; i++) {
        const char *letter = NULL;

        if (text[i] != '\\') {
            *to++ = text[i];
            continue;
        }
        i++;
        if (text[i] == 'u') { /* only ever written for control characters: \u00XX */
            unsigned low = (unsigned char)text[i + 4];

            *to++ = (char)((text[i + 3] - '0') * 16 + (int)(low <= '9' ? low - '0'
                                                                      : low - 'a' + 10));
            i += 4;
        } else {
            letter = strchr(letters, text[i]);
            *to++ = letter != NULL ? bytes[letter - letters] : text[i];
        }
    }
    return (size_t)(to - out);
}

size_t rl_escaped_prefix(const char *text, size_t len, size_t max)
{
    size_t at = 0;

    while (at < len) {
        unsigned char c = (unsigned char)text[at];
        size_t step = 1;

        if (c == '\\') {
            step = text[at + 1] == 'u' ? 6 : 2;
        } else if (c >= 0xF0) {
            step = 4;
        } else if (c >= 0xE0) {
            step = 3;
        } else if (c >= 0xC0) {
            step = 2;
        }
        if (at + step > max) {
            break;
        }
        at += step;
    }
    return at;
}

size_t rl_base64(char *out, const uint8_t *data, size_t len)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *to = out;

    for (; len >= 3; data += 3, len -= 3, to += 4) {
        uint32_t bits = (uint32_t)data[0] << 16 | (uint32_t)data[1] << 8 | data[2];

        to[0] = digits[bits >> 18];
        to[1] = digits[bits >> 12 & 63];
        to[2] = digits[bits >> 6 & 63];
        to[3] = digits[bits & 63];
    }
    if (len > 0) {
        uint32_t bits = (uint32_t)data[0] << 16 | (len == 2 ? (uint32_t)data[1] << 8 : 0);

        to[0] = digits[bits >> 18];
        to[1] = digits[bits >> 12 & 63];
        to[2] = len == 2 ? digits[bits >> 6 & 63] : '=';
        to[3] = '=';
        to += 4;
    }
    return (size_t)(to - out);
}

size_t rl_put_u64(char *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;

    while (value >= 100) {
        at -= 2;
        memcpy(digits + at, rl_two_digits + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10) {
        at -= 2;
        memcpy(digits + at, rl_two_digits + 2 * value, 2);
    } else {
        digits[--at] = (char)('0' + value);
    }
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

size_t rl_put_i64(char *out, int64_t value)
{
    size_t sign = value < 0;

    if (sign != 0) {
        *out++ = '-';
    }
    return sign + rl_put_u64(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}
