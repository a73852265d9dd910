/* The pieces of SQL from which rl_query_sql builds its statements. Only SQL. */
#ifndef RL_QUERY_SQL_H
#define RL_QUERY_SQL_H

/* Stands for the placeholder before it: see bind_between. */
#define RL_SQL_SAME "\1"
#define RL_SQL_SELECT "SELECT "
#define RL_SQL_DELETE "DELETE"
#define RL_SQL_FROM " FROM workflow_runs"
#define RL_SQL_WHERE " WHERE "
#define RL_SQL_AND " AND "
/* What precedes and follows the placeholder for a comma-separated list of ids. */
#define RL_SQLITE_IDS_BEFORE "id IN (SELECT value FROM json_each('[\"' || replace("
#define RL_SQLITE_IDS_AFTER ", ',', '\",\"') || '\"]'))"
#define RL_PG_IDS_BEFORE "id = ANY (string_to_array("
#define RL_PG_IDS_AFTER ", ',')::uuid[])"
/* Metadata that have a tag, and metadata that have all members of a JSON object. jsonb
 * compares values by type and value. On SQLite an int equals a real of the same value. */
#define RL_SQLITE_METADATA "CASE WHEN json_valid(metadata) THEN metadata END"
#define RL_SQLITE_TAG_BEFORE                                                      \
    "json_type(" RL_SQLITE_METADATA ", '$.tags') = 'array' AND EXISTS (SELECT 1 " \
    "FROM json_each(" RL_SQLITE_METADATA ", '$.tags') AS tag WHERE tag.type = "   \
    "'text' AND tag.value = "
#define RL_SQLITE_TAG_AFTER ")"
#define RL_SQLITE_METADATA_BEFORE "NOT EXISTS (SELECT 1 FROM json_each("
#define RL_SQLITE_METADATA_AFTER                                                    \
    ") AS want WHERE NOT EXISTS (SELECT 1 FROM json_each(" RL_SQLITE_METADATA       \
    ") AS has WHERE has.key = want.key AND has.value IS want.value AND (has.type "  \
    "= want.type OR (has.type IN ('integer', 'real') AND want.type IN ('integer', " \
    "'real')))))"
#define RL_PG_TAG_BEFORE RL_PG_HIDDEN_BEFORE "metadata -> 'tags' @> jsonb_build_array("
#define RL_PG_TAG_AFTER "::text)" RL_PG_HIDDEN_AFTER
#define RL_PG_METADATA_BEFORE "NOT EXISTS (SELECT 1 FROM jsonb_each("
#define RL_PG_METADATA_AFTER                                                     \
    "::jsonb) AS want (key, value) WHERE metadata -> want.key IS DISTINCT FROM " \
    "want.value)"
/* The parts of a row, in the order of their names; NULL if it has none. Row and parts are
 * of one statement, and so of one moment. */
#define RL_SQLITE_PARTS                                                               \
    "(SELECT '{' || group_concat('\"' || name || '\":' || data) || '}' FROM (SELECT " \
    "name, data FROM run_parts WHERE run_parts.wpk_id = workflow_runs.wpk_id "        \
    "AND run_parts.id = workflow_runs.id ORDER BY name))"
#define RL_PG_PARTS                                                                \
    "(SELECT '{' || string_agg('\"' || name || '\":' || data, ',' ORDER BY name) " \
    "|| '}' FROM run_parts WHERE run_parts.wpk_id = workflow_runs.wpk_id "         \
    "AND run_parts.id = workflow_runs.id)"
/* Those of the values that the inputs, outputs and metadata of a row name: a run may have
 * thousands that only its node logs name. */
#define RL_SQLITE_VALUES                                                                \
    "(SELECT '{' || group_concat('\"' || name || '\":' || data) || '}' FROM run_parts " \
    "WHERE run_parts.wpk_id = workflow_runs.wpk_id AND run_parts.id = "                 \
    "workflow_runs.id AND name < 'n' AND name IN (SELECT mark.atom FROM "               \
    "(SELECT inputs AS payload UNION ALL SELECT outputs UNION ALL SELECT metadata), "   \
    "json_tree(CASE WHEN instr(payload, '\"$value\"') AND json_valid(payload) THEN "    \
    "payload END) AS mark WHERE mark.key = '$value' AND mark.type = 'text'))"
#define RL_PG_VALUES                                                                 \
    "(SELECT '{' || string_agg('\"' || name || '\":' || data, ',') || '}' FROM "     \
    "run_parts WHERE run_parts.wpk_id = workflow_runs.wpk_id AND run_parts.id = "    \
    "workflow_runs.id AND name < 'n' AND name IN (SELECT jsonb_path_query(payload, " \
    "'$.**.\"$value\"') #>> '{}' FROM (VALUES (inputs), (outputs), (metadata)) AS "  \
    "payloads (payload)))"
/* The numbers that a graph's run has in its metadata, and no text of any length: other
 * programs may write what they like. */
#define RL_SQLITE_TOTALS                                                                \
    "(SELECT CASE WHEN json_type(data, '$.totals.nodes') = 'integer' THEN json_object(" \
    "'nodes', json_extract(data, '$.totals.nodes'), 'retries', CASE json_type(data, "   \
    "'$.totals.retries') WHEN 'integer' THEN json_extract(data, '$.totals.retries') "   \
    "ELSE 0 END, 'at', CASE json_type(data, '$.totals.at') WHEN 'text' THEN substr("    \
    "json_extract(data, '$.totals.at'), 1, 1024) END, 'tokens', CASE json_type(data, "  \
    "'$.tokens.total') WHEN 'integer' THEN json_extract(data, '$.tokens.total') END) "  \
    "END FROM (SELECT CASE WHEN instr(metadata, '\"totals\":{') AND "                   \
    "json_valid(metadata) "                                                             \
    "THEN metadata END AS data))"
#define RL_PG_TOTALS                                                                    \
    "(SELECT CASE WHEN jsonb_typeof(totals -> 'nodes') = 'number' THEN "                \
    "jsonb_build_object('nodes', totals -> 'nodes', 'retries', CASE jsonb_typeof("      \
    "totals -> 'retries') WHEN 'number' THEN totals -> 'retries' ELSE '0' END, 'at', "  \
    "CASE jsonb_typeof(totals -> 'at') WHEN 'string' THEN left(totals ->> 'at', 1024) " \
    "END, 'tokens', CASE jsonb_typeof(tokens) WHEN 'number' THEN tokens END) END FROM " \
    "(SELECT metadata -> 'totals' AS totals, metadata #> '{tokens,total}' AS tokens "   \
    "OFFSET 0) AS found)"
/* Errors as people see them, in letters of one case. SQLite knows the case of ASCII only. */
#define RL_SQL_ERROR \
    "lower(coalesce(error_type || ': ' || error_text, error_type, error_text)), lower("
#define RL_SQLITE_ERROR_BEFORE "instr(" RL_SQL_ERROR
#define RL_SQLITE_ERROR_AFTER ")) > 0"
#define RL_PG_ERROR_BEFORE "strpos(" RL_SQL_ERROR
#define RL_PG_ERROR_AFTER "::text)) > 0"
/* The condition of migration 011's index. */
#define RL_SQL_HAS_ERROR "(error_type IS NOT NULL OR error_text IS NOT NULL)"
/* Runs with a node of a name. The node logs of an open run are parts, each of which begins
 * with the name. Node logs without the name in quotes are not parsed, but where it may be
 * escaped. */
#define RL_SQLITE_NODE_BEFORE "EXISTS (SELECT 1 FROM (SELECT "
#define RL_SQLITE_NODE_AFTER                                                           \
    " AS wanted) WHERE CASE WHEN node_logs IS NULL THEN EXISTS (SELECT 1 FROM "        \
    "run_parts WHERE run_parts.wpk_id = workflow_runs.wpk_id AND run_parts.id = "      \
    "workflow_runs.id AND name >= 'n' AND substr(data, 1, length(json_quote(wanted)) " \
    "+ 9) = '{\"node\":' || json_quote(wanted) || ',') WHEN instr(node_logs, "         \
    "json_quote(wanted)) OR (wanted GLOB '*[^ -~]*' AND instr(node_logs, '\\u')) "     \
    "THEN EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(node_logs) THEN "       \
    "node_logs END) AS log WHERE "                                                     \
    "log.type = 'object' AND json_extract(log.value, '$.node') = wanted) END)"
#define RL_PG_NODE_BEFORE                                                  \
    "CASE WHEN node_logs IS NOT NULL THEN node_logs @> jsonb_build_array(" \
    "jsonb_build_object('node', "
#define RL_PG_NODE_AFTER                                                                 \
    "::text)) ELSE EXISTS (SELECT 1 FROM run_parts WHERE run_parts.wpk_id = "            \
    "workflow_runs.wpk_id AND run_parts.id = workflow_runs.id AND run_parts.name >= "    \
    "'n' AND starts_with(data, '{\"node\":' || to_json(" RL_SQL_SAME "::text) || ',')) " \
    "END"
#define RL_SQL_SINCE "created_at >= "
#define RL_SQL_UNTIL "created_at < "
#define RL_SQL_AFTER "(created_at, id) < ("
#define RL_SQL_LAST "(created_at, id) >= ("
/* Around a condition of which the planner is not to know what it selects. */
#define RL_SQLITE_HIDDEN_BEFORE "+"
#define RL_SQLITE_HIDDEN_AFTER ""
#define RL_PG_HIDDEN_BEFORE "CASE WHEN "
#define RL_PG_HIDDEN_AFTER " THEN true ELSE false END"
/* Migration 002's index on status leaves out completed runs. SQLite uses a partial index
 * only if the statement repeats its condition. */
#define RL_SQL_NOT_COMPLETED " AND status <> 'completed'"
#define RL_SQL_COMPLETED "completed"
#define RL_SQL_ORDER_LIMIT " ORDER BY created_at DESC, id DESC LIMIT "
#define RL_SQL_OLDEST_LIMIT " ORDER BY created_at, id LIMIT "
#define RL_SQL_OFFSET " OFFSET "
/* Numbers of runs by span and status. `states` has every status but "completed", each found
 * by one look into migration 002's index. */
#define RL_SQLITE_SPANS_BEFORE                                                    \
    "WITH RECURSIVE spans (span, low, high) AS (SELECT key, json_extract(value, " \
    "'$[0]'), json_extract(value, '$[1]') FROM json_each("
#define RL_SQLITE_SPANS_AFTER ")), "
#define RL_PG_SPANS_BEFORE                                                         \
    "WITH RECURSIVE spans (span, low, high) AS (SELECT place - 1, (value ->> 0)::" \
    "timestamptz, (value ->> 1)::timestamptz FROM jsonb_array_elements("
#define RL_PG_SPANS_AFTER "::jsonb) WITH ORDINALITY AS each (value, place)), "
#define RL_SQL_STATES                                                                   \
    "states (state) AS (SELECT min(status) FROM workflow_runs WHERE status <> "         \
    "'completed' UNION ALL SELECT (SELECT min(status) FROM workflow_runs WHERE status " \
    "> state AND status <> 'completed') FROM states WHERE state IS NOT NULL) "
#define RL_SQL_COUNT_ALL                                                          \
    "SELECT CAST(span AS INTEGER), CAST(NULL AS TEXT), (SELECT CAST(count(*) AS " \
    "INTEGER)"
#define RL_SQL_COUNT_STATES \
    "SELECT CAST(span AS INTEGER), state, (SELECT CAST(count(*) AS INTEGER)"
#define RL_SQL_IN_SPAN "created_at >= low AND created_at < high"
#define RL_SQL_OF_STATE "status = state AND status <> 'completed'"
#define RL_SQL_FROM_SPANS ") FROM spans UNION ALL "
#define RL_SQL_FROM_STATES ") FROM spans, states WHERE state IS NOT NULL"
#define RL_PG_SCANNED_BEFORE                                                          \
    "WITH spans (span, low, high) AS (SELECT place - 1, (value ->> 0)::timestamptz, " \
    "(value ->> 1)::timestamptz FROM jsonb_array_elements("
#define RL_PG_SCANNED_AFTER "::jsonb) WITH ORDINALITY AS each (value, place)) "
#define RL_PG_SCAN(what)                                                      \
    "SELECT CAST(span AS INTEGER), " what ", CAST(count(*) AS INTEGER) FROM " \
    "workflow_runs JOIN spans ON created_at >= low AND created_at < high"
#define RL_PG_SCAN_ALL RL_PG_SCAN("CAST(NULL AS TEXT)")
#define RL_PG_SCANNED_ALL " GROUP BY span UNION ALL " RL_PG_SCAN("status")
#define RL_PG_SCANNED_OTHERS "status <> 'completed'"
#define RL_PG_SCANNED_STATES " GROUP BY span, status"
/* How many runs each process has open, or had when it ended. */
#define RL_SQL_OWNERS                                                            \
    "SELECT owner, CAST(count(*) AS INTEGER) FROM workflow_runs WHERE status = " \
    "'running'" RL_SQL_NOT_COMPLETED " GROUP BY owner"
/* The newest run of each workflow, by one look into migration 001's index. */
#define RL_SQL_NEWEST_RUNS \
    "SELECT name, (SELECT max(created_at) FROM workflow_runs WHERE wpk_id = name) FROM "
#define RL_SQLITE_NEWEST_BEFORE RL_SQL_NEWEST_RUNS "(SELECT value AS name FROM json_each("
#define RL_SQLITE_NEWEST_AFTER "))"
#define RL_PG_NEWEST_BEFORE RL_SQL_NEWEST_RUNS "jsonb_array_elements_text("
#define RL_PG_NEWEST_AFTER "::jsonb) AS each (name)"
/* The same for several servers: these read all entries of the index. */
#define RL_PG_SCANNED_NEWEST_BEFORE "SELECT name, newest FROM jsonb_array_elements_text("
#define RL_PG_SCANNED_NEWEST_AFTER                                                      \
    "::jsonb) AS each (name) LEFT JOIN (SELECT wpk_id, max(created_at) AS newest FROM " \
    "workflow_runs WHERE wpk_id = ANY (ARRAY(SELECT "                                   \
    "jsonb_array_elements_text(" RL_SQL_SAME                                            \
    "::jsonb))) GROUP BY wpk_id) AS run ON wpk_id = name"

#endif
