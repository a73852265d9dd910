/* The text that a user searches for: words, "phrases" and beginnings*, all of which must
 * occur. What it becomes for a database holds only words (plain.h), or is quoted, so
 * nothing of the text is syntax there.
 *
 * Threads: any; pure functions. Ownership: `out` is the caller's.
 */
#ifndef RL_WORDS_TERMS_H
#define RL_WORDS_TERMS_H

#include "core/buf.h"
#include "core/err.h"

#define RL_WORDS_TERMS_MAX 64

typedef enum rl_words_dialect {
    RL_WORDS_FTS5,
    RL_WORDS_TRIGRAM, /* of FTS5, by a tokenizer of three characters */
    RL_WORDS_TSQUERY,
} rl_words_dialect;

/* Appends the query, with a NUL. RL_INVALID for a text without words, with too many, or,
 * with trigrams, with one that is too short; RL_NOMEM. */
rl_status rl_words_terms(const char *text, rl_words_dialect dialect, rl_buf *out,
                         rl_err *err);

#endif
