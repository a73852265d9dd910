/* Texts as the index of words has them: words of ASCII letters and digits and of whatever
 * is beyond ASCII, in lower case, with a space between them. So both databases see the
 * same words, and nothing of a text has a meaning in their languages of queries.
 *
 * A character of a script without spaces (Chinese, Japanese, Korean, Thai, ...) is a word
 * of its own; a symbol such as an emoji becomes the word "u1f600".
 * Threads: any; pure functions.
 */
#ifndef RL_WORDS_PLAIN_H
#define RL_WORDS_PLAIN_H

#include "core/buf.h"

/* Appends the words of a text (UTF-8; what is invalid separates words), each with a space
 * before it. Stops when `out` has `most` bytes. */
void rl_words_plain(const char *text, size_t len, size_t most, rl_buf *out);

#endif
