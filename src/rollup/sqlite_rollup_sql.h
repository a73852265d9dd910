/* The SQL of the roll-up on SQLite. Only SQL; values are always bound. */
#ifndef RL_SQLITE_ROLLUP_SQL_H
#define RL_SQLITE_ROLLUP_SQL_H

#include "store/sqlite/sqlite_sql.h"

#define RL_SQLITE_ROLLUP_STATE \
    "SELECT position, version, walk_wpk_id, walk_at FROM run_rollup_state"
#define RL_SQLITE_ROLLUP_MAKE                                              \
    "INSERT OR IGNORE INTO run_rollup_state (one, position, walk_wpk_id, " \
    "walk_at) SELECT 1, ifnull(max(rowid), 0), '', '' FROM workflow_runs"
#define RL_SQLITE_ROLLUP_VERSION \
    "UPDATE run_rollup_state SET version = version + 1 WHERE version = ?1"
#define RL_SQLITE_ROLLUP_CHANGED "SELECT changes()"
#define RL_SQLITE_ROLLUP_MOVE "UPDATE run_rollup_state SET position = ?1"
#define RL_SQLITE_ROLLUP_WALKED \
    "UPDATE run_rollup_state SET walk_wpk_id = ?1, walk_at = ?2"
/* All is marked, and walked over again; what is gone stays. */
#define RL_SQLITE_ROLLUP_RESET                                                     \
    "INSERT INTO run_rollup_marks (wpk_id, from_at, to_at, runs) SELECT wpk_id, "  \
    "from_at, until_at, runs FROM run_rollup WHERE level = 1; UPDATE "             \
    "run_rollup_state SET version = version + 1, walk_wpk_id = '', walk_at = '', " \
    "position = ifnull((SELECT max(rowid) FROM workflow_runs), 0)"

/* SQLite keeps a BLOB in a column of texts as it is, behind all texts, and no text is equal
 * to it. So what other programs have written as one is passed over: a walk that asks for what
 * is greater than its text would find it again for ever. */
#define RL_SQLITE_IS_TEXT "< x''"
/* RL_TIME_MAX, which no span of time holds: the end of each is behind it. */
#define RL_SQLITE_IS_IN_A_SPAN "< '9999-12-31T23:59:59.999999Z'"

/* Runs behind the position that have ended; the id of one. */
#define RL_SQLITE_ROLLUP_NEW                                                         \
    "SELECT rowid, id, wpk_id, CASE WHEN status <> 'running' AND "                   \
    "wpk_id " RL_SQLITE_IS_TEXT " AND created_at " RL_SQLITE_IS_TEXT                 \
    " THEN created_at END FROM workflow_runs WHERE rowid > ?1 ORDER BY rowid LIMIT " \
    "?2"
#define RL_SQLITE_ROLLUP_ID "SELECT id FROM workflow_runs WHERE rowid = ?1"

/* The first walk: the next run of a workflow, the next workflow, and how many runs a block
 * has. */
#define RL_SQLITE_ROLLUP_NEXT_RUN                                 \
    "SELECT created_at FROM workflow_runs WHERE wpk_id = ?1 AND " \
    "created_at > ?2 AND created_at " RL_SQLITE_IS_TEXT " ORDER BY created_at LIMIT 1"
#define RL_SQLITE_ROLLUP_NEXT_WORKFLOW                        \
    "SELECT wpk_id FROM workflow_runs WHERE wpk_id > ?1 AND " \
    "wpk_id " RL_SQLITE_IS_TEXT " ORDER BY wpk_id LIMIT 1"
#define RL_SQLITE_ROLLUP_BLOCK_RUNS                             \
    "SELECT count(*) FROM workflow_runs WHERE wpk_id = ?1 AND " \
    "created_at >= ?2 AND created_at < ?3"

#define RL_SQLITE_ROLLUP_FIRST_MARK                                                 \
    "SELECT wpk_id, from_at, id FROM run_rollup_marks WHERE (wpk_id, from_at) >= "  \
    "(?1, ?2) AND wpk_id " RL_SQLITE_IS_TEXT " AND from_at " RL_SQLITE_IS_IN_A_SPAN \
    " ORDER BY wpk_id, from_at"
#define RL_SQLITE_ROLLUP_MARKS                                              \
    "SELECT id, from_at, to_at, runs, deleted, gone FROM run_rollup_marks " \
    "WHERE wpk_id = ?1 AND from_at >= ?2 AND from_at < ?3 ORDER BY from_at, id"
#define RL_SQLITE_ROLLUP_PIECES                                         \
    "SELECT from_at, until_at, runs, data, gone FROM run_rollup WHERE " \
    "wpk_id = ?1 AND from_at >= ?2 AND from_at < ?3 AND level = ?4 ORDER BY from_at"
#define RL_SQLITE_ROLLUP_NAMES \
    "SELECT node FROM run_rollup_nodes WHERE wpk_id = ?1 ORDER BY number"
#define RL_SQLITE_ROLLUP_RUNS                                               \
    "SELECT created_at, run_id, status, error_type, error_text, metadata, " \
    "node_logs, duration_ms FROM workflow_runs WHERE wpk_id = ?1 AND "      \
    "created_at >= ?2 AND created_at < ?3 ORDER BY created_at, id"

#define RL_SQLITE_ROLLUP_DROP_LEAVES                                  \
    "DELETE FROM run_rollup WHERE wpk_id = ?1 AND from_at >= ?2 AND " \
    "from_at < ?3 AND level = 0"
#define RL_SQLITE_ROLLUP_PUT                                                      \
    "INSERT INTO run_rollup (wpk_id, from_at, until_at, level, runs, data, "      \
    "gone) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (level, wpk_id, "      \
    "from_at) DO UPDATE SET until_at = excluded.until_at, runs = excluded.runs, " \
    "data = excluded.data, gone = excluded.gone"
#define RL_SQLITE_ROLLUP_DROP_MARK "DELETE FROM run_rollup_marks WHERE id = ?1"
#define RL_SQLITE_ROLLUP_ADD_MARK                                                 \
    "INSERT INTO run_rollup_marks (wpk_id, from_at, to_at, runs, deleted, gone) " \
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
#define RL_SQLITE_ROLLUP_ADD_WORKFLOW                                         \
    "INSERT OR IGNORE INTO run_rollup_workflows (wpk_id, number) SELECT ?1, " \
    "count(*) FROM run_rollup_workflows"
#define RL_SQLITE_ROLLUP_ADD_NAME                                            \
    "INSERT OR REPLACE INTO run_rollup_nodes (wpk_id, number, node) VALUES " \
    "(?1, ?2, ?3)"

/* What a reader gets. Parameters: level, wpk_id, from and until. A span begins with its
 * first block. */
#define RL_SQLITE_ROLLUP_READ                                                     \
    "SELECT workflow.wpk_id, workflow.number, CASE ?1 WHEN 2 THEN (SELECT "       \
    "min(from_at) FROM run_rollup AS block WHERE block.level = 1 AND "            \
    "block.wpk_id = piece.wpk_id AND block.from_at >= piece.from_at) ELSE "       \
    "from_at END, data FROM run_rollup_workflows AS workflow CROSS JOIN "         \
    "run_rollup AS piece ON piece.level = ?1 AND piece.wpk_id = workflow.wpk_id " \
    "AND from_at >= ?3 AND from_at < ?4 "
#define RL_SQLITE_ROLLUP_IN_ORDER "ORDER BY workflow.wpk_id, piece.from_at"
#define RL_SQLITE_ROLLUP_READ_ONE \
    RL_SQLITE_ROLLUP_READ "WHERE workflow.wpk_id = ?2 " RL_SQLITE_ROLLUP_IN_ORDER
#define RL_SQLITE_ROLLUP_READ_ALL RL_SQLITE_ROLLUP_READ RL_SQLITE_ROLLUP_IN_ORDER
#define RL_SQLITE_ROLLUP_WAITING                                             \
    "SELECT max(0, ifnull((SELECT max(rowid) FROM workflow_runs), 0) - "     \
    "ifnull((SELECT CASE WHEN walk_wpk_id IS NULL THEN position ELSE 0 END " \
    "FROM run_rollup_state), 0)) + (SELECT ifnull(sum(runs), 0) FROM "       \
    "run_rollup_marks WHERE wpk_id " RL_SQLITE_IS_TEXT                       \
    " AND from_at " RL_SQLITE_IS_IN_A_SPAN ")"
#define RL_SQLITE_ROLLUP_SIZE                                            \
    "SELECT (SELECT count(*) FROM run_rollup WHERE level = 1), (SELECT " \
    "ifnull(sum(runs), 0) FROM run_rollup WHERE level = 2), (SELECT "    \
    "ifnull(sum(length(data) + ifnull(length(gone), 0)), 0) FROM run_rollup)"

/* Around a deletion by runlog. */
#define RL_SQLITE_ROLLUP_EXISTS "SELECT 1 FROM run_rollup_state"
#define RL_SQLITE_ROLLUP_DELETING "UPDATE run_rollup_state SET deleting = ?1"
#define RL_SQLITE_ROLLUP_RUN                                                \
    "SELECT created_at, run_id, status, error_type, error_text, metadata, " \
    "node_logs, duration_ms, wpk_id FROM workflow_runs WHERE id = ?1 AND "  \
    "wpk_id " RL_SQLITE_IS_TEXT " AND created_at " RL_SQLITE_IS_TEXT

#endif
