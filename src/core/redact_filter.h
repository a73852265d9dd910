/* The first look at a text, for secrets: whether one may begin in it, and where.
 *
 * The text is the inside of a JSON string. What can begin a secret is rare in prose: a
 * sign (a colon or an equals sign), or a row of RL_ROW characters without one that ends a
 * key. Where there is neither, there is no secret, so most texts need no search.
 * Pure functions of memory; thread-safe.
 */
#ifndef RL_REDACT_FILTER_H
#define RL_REDACT_FILTER_H

#include "core/text.h"

#define RL_WINDOW ((size_t)64)
#define RL_ROW 16 /* characters in a row that may be a key; windows have 15 in common */

/* The least length of a text that can have a secret in it, in bytes. */
#define RL_REDACT_LEAST ((size_t)6)

/* Bits of bytes: signs, and characters between which a key stands. */
typedef struct rl_window {
    uint64_t signs, ends;
} rl_window;

#if defined(__SSE2__)
static inline rl_block rl_block_signs(rl_block block)
{
    return _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8(':')),
                        _mm_cmpeq_epi8(block, _mm_set1_epi8('=')));
}

static inline rl_block rl_block_ends(rl_block block)
{
    return _mm_cmplt_epi8(block, _mm_set1_epi8('-')); /* and what is not ASCII */
}

static inline void rl_window_add(rl_window *to, const char *text, unsigned shift)
{
    const rl_block block = rl_block_load(text);
    const unsigned signs = (unsigned)_mm_movemask_epi8(rl_block_signs(block));
    const unsigned ends = (unsigned)_mm_movemask_epi8(rl_block_ends(block));

    to->signs |= (uint64_t)signs << shift;
    to->ends |= (uint64_t)ends << shift;
}

static inline unsigned rl_block_digits(rl_block block)
{
    const rl_block from0 = _mm_sub_epi8(block, _mm_set1_epi8('0'));

    return (unsigned)_mm_movemask_epi8(
        _mm_cmpeq_epi8(_mm_min_epu8(from0, _mm_set1_epi8(9)), from0));
}

static inline uint64_t rl_window_digits(const char *text)
{
    return rl_block_digits(rl_block_load(text));
}

/* The least distance of a character to ':', as unsigned bytes. */
typedef rl_block rl_least;

static inline rl_least rl_least_begin(void)
{
    return _mm_set1_epi8(-1);
}

/* '=' is 3 behind ':'. */
static inline bool rl_least_is_sign(rl_least least)
{
    const rl_block near = _mm_min_epu8(least, _mm_set1_epi8('=' - ':'));

    return _mm_movemask_epi8(_mm_cmpeq_epi8(near, least)) != 0;
}

/* Lanes of four bytes in which there is no end: all bits, for each of them. */
static inline rl_block rl_block_lanes(rl_block block, rl_least *least)
{
    const rl_block inside = _mm_cmpgt_epi8(block, _mm_set1_epi8('-' - 1));

    *least = _mm_min_epu8(*least, _mm_sub_epi8(block, _mm_set1_epi8(':')));
    return _mm_cmpeq_epi32(inside, _mm_set1_epi8(-1));
}

/* A bit for each lane of a window. */
static inline uint32_t rl_window_lanes(const char *text, rl_least *least)
{
    const rl_block first = rl_block_lanes(rl_block_load(text), least);
    const rl_block second = rl_block_lanes(rl_block_load(text + 16), least);
    const rl_block third = rl_block_lanes(rl_block_load(text + 32), least);
    const rl_block fourth = rl_block_lanes(rl_block_load(text + 48), least);

    return (uint32_t)_mm_movemask_epi8(
        _mm_packs_epi16(_mm_packs_epi32(first, second), _mm_packs_epi32(third, fourth)));
}
#else
static inline void rl_window_add(rl_window *to, const char *text, unsigned shift)
{
    for (unsigned i = 0; i < 16; i++) {
        uint64_t bit = UINT64_C(1) << (shift + i);

        to->signs |= text[i] == ':' || text[i] == '=' ? bit : 0;
        to->ends |= (signed char)text[i] < '-' ? bit : 0;
    }
}

static inline uint64_t rl_window_digits(const char *text)
{
    uint64_t digits = 0;

    for (unsigned i = 0; i < 16; i++) {
        digits |= (uint64_t)(text[i] >= '0' && text[i] <= '9') << i;
    }
    return digits;
}

typedef bool rl_least;

static inline rl_least rl_least_begin(void)
{
    return false;
}

static inline bool rl_least_is_sign(rl_least least)
{
    return least;
}

static inline uint32_t rl_window_lanes(const char *text, rl_least *least)
{
    uint32_t lanes = 0;

    for (unsigned lane = 0; lane < RL_WINDOW / 4; lane++) {
        bool end = false;

        for (unsigned i = 4 * lane; i < 4 * lane + 4; i++) {
            *least |= text[i] == ':' || text[i] == '=';
            end |= (signed char)text[i] < '-';
        }
        lanes |= (uint32_t)!end << lane;
    }
    return lanes;
}
#endif

/* Whether one of the four bytes is 0: a group of eight characters without an end. */
static inline bool rl_has_empty_byte(uint32_t ends)
{
    return ((ends - UINT32_C(0x01010101)) & ~ends & UINT32_C(0x80808080)) != 0;
}

/* The places where RL_ROW bits follow each other. */
static inline uint64_t rl_rows_of(uint64_t bits)
{
    bits &= bits >> 1;
    bits &= bits >> 2;
    bits &= bits >> 4;
    return bits & bits >> 8;
}

/* The signs but those between two digits, as those of a time are: they begin nothing. */
static inline uint64_t rl_without_times(uint64_t signs, uint64_t digits)
{
    return signs & ~(digits << 1 & digits >> 1);
}

/* The places in a window of `len` bytes where a row begins; *signs gets those of signs.
 * RL_WINDOW bytes must be readable, or 32 if `len` is not more. */
static inline uint64_t rl_window_rows(const char *text, size_t len, uint64_t *signs)
{
    const uint64_t valid = len < 64 ? (UINT64_C(1) << len) - 1 : ~UINT64_C(0);
    rl_window bits = {0, 0};

    rl_window_add(&bits, text, 0);
    rl_window_add(&bits, text + 16, 16);
    if (len > 32) {
        rl_window_add(&bits, text + 32, 32);
        rl_window_add(&bits, text + 48, 48);
    }
    *signs = bits.signs & valid;
    return rl_rows_of(~(bits.signs | bits.ends) & valid);
}

/* Whether something may begin in a text of at most 32 bytes. So many must be readable. */
static inline bool rl_short_suspects(const char *text, size_t len)
{
    const uint64_t valid = (UINT64_C(1) << len) - 1;
    uint64_t signs, digits, rows = rl_window_rows(text, len, &signs);

    digits = (rl_window_digits(text) | rl_window_digits(text + 16) << 16) & valid;
    return (rows | rl_without_times(signs, digits)) != 0;
}

/* Whether something may begin in a text of any length. RL_WINDOW bytes behind it must be
 * readable. A row has three lanes in it that follow each other, from wherever lanes are
 * counted; so have words of twelve letters. */
static inline bool rl_text_suspects(const char *text, size_t len)
{
    rl_least least = rl_least_begin();
    uint32_t lanes = 0, rows = 0;
    uint64_t signs;
    size_t at = 0;

    if (len <= 32) {
        return rl_short_suspects(text, len);
    }
    if (len <= RL_WINDOW) {
        return (rl_window_rows(text, len, &signs) | signs) != 0;
    }
    for (; at + RL_WINDOW < len; at += RL_WINDOW) {
        lanes = lanes >> 16 | rl_window_lanes(text + at, &least) << 2;
        rows |= lanes & lanes >> 1 & lanes >> 2;
    }
    if (len - at > RL_WINDOW - RL_ROW) { /* else the last one has what crosses `at` */
        lanes = rl_window_lanes(text + at - RL_ROW, &least);
        rows |= lanes & lanes >> 1 & lanes >> 2;
    }
    lanes = rl_window_lanes(text + len - RL_WINDOW, &least);
    rows |= lanes & lanes >> 1 & lanes >> 2;
    return rows != 0 || rl_least_is_sign(least);
}

/* What rl_copy_and_look has found. */
typedef enum rl_seen {
    RL_SEEN_NOTHING,
    RL_SEEN_DIRTY,  /* a character needs an escape: what was copied is of no use */
    RL_SEEN_SUSPECT /* something may begin */
} rl_seen;

#if defined(__SSE2__)
/* The same for fewer than RL_ROW bytes: only a sign may begin something. */
static inline rl_seen rl_copy_and_look_short(char *out, const char *text, size_t len)
{
    const unsigned before = RL_ROW - (unsigned)len; /* bytes that are not of the text */
    const rl_block block = rl_block_load(text - before);
    const rl_block dirty = rl_block_is_dirty(block), signs = rl_block_signs(block);
    rl_seen seen = RL_SEEN_NOTHING;

    rl_copy_short(out, text, len);
    if ((unsigned)_mm_movemask_epi8(_mm_or_si128(dirty, signs)) >> before != 0) {
        if ((unsigned)_mm_movemask_epi8(dirty) >> before != 0) {
            seen = RL_SEEN_DIRTY;
        } else if (len >= RL_REDACT_LEAST &&
                   rl_without_times((unsigned)_mm_movemask_epi8(signs) >> before,
                                    rl_block_digits(block) >> before) != 0) {
            seen = RL_SEEN_SUSPECT;
        }
    }
    return seen;
}

/* The bits of two blocks, of which the second one begins at `at`. */
static inline uint64_t rl_bits_of(rl_block first, rl_block second, size_t at)
{
    return (uint64_t)(unsigned)_mm_movemask_epi8(second) << at |
           (unsigned)_mm_movemask_epi8(first);
}

static inline rl_seen rl_copy_and_look_long(char *out, const char *text, size_t len)
{
    const size_t at = len - 16;
    const rl_block first = rl_block_load(text), last = rl_block_load(text + at);
    const rl_block dirty =
        _mm_or_si128(rl_block_is_dirty(first), rl_block_is_dirty(last));
    const rl_block first_signs = rl_block_signs(first), last_signs = rl_block_signs(last);
    const uint64_t ends =
        rl_bits_of(rl_block_ends(first), rl_block_ends(last), at) | ~UINT64_C(0) << len;
    const rl_block seen = _mm_or_si128(dirty, _mm_or_si128(first_signs, last_signs));
    uint64_t signs, digits;

    rl_block_store(out, first);
    rl_block_store(out + at, last);
    if (_mm_movemask_epi8(seen) == 0 && !rl_has_empty_byte((uint32_t)ends)) {
        return RL_SEEN_NOTHING;
    }
    if (_mm_movemask_epi8(dirty) != 0) {
        return RL_SEEN_DIRTY;
    }
    signs = rl_bits_of(first_signs, last_signs, at);
    digits = rl_block_digits(first) | (uint64_t)rl_block_digits(last) << at;
    return (rl_rows_of(~(signs | ends)) | rl_without_times(signs, digits)) != 0
               ? RL_SEEN_SUSPECT
               : RL_SEEN_NOTHING;
}
#endif

/* rl_copy_clean_inside that looks at what it copies while it has it. Sixteen bytes before
 * the text must be readable, and 32 at `out`. */
static inline rl_seen rl_copy_and_look(char *out, const char *text, size_t len)
{
#if defined(__SSE2__)
    return len < RL_ROW ? rl_copy_and_look_short(out, text, len)
                        : rl_copy_and_look_long(out, text, len);
#else
    if (!rl_copy_clean_inside(out, text, len)) {
        return RL_SEEN_DIRTY;
    }
    return len >= RL_REDACT_LEAST && rl_short_suspects(out, len) ? RL_SEEN_SUSPECT
                                                                 : RL_SEEN_NOTHING;
#endif
}

#endif
