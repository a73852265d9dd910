/* The pieces of SQL from which rl_query_sql builds its statements. Only SQL. */
#ifndef RL_QUERY_SQL_H
#define RL_QUERY_SQL_H

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
#define RL_SQL_SINCE "created_at >= "
#define RL_SQL_UNTIL "created_at < "
#define RL_SQL_AFTER "(created_at, id) < ("
/* Migration 002's index on status leaves out completed runs. SQLite uses a partial index
 * only if the statement repeats its condition. */
#define RL_SQL_NOT_COMPLETED " AND status <> 'completed'"
#define RL_SQL_COMPLETED "completed"
#define RL_SQL_ORDER_LIMIT " ORDER BY created_at DESC, id DESC LIMIT "
#define RL_SQL_OFFSET " OFFSET "

#endif
