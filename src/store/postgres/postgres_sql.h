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
#include "store/parts_sql.h"
#include "store/postgres/pg_schema_sql.h"

/* Both take the same parameters; 19: rl_run.is_own, of which only the merge makes use. The
 * insert leaves a row that is there alone. */
#define RL_PG_ROW                                                              \
    RL_SQL_INSERT                                                              \
    "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, " \
    "$17, $18)"
#define RL_PG_INSERT RL_PG_ROW " ON CONFLICT (wpk_id, run_id) DO NOTHING"
#define RL_PG_MERGE RL_PG_ROW RL_SQL_MERGE("$19")

#define RL_PG_NAME_OF_ID \
    "SELECT run_id FROM workflow_runs WHERE wpk_id = $1 AND id = $2::uuid"
#define RL_PG_NAME_TAKEN "SELECT 1 FROM workflow_runs WHERE wpk_id = $1 AND run_id = $2"

#define RL_PG_IS_AHEAD RL_SQL_IS_AHEAD("$1", "$2", "$3")
#define RL_PG_RENAME RL_SQL_RENAME("$1", "$2", "$3")

/* The prepared statements' names, without a pooler. A new text needs a new name. */
#define RL_PG_INSERT_NAME "runlog_insert_19b"
#define RL_PG_MERGE_NAME "runlog_merge_19b"

/* The row that a run's parts belong to. Parameters of these statements: wpk_id; the id of
 * a run with an id of its own, else NULL; the run_id of any other run, else NULL. */
#define RL_PG_PARTS_ROW "run.wpk_id = $1 AND (run.id = $2::uuid OR run.run_id = $3)"

/* Further parameters: the parts, a JSON object, and the revision. Type json, unlike
 * jsonb, gives each value as it was written. */
#define RL_PG_PARTS_PUT                                                              \
    "INSERT INTO run_parts AS part (wpk_id, id, name, data, revision) "              \
    "SELECT run.wpk_id, run.id, given.key, given.value::text, $5::bigint "           \
    "FROM workflow_runs AS run, json_each($4::json) AS given WHERE " RL_PG_PARTS_ROW \
    " AND (given.key COLLATE \"C\" < " RL_SQL_NODES " OR run.node_logs IS NULL) "    \
    "ON CONFLICT (wpk_id, id, name) DO UPDATE SET data = excluded.data, "            \
    "revision = excluded.revision WHERE part.name >= " RL_SQL_NODES                  \
    " AND excluded.revision > part.revision"

/* Of a run that has ended, deletes the node parts, after it has joined them if the row
 * has no node_logs. One more parameter: whether to join. */
#define RL_PG_PARTS_END                                                                  \
    "WITH target AS (SELECT wpk_id, id, node_logs IS NULL AS lacks_logs "                \
    "FROM workflow_runs AS run WHERE " RL_PG_PARTS_ROW " AND run.status <> 'running'), " \
    "joined AS (UPDATE workflow_runs AS run SET node_logs = ("                           \
    "SELECT ('[' || coalesce(string_agg(data, ',' ORDER BY name), '') || ']')::jsonb "   \
    "FROM run_parts AS part WHERE part.wpk_id = $1 AND part.id = target.id "             \
    "AND part.name >= " RL_SQL_NODES ") FROM target "                                    \
    "WHERE run.wpk_id = $1 AND run.id = target.id AND target.lacks_logs AND $4::bool "   \
    "AND (SELECT coalesce(sum(octet_length(data)), 0) FROM run_parts AS part "           \
    "WHERE part.wpk_id = $1 AND part.id = target.id AND part.name >= " RL_SQL_NODES      \
    ") <= " RL_SQL_NODES_MAX " RETURNING run.id) "                                       \
    "DELETE FROM run_parts AS part USING target WHERE part.wpk_id = $1 "                 \
    "AND part.id = target.id AND part.name >= " RL_SQL_NODES                             \
    " AND (NOT target.lacks_logs OR EXISTS (SELECT 1 FROM joined))"

/* The backend of this transaction: if its process id differs from PQbackendPID, the
 * connection leads through a pooler. Then the rest of rl_pg_session: the time now, and
 * the start of the server, in seconds, as the format of dates is a setting. Last, whether
 * the tables lie on several servers (migrations/distributed). */
#define RL_PG_BACKEND                                             \
    "SELECT pg_catalog.pg_backend_pid(), "                        \
    "extract(epoch FROM pg_catalog.clock_timestamp()), "          \
    "extract(epoch FROM pg_catalog.pg_postmaster_start_time()), " \
    "EXISTS (SELECT 1 FROM pg_catalog.pg_class WHERE relname = "  \
    "'runlog_distributed_migrations' AND relnamespace = " RL_PG_SCHEMA ")"

/* For a session of runlog's own, with the process id of its server ($1; a pooler reports
 * another): the server soon ends it if the client's machine vanishes, and with it the
 * locks of its rows, which by default takes hours. What anybody has set stays. */
#define RL_PG_KEEPALIVES                                                              \
    "SELECT pg_catalog.set_config(name, value, false) FROM (VALUES "                  \
    "('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), "              \
    "('tcp_keepalives_count', '3'), ('tcp_user_timeout', '60000')) AS wanted (name, " \
    "value) JOIN pg_catalog.pg_settings USING (name) WHERE source = 'default' AND "   \
    "pg_catalog.pg_backend_pid() = $1::int"

/* Terminates a session of this role. Parameters: the three of rl_pg_session. */
#define RL_PG_TERMINATE                                                             \
    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity " \
    "WHERE pid = $1::int AND backend_start < pg_catalog.to_timestamp($2::float8) "  \
    "AND usename = current_user AND pid <> pg_catalog.pg_backend_pid() "            \
    "AND extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text = $3"

/* Heartbeats. Parameter: the owner. */
#define RL_PG_BEAT_FIRST                                      \
    "INSERT INTO runlog_owners (owner, seen_at) VALUES ($1, " \
    "pg_catalog.clock_timestamp()) ON CONFLICT (owner) DO "
#define RL_PG_BEAT_NOW RL_PG_BEAT_FIRST "UPDATE SET seen_at = excluded.seen_at"
#define RL_PG_BEAT_UNLESS RL_PG_BEAT_FIRST "NOTHING"
#define RL_PG_BEAT_END "DELETE FROM runlog_owners WHERE owner = $1"
/* The names come first, as several servers can't look up each owner's runs. */
#define RL_PG_BEAT_TIDY                                                           \
    "WITH used AS MATERIALIZED (SELECT DISTINCT owner FROM workflow_runs WHERE "  \
    "status = 'running' AND status <> 'completed') DELETE FROM runlog_owners AS " \
    "past WHERE seen_at < now() - interval '1 hour' AND $1 = '' AND NOT EXISTS "  \
    "(SELECT 1 FROM used WHERE used.owner = past.owner)"

/* Parameter: seconds. Nobody is silent before a server that has started had the time to
 * hear everybody (RL_LOST_SHOWN). A replica has heard what it has replayed. */
#define RL_PG_SILENT                                                                  \
    "SELECT owner FROM runlog_owners WHERE seen_at < CASE WHEN "                      \
    "pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_xact_replay_timestamp() " \
    "ELSE pg_catalog.clock_timestamp() END - $1::bigint * interval '1 second' "       \
    "AND pg_catalog.pg_postmaster_start_time() < pg_catalog.clock_timestamp() "       \
    "- interval '60 seconds' ORDER BY owner COLLATE \"C\""

/* Which database this is: runlog's id in it, and the cluster, which not every role may
 * read. */
#define RL_PG_DATABASE                                                                  \
    "SELECT id, (SELECT system_identifier FROM pg_catalog.pg_control_system()) || '/' " \
    "|| (SELECT oid FROM pg_catalog.pg_database WHERE datname = "                       \
    "pg_catalog.current_database()) FROM runlog_database"
#define RL_PG_SET_DATABASE "UPDATE runlog_database SET id = $1::uuid"
#define RL_PG_DATABASE_ONLY "SELECT id, '' FROM runlog_database"
#define RL_PG_CLUSTER_ONLY                                                       \
    "SELECT '', (SELECT system_identifier FROM pg_catalog.pg_control_system()) " \
    "|| '/' || oid FROM pg_catalog.pg_database WHERE datname = "                 \
    "pg_catalog.current_database()"

/* How far a server has got: see rl_pg_position. A commit that did not wait for its WAL is
 * within what is inserted, any other within what is flushed, which a standby sooner has. */
#define RL_PG_POSITION                                                    \
    "SELECT recovering, CASE WHEN recovering THEN "                       \
    "pg_catalog.pg_last_wal_replay_lsn() "                                \
    "WHEN pg_catalog.current_setting('synchronous_commit') = 'off' THEN " \
    "pg_catalog.pg_current_wal_insert_lsn() "                             \
    "ELSE pg_catalog.pg_current_wal_flush_lsn() END, "                    \
    "extract(epoch FROM pg_catalog.clock_timestamp() "                    \
    "- pg_catalog.pg_last_xact_replay_timestamp()), "                     \
    "extract(epoch FROM pg_catalog.pg_postmaster_start_time()), "         \
    "pg_catalog.pg_backend_pid() FROM pg_catalog.pg_is_in_recovery() AS recovering"

#define RL_PG_READ_ONLY "SET default_transaction_read_only = on"

/* The place up to which runs of several servers are indexed or counted: none is to be found
 * by its logged_txid, as a trigger queues each. */
#define RL_PG_QUEUED_PLACE "9223372036854775807"

#define RL_PG_BEGIN "BEGIN"
#define RL_PG_COMMIT "COMMIT"
#define RL_PG_ROLLBACK "ROLLBACK"

/* The key is "runlog" in ASCII. The end of the transaction releases the lock. */
#define RL_PG_LOCK "SELECT pg_advisory_xact_lock(x'72756e6c6f67'::bigint)"
/* Not to_regclass, which reads a cache: after the wait for the lock, the cache may not
 * have the new table yet. */
#define RL_PG_HAS_MIGRATIONS                   \
    "SELECT 1 FROM pg_catalog.pg_class "       \
    "WHERE relname = 'runlog_migrations' AND " \
    "relnamespace = " RL_PG_SCHEMA
#define RL_PG_CREATE_MIGRATIONS                                                \
    "CREATE TABLE IF NOT EXISTS runlog_migrations ("                           \
    "number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, " \
    "applied_at TIMESTAMPTZ NOT NULL DEFAULT NOW())"
#define RL_PG_MIGRATIONS "SELECT number, checksum FROM runlog_migrations ORDER BY number"

/* What a look at a database says: see pg_look.h. */
#define RL_PG_LOOK                                                                       \
    "SELECT json_build_object("                                                          \
    "'version', current_setting('server_version'), "                                     \
    "'clock', extract(epoch FROM clock_timestamp()), "                                   \
    "'standby', pg_is_in_recovery(), "                                                   \
    "'read_only', current_setting('default_transaction_read_only') = 'on', "             \
    "'may_create', has_schema_privilege(current_schema(), 'CREATE'), "                   \
    "'missing', (SELECT coalesce(string_agg(t.name || ' (' || p.name || ')', ', '), '')" \
    " FROM (VALUES ('workflow_runs'), ('run_parts'), ('run_embeddings'),"                \
    " ('run_words'), ('run_words_position'), ('run_words_queue'), ('runlog_owners'),"    \
    " ('run_rollup'), ('run_rollup_state'), ('run_rollup_marks'),"                       \
    " ('run_rollup_workflows'), ('run_rollup_nodes')) AS t(name),"                       \
    " (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS p(name) WHERE "         \
    "to_regclass(t.name) IS NOT NULL"                                                    \
    " AND NOT has_table_privilege(t.name, p.name)), "                                    \
    "'large', EXISTS (" RL_PG_IS_LARGE "), "                                             \
    "'bytes', (SELECT sum(pg_total_relation_size(to_regclass(name)))"                    \
    " FROM (VALUES ('workflow_runs'), ('run_parts'), ('run_embeddings')) AS t(name)))"
#define RL_PG_LOOK_MIGRATIONS                                                        \
    "SELECT coalesce(json_agg(json_build_array(number, checksum) ORDER BY number), " \
    "'[]') FROM runlog_migrations"
#define RL_PG_ADD_MIGRATION \
    "INSERT INTO runlog_migrations (number, name, checksum) VALUES ($1::int, $2, $3)"

#endif
