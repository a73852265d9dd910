/* Applies migrations to a PostgreSQL database: all that are missing in one transaction,
 * under an advisory lock, so that processes that start together wait for the first of
 * them.
 *
 * Threads and ownership: as the connection's.
 */
#ifndef RL_PG_MIGRATE_H
#define RL_PG_MIGRATE_H

#include "store/migrate.h"
#include "store/postgres/pg_conn.h"

/* Which migrations, and the statements of the table that records them. */
typedef struct rl_pg_migration_plan {
    rl_migrations known;
    const char *has, *make,
        *list;       /* whether the table is there, its creation, its rows */
    const char *add; /* parameters: number, name, checksum */
    /* For migrations that depend on more than their number; else 0 and NULL. */
    bool always; /* look under the lock even where all of them seem to be applied */
    const char *forget; /* deletes the rows of those that were undone since */
    rl_status (*settings)(rl_pg_conn *conn, void *ctx,
                          rl_err *err); /* the transaction's */
    void *ctx;                          /* borrowed */
} rl_pg_migration_plan;

/* RL_STORE when the database has other migrations than are known. */
rl_status rl_pg_migrate_by(rl_pg_conn *conn, const rl_pg_migration_plan *plan,
                           rl_err *err);

/* The same for the migrations of the store itself. */
rl_status rl_pg_migrate(rl_pg_conn *conn, const rl_migrations *known, rl_err *err);

#endif
