/* Applies all missing migrations to a PostgreSQL database, in one transaction and under
 * an advisory lock: of processes that start together, the others wait for the first.
 *
 * Threads and ownership: as for the connection.
 */
#ifndef RL_PG_MIGRATE_H
#define RL_PG_MIGRATE_H

#include "store/migrate.h"
#include "store/postgres/pg_conn.h"

/* A list of migrations, and the SQL of the table that records them. */
typedef struct rl_pg_migration_plan {
    rl_migrations known;
    const char *table_exists; /* gives a row if so */
    const char *create_table;
    const char *list;   /* gives the number and checksum of each applied migration */
    const char *insert; /* parameters: number, name, checksum */
    /* Gives a row if the table is so large that migrations of indexes are left to
     * rl_pg_indexes_build; NULL: there are none. */
    const char *is_large;
    /* Each of these may be false or NULL. */
    bool always_lock;         /* check under the lock even if all seem to be applied */
    const char *before;       /* run under the lock if migrations are missing */
    const char *after;        /* run under the lock, with or without missing ones */
    const char *schema;       /* quoted, for advice */
    const char *delete_stale; /* deletes the rows of migrations that were undone since */
    /* Changes settings of the transaction at its start. */
    rl_status (*configure)(rl_pg_conn *conn, void *ctx, rl_err *err);
    /* Checks the database when migrations up to `applied` are; under the lock if any is
     * missing. */
    rl_status (*check)(rl_pg_conn *conn, size_t applied, void *ctx, rl_err *err);
    void *ctx; /* borrowed; for `configure` and `check` */
} rl_pg_migration_plan;

/* Applies the migrations of a plan that the database lacks, over an open connection.
 * RL_STORE also if the database has changed or unknown migrations. */
rl_status rl_pg_migrate_plan(rl_pg_conn *conn, const rl_pg_migration_plan *plan,
                             rl_err *err);

/* The same for the store's own migrations, after a check of what else is in the schema:
 * see pg_schema.h. */
rl_status rl_pg_migrate(rl_pg_conn *conn, const rl_migrations *known, rl_err *err);

/* Reads which of the store's migrations are applied, and checks these. */
rl_status rl_pg_migrate_read(rl_pg_conn *conn, const rl_migrations *known,
                             rl_applied *applied, rl_err *err);

/* Records that a migration of the store is applied. */
rl_status rl_pg_migrate_record(rl_pg_conn *conn, const rl_migration *migration,
                               rl_err *err);

#endif
