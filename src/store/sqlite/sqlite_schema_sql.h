/* The SQL of sqlite_schema.c. Only SQL. */
#ifndef RL_SQLITE_SCHEMA_SQL_H
#define RL_SQLITE_SCHEMA_SQL_H

/* The columns of migration 001, and whether each holds integers; those that are added to
 * it later; and what is there. */
#define RL_SQLITE_FOUND                                                             \
    "WITH wanted (col, kind) AS (VALUES ('id', 0), ('wpk_id', 0), ('run_id', 0), "  \
    "('inputs', 0), ('outputs', 0), ('status', 0), ('duration_ms', 1), "            \
    "('node_logs', 0), ('created_at', 0), ('updated_at', 0)), "                     \
    "later (col) AS (VALUES ('thread_id'), ('error_type'), ('error_text'), "        \
    "('error_traceback'), ('metadata'), ('started_at'), ('owner'), ('revision')), " \
    "named AS (SELECT lower(name) AS tab, type, sql FROM sqlite_master), "          \
    "made AS (SELECT 1 FROM named WHERE tab = 'runlog_migrations'), "               \
    "own AS (SELECT lower(name) AS col, type, \"notnull\" AS needed, dflt_value "   \
    "FROM pragma_table_info('workflow_runs')) "

/* What keeps a workflow_runs from being adopted. */
#define RL_SQLITE_NOT_ADOPTED                                                          \
    "SELECT 'it is no table' AS problem FROM named "                                   \
    "WHERE tab = 'workflow_runs' AND (type <> 'table' OR sql LIKE 'CREATE VIRTUAL%') " \
    "UNION ALL SELECT 'the column ' || col || ' is ' || type || ', not ' || "          \
    "CASE kind WHEN 1 THEN 'INTEGER' ELSE 'TEXT' END "                                 \
    "FROM wanted JOIN own USING (col) WHERE (upper(type) LIKE '%INT%') <> kind "       \
    "UNION ALL SELECT lacks FROM (SELECT 'it lacks ' || group_concat(col, ', ') "      \
    "AS lacks FROM wanted WHERE col NOT IN (SELECT col FROM own)) "                    \
    "WHERE lacks IS NOT NULL "                                                         \
    "UNION ALL SELECT 'it has a column ' || col || ' already' "                        \
    "FROM later JOIN own USING (col) "                                                 \
    "UNION ALL SELECT 'it is WITHOUT ROWID' "                                          \
    "FROM pragma_table_list('workflow_runs') WHERE wr "                                \
    "UNION ALL SELECT 'the column ' || col || ' is NOT NULL and has no default' "      \
    "FROM own WHERE needed AND dflt_value IS NULL "                                    \
    "AND col NOT IN (SELECT col FROM wanted) "                                         \
    "UNION ALL SELECT 'it is not UNIQUE (wpk_id, run_id)' WHERE NOT EXISTS ("          \
    "SELECT 1 FROM pragma_index_list('workflow_runs') AS list "                        \
    "WHERE list.\"unique\" AND NOT list.partial AND 'run_id,wpk_id' = "                \
    "(SELECT group_concat(col) FROM (SELECT lower(name) AS col "                       \
    "FROM pragma_index_info(list.name) ORDER BY 1)))"

/* What is wrong, a row for each: the table, and the reason. Tables of later migrations
 * can't be adopted. One statement, so that it sees one state of the file. */
#define RL_SQLITE_FOREIGN                                                          \
    RL_SQLITE_FOUND                                                                \
    "SELECT tab, 'runlog has not made it' FROM named "                             \
    "WHERE NOT EXISTS (SELECT 1 FROM made) "                                       \
    "AND tab IN ('run_embeddings', 'run_embeddings_new', 'run_parts', 'journal', " \
    "'journal_rejected', 'journal_lease', 'journal_targets', 'run_words', "        \
    "'run_words_changed', 'run_words_text', 'runlog_owners', 'run_rollup', "       \
    "'run_rollup_state', 'run_rollup_workflows', 'run_rollup_nodes', "             \
    "'run_rollup_marks') "                                                         \
    "UNION ALL SELECT tab, 'it lacks number, name or checksum' FROM named "        \
    "WHERE tab = 'runlog_migrations' AND "                                         \
    "(SELECT count(*) FROM pragma_table_info('runlog_migrations') "                \
    "WHERE lower(name) IN ('number', 'name', 'checksum')) < 3 "                    \
    "UNION ALL SELECT 'workflow_runs', problem FROM (" RL_SQLITE_NOT_ADOPTED       \
    ") WHERE NOT EXISTS (SELECT 1 FROM made) "                                     \
    "AND EXISTS (SELECT 1 FROM named WHERE tab = 'workflow_runs')"

#endif
