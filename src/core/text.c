/* Text: escaping, UTF-8, integers. See text.h.
 *
 * Most text needs no escape, so the loops copy 16 bytes at a time (SSE2, NEON) or 8
 * (other machines), and handle single bytes only in a block that needs an escape. They
 * store a whole block before they know whether it is clean: the room that callers provide
 * (six bytes per unit) suffices for that.
 */
#include "core/text.h"

#include <string.h>

const char rl_two_digits[201] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940"
    "4142434445464748495051525354555657585960616263646566676869707172737475767778798081"
    "828384858687888990919293949596979899";

/* 0: copied; 1: \u00XX; 2: U+FFFD; else the letter after the backslash. */
static const char escapes[256] = {
    [0] = 2,      [1] = 1,      [2] = 1,      [3] = 1,       [4] = 1,      [5] = 1,
    [6] = 1,      [7] = 1,      ['\b'] = 'b', ['\t'] = 't',  ['\n'] = 'n', [11] = 1,
    ['\f'] = 'f', ['\r'] = 'r', [14] = 1,     [15] = 1,      [16] = 1,     [17] = 1,
    [18] = 1,     [19] = 1,     [20] = 1,     [21] = 1,      [22] = 1,     [23] = 1,
    [24] = 1,     [25] = 1,     [26] = 1,     [27] = 1,      [28] = 1,     [29] = 1,
    [30] = 1,     [31] = 1,     ['"'] = '"',  ['\\'] = '\\',
};

/* Writes one byte of UTF-8, escaped if necessary. */
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

/* The last bytes of a text, fewer than 16. */
static char *escape_tail(char *out, const unsigned char *text, size_t len)
{
    if (rl_copy_clean(out, (const char *)text, len)) {
        return out + len;
    }
    for (size_t i = 0; i < len; i++) {
        out = put_byte(out, text[i]);
    }
    return out;
}

/* Copies one block of BLOCK bytes and returns how many of them, from the start, are
 * clean. */
#if RL_BLOCKS
#define BLOCK 16
static inline unsigned copy_block(char *out, const unsigned char *text)
{
    rl_block block = rl_block_load((const char *)text);
    uint64_t dirty = rl_block_dirty(block);

    rl_block_store(out, block);
    return dirty == 0 ? BLOCK : (unsigned)__builtin_ctzll(dirty) >> RL_BLOCK_SHIFT;
}
#else
#define BLOCK 8
static inline unsigned copy_block(char *out, const unsigned char *text)
{
    uint64_t word;
    unsigned clean = BLOCK;

    memcpy(&word, text, 8);
    memcpy(out, &word, 8);
    if (rl_dirty8(word) != 0) {
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

#if RL_BLOCKS
    while ((size_t)(end - from) >= 2 * BLOCK) { /* two at a time while they are clean */
        rl_block first = rl_block_load((const char *)from);
        rl_block second = rl_block_load((const char *)from + BLOCK);

        rl_block_store(to, first);
        rl_block_store(to + BLOCK, second);
        if ((rl_block_dirty(first) | rl_block_dirty(second)) != 0) {
            break;
        }
        from += 2 * BLOCK;
        to += 2 * BLOCK;
    }
#endif
    while ((size_t)(end - from) >= BLOCK) {
        unsigned clean = copy_block(to, from);

        to += clean;
        from += clean;
        if (clean != BLOCK) {
            to = put_byte(to, *from++);
        }
    }
    while ((size_t)(end - from) >= 16) { /* only if BLOCK is 8 */
        to = put_byte(to, *from++);
    }
    return (size_t)(escape_tail(to, from, (size_t)(end - from)) - out);
}

/* Stores four bytes, the lowest first; the caller advances by those that it needs. */
static inline void put_bytes(char *out, uint32_t bytes)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bytes = __builtin_bswap32(bytes);
#endif
    memcpy(out, &bytes, 4);
}

/* Writes any code point. */
static inline char *put_point(char *out, uint32_t point)
{
    if (point < 0x80) {
        out = put_byte(out, (unsigned char)point);
    } else if (point < 0x800) {
        put_bytes(out, 0x80C0 | point >> 6 | (point & 0x3F) << 8);
        out += 2;
    } else if (point >= 0xD800 && point < 0xE000) {
        memcpy(out, RL_REPLACEMENT, 3);
        out += 3;
    } else if (point < 0x10000) {
        put_bytes(out,
                  0x8080E0 | point >> 12 | (point << 2 & 0x3F00) | (point & 0x3F) << 16);
        out += 3;
    } else {
        put_bytes(out, 0x808080F0 | point >> 18 | (point >> 4 & 0x3F00) |
                           (point << 10 & 0x3F0000) | (point & 0x3F) << 24);
        out += 4;
    }
    return out;
}

/* Whether eight bytes are all ASCII. */
static inline bool is_ascii8(const uint8_t *text)
{
    uint64_t word;

    memcpy(&word, text, 8);
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

size_t rl_escape_ucs1(char *out, const uint8_t *text, size_t len)
{
    char *to = out;
    size_t i = 0;

    while (i < len) {
        size_t run = 0;

        while (len - i - run >= 8 && is_ascii8(text + i + run)) {
            run += 8;
        }
        if (run > 0) {
            to += rl_escape_utf8(to, (const char *)text + i, run);
            i += run;
        } else {
            to = put_point(to, text[i++]);
        }
    }
    return (size_t)(to - out);
}

/* English text with one emoji is UCS-4 throughout. So blocks of 16 units that are all
 * ASCII are narrowed at once, where the machine has instructions for that. */
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
        if (text[i] ==
            'u') { /* rl_escape_utf8 writes only \u00XX, of control characters */
            unsigned low = (unsigned char)text[i + 4];

            *to++ = (char)((text[i + 3] - '0') * 16 +
                           (int)(low <= '9' ? low - '0' : low - 'a' + 10));
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

size_t rl_put_u64(char *out, uint64_t value)
{
    static const uint64_t powers[] = {0,
                                      UINT64_C(10),
                                      UINT64_C(100),
                                      UINT64_C(1000),
                                      UINT64_C(10000),
                                      UINT64_C(100000),
                                      UINT64_C(1000000),
                                      UINT64_C(10000000),
                                      UINT64_C(100000000),
                                      UINT64_C(1000000000),
                                      UINT64_C(10000000000),
                                      UINT64_C(100000000000),
                                      UINT64_C(1000000000000),
                                      UINT64_C(10000000000000),
                                      UINT64_C(100000000000000),
                                      UINT64_C(1000000000000000),
                                      UINT64_C(10000000000000000),
                                      UINT64_C(100000000000000000),
                                      UINT64_C(1000000000000000000),
                                      UINT64_C(10000000000000000000)};
    /* 1233 / 4096 is a little more than log10(2): `guess` is at most one too small */
    unsigned bits = 64 - (unsigned)__builtin_clzll(value | 1);
    unsigned guess = bits * 1233 >> 12;
    size_t len = guess + (value >= powers[guess]);
    char *at;

    len += len == 0; /* 0 has one digit */
    at = out + len;
    while (value >= 100) {
        at -= 2;
        memcpy(at, rl_two_digits + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10) {
        memcpy(at - 2, rl_two_digits + 2 * value, 2);
    } else {
        at[-1] = (char)('0' + value);
    }
    return len;
}
