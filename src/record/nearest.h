/* The nearest vectors of a store: by the database where it can search by itself, else by a
 * scan of its vectors, which are kept in memory once they were read.
 *
 * Each scan first reads what is new. What does not fit into the memory that is allowed is read
 * again for each search. Vectors of runs that were deleted are kept until a search forgets
 * them, and where the memory is full until all is read anew, once an hour.
 *
 * Threads: any; searches run side by side, but one after the other where not all fits.
 * Ownership: owns the vectors, borrows the outbox.
 */
#ifndef RL_NEAREST_H
#define RL_NEAREST_H

#include "store/outbox.h"
#include "store/vectors.h"

#include <pthread.h>

typedef struct rl_nearest {
    rl_outbox *outbox;
    const char *model; /* borrowed: whose vectors */
    size_t max_bytes;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t idle;  /* there are no readers */
    unsigned readers;     /* who scan the vectors without the lock: nobody changes them */
    rl_vectors *vectors;  /* owned; NULL before the first search */
    rl_vector_cursor cursor; /* up to which they were read */
    bool full;               /* there are more behind it */
    uint64_t changes;        /* of what is kept */
    uint64_t begun;          /* when it was begun; rl_monotonic_ns */
    uint64_t anew_ns;        /* after which it is read anew, if it is full then */
    bool held;               /* across a fork: the lock was got at once */
} rl_nearest;

/* What is looked for. */
typedef struct rl_nearest_query {
    const float *vector; /* [dim] */
    uint32_t dim;
    const char *wpk_id; /* of this workflow; NULL: of any */
    /* Of the run, as they are stored, or NULL and RL_TIME_NONE. A database that searches by
     * itself leaves out what does not fit them, a scan does not. */
    const char *status;
    int64_t since;
    size_t limit; /* at least 1 */
} rl_nearest_query;

void rl_nearest_init(rl_nearest *nearest, rl_outbox *outbox, const char *model,
                     size_t max_bytes);
void rl_nearest_clear(rl_nearest *nearest); /* gives the memory back */
void rl_nearest_destroy(rl_nearest *nearest);

/* hits [limit], best first; *count how many. *as_of is for rl_nearest_forget. */
rl_status rl_nearest_search(rl_nearest *nearest, const rl_nearest_query *query,
                            rl_vector_hit *hits, size_t *count, uint64_t *as_of,
                            rl_err *err);

/* Hits [count] of a search whose runs the store did not have after it: forgotten, if nothing
 * was read since that search, which may have been made anew. */
void rl_nearest_forget(rl_nearest *nearest, const rl_vector_hit *hits, size_t count,
                       uint64_t as_of);

size_t rl_nearest_bytes(rl_nearest *nearest);

void rl_nearest_before_fork(rl_nearest *nearest);
void rl_nearest_after_fork(rl_nearest *nearest, bool in_child);

#endif
