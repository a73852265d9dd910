/* Vectors in memory, and the search of the nearest ones: an exact scan.
 *
 * Kept as unit vectors of float32 in blocks, so that the cosine is a dot product and growing
 * copies nothing. The scan uses AVX2 or NEON where the processor has it (looked at when a store
 * is made), else portable C. All of them give the same bits, wherever a vector lies
 * (vectors_dot.h), so a ranking is the same on every machine.
 *
 * Threads: rl_vectors_search may run in several at once; the others need it alone. Callers
 * lock. Ownership: owns its memory.
 */
#ifndef RL_VECTORS_H
#define RL_VECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rl_vectors rl_vectors;

typedef struct rl_vector_hit {
    uint8_t id[16];
    float score; /* the cosine, -1 to 1 */
} rl_vector_hit;

/* Vectors of `dim` numbers, 1 to 1,048,576, of at most `max_bytes` in all. NULL when there is
 * no memory, or for another dim. A row takes 4 bytes a number, rounded up to a multiple of
 * 32 numbers, and 24 more; the table of ids 5 to 11. Blocks are of 0.5 to 1 MB, or a 1/32 to
 * a 1/16 of max_bytes where that is less, and of one row at least. */
rl_vectors *rl_vectors_new(uint32_t dim, size_t max_bytes);
void rl_vectors_free(rl_vectors *vectors); /* NULL is fine */

typedef enum rl_vectors_put_result {
    RL_VECTORS_KEPT,
    RL_VECTORS_FULL,  /* max_bytes are in use: nothing changed */
    RL_VECTORS_NOMEM, /* nothing changed */
    RL_VECTORS_BAD    /* NaN, infinite, or all zero: nothing changed */
} rl_vectors_put_result;

/* Adds the vector [dim] of `id`, or replaces it. `group` is a hash of what searches are
 * restricted to (the workflow). The vector need not be aligned. */
rl_vectors_put_result rl_vectors_put(rl_vectors *vectors, const uint8_t id[16],
                                     uint64_t group, const void *vector);
void rl_vectors_drop(rl_vectors *vectors, const uint8_t id[16]); /* unknown: nothing */

size_t rl_vectors_count(const rl_vectors *vectors);
size_t rl_vectors_bytes(const rl_vectors *vectors); /* in use, its tables included */
uint32_t rl_vectors_dim(const rl_vectors *vectors);

/* The unit vector [dim] of `id`, its numbers below 1e-18 as zero, or NULL; valid until the
 * next change. */
const float *rl_vectors_get(const rl_vectors *vectors, const uint8_t id[16]);

/* The nearest `limit` to `query` [dim] (any length but zero), best first, of equal scores the
 * smaller id first; only of `group`, unless it is NULL. hits [limit]; returns how many, or
 * RL_VECTORS_NO_MEMORY: there was none for a copy of the query, and hits hold nothing.
 * A query that is zero or not finite has none. */
#define RL_VECTORS_NO_MEMORY SIZE_MAX
size_t rl_vectors_search(const rl_vectors *vectors, const float *query,
                         const uint64_t *group, size_t limit, rl_vector_hit *hits);

#endif
