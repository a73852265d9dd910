/* Reads the answers of an embedding server: vectors, or an error.
 *
 * Threads: any; pure functions. Ownership: see each function.
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
#define RL_WHY 160  /* bytes of the reason why an answer is invalid, with the NUL */

/* The destination of vectors. If *dim is 0, reading sets it and allocates *values for
 * `rows` vectors, all zeros (owned by the caller, rl_malloc). */
typedef struct rl_vectors_into {
    float **values; /* [rows][dim] */
    uint32_t *dim;
    size_t rows, first;  /* the vectors go to the rows from `first` on */
    uint32_t dim_wanted; /* the length that the request asked for, or 0 */
    uint32_t dim_max;
} rl_vectors_into;

/* Reads the vectors of `count` texts, in their order, from the body of an answer.
 * RL_SERVICE, with the reason in `why`, for an invalid answer; RL_NOMEM. */
rl_status rl_openai_read_vectors(const rl_buf *body, size_t count,
                                 const rl_vectors_into *into, char why[RL_WHY]);

/* Copies the message of an error, on one line, or "". Masks each of `secrets` (ended by
 * NULL) in it. False without memory. */
bool rl_openai_read_message(const rl_buf *body, const char *const *secrets,
                            char said[RL_SAID]);

/* Whether the answer is a 429 for a used-up quota, which no retry helps. */
bool rl_openai_is_quota(const rl_http_answer *answer);

#endif
