/* A deletion of the runs that match a query, in short batches, between which everybody
 * else reads and writes.
 *
 * It walks over the matching runs, newest first, and deletes those of a chunk before it
 * reads the next one: each row is visited once. What is logged meanwhile stays.
 * With `reclaims`, it gives the space of a batch back before the next one, as far as the
 * store can: a step of that takes the longer, the more pages are free.
 * Threads: one at a time; may wait for the database.
 * Ownership: the deletion borrows the query's texts and owns the rest.
 */
#ifndef RL_DELETION_H
#define RL_DELETION_H

#include "record/recorder/lost.h"

typedef struct rl_deletion {
    rl_query query; /* filters that a run must still match when it is deleted */
    rl_lost_walk walk;
    rl_removal removal;
    rl_buf ids;             /* the chunk's runs, which `removal` borrows */
    int64_t deleted_before; /* runs, before the chunk */
    rl_reclaim reclaim;
    bool reclaims; /* set by the caller */
    bool measured; /* it is known how much was free before */
    bool looks;    /* the next step looks what is free, and gives it back */
    bool begun;    /* a batch was tried */
    bool more;     /* not finished yet */
} rl_deletion;

void rl_deletion_begin(rl_deletion *self, const rl_query *query);
void rl_deletion_end(rl_deletion *self);

/* Deletes one batch. */
rl_status rl_deletion_work(rl_deletion *self, rl_store *store, rl_err *err);

/* Adds to the error that ends a deletion how many runs it has deleted before. */
void rl_deletion_explain(const rl_deletion *self, rl_err *err);

#endif
