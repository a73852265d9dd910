/* Makes a server's text safe for an error or a log line.
 *
 * Threads: any. Nothing is allocated.
 */
#ifndef RL_PRINTABLE_H
#define RL_PRINTABLE_H

#include <stddef.h>

/* Copies a text to out [size], with a NUL: on one line (control characters become
 * spaces), as valid UTF-8 (an invalid byte becomes '?'), and cut between two
 * characters. */
void rl_printable(char *out, size_t size, const char *text, size_t len);

/* Replaces every occurrence of `secret` in the text by "***". Does nothing for NULL, or
 * for a secret of fewer than four bytes. */
void rl_hide(char *text, const char *secret);

/* Replaces the beginning of `secret`, four bytes of it or more, at the end of a text that
 * was cut. */
void rl_hide_end(char *text, const char *secret);

/* Both, for each secret of a list that ends with NULL. */
void rl_hide_all(char *text, const char *const *secrets);

#endif
