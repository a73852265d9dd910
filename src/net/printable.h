/* What a server said, made fit for an error's text or a log line.
 *
 * Threads: any. Ownership: none; nothing is allocated.
 */
#ifndef RL_PRINTABLE_H
#define RL_PRINTABLE_H

#include <stddef.h>

/* Copies text to out [size], with a NUL: on one line (control characters become spaces), as
 * valid UTF-8 ('?' for each byte that is not), and cut between two characters. */
void rl_printable(char *out, size_t size, const char *text, size_t len);

/* Replaces each place where `secret` (or NULL) stands in a text by "***". What is shorter
 * than four characters is no secret. */
void rl_hide(char *text, const char *secret);

#endif
