/* The outbox of embeddings in PostgreSQL: its answers to what store.h asks of one.
 *
 * Threads: any; each call takes a connection of the pool. Ownership: borrows the pool.
 */
#ifndef RL_PG_OUTBOX_H
#define RL_PG_OUTBOX_H

#include "store/outbox.h"
#include "store/pg_pool.h"
#include "store/store.h"

/* See store.h. */
rl_status rl_pg_outbox_claim(rl_pg_pool *pool, const rl_box_claim *claim,
                             rl_box_jobs *jobs, rl_err *err);
rl_status rl_pg_outbox_settle(rl_pg_pool *pool, const rl_box_result *results,
                              size_t count, rl_err *err);
rl_status rl_pg_outbox_look(rl_pg_pool *pool, bool embedded, rl_box_counts *counts,
                            rl_err *err);
/* By a scan, which needs nothing of the server. */
rl_status rl_pg_outbox_nearest(rl_pg_pool *pool, const rl_near_query *query,
                               rl_vector_sink sink, void *ctx, rl_err *err);
rl_status rl_pg_outbox_vector(rl_pg_pool *pool, const rl_box_name *name,
                              const char *model, rl_vector_sink sink, void *ctx,
                              rl_err *err);

/* Gives the sink the vector of a row whose columns are id as text, any, and the vector. */
rl_status rl_pg_outbox_give(const PGresult *result, int row, rl_vector_sink sink,
                            void *ctx, rl_err *err);

#endif
