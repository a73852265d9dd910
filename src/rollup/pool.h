/* Memory that goes as a whole: for many small things of one life.
 *
 * Ownership: a pool of zeros is empty; what it gives is its own until rl_pool_free. Not
 * thread-safe.
 */
#ifndef RL_POOL_H
#define RL_POOL_H

#include <stddef.h>

typedef struct rl_pool {
    struct rl_pool_block *blocks;
    char *at;    /* free bytes of the first block */
    size_t left; /* how many */
} rl_pool;

/* Zeroed, aligned memory; NULL when there is none. */
void *rl_pool_take(rl_pool *pool, size_t size);

/* A copy of a text, with a NUL; NULL when there is no memory. */
char *rl_pool_text(rl_pool *pool, const char *text, size_t len);

void rl_pool_free(rl_pool *pool);

#endif
