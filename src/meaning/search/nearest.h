/* The nearest vectors, by cosine: an exact scan, or the candidates that a database
 * with an index of its own names.
 *
 * Nothing is cached: each search reads the vectors from the database, in blocks. Its memory is a
 * block and twice the hits that are wanted. Scores are deterministic within one process.
 *
 * Threads: any. Ownership: borrows the outbox.
 */
#ifndef RL_NEAREST_H
#define RL_NEAREST_H

#include "meaning/outbox/outbox.h"

typedef struct rl_vector_hit {
    uint8_t id[16];
    float score; /* the cosine, -1 to 1 */
} rl_vector_hit;

/* Finds the query's `limit` nearest: hits [limit], best first, of equal scores the smaller id
 * first; *count gets how many there are. A vector that is zero or not finite is never a hit,
 * and has none. RL_NOMEM, or the error of the database; *count is 0 then. */
rl_status rl_nearest_search(rl_outbox *outbox, const rl_near_query *query,
                            rl_vector_hit *hits, size_t *count, rl_err *err);

#endif
