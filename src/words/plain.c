/* Texts as words. See plain.h. */
#include "words/plain.h"

#include <stdint.h>
#include <stdio.h>

#define WORD_MAX 128 /* bytes; the rest of a longer word is left out */

typedef enum kind {
    SEPARATOR,
    LETTER, /* part of a word */
    SINGLE, /* a word of its own */
    SYMBOL, /* a word of its own, by its number */
    NOTHING /* neither part nor end of a word */
} kind;

typedef struct range {
    uint32_t first, last;
    kind kind;
} range;

/* In order; what is in none is a LETTER. Source: the blocks of Unicode 15. */
static const range ranges[] = {
    {0x80, 0xA9, SEPARATOR},      {0xAB, 0xB4, SEPARATOR},
    {0xB6, 0xB9, SEPARATOR},      {0xBB, 0xBF, SEPARATOR},
    {0xD7, 0xD7, SEPARATOR},      {0xF7, 0xF7, SEPARATOR},
    {0x0E00, 0x0EFF, SINGLE},     {0x1000, 0x109F, SINGLE},
    {0x1680, 0x1680, SEPARATOR},  {0x1780, 0x17FF, SINGLE},
    {0x180E, 0x180E, SEPARATOR},  {0x2000, 0x206F, SEPARATOR},
    {0x20A0, 0x20CF, SYMBOL},     {0x2190, 0x2BFF, SYMBOL},
    {0x2E00, 0x2E7F, SEPARATOR},  {0x2E80, 0x2FFF, SINGLE},
    {0x3000, 0x3004, SEPARATOR},  {0x3005, 0x3007, SINGLE},
    {0x3008, 0x3020, SEPARATOR},  {0x3021, 0x302F, SINGLE},
    {0x3030, 0x3030, SEPARATOR},  {0x3031, 0x30FA, SINGLE},
    {0x30FB, 0x30FB, SEPARATOR},  {0x30FC, 0xA4CF, SINGLE},
    {0xAC00, 0xD7FF, SINGLE},     {0xE000, 0xF8FF, SEPARATOR},
    {0xF900, 0xFAFF, SINGLE},     {0xFE00, 0xFE0F, NOTHING},
    {0xFE10, 0xFE6F, SEPARATOR},  {0xFEFF, 0xFEFF, NOTHING},
    {0xFF00, 0xFF0F, SEPARATOR},  {0xFF1A, 0xFF20, SEPARATOR},
    {0xFF3B, 0xFF40, SEPARATOR},  {0xFF5B, 0xFF65, SEPARATOR},
    {0xFF66, 0xFFDC, SINGLE},     {0xFFE0, 0xFFFF, SEPARATOR},
    {0x1F000, 0x1FAFF, SYMBOL},   {0x20000, 0x3FFFF, SINGLE},
    {0x40000, 0x10FFFF, NOTHING},
};

static kind kind_of(uint32_t code)
{
    size_t low = 0, high = sizeof ranges / sizeof *ranges;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (code > ranges[middle].last) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < sizeof ranges / sizeof *ranges && code >= ranges[low].first
               ? ranges[low].kind
               : LETTER;
}

/* The length of the character beyond ASCII at `at`, and its number; 1 and a separator for
 * bytes that are none. */
static size_t decode(const unsigned char *at, size_t left, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = *at < 0xC2 ? 1 : *at < 0xE0 ? 2 : *at < 0xF0 ? 3 : *at < 0xF5 ? 4 : 1;
    uint32_t number = len > 1 ? *at & (0x7FU >> len) : 0x80;
    bool valid = len > 1 && len <= left;

    for (size_t i = 1; valid && i < len; i++) {
        valid = (at[i] & 0xC0) == 0x80;
        number = number << 6 | (at[i] & 0x3FU);
    }
    valid = valid && number >= least[len] && number <= 0x10FFFF;
    *code = valid ? number : 0x80;
    return valid ? len : 1;
}

/* What a letter or a digit of ASCII becomes; 0 for the rest. */
static const char ascii[128] = {
    ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5',
    ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9', ['A'] = 'a', ['B'] = 'b',
    ['C'] = 'c', ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h',
    ['I'] = 'i', ['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n',
    ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r', ['S'] = 's', ['T'] = 't',
    ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z',
    ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e', ['f'] = 'f',
    ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j', ['k'] = 'k', ['l'] = 'l',
    ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r',
    ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x',
    ['y'] = 'y', ['z'] = 'z',
};

typedef struct words {
    rl_buf *out;
    size_t word; /* bytes of the current word; 0 between words */
} words;

static void add_letter(words *self, const char *bytes, size_t len)
{
    if (self->word == 0) {
        rl_buf_add_char(self->out, ' ');
    }
    if (self->word + len <= WORD_MAX) {
        rl_buf_add(self->out, bytes, len);
        self->word += len;
    }
}

/* Adds the letters of ASCII that begin at `at`, at least one, and as many as there is room
 * for before `out` has `most` bytes. Returns how many there are. */
static size_t add_ascii(words *self, const unsigned char *at, size_t left, size_t most)
{
    size_t run = 1, len, room = WORD_MAX - self->word;

    while (run < left && at[run] < 0x80 && ascii[at[run]] != 0) {
        run++;
    }
    room = room < most - self->out->len ? room : most - self->out->len;
    len = run < room ? run : room;
    if (rl_buf_reserve(self->out, len + 1)) {
        char *to = self->out->data + self->out->len;

        if (self->word == 0) {
            *to++ = ' ';
            self->out->len++;
        }
        for (size_t i = 0; i < len; i++) {
            to[i] = ascii[at[i]];
        }
        self->out->len += len;
        self->word += len;
    }
    return run;
}

static void add_wide(words *self, const char *bytes, size_t len, uint32_t code)
{
    switch (kind_of(code)) {
    case LETTER:
        add_letter(self, bytes, len);
        break;
    case SINGLE:
        rl_buf_add_char(self->out, ' ');
        rl_buf_add(self->out, bytes, len);
        self->word = 0;
        break;
    case SYMBOL:
        rl_buf_printf(self->out, " u%x", (unsigned)code);
        self->word = 0;
        break;
    case SEPARATOR:
        self->word = 0;
        break;
    case NOTHING:
        break;
    }
}

void rl_words_plain(const char *text, size_t len, size_t most, rl_buf *out)
{
    const unsigned char *at = (const unsigned char *)text;
    words self = {out, 0};
    size_t left = len;
    uint32_t code;

    while (left > 0 && out->len < most && !out->failed) {
        size_t used = 1;

        if (*at >= 0x80) {
            used = decode(at, left, &code);
            add_wide(&self, (const char *)at, used, code);
        } else if (ascii[*at] != 0) {
            used = add_ascii(&self, at, left, most);
        } else {
            self.word = 0;
        }
        at += used;
        left -= used;
    }
}
