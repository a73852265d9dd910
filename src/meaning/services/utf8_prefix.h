/* A prefix of a text that does not end inside a character.
 *
 * Threads: any; a pure function. Ownership: borrows the text.
 */
#ifndef RL_UTF8_PREFIX_H
#define RL_UTF8_PREFIX_H

#include <stddef.h>

/* The length of the longest prefix of a text (valid UTF-8, `len` bytes) that has at most
 * `max` bytes and ends between two characters. */
static inline size_t rl_utf8_prefix(const char *text, size_t len, size_t max)
{
    size_t cut = len;

    if (len > max) {
        cut = max;
        while (cut > 0 && ((unsigned char)text[cut] & 0xC0) == 0x80) {
            cut--;
        }
    }
    return cut;
}

#endif
