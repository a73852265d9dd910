/* The memory allocator. Every allocation goes through these functions, so that tests can
 * make any of them fail.
 *
 * Threads: any thread may call the functions. rl_set_allocator must be called before any
 * other thread uses the core.
 * Ownership: the caller owns the memory it is given, and frees it with rl_free.
 */
#ifndef RL_ALLOC_H
#define RL_ALLOC_H

#include <stddef.h>

/* An allocator: resize(ctx, NULL, n) allocates; release(ctx, NULL) does nothing. */
typedef struct rl_allocator {
    void *(*resize)(void *ctx, void *ptr, size_t size);
    void (*release)(void *ctx, void *ptr);
    void *ctx;
} rl_allocator;

/* Replaces the allocator; NULL restores the C library's. The table is copied. */
void rl_set_allocator(const rl_allocator *allocator);

/* Return NULL when memory is exhausted. */
void *rl_malloc(size_t size);
void *rl_calloc(size_t count, size_t size);
void *rl_realloc(void *ptr, size_t size);
char *rl_strdup(const char *text);
void rl_free(void *ptr);

#endif
