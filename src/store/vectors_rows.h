/* How a store keeps its rows, for its own sources: blocks of rows that have no gaps, and a
 * table of their ids. A row is found by its number, the upper bits of which are those of its
 * block.
 */
#ifndef RL_VECTORS_ROWS_H
#define RL_VECTORS_ROWS_H

#include "store/vectors.h"
#include "store/vectors_dot.h"

#define RL_ID_SIZE 16

typedef struct rl_block {
    void *memory; /* owned */
    float *rows;  /* within it; the groups and the ids are behind the rows */
} rl_block;

struct rl_vectors {
    uint32_t dim;
    size_t width;   /* numbers of a row, padded */
    unsigned shift; /* a block has 1 << shift rows */
    size_t max_bytes;
    size_t bytes;
    size_t count;     /* rows */
    rl_block *blocks; /* owned */
    size_t blocks_count;
    size_t blocks_room;
    uint32_t *table; /* owned; a row's number + 1, or 0, by the hash of its id */
    size_t table_size;
    const rl_dot_kernel *kernel;
};

/* The first place in memory that a row may start at; RL_DOT_ALIGN bytes are to spare. */
static inline void *rl_row_align(void *memory)
{
    size_t beyond = (uintptr_t)memory % RL_DOT_ALIGN;

    return (char *)memory + (beyond != 0 ? RL_DOT_ALIGN - beyond : 0);
}

static inline size_t rl_block_rows(const rl_vectors *vectors)
{
    return (size_t)1 << vectors->shift;
}

static inline float *rl_row_at(const rl_vectors *vectors, size_t row)
{
    size_t within = row & (rl_block_rows(vectors) - 1);

    return vectors->blocks[row >> vectors->shift].rows + within * vectors->width;
}

static inline uint64_t *rl_groups_of(const rl_vectors *vectors, const rl_block *of)
{
    return (void *)(of->rows + rl_block_rows(vectors) * vectors->width);
}

static inline uint64_t *rl_group_at(const rl_vectors *vectors, size_t row)
{
    return rl_groups_of(vectors, &vectors->blocks[row >> vectors->shift]) +
           (row & (rl_block_rows(vectors) - 1));
}

static inline uint8_t *rl_ids_of(const rl_vectors *vectors, const rl_block *of)
{
    return (void *)(rl_groups_of(vectors, of) + rl_block_rows(vectors));
}

static inline uint8_t *rl_id_at(const rl_vectors *vectors, size_t row)
{
    return rl_ids_of(vectors, &vectors->blocks[row >> vectors->shift]) +
           (row & (rl_block_rows(vectors) - 1)) * RL_ID_SIZE;
}

/* The length of a vector [dim], which need not be aligned; 0 for what is no direction: all
 * zero, infinite or NaN. */
double rl_vectors_length(const void *vector, size_t dim);

/* Writes the unit vector of a vector [dim] of that length into a row [width]. */
void rl_vectors_write_unit(const rl_vectors *vectors, const void *vector, double length,
                           float *row);

#endif
