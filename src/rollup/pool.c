/* Memory that goes as a whole. See pool.h. */
#include "rollup/pool.h"

#include "core/alloc.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)16 << 10)

struct rl_pool_block {
    struct rl_pool_block *next;
    alignas(max_align_t) char data[];
};

void *rl_pool_take(rl_pool *pool, size_t size)
{
    const size_t align = alignof(max_align_t);
    const size_t need = (size + align - 1) / align * align;
    void *taken = NULL;

    if (need > pool->left) {
        const size_t room = need > BLOCK_BYTES ? need : BLOCK_BYTES;
        struct rl_pool_block *block =
            need >= size ? rl_malloc(sizeof *block + room) : NULL;

        if (block == NULL) {
            return NULL;
        }
        block->next = pool->blocks;
        pool->blocks = block;
        pool->at = block->data;
        pool->left = room;
    }
    taken = pool->at;
    pool->at += need;
    pool->left -= need;
    return memset(taken, 0, need);
}

char *rl_pool_text(rl_pool *pool, const char *text, size_t len)
{
    char *copy = rl_pool_take(pool, len + 1);

    if (copy != NULL && len > 0) {
        memcpy(copy, text, len);
    }
    return copy;
}

void rl_pool_free(rl_pool *pool)
{
    while (pool->blocks != NULL) {
        struct rl_pool_block *next = pool->blocks->next;

        rl_free(pool->blocks);
        pool->blocks = next;
    }
    *pool = (rl_pool){NULL, NULL, 0};
}
