/* Text: escaping for JSON strings, UTF-8, decimal integers.
 *
 * Pure functions from memory to memory; thread-safe. Sources: RFC 8259 (JSON), RFC 3629
 * (UTF-8).
 */
#ifndef RL_TEXT_H
#define RL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

/* "00010203...99" */
extern const char rl_two_digits[201];

/* The most bytes that one input unit may become: "\u001f". So many bytes per unit must be
 * at `out`; the functions may overwrite all of them. */
#define RL_ESCAPE_MAX 6

/* U+FFFD, which replaces what PostgreSQL's jsonb can't hold (NUL, lone surrogates). */
#define RL_REPLACEMENT "\xEF\xBF\xBD"

/* Not 0 when one of the eight bytes is below 0x20, a quote or a backslash
 * (S. E. Anderson, "Bit Twiddling Hacks": a word with a byte less than n). */
static inline uint64_t rl_dirty8(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t quote = word ^ ones * '"';
    uint64_t slash = word ^ ones * '\\';

    return (((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) |
            ((slash - ones) & ~slash)) &
           (ones << 7);
}

/* Copies a text of fewer than 16 bytes, without a loop: as two words that overlap in the
 * middle. False when a character needs an escape. */
static inline bool rl_copy_clean(char *out, const char *text, size_t len)
{
    if (len >= 8) {
        uint64_t first, last;

        memcpy(&first, text, 8);
        memcpy(&last, text + len - 8, 8);
        memcpy(out, &first, 8);
        memcpy(out + len - 8, &last, 8);
        return (rl_dirty8(first) | rl_dirty8(last)) == 0;
    }
    if (len >= 4) {
        uint32_t first, last;

        memcpy(&first, text, 4);
        memcpy(&last, text + len - 4, 4);
        memcpy(out, &first, 4);
        memcpy(out + len - 4, &last, 4);
        return rl_dirty8((uint64_t)first << 32 | last) == 0;
    }
    if (len >= 2) {
        uint16_t first, last;

        memcpy(&first, text, 2);
        memcpy(&last, text + len - 2, 2);
        memcpy(out, &first, 2);
        memcpy(out + len - 2, &last, 2);
        return rl_dirty8((uint64_t)first << 16 | last | UINT64_C(0x2020202000000000)) ==
               0;
    }
    if (len == 1) {
        *out = *text;
        return rl_dirty8((unsigned char)*text | UINT64_C(0x2020202020202000)) == 0;
    }
    return true;
}

#if defined(__SSE2__)
#define RL_BLOCKS 1
typedef __m128i rl_block;

static inline rl_block rl_block_load(const char *from)
{
    return _mm_loadu_si128((const __m128i *)(const void *)from);
}

static inline void rl_block_store(char *to, rl_block block)
{
    _mm_storeu_si128((__m128i *)(void *)to, block);
}

/* The bytes that need an escape. */
static inline rl_block rl_block_is_dirty(rl_block block)
{
    rl_block dirty = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1F)), block);

    dirty = _mm_or_si128(dirty, _mm_cmpeq_epi8(block, _mm_set1_epi8('"')));
    return _mm_or_si128(dirty, _mm_cmpeq_epi8(block, _mm_set1_epi8('\\')));
}

/* Bits for them: 1 << RL_BLOCK_SHIFT of them per byte. */
#define RL_BLOCK_SHIFT 0
static inline uint64_t rl_block_dirty(rl_block block)
{
    return (unsigned)_mm_movemask_epi8(rl_block_is_dirty(block));
}
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define RL_BLOCKS 1
typedef uint8x16_t rl_block;

static inline rl_block rl_block_load(const char *from)
{
    return vld1q_u8((const uint8_t *)from);
}

static inline void rl_block_store(char *to, rl_block block)
{
    vst1q_u8((uint8_t *)to, block);
}

/* Four bits per byte: NEON has no move mask, but a narrowing shift. */
#define RL_BLOCK_SHIFT 2
static inline uint64_t rl_block_dirty(rl_block block)
{
    rl_block dirty = vcltq_u8(block, vdupq_n_u8(0x20));

    dirty = vorrq_u8(dirty, vceqq_u8(block, vdupq_n_u8('"')));
    dirty = vorrq_u8(dirty, vceqq_u8(block, vdupq_n_u8('\\')));
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(dirty), 4)),
                         0);
}
#else
#define RL_BLOCKS 0
#endif

/* Copies at most 16 bytes. Eight bytes before the text must be readable. Writes at least
 * eight bytes; little-endian machines only. */
static inline void rl_copy_short(char *out, const char *text, size_t len)
{
    uint64_t word, other;

    memcpy(&word, text + len - 8, 8);
    if (len <= 8) { /* the word that ends with the text, shifted to its start */
        unsigned half = 4 * (8 - (unsigned)len);

        word = word >> half >> half;
        memcpy(out, &word, 8);
    } else {
        memcpy(&other, text, 8);
        memcpy(out, &other, 8);
        memcpy(out + len - 8, &word, 8);
    }
}

/* rl_copy_clean for at most 32 bytes, with few branches on the length, as they could not
 * be predicted. Sixteen bytes before the text must be readable (those of the object that
 * contains it). Writes at least eight bytes. */
static inline bool rl_copy_clean_inside(char *out, const char *text, size_t len)
{
#if RL_BLOCKS && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (len <= 16) { /* what is before the text is shifted out of the bits */
        const unsigned before = (16 - (unsigned)len) << RL_BLOCK_SHIFT;

        rl_copy_short(out, text, len);
        return len == 0 || rl_block_dirty(rl_block_load(text + len - 16)) >> before == 0;
    }
    rl_block first = rl_block_load(text), last = rl_block_load(text + len - 16);

    rl_block_store(out, first);
    rl_block_store(out + len - 16, last);
    return (rl_block_dirty(first) | rl_block_dirty(last)) == 0;
#else
    return len < 16 && rl_copy_clean(out, text, len);
#endif
}

/* Escape a text of `len` units for the inside of a JSON string; return the bytes written.
 * The first takes valid UTF-8, the others CPython's three representations: Latin-1, UCS-2
 * without surrogate pairs, UCS-4 (PEP 393). */
size_t rl_escape_utf8(char *out, const char *text, size_t len);
size_t rl_escape_ucs1(char *out, const uint8_t *text, size_t len);
size_t rl_escape_ucs2(char *out, const uint16_t *text, size_t len);
size_t rl_escape_ucs4(char *out, const uint32_t *text, size_t len);

/* The inverse of rl_escape_utf8: writes at most `len` bytes; returns how many. */
size_t rl_unescape(char *out, const char *text, size_t len);

/* The length of the longest prefix of escaped text (the inside of a JSON string) that has
 * at most `max` bytes and ends between two characters. */
size_t rl_escaped_prefix(const char *text, size_t len, size_t max);

/* The value of a hexadecimal digit of either case; 16 for any other character. */
static inline unsigned rl_hex_digit(char c)
{
    unsigned digit = (unsigned)c - '0', letter = ((unsigned)c | 0x20) - 'a';

    return digit < 10 ? digit : letter < 6 ? letter + 10 : 16;
}

/* Write a decimal integer of at most 20 bytes; return the bytes written. */
size_t rl_put_u64(char *out, uint64_t value);

static inline size_t rl_put_i64(char *out, int64_t value)
{
    size_t sign = value < 0;

    if (value >= 0 && value < 100) { /* most integers: steps, counts, scores */
        memcpy(out, rl_two_digits + 2 * value + (value < 10), 2);
        return 1 + (value >= 10);
    }
    *out = '-';
    return sign + rl_put_u64(out + sign, sign ? 0 - (uint64_t)value : (uint64_t)value);
}

#endif
