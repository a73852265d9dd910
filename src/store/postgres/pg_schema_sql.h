/* The SQL of pg_schema.c and of both lists of migrations. Only SQL; values are bound. */
#ifndef RL_PG_SCHEMA_SQL_H
#define RL_PG_SCHEMA_SQL_H

/* The schema of all tables: the first of search_path that exists. A table of the same
 * name in a later one is somebody else's, although it is visible. */
#define RL_PG_SCHEMA                            \
    "(SELECT oid FROM pg_catalog.pg_namespace " \
    "WHERE nspname = pg_catalog.current_schema()) "

/* Trigger functions that name other tables and are not bound to the schema yet; those of
 * another role can't be. */
#define RL_PG_UNBOUND                                                            \
    "FROM pg_catalog.pg_proc WHERE pronamespace = " RL_PG_SCHEMA                 \
    "AND prorettype = 'pg_catalog.trigger'::regtype AND proname IN ("            \
    "'workflow_runs_forget_embeddings', 'workflow_runs_forget_all_embeddings', " \
    "'workflow_runs_rename_embedding', 'workflow_runs_delete_parts', "           \
    "'workflow_runs_truncate_parts', 'workflow_runs_rename_parts', "             \
    "'workflow_runs_delete_words', 'workflow_runs_truncate_words', "             \
    "'workflow_runs_rename_words', 'workflow_runs_mark_deleted', "               \
    "'workflow_runs_mark_truncated', 'workflow_runs_mark_moved', "               \
    "'workflow_runs_queue') "                                                    \
    "AND pg_catalog.pg_has_role(proowner, 'USAGE') "                             \
    "AND NOT coalesce(proconfig, '{}') @> ARRAY['search_path=' || "              \
    "pg_catalog.quote_ident(pg_catalog.current_schema()) || ', pg_temp'] "

/* One row: the schema (quoted) or NULL, search_path, the database, its encoding, a later
 * schema of search_path that has tables of runlog, or NULL, the number of unbound
 * functions, and whether the client has set search_path. */
#define RL_PG_SURVEY                                                                   \
    "SELECT pg_catalog.quote_ident(pg_catalog.current_schema()), "                     \
    "pg_catalog.current_setting('search_path'), pg_catalog.current_database(), "       \
    "pg_catalog.current_setting('server_encoding'), "                                  \
    "(SELECT pg_catalog.quote_ident(space.nspname) FROM pg_catalog.pg_class AS other " \
    "JOIN pg_catalog.pg_namespace AS space ON space.oid = other.relnamespace "         \
    "WHERE other.relname = 'runlog_migrations' "                                       \
    "AND space.nspname <> pg_catalog.current_schema() "                                \
    "AND space.nspname = ANY (pg_catalog.current_schemas(false)) LIMIT 1), "           \
    "(SELECT count(*) " RL_PG_UNBOUND "), "                                            \
    "(SELECT source IN ('client', 'session') FROM pg_catalog.pg_settings "             \
    "WHERE name = 'search_path')"

/* Whoever deletes runs may have another search_path, in which the triggers would find no
 * table, or that of another schema. */
#define RL_PG_BIND                                                             \
    "DO $do$ DECLARE name text; BEGIN "                                        \
    "FOR name IN SELECT oid::regprocedure::text " RL_PG_UNBOUND "LOOP "        \
    "EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, " \
    "pg_catalog.current_schema()); "                                           \
    "END LOOP; END $do$"

/* Makes uuid_generate_v4() of migration 001 visible for the transaction. An extension is
 * in one schema of a database: public if that can be used, as the others come and go. */
#define RL_PG_PLACE_EXTENSION                                                            \
    "DO $do$ DECLARE home text; BEGIN "                                                  \
    "IF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'uuid-ossp') " \
    "AND EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = 'public' "        \
    "AND pg_catalog.has_schema_privilege(oid, 'USAGE')) THEN "                           \
    "CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" SCHEMA public; END IF; "               \
    "SELECT nspname INTO home FROM pg_catalog.pg_extension AS extension "                \
    "JOIN pg_catalog.pg_namespace AS space ON space.oid = extension.extnamespace "       \
    "WHERE extname = 'uuid-ossp'; "                                                      \
    "IF NOT pg_catalog.has_schema_privilege(home, 'USAGE') THEN "                        \
    "RAISE insufficient_privilege USING MESSAGE = format("                               \
    "'the extension uuid-ossp is in the schema %I, which the role %I may not use', "     \
    "home, current_user); END IF; "                                                      \
    "PERFORM pg_catalog.set_config('search_path', "                                      \
    "pg_catalog.current_setting('search_path') || ', ' || quote_ident(home), true) "     \
    "WHERE home IS NOT NULL; END $do$"

/* A row if building an index of the runs takes a while. */
#define RL_PG_IS_LARGE                                                       \
    "SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'workflow_runs' AND " \
    "relnamespace = " RL_PG_SCHEMA "AND pg_catalog.pg_relation_size(oid) > 16777216"

/* Statements that drop the indexes of a migration (parameter: its text) whose building has
 * ended before it was done. One that is being built is somebody's who is at work. */
#define RL_PG_BROKEN_INDEXES                                                             \
    "SELECT pg_catalog.format('DROP INDEX CONCURRENTLY %s', indexrelid::regclass) FROM " \
    "pg_catalog.pg_index JOIN pg_catalog.pg_class ON pg_class.oid = indexrelid WHERE "   \
    "NOT indisvalid AND relnamespace = " RL_PG_SCHEMA "AND "                             \
    "pg_catalog.strpos(pg_catalog.translate($1, E'\\n', ' '), ' ' || relname || ' ') > " \
    "0"
#define RL_PG_BUILDING                                                               \
    "SELECT 1 FROM pg_catalog.pg_stat_progress_create_index AS building JOIN "       \
    "pg_catalog.pg_class ON pg_class.oid = building.relid WHERE building.datname = " \
    "pg_catalog.current_database() AND relnamespace = " RL_PG_SCHEMA

/* The columns, and the migration that makes each; of a table, the least is the one that
 * makes the table. The table of the migrations is made before 1. */
#define RL_PG_WANTED                                                                     \
    "(VALUES ('runlog_migrations', 0, 'number', 'integer'), "                            \
    "('runlog_migrations', 0, 'name', 'text'), "                                         \
    "('runlog_migrations', 0, 'checksum', 'text'), "                                     \
    "('workflow_runs', 1, 'id', 'uuid'), ('workflow_runs', 1, 'wpk_id', 'text'), "       \
    "('workflow_runs', 1, 'run_id', 'text'), ('workflow_runs', 1, 'inputs', 'jsonb'), "  \
    "('workflow_runs', 1, 'outputs', 'jsonb'), ('workflow_runs', 1, 'status', 'text'), " \
    "('workflow_runs', 1, 'duration_ms', 'integer'), "                                   \
    "('workflow_runs', 1, 'node_logs', 'jsonb'), "                                       \
    "('workflow_runs', 1, 'created_at', 'timestamp with time zone'), "                   \
    "('workflow_runs', 1, 'updated_at', 'timestamp with time zone'), "                   \
    "('workflow_runs', 2, 'thread_id', 'text'), "                                        \
    "('workflow_runs', 2, 'error_type', 'text'), "                                       \
    "('workflow_runs', 2, 'error_text', 'text'), "                                       \
    "('workflow_runs', 8, 'error_traceback', 'text'), "                                  \
    "('workflow_runs', 2, 'metadata', 'jsonb'), "                                        \
    "('workflow_runs', 2, 'started_at', 'timestamp with time zone'), "                   \
    "('workflow_runs', 2, 'owner', 'text'), ('workflow_runs', 3, 'revision', "           \
    "'bigint'), "                                                                        \
    "('run_embeddings', 4, 'id', 'uuid'), ('run_embeddings', 4, 'wpk_id', 'text'), "     \
    "('run_embeddings', 4, 'state', 'text'), ('run_embeddings', 4, 'vector', 'bytea'), " \
    "('run_parts', 6, 'wpk_id', 'text'), ('run_parts', 6, 'id', 'uuid'), "               \
    "('run_parts', 6, 'name', 'text'), ('run_parts', 6, 'data', 'text'), "               \
    "('run_parts', 6, 'revision', 'bigint'), "                                           \
    "('workflow_runs', 10, 'logged_txid', 'bigint'), "                                   \
    "('run_words', 10, 'wpk_id', 'text'), ('run_words', 10, 'id', 'uuid'), "             \
    "('run_words', 10, 'words', 'tsvector'), "                                           \
    "('run_words_position', 10, 'txid', 'bigint'), "                                     \
    "('run_rollup', 13, 'level', 'smallint'), ('run_rollup', 13, 'wpk_id', 'text'), "    \
    "('run_rollup', 13, 'data', 'bytea'), ('run_rollup_marks', 13, 'wpk_id', 'text'), "  \
    "('run_rollup_workflows', 13, 'wpk_id', 'text'), "                                   \
    "('run_rollup_nodes', 13, 'wpk_id', 'text'), "                                       \
    "('run_rollup_state', 13, 'version', 'bigint'), "                                    \
    "('run_words_queue', 15, 'wpk_id', 'text'), "                                        \
    "('run_words_queue', 15, 'change', 'uuid'), "                                        \
    "('run_words_queue', 15, 'id', 'uuid')) AS wanted (tab, since, col, kind)"

/* The same with what is there: `made` is the migration that makes the table. */
#define RL_PG_FOUND                                                          \
    "wanted AS (SELECT *, min(since) OVER (PARTITION BY tab) AS made, "      \
    "$1::int AS applied FROM " RL_PG_WANTED "), "                            \
    "found AS (SELECT wanted.*, rel.oid AS rel, rel.relkind, att.attnum, "   \
    "base.typcategory, pg_catalog.format_type(base.oid, NULL) AS given "     \
    "FROM wanted LEFT JOIN pg_catalog.pg_class AS rel ON rel.relname = tab " \
    "AND rel.relnamespace = " RL_PG_SCHEMA                                   \
    "LEFT JOIN pg_catalog.pg_attribute AS att ON att.attrelid = rel.oid "    \
    "AND att.attname = col AND NOT att.attisdropped AND att.attnum > 0 "     \
    "LEFT JOIN pg_catalog.pg_type AS type ON type.oid = att.atttypid "       \
    "LEFT JOIN pg_catalog.pg_type AS base "                                  \
    "ON base.oid = coalesce(nullif(type.typbasetype, 0), type.oid) "         \
    "WHERE made = 0 OR applied >= 0)"

/* What a table must have to be adopted. */
#define RL_PG_NOT_ADOPTED                                                        \
    "SELECT tab, made, 1, 'the column ' || col || ' is ' || given || ', not ' "  \
    "|| kind FROM found WHERE attnum IS NOT NULL AND made > applied "            \
    "AND given <> kind AND NOT (kind = 'text' AND typcategory = 'S') UNION "     \
    "SELECT tab, made, 4, 'the column ' || attname || ' is NOT NULL and has no " \
    "default' FROM found JOIN pg_catalog.pg_attribute AS more "                  \
    "ON more.attrelid = rel WHERE made > applied AND more.attnum > 0 "           \
    "AND NOT more.attisdropped AND more.attnotnull AND NOT more.atthasdef "      \
    "AND more.attidentity = '' AND attname NOT IN "                              \
    "(SELECT col FROM wanted AS own WHERE own.tab = found.tab) UNION "           \
    "SELECT tab, made, 5, 'it is not UNIQUE (wpk_id, run_id)' FROM found "       \
    "WHERE tab = 'workflow_runs' AND rel IS NOT NULL AND made > applied "        \
    "AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_index WHERE indrelid = rel "    \
    "AND indisunique AND indimmediate AND indisvalid AND indpred IS NULL "       \
    "AND indexprs IS NULL AND indnkeyatts = 2 "                                  \
    "AND ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute "               \
    "WHERE attrelid = rel AND attnum = ANY (indkey::int2[]) ORDER BY 1) = "      \
    "ARRAY['run_id', 'wpk_id'])"

/* What is wrong with each table, a row for one that can't be used: its name, and the
 * reasons. Parameter: how many migrations are applied, or -1 to look at their table only.
 * A table of the right columns is adopted: only workflow_runs is. */
#define RL_PG_FOREIGN                                                          \
    "WITH " RL_PG_FOUND ", problems AS ("                                      \
    "SELECT tab, made, 0 AS at, 'it is missing' AS problem FROM found "        \
    "WHERE rel IS NULL AND made BETWEEN 1 AND applied UNION "                  \
    "SELECT tab, made, 0, 'it is no table' FROM found "                        \
    "WHERE relkind NOT IN ('r', 'p') AND made > applied UNION "                \
    "SELECT tab, made, 0, 'runlog has not made it' FROM found "                \
    "WHERE rel IS NOT NULL AND made > greatest(applied, 1) UNION "             \
    "SELECT tab, made, 2, 'it lacks ' || string_agg(col || ' ' || CASE kind "  \
    "WHEN 'timestamp with time zone' THEN 'timestamptz' ELSE kind END, ', ') " \
    "FROM found WHERE rel IS NOT NULL AND attnum IS NULL "                     \
    "AND relkind NOT IN ('S', 'i', 'I') AND since <= greatest(applied, made) " \
    "GROUP BY tab, made UNION "                                                \
    "SELECT tab, made, 3, 'it has a column ' || col || ' already' FROM found " \
    "WHERE attnum IS NOT NULL AND since > greatest(applied, made) "            \
    "UNION " RL_PG_NOT_ADOPTED                                                 \
    ") SELECT tab, string_agg(problem, '; ' ORDER BY at, problem) "            \
    "FROM problems GROUP BY tab, made ORDER BY made"

#endif
