/* The outbox of embeddings in PostgreSQL.
 *
 * Threads: any; each call takes a connection of the store's. Ownership: borrows the store,
 * the migrations and the rule, which must outlive the outbox.
 */
#ifndef RL_PG_OUTBOX_H
#define RL_PG_OUTBOX_H

#include "meaning/outbox/outbox.h"
#include "store/migrate.h"
#include "store/postgres/pg_row.h"
#include "store/postgres/postgres.h"

/* Makes the outbox of a store of rl_postgres_new's. `pgvector`: the migrations that let
 * searches use the extension; NULL: they don't use it. RL_NOMEM. */
rl_status rl_pg_outbox_new(rl_store *store, const rl_migrations *pgvector,
                           rl_outbox **outbox, rl_err *err);

/* The hook that writes the row of a run in the statement of the run. The rule must
 * outlive the store. */
rl_pg_hook rl_pg_outbox_hook(const rl_embed_rule *rule);

#endif
