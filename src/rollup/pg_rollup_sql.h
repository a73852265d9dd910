/* The SQL of the roll-up on PostgreSQL. Only SQL; values are always bound. Times that are
 * parameters are texts of core/clock.h. */
#ifndef RL_PG_ROLLUP_SQL_H
#define RL_PG_ROLLUP_SQL_H

#include "store/postgres/postgres_sql.h"

#define RL_PG_ROLLUP_BEGIN_COUNT "BEGIN ISOLATION LEVEL REPEATABLE READ"

/* Locks the place up to which runs are marked; no row if another process has. In a
 * database that was restored on another server, it may lie in that one's future. At
 * RL_PG_QUEUED_PLACE a trigger has marked all runs. */
#define RL_PG_ROLLUP_PLACE                                              \
    "SELECT CASE WHEN txid <= pg_catalog.txid_snapshot_xmax("           \
    "pg_catalog.txid_current_snapshot()) OR txid = " RL_PG_QUEUED_PLACE \
    " THEN txid ELSE 0 END::text, id::text FROM run_rollup_state FOR UPDATE SKIP LOCKED"
#define RL_PG_ROLLUP_MAKE \
    "INSERT INTO run_rollup_state DEFAULT VALUES ON CONFLICT (one) DO NOTHING"
#define RL_PG_ROLLUP_VERSION "UPDATE run_rollup_state SET version = version + 1"

/* Marks the next runs, and moves the place. Parameters: the place, and how many. Gives how
 * many there were. Transactions before the oldest one that is still open have committed, or
 * never will. */
#define RL_PG_ROLLUP_WALK                                                             \
    "WITH run AS (SELECT wpk_id, id, logged_txid, created_at, status FROM "           \
    "workflow_runs WHERE (logged_txid, id) > ($1::bigint, $2::uuid) AND logged_txid " \
    "< pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot()) ORDER BY "   \
    "logged_txid, id LIMIT $3::int), marked AS (INSERT INTO run_rollup_marks "        \
    "(wpk_id, from_at, to_at, runs) SELECT wpk_id, min(created_at), "                 \
    "max(created_at), count(*) FROM run WHERE status <> 'running' AND "               \
    "created_at BETWEEN '0001-01-02' AND '9999-12-30' GROUP BY wpk_id, "              \
    "floor(extract(epoch FROM created_at) / "                                         \
    "225)), moved AS (UPDATE run_rollup_state SET txid = last.logged_txid, id = "     \
    "last.id, version = version + 1 FROM (SELECT logged_txid, id FROM run ORDER BY "  \
    "logged_txid DESC, id DESC LIMIT 1) AS last) SELECT count(*)::text FROM run"

#define RL_PG_ROLLUP_FIRST_MARK                                                      \
    "SELECT wpk_id, from_at FROM run_rollup_marks WHERE $2::timestamptz IS NULL OR " \
    "(wpk_id, from_at) >= ($1, $2::timestamptz) ORDER BY wpk_id, from_at LIMIT 1"
#define RL_PG_ROLLUP_RANGE \
    "WHERE wpk_id = $1 AND from_at >= $2::timestamptz AND from_at < $3::timestamptz "
#define RL_PG_ROLLUP_MARKS                                   \
    "SELECT mark, from_at, to_at, runs, deleted, gone FROM " \
    "run_rollup_marks " RL_PG_ROLLUP_RANGE "ORDER BY from_at, mark"
#define RL_PG_ROLLUP_PIECES                                                          \
    "SELECT from_at, until_at, runs, data, gone FROM run_rollup " RL_PG_ROLLUP_RANGE \
    "AND level = $4::smallint ORDER BY from_at"
#define RL_PG_ROLLUP_NAMES \
    "SELECT node FROM run_rollup_nodes WHERE wpk_id = $1 ORDER BY number"

/* A page of runs, behind a time and an id. */
#define RL_PG_ROLLUP_COLUMNS                                               \
    "created_at, run_id, status, error_type, error_text, metadata::text, " \
    "node_logs::text, duration_ms::text, id::text, wpk_id"
#define RL_PG_ROLLUP_RUNS                                                        \
    "SELECT " RL_PG_ROLLUP_COLUMNS " FROM workflow_runs WHERE wpk_id = $1 AND "  \
    "(created_at, id) > ($2::timestamptz, $4::uuid) AND created_at < "           \
    "$3::timestamptz AND created_at >= $2::timestamptz ORDER BY created_at, id " \
    "LIMIT $5::int"
#define RL_PG_ROLLUP_BEFORE_ALL "00000000-0000-0000-0000-000000000000"

/* What a pass drops and puts, in one statement each: arrays of the workflows, the beginnings
 * and ends, and of a piece the other columns. */
#define RL_PG_ROLLUP_DROP_LEAVES                                                   \
    "DELETE FROM run_rollup AS piece USING unnest($1::text[], $2::timestamptz[], " \
    "$3::timestamptz[]) AS old (wpk_id, from_at, until_at) WHERE piece.level = 0 " \
    "AND piece.wpk_id = old.wpk_id AND piece.from_at >= old.from_at AND "          \
    "piece.from_at < old.until_at"
#define RL_PG_ROLLUP_PUT                                                              \
    "INSERT INTO run_rollup (wpk_id, from_at, until_at, level, runs, data, gone) "    \
    "SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], "         \
    "$4::smallint[], $5::bigint[], $6::bytea[], $7::bytea[]) ON CONFLICT (level, "    \
    "wpk_id, from_at) DO UPDATE SET "                                                 \
    "until_at = excluded.until_at, runs = excluded.runs, data = excluded.data, gone " \
    "= excluded.gone"
#define RL_PG_ROLLUP_DROP_MARKS \
    "DELETE FROM run_rollup_marks WHERE mark = ANY ($1::bigint[])"
#define RL_PG_ROLLUP_ADD_MARK                                                     \
    "INSERT INTO run_rollup_marks (wpk_id, from_at, to_at, runs, deleted, gone) " \
    "VALUES ($1, $2::timestamptz, $3::timestamptz, $4::bigint, $5::bigint, $6::bytea)"
#define RL_PG_ROLLUP_ADD_WORKFLOW                                                 \
    "INSERT INTO run_rollup_workflows (wpk_id, number) SELECT $1, count(*) FROM " \
    "run_rollup_workflows ON CONFLICT (wpk_id) DO NOTHING"
#define RL_PG_ROLLUP_ADD_NAME                                                      \
    "INSERT INTO run_rollup_nodes (wpk_id, number, node) VALUES ($1, $2::bigint, " \
    "$3) ON CONFLICT (wpk_id, number) DO UPDATE SET node = excluded.node"

/* What a reader gets. Parameters: level, wpk_id (may be NULL), from and until. A span
 * begins with its first block. */
#define RL_PG_ROLLUP_READ                                                             \
    "SELECT piece.wpk_id, workflow.number, CASE WHEN piece.level = 2 THEN (SELECT "   \
    "min(block.from_at) FROM run_rollup AS block WHERE block.level = 1 AND "          \
    "block.wpk_id = piece.wpk_id AND block.from_at >= piece.from_at) ELSE "           \
    "piece.from_at END, data FROM run_rollup_workflows AS workflow CROSS JOIN "       \
    "LATERAL (SELECT * FROM run_rollup WHERE level = $1::smallint AND "               \
    "run_rollup.wpk_id = workflow.wpk_id AND from_at >= $3::timestamptz AND from_at " \
    "< $4::timestamptz) AS piece WHERE $2::text IS NULL OR workflow.wpk_id = $2 "     \
    "ORDER BY piece.wpk_id, piece.from_at"
/* Parameter: no more than so many new runs are counted. */
#define RL_PG_ROLLUP_WAITING                                                      \
    "SELECT (SELECT count(*) FROM (SELECT 1 FROM workflow_runs AS run WHERE "     \
    "(run.logged_txid, run.id) > (coalesce((SELECT txid FROM run_rollup_state), " \
    "0), coalesce((SELECT id FROM run_rollup_state), "                            \
    "'00000000-0000-0000-0000-000000000000')) AND status <> 'running' LIMIT "     \
    "$1::bigint) AS later) + (SELECT coalesce(sum(runs), 0) FROM "                \
    "run_rollup_marks)::bigint"
#define RL_PG_ROLLUP_SIZE                                                             \
    "SELECT (SELECT count(*) FROM run_rollup WHERE level = 1), (SELECT "              \
    "coalesce(sum(runs), 0)::bigint FROM run_rollup WHERE level = 2), (SELECT "       \
    "coalesce(sum(octet_length(data) + coalesce(octet_length(gone), 0)), 0)::bigint " \
    "FROM run_rollup)"

/* All is marked, and walked over again, or marked once more; what is gone stays. */
#define RL_PG_ROLLUP_RESET                                                          \
    "BEGIN; INSERT INTO run_rollup_marks (wpk_id, from_at, to_at, runs) SELECT "    \
    "wpk_id, min(created_at), max(created_at), count(*) FROM workflow_runs "        \
    "WHERE EXISTS (SELECT 1 FROM run_rollup_state WHERE txid = " RL_PG_QUEUED_PLACE \
    ") AND status <> 'running' AND "                                                \
    "created_at BETWEEN '0001-01-02' AND '9999-12-30' GROUP BY wpk_id, "            \
    "floor(extract(epoch FROM created_at) / 225); "                                 \
    "UPDATE run_rollup_state SET version = version + 1, txid = CASE txid "          \
    "WHEN " RL_PG_QUEUED_PLACE " THEN txid ELSE 0 END, id = "                       \
    "'00000000-0000-0000-0000-000000000000'; INSERT INTO "                          \
    "run_rollup_marks (wpk_id, from_at, to_at, runs) SELECT wpk_id, from_at, "      \
    "until_at - interval '1 microsecond', runs FROM run_rollup WHERE level = 1; COMMIT"

/* Around a deletion by runlog: whether there is a roll-up, and that the trigger is to do
 * nothing; and what is read of the runs that are deleted. */
#define RL_PG_ROLLUP_RETURNING " RETURNING " RL_PG_ROLLUP_COLUMNS
#define RL_PG_ROLLUP_DELETING                                          \
    "SELECT pg_catalog.set_config('runlog.deleting', '1', true) FROM " \
    "run_rollup_state"

#endif
