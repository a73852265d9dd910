/* Secrets inside texts: finds them by the rules of a set, and puts RL_REDACTED in their
 * place. The time is linear in the text; ordinary text is passed over 16 bytes at a time.
 * Pure functions of memory; thread-safe as the set is.
 */
#ifndef RL_REDACT_TEXT_H
#define RL_REDACT_TEXT_H

#include "core/redact.h"
#include "core/redact_filter.h"

/* A text that is cut is searched with so many bytes of what is left out at each side, so
 * that no half of a secret stays. */
#define RL_REDACT_CONTEXT ((size_t)4096)

typedef enum rl_text_form {
    RL_PLAIN,
    RL_ESCAPED, /* the inside of a JSON string; RL_WINDOW bytes behind it are readable */
    RL_BYTES    /* searched as if it were one, but nothing behind it is read */
} rl_text_form;

/* Appends the bytes [from, to) of a text to `out` with the secrets replaced. False, with
 * nothing appended, when there is none in them. The inside of a JSON string stays one. */
bool rl_redact_text(const rl_redact *set, const char *text, size_t len, rl_text_form form,
                    size_t from, size_t to, rl_buf *out);

/* The same in place, for the text from `at` to the end of the buffer. */
bool rl_redact_tail(const rl_redact *set, rl_buf *buf, size_t at, bool escaped);

#endif
