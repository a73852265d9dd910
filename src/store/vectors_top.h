/* The best hits of a scan: a heap whose root is the worst of those kept, so that most of
 * what is offered is turned away by one comparison.
 *
 * Threads: one. Ownership: the hits are borrowed; nothing is allocated.
 */
#ifndef RL_VECTORS_TOP_H
#define RL_VECTORS_TOP_H

#include "store/vectors.h"

typedef struct rl_top {
    rl_vector_hit *hits; /* [limit], borrowed */
    size_t limit;        /* at least 1 */
    size_t count;
} rl_top;

/* Keeps a hit that is among the best so far: of a higher score, or of the same and of a
 * smaller id. The score is no NaN. */
void rl_top_keep(rl_top *top, float score, const uint8_t id[16]);

/* Whether rl_top_keep may keep a hit of that score. */
static inline bool rl_top_wants(const rl_top *top, float score)
{
    return top->count < top->limit || score >= top->hits[0].score;
}

/* Sorts the hits, the best first. */
void rl_top_sort(rl_top *top);

#endif
