/* What an embeddings server answers: vectors, or what is wrong.
 *
 * Threads: any. Ownership: see each function.
 */
#ifndef RL_OPENAI_ANSWER_H
#define RL_OPENAI_ANSWER_H

#include "core/buf.h"
#include "core/err.h"
#include "net/http.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_SAID 201 /* bytes of a server's message, with the NUL */
#define RL_WHY 160  /* bytes of why an answer can't be right, with the NUL */

/* Reads the vectors of `count` texts, in their order, from the body of an answer. *dim is their
 * length; 0 when it is not known yet, and then *values is allocated for `rows` vectors, all of
 * them zero (owned by the caller, rl_malloc). They go to the rows from `first` on. RL_SERVICE
 * with *why filled when the answer can't be right; RL_NOMEM. */
typedef struct rl_vectors_into {
    float **values; /* [rows][dim] */
    uint32_t *dim;
    size_t rows, first;
    uint32_t dim_wanted; /* the length that the request asked for, or 0 */
    uint32_t dim_max;
} rl_vectors_into;
rl_status rl_openai_read_vectors(const rl_buf *body, size_t count,
                                 const rl_vectors_into *into, char why[RL_WHY]);

/* What a server says is wrong, on one line, or "". What stands in it of `secrets` (ended by NULL)
 * is hidden. False without memory. */
bool rl_openai_read_message(const rl_buf *body, const char *const *secrets,
                            char said[RL_SAID]);

/* Whether it is a 429 for which waiting does not help: there is no more money. */
bool rl_openai_is_quota(const rl_http_answer *answer);

#endif
