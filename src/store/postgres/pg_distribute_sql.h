/* The SQL of pg_distribute.c. Only SQL; values are bound. It asks nothing that a server
 * without Citus does not have, until RL_PG_HAS_CITUS has given a row. */
#ifndef RL_PG_DISTRIBUTE_SQL_H
#define RL_PG_DISTRIBUTE_SQL_H

#include "store/postgres/pg_schema_sql.h"

#define RL_PG_HAS_CITUS                                                        \
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_proc WHERE proname = " \
    "'create_distributed_table') AND "                                         \
    "pg_catalog.to_regclass('pg_dist_partition') IS NOT NULL"

/* A row on the servers of a cluster that only store shards. */
#define RL_PG_IS_WORKER "SELECT 1 FROM pg_dist_local_group WHERE groupid <> 0"

/* Whether this role may have triggers on distributed tables; in a transaction that is
 * rolled back. */
#define RL_PG_TRY_TRIGGERS "SET LOCAL citus.enable_unsafe_triggers = on"

#define RL_PG_HAS_LAYOUT                                   \
    "SELECT 1 FROM pg_catalog.pg_class "                   \
    "WHERE relname = 'runlog_distributed_migrations' AND " \
    "relnamespace = " RL_PG_SCHEMA
#define RL_PG_MAKE_LAYOUT                                                      \
    "CREATE TABLE IF NOT EXISTS runlog_distributed_migrations ("               \
    "number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, " \
    "applied_at TIMESTAMPTZ NOT NULL DEFAULT NOW())"
#define RL_PG_LAYOUT \
    "SELECT number, checksum FROM runlog_distributed_migrations ORDER BY number"
#define RL_PG_LAID_OUT                                                    \
    "INSERT INTO runlog_distributed_migrations (number, name, checksum) " \
    "VALUES ($1::int, $2, $3)"

/* How each table lies, and how it should. */
#define RL_PG_TABLES                                                                     \
    "WITH wanted (tab, kind) AS (VALUES ('workflow_runs', 'by wpk_id'), "                \
    "('run_parts', 'by wpk_id'), ('run_embeddings', 'by wpk_id'), "                      \
    "('run_words', 'by wpk_id'), ('run_words_queue', 'by wpk_id'), "                     \
    "('run_rollup', 'by wpk_id'), ('run_rollup_marks', 'by wpk_id'), "                   \
    "('run_rollup_workflows', 'by wpk_id'), ('run_rollup_nodes', 'by wpk_id'), "         \
    "('runlog_migrations', 'on each server'), ('runlog_database', 'on each server'), "   \
    "('runlog_owners', 'on each server'), ('run_words_position', 'on each server'), "    \
    "('run_rollup_state', 'on each server')), "                                          \
    "found AS (SELECT tab, kind, CASE WHEN part.logicalrelid IS NULL THEN "              \
    "'on the coordinator alone' WHEN part.partmethod = 'n' THEN 'on each server' ELSE "  \
    "'by ' || column_to_column_name(part.logicalrelid, part.partkey) END AS lies, rel, " \
    "relowner FROM wanted JOIN (SELECT oid AS rel, relname, relowner FROM "              \
    "pg_catalog.pg_class WHERE relnamespace = " RL_PG_SCHEMA                             \
    ") AS there ON relname = tab LEFT JOIN pg_dist_partition AS part "                   \
    "ON part.logicalrelid = rel) "

/* One row: how many tables there are, how many of them lie on the coordinator alone, how
 * many as they should, how they all lie, and those of another role. */
#define RL_PG_SURVEY_TABLES                                                          \
    RL_PG_TABLES                                                                     \
    "SELECT count(*), count(*) FILTER (WHERE lies = 'on the coordinator alone'), "   \
    "count(*) FILTER (WHERE lies = kind), (SELECT string_agg(lies || ': ' || tabs, " \
    "'; ' ORDER BY lies) FROM (SELECT lies, string_agg(tab, ', ' ORDER BY tab) AS "  \
    "tabs FROM found GROUP BY lies) AS alike), string_agg(tab, ', ' ORDER BY tab) "  \
    "FILTER (WHERE NOT pg_catalog.pg_has_role(relowner, 'USAGE')) FROM found"

/* Deletes what the coordinator still holds of tables whose rows lie in shards now. */
#define RL_PG_DROP_COPIES                                                            \
    RL_PG_TABLES                                                                     \
    "SELECT truncate_local_data_after_distributing_table(rel::regclass) FROM found " \
    "WHERE lies <> 'on the coordinator alone'"

#endif
