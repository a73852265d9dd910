/* The PostgreSQL store, and access to its connections for other parts of the program.
 *
 * Threads: any.
 * Ownership: the store copies the DSN and borrows `stop`, the hook and
 * the notices.
 */
#ifndef RL_POSTGRES_H
#define RL_POSTGRES_H

#include "store/migrate.h"
#include "store/postgres/pg_pool.h"
#include "store/postgres/pg_reader.h"
#include "store/postgres/pg_row.h"
#include "store/store.h"

#include <stdatomic.h>

typedef struct rl_postgres_options {
    const char *dsn;         /* borrowed for the call */
    const char *read_dsn;    /* of a replica that reads go to; likewise, or NULL */
    uint64_t timeout_ns;     /* how long the server may take to answer */
    unsigned pool;           /* connections for reads, 1 to RL_PG_POOL_MAX */
    const atomic_bool *stop; /* borrowed; true ends the wait of `finish` */
    const rl_pg_hook *hook;  /* borrowed, or NULL */
    rl_notices *notices;     /* borrowed, or NULL */
    const atomic_uint_fast64_t
        *acknowledged_runs; /* of this process; borrowed, or NULL */
} rl_postgres_options;

/* Creates a store; the first use connects. The migrations must outlive the store. */
rl_status rl_postgres_new(const rl_postgres_options *options,
                          const rl_migrations *migrations, rl_store **store, rl_err *err);

/* Where a store's reads go; borrowed for the store's lifetime. */
rl_pg_reader *rl_postgres_reader_of(rl_store *store);

/* The pool of a store's connections to the primary; borrowed likewise. */
rl_pg_pool *rl_postgres_pool_of(rl_store *store);

/* A pool of one connection, which no reader waits for; borrowed likewise. */
rl_pg_pool *rl_postgres_background_of(rl_store *store);

#endif
