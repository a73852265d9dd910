/* The outbox of embeddings in PostgreSQL.
 *
 * Threads: any; each call takes a connection of the pool. Ownership: borrows the pool,
 * the migrations and the rule, which must outlive the outbox.
 */
#ifndef RL_PG_OUTBOX_H
#define RL_PG_OUTBOX_H

#include "meaning/outbox/outbox.h"
#include "store/migrate.h"
#include "store/postgres/pg_pool.h"
#include "store/postgres/pg_row.h"

/* Makes the outbox over the connections of a store. `pgvector`: the migrations that let
 * searches use the extension; NULL: they don't use it. RL_NOMEM. */
rl_status rl_pg_outbox_new(rl_pg_pool *pool, const rl_migrations *pgvector,
                           rl_outbox **outbox, rl_err *err);

/* The hook that writes the row of a run in the statement of the run. The rule must
 * outlive the store. */
rl_pg_hook rl_pg_outbox_hook(const rl_embed_rule *rule);

#endif
