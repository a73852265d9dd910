/* The scan of the vectors, and how vectors become unit vectors. See vectors.h. */
#include "core/alloc.h"
#include "store/vectors_rows.h"
#include "store/vectors_top.h"

#include <math.h>
#include <string.h>

#define SCORES 64 /* rows that are multiplied before they are looked at */

/* Less counts as zero. It is far below what a sum of float32 near one can show, and keeps
 * products from being subnormal, with which some processors take a hundred times as long. */
#define LEAST 1e-18f

/* No float32 is too large or too small for its square in double precision. */
double rl_vectors_length(const void *vector, size_t dim)
{
    const char *at = vector;
    double sum = 0;

    for (size_t i = 0; i < dim; i++, at += sizeof(float)) {
        float number;

        memcpy(&number, at, sizeof number);
        sum += (double)number * (double)number;
    }
    return isfinite(sum) ? sqrt(sum) : 0;
}

void rl_vectors_write_unit(const rl_vectors *vectors, const void *vector, double length,
                           float *row)
{
    const char *at = vector;

    for (size_t i = 0; i < vectors->dim; i++, at += sizeof(float)) {
        float number;

        memcpy(&number, at, sizeof number);
        number = (float)((double)number / length);
        row[i] = fabsf(number) < LEAST ? 0 : number;
    }
    for (size_t i = vectors->dim; i < vectors->width; i++) {
        row[i] = 0;
    }
}

/* Offers the rows from `first` to `end`, at most SCORES, of a block. */
static void offer_rows(const rl_vectors *vectors, const rl_block *of, const float *query,
                       size_t first, size_t end, rl_top *top)
{
    const uint8_t *ids = rl_ids_of(vectors, of);
    float scores[SCORES];

    vectors->kernel->rows(query, of->rows + first * vectors->width, vectors->width,
                          end - first, scores);
    for (size_t i = 0; i < end - first; i++) {
        float score = scores[i];

        if (rl_top_wants(top, score)) {
            /* Two unit vectors of float32 can miss 1 by a few of its last digits. */
            score = fminf(fmaxf(score, -1), 1);
            rl_top_keep(top, score, ids + (first + i) * RL_ID_SIZE);
        }
    }
}

/* Offers the rows of a block, or those of one group: runs of them, so that the vectors of
 * the others are not touched. */
static void offer_block(const rl_vectors *vectors, const rl_block *of, size_t rows,
                        const float *query, const uint64_t *group, rl_top *top)
{
    const uint64_t *groups = rl_groups_of(vectors, of);
    size_t first = 0;

    while (first < rows) {
        size_t end = first;

        if (group == NULL) {
            end = rows - first < SCORES ? rows : first + SCORES;
        } else {
            while (end < rows && end - first < SCORES && groups[end] == *group) {
                end++;
            }
        }
        if (end != first) {
            offer_rows(vectors, of, query, first, end, top);
        }
        first = end;
        while (group != NULL && first < rows && groups[first] != *group) {
            first++;
        }
    }
}

size_t rl_vectors_search(const rl_vectors *vectors, const float *query,
                         const uint64_t *group, size_t limit, rl_vector_hit *hits)
{
    double length = rl_vectors_length(query, vectors->dim);
    rl_top top = {.hits = hits, .limit = limit};
    void *memory;
    float *unit;

    if (length == 0 || limit == 0 || vectors->count == 0) {
        return 0;
    }
    memory = rl_malloc(vectors->width * sizeof(float) + RL_DOT_ALIGN);
    if (memory == NULL) {
        return RL_VECTORS_NO_MEMORY;
    }
    unit = rl_row_align(memory);
    rl_vectors_write_unit(vectors, query, length, unit);
    for (size_t i = 0; i << vectors->shift < vectors->count; i++) {
        size_t left = vectors->count - (i << vectors->shift);
        size_t rows = left < rl_block_rows(vectors) ? left : rl_block_rows(vectors);

        offer_block(vectors, &vectors->blocks[i], rows, unit, group, &top);
    }
    rl_free(memory);
    rl_top_sort(&top);
    return top.count;
}
