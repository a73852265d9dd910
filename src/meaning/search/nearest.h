/* The nearest vectors by cosine. The scores are exact: where the database has an index of
 * vectors, this only takes the candidates from it.
 *
 * Nothing is cached: each search reads the vectors from the database, in blocks, and
 * needs the memory of one block and of twice the hits. Scores are deterministic within
 * one process.
 *
 * Threads: any. Ownership: borrows the outbox and the query.
 */
#ifndef RL_NEAREST_H
#define RL_NEAREST_H

#include "meaning/outbox/outbox.h"

typedef struct rl_vector_hit {
    uint8_t id[16];
    float score; /* the cosine, -1 to 1 */
} rl_vector_hit;

/* For qsort: the best first, of equal scores the smaller id. */
int rl_vector_hit_compare(const void *a, const void *b);

/* Finds the `limit` nearest vectors of the query: hits [limit], best first, of equal
 * scores the smaller id first; *count gets their number. A vector that is zero or not
 * finite is never a hit, and a query with such a vector has none. RL_NOMEM, RL_STORE;
 * *count is 0 then. */
rl_status rl_nearest_search(rl_outbox *outbox, const rl_near_query *query,
                            rl_vector_hit *hits, size_t *count, rl_err *err);

#endif
