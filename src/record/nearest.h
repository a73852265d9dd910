/* The nearest vectors of a store, by cosine: an exact scan, or the candidates that a database
 * with an index of its own names.
 *
 * Nothing is cached: each search reads the vectors from the store, in blocks. Its memory is a
 * block and twice the hits that are wanted. Scores are deterministic within one process.
 *
 * Threads: any. Ownership: borrows the store.
 */
#ifndef RL_NEAREST_H
#define RL_NEAREST_H

#include "store/store.h"

typedef struct rl_vector_hit {
    uint8_t id[16];
    float score; /* the cosine, -1 to 1 */
} rl_vector_hit;

/* Finds the query's `limit` nearest: hits [limit], best first, of equal scores the smaller id
 * first; *count gets how many there are. A vector that is zero or not finite is never a hit,
 * and has none. RL_NOMEM, or what the store says; *count is 0 then. */
rl_status rl_nearest_search(rl_store *store, const rl_near_query *query,
                            rl_vector_hit *hits, size_t *count, rl_err *err);

#endif
