/* Dot products of one vector with many, in float32, as the processor can do them best.
 *
 * All the kernels give the same bits: number i is multiplied, rounded, and added to lane
 * i % 32; the lanes are then added in one order, which is that of halving. So no fused
 * multiply-add: a scan waits for memory, not for the sums, and a ranking that is the same
 * on every machine is worth more.
 *
 * Threads: any; a kernel is constant.
 */
#ifndef RL_VECTORS_DOT_H
#define RL_VECTORS_DOT_H

#include "store/vectors.h"

#define RL_DOT_LANES 32 /* a row is padded with zeros to a multiple of so many numbers */
#define RL_DOT_ALIGN 64 /* bytes, what the rows and the query start at a multiple of */
#define RL_DOT_KERNELS_MAX 2

typedef struct rl_dot_kernel {
    const char *name;
    /* products[i] is query [width] times row i of rows [count, width]. */
    void (*rows)(const float *query, const float *rows, size_t width, size_t count,
                 float *products);
} rl_dot_kernel;

/* The kernels that this processor can run, the fastest first, the portable one last; returns
 * how many. */
size_t rl_dot_kernels(const rl_dot_kernel *kernels[RL_DOT_KERNELS_MAX]);

/* Has a store search with another kernel than the fastest one. Tests compare them so. */
void rl_vectors_use_kernel(rl_vectors *vectors, const rl_dot_kernel *kernel);

#endif
