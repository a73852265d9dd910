/* The SQL of the PostgreSQL store. Only SQL; values are always bound. The parameters of
 * RL_PG_INSERT are the columns of rl_column, in that order, from 1.
 *
 * No statement depends on session state, as a pooler may give each transaction another
 * server connection. The insert sets updated_at, and so does migration 001's trigger,
 * which distributed tables do not support.
 */
#ifndef RL_POSTGRES_SQL_H
#define RL_POSTGRES_SQL_H

#include "store/merge_sql.h"

/* Parameter 18: rl_run.is_own. */
#define RL_PG_INSERT                                                           \
    RL_SQL_INSERT                                                              \
    "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, " \
    "$17)" RL_SQL_MERGE("$18")

#define RL_PG_NAME_OF_ID \
    "SELECT run_id FROM workflow_runs WHERE wpk_id = $1 AND id = $2::uuid"
#define RL_PG_NAME_TAKEN "SELECT 1 FROM workflow_runs WHERE wpk_id = $1 AND run_id = $2"

/* The prepared statement's name, without a pooler. A new text needs a new name. */
#define RL_PG_INSERT_NAME "runlog_insert_18a"

/* The backend of this transaction: if its process id differs from PQbackendPID, the
 * connection leads through a pooler. Then the rest of rl_pg_session: the time now, and
 * the start of the server, in seconds, as the format of dates is a setting. */
#define RL_PG_BACKEND                                    \
    "SELECT pg_catalog.pg_backend_pid(), "               \
    "extract(epoch FROM pg_catalog.clock_timestamp()), " \
    "extract(epoch FROM pg_catalog.pg_postmaster_start_time())"

/* Terminates a session of this role. Parameters: the three of rl_pg_session. */
#define RL_PG_TERMINATE                                                             \
    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity " \
    "WHERE pid = $1::int AND backend_start < pg_catalog.to_timestamp($2::float8) "  \
    "AND usename = current_user AND pid <> pg_catalog.pg_backend_pid() "            \
    "AND extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text = $3"

#define RL_PG_BEGIN "BEGIN"
#define RL_PG_COMMIT "COMMIT"
#define RL_PG_ROLLBACK "ROLLBACK"

/* The key is "runlog" in ASCII. The end of the transaction releases the lock. */
#define RL_PG_LOCK "SELECT pg_advisory_xact_lock(x'72756e6c6f67'::bigint)"
/* Not to_regclass, which reads a cache: after the wait for the lock, the cache may not
 * have the new table yet. */
#define RL_PG_HAS_MIGRATIONS             \
    "SELECT 1 FROM pg_catalog.pg_class " \
    "WHERE relname = 'runlog_migrations' AND pg_catalog.pg_table_is_visible(oid)"
#define RL_PG_CREATE_MIGRATIONS                                                \
    "CREATE TABLE IF NOT EXISTS runlog_migrations ("                           \
    "number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, " \
    "applied_at TIMESTAMPTZ NOT NULL DEFAULT NOW())"
#define RL_PG_MIGRATIONS "SELECT number, checksum FROM runlog_migrations ORDER BY number"
#define RL_PG_ADD_MIGRATION \
    "INSERT INTO runlog_migrations (number, name, checksum) VALUES ($1::int, $2, $3)"

#endif
