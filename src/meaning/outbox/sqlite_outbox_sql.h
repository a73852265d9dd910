/* The SQL of the outbox on SQLite. Only SQL; values are always bound. */
#ifndef RL_SQLITE_OUTBOX_SQL_H
#define RL_SQLITE_OUTBOX_SQL_H

#include "meaning/outbox/outbox.h"
#include "store/parts_sql.h"

/* The row of a run that was logged again. It can be claimed at once, or when the process
 * that has claimed it records its result. */
#define RL_SQLITE_OUTBOX_REQUEUE                                                 \
    "state = 'pending', version = version + 1, attempts = 0, next_attempt_at = " \
    "CASE WHEN last_error IS NULL THEN next_attempt_at ELSE 0 END, last_error = NULL"

/* A run that was just inserted. This table has no index, and its page grows at its end,
 * so a write costs half of what a row of run_embeddings would. Parameter: id. */
#define RL_SQLITE_OUTBOX_ADD_NEW "INSERT INTO run_embeddings_new (id) VALUES (?1)"

/* A run that was just updated. Parameters: id, or wpk_id and run_id. */
#define RL_SQLITE_OUTBOX_QUEUE                                         \
    "INSERT INTO run_embeddings (id, wpk_id, state, next_attempt_at) " \
    "SELECT id, wpk_id, 'pending', 0 FROM workflow_runs WHERE "
#define RL_SQLITE_OUTBOX_OR_REQUEUE \
    " ON CONFLICT (id) DO UPDATE SET " RL_SQLITE_OUTBOX_REQUEUE
#define RL_SQLITE_OUTBOX_BY_ID "id = ?1"
#define RL_SQLITE_OUTBOX_BY_NAME "wpk_id = ?1 AND run_id = ?2"
#define RL_SQLITE_OUTBOX_QUEUE_ID \
    RL_SQLITE_OUTBOX_QUEUE RL_SQLITE_OUTBOX_BY_ID RL_SQLITE_OUTBOX_OR_REQUEUE
#define RL_SQLITE_OUTBOX_QUEUE_NAME \
    RL_SQLITE_OUTBOX_QUEUE RL_SQLITE_OUTBOX_BY_NAME RL_SQLITE_OUTBOX_OR_REQUEUE
#define RL_SQLITE_OUTBOX_REQUEUE_ID                                \
    "UPDATE run_embeddings SET " RL_SQLITE_OUTBOX_REQUEUE " WHERE" \
    " " RL_SQLITE_OUTBOX_BY_ID
#define RL_SQLITE_OUTBOX_REQUEUE_NAME                     \
    "UPDATE run_embeddings SET " RL_SQLITE_OUTBOX_REQUEUE \
    " WHERE id = (SELECT id FROM workflow_runs WHERE " RL_SQLITE_OUTBOX_BY_NAME ")"

/* A step of rl_outbox_walk: its last run, and the rows of its runs. Parameters: the run
 * before; then that last run, the model, and its length or 0. */
#define RL_SQLITE_OUTBOX_WALK                                                         \
    "SELECT max(rowid) FROM (SELECT rowid FROM workflow_runs WHERE rowid > ?1 ORDER " \
    "BY rowid LIMIT " RL_OUTBOX_WALK_RUNS ")"
#define RL_SQLITE_OUTBOX_WALK_QUEUE                                                  \
    RL_SQLITE_OUTBOX_QUEUE                                                           \
    "rowid > ?1 AND rowid <= ?2 AND status <> 'running'" RL_SQLITE_OUTBOX_OR_REQUEUE \
    ", dim = NULL WHERE state = 'failed' OR (state "                                 \
    "IN ('embedded', 'done') AND (model IS NOT ?3 OR (?4 > 0 AND dim IS NOT ?4)))"

/* Whether there is anything to claim; a read, which takes no write lock. Parameters:
 * state, now. */
#define RL_SQLITE_OUTBOX_ANY                                          \
    "SELECT 1 FROM run_embeddings "                                   \
    "WHERE state = ?1 AND state <> 'done' AND next_attempt_at <= ?2 " \
    "UNION ALL SELECT 1 FROM run_embeddings_new WHERE ?1 = 'pending' LIMIT 1"

/* The rows that wait for a time beyond the one given. Parameter: that. */
#define RL_SQLITE_OUTBOX_BEYOND                                                  \
    "FROM run_embeddings WHERE state IN ('pending', 'embedded', 'deleted') AND " \
    "state <> 'done' AND next_attempt_at > ?1"
#define RL_SQLITE_OUTBOX_ANY_BEYOND "SELECT 1 " RL_SQLITE_OUTBOX_BEYOND " LIMIT 1"
#define RL_SQLITE_OUTBOX_RECALL                                                   \
    "UPDATE run_embeddings SET next_attempt_at = 0 WHERE rowid IN (SELECT rowid " \
    "" RL_SQLITE_OUTBOX_BEYOND ")"

/* Moves the oldest entries of run_embeddings_new to run_embeddings. A run that was logged
 * again since may have a row already. Parameter: limit. */
#define RL_SQLITE_OUTBOX_OLDEST_NEW       \
    "WHERE seq <= (SELECT max(seq) FROM " \
    "(SELECT seq FROM run_embeddings_new ORDER BY seq LIMIT ?1))"
#define RL_SQLITE_OUTBOX_QUEUE_NEW                                               \
    "INSERT OR IGNORE INTO run_embeddings (id, wpk_id, state, next_attempt_at) " \
    "SELECT run.id, run.wpk_id, 'pending', 0 FROM run_embeddings_new AS new "    \
    "CROSS JOIN workflow_runs AS run ON run.id = new.id " RL_SQLITE_OUTBOX_OLDEST_NEW
#define RL_SQLITE_OUTBOX_REMOVE_NEW \
    "DELETE FROM run_embeddings_new " RL_SQLITE_OUTBOX_OLDEST_NEW

/* The rows that can be claimed. Ids of another length are not runlog's. Parameters:
 * state, now, limit. */
#define RL_SQLITE_OUTBOX_CLAIMABLE                                                      \
    "SELECT entry.id, entry.version, entry.attempts + 1, entry.wpk_id, run.run_id, "    \
    "run.status, "                                                                      \
    "entry.model, run.created_at, CASE WHEN ?1 = 'pending' THEN run.outputs END, "      \
    "entry.text_hash, CASE WHEN ?1 = 'embedded' THEN entry.vector END, "                \
    "CASE WHEN entry.vector IS NOT NULL THEN entry.dim END, "                           \
    "CASE WHEN ?1 = 'pending' THEN (SELECT '{' || group_concat('\"' || name || '\":' "  \
    "|| data) || '}' "                                                                  \
    "FROM run_parts AS part WHERE part.wpk_id = run.wpk_id AND part.id = run.id "       \
    "AND name < " RL_SQL_NODES " AND length(data) <= " RL_OUTBOX_VALUE                  \
    " AND instr(run.outputs, name) > 0) END "                                           \
    "FROM run_embeddings AS entry LEFT JOIN workflow_runs AS run ON run.id = entry.id " \
    "WHERE entry.state = ?1 AND entry.state <> 'done' AND entry.next_attempt_at <= ?2 " \
    "AND length(entry.id) = 36 ORDER BY entry.next_attempt_at LIMIT ?3"
/* Claims one of them. Parameters: id, until. */
#define RL_SQLITE_OUTBOX_CLAIM                                                  \
    "UPDATE run_embeddings SET next_attempt_at = ?2, attempts = attempts + 1, " \
    "last_error = NULL, upserted = upserted OR state = 'embedded' WHERE id = ?1"

/* Record the result of a row. Parameters: id, version, lease; then those named at each.
 * */
#define RL_SQLITE_OUTBOX_ROW " WHERE id = ?1 AND version = ?2 AND next_attempt_at = ?3"
/* now, model, dim, vector, text_hash, text_bytes, used_bytes */
#define RL_SQLITE_OUTBOX_NEW_VECTOR                                                \
    "UPDATE run_embeddings SET state = 'embedded', attempts = 0, "                 \
    "last_error = NULL, next_attempt_at = ?4, model = ?5, dim = ?6, vector = ?7, " \
    "text_hash = ?8, text_bytes = ?9, used_bytes = ?10, stamp = "                  \
    "?4" RL_SQLITE_OUTBOX_ROW
/* now */
#define RL_SQLITE_OUTBOX_SAME_TEXT                                 \
    "UPDATE run_embeddings SET state = 'embedded', attempts = 0, " \
    "last_error = NULL, next_attempt_at = ?4" RL_SQLITE_OUTBOX_ROW
#define RL_SQLITE_OUTBOX_UPSERTED                              \
    "UPDATE run_embeddings SET state = 'done', attempts = 0, " \
    "last_error = NULL, next_attempt_at = 0" RL_SQLITE_OUTBOX_ROW
#define RL_SQLITE_OUTBOX_REMOVED "DELETE FROM run_embeddings" RL_SQLITE_OUTBOX_ROW
#define RL_SQLITE_OUTBOX_NO_TEXT \
    "DELETE FROM run_embeddings" RL_SQLITE_OUTBOX_ROW " AND NOT upserted"
#define RL_SQLITE_OUTBOX_NO_TEXT_UPSERTED                                              \
    "UPDATE run_embeddings SET state = 'deleted', attempts = 0, next_attempt_at = 0, " \
    "last_error = NULL, model = NULL, dim = NULL, vector = NULL, text_hash = NULL, "   \
    "stamp = NULL" RL_SQLITE_OUTBOX_ROW
/* error */
#define RL_SQLITE_OUTBOX_REJECTED \
    "UPDATE run_embeddings SET state = 'failed', last_error = ?4" RL_SQLITE_OUTBOX_ROW
/* again_at, error */
#define RL_SQLITE_OUTBOX_POSTPONED                                  \
    "UPDATE run_embeddings SET next_attempt_at = ?4, last_error = " \
    "?5" RL_SQLITE_OUTBOX_ROW
/* The row of a run that was logged again or deleted since the claim: it can be claimed
 * again. */
#define RL_SQLITE_OUTBOX_RELEASE                     \
    "UPDATE run_embeddings SET next_attempt_at = 0 " \
    "WHERE id = ?1 AND version <> ?2 AND next_attempt_at = ?3"

/* Parameter: one more state to count. */
#define RL_SQLITE_OUTBOX_COUNTS                            \
    "SELECT state, count(*) FROM run_embeddings "          \
    "WHERE state IN ('pending', 'failed', 'deleted', ?1) " \
    "AND state <> 'done' GROUP BY state "                  \
    "UNION ALL SELECT 'pending', count(*) FROM run_embeddings_new"
#define RL_SQLITE_OUTBOX_LAST_ERROR                                 \
    "SELECT last_error FROM run_embeddings WHERE state = 'failed' " \
    "AND state <> 'done' ORDER BY next_attempt_at DESC LIMIT 1"

/* A block of the vectors, in the order of the file. Parameters: model, dim, id and rowid
 * of the last row of the block before, how many rows; status or NULL and since or NULL
 * with RL_SQLITE_VECTORS_OF_RUN; wpk_id with RL_SQLITE_VECTORS_IN. A row that does not
 * match is one of the block too, without a vector, so that no block takes long. VACUUM
 * may renumber the rows between two blocks, so the statement finds the last row by its
 * id, and by its rowid only when it was deleted. */
#define RL_SQLITE_VECTORS_BLOCK                            \
    " THEN entry.vector END FROM run_embeddings AS entry " \
    "WHERE entry.rowid > ifnull((SELECT last.rowid "       \
    "FROM run_embeddings AS last WHERE last.id = ?3), ?4)"
#define RL_SQLITE_VECTORS \
    "SELECT entry.rowid, entry.id, CASE WHEN entry.model = ?1 AND entry.dim = ?2"
#define RL_SQLITE_VECTORS_OF_RUN                                   \
    " AND EXISTS (SELECT 1 FROM workflow_runs AS run "             \
    "WHERE run.id = entry.id AND (?6 IS NULL OR run.status = ?6) " \
    "AND (?7 IS NULL OR run.created_at >= ?7))"
#define RL_SQLITE_VECTORS_IN " AND entry.wpk_id = ?8 AND entry.vector IS NOT NULL"
#define RL_SQLITE_VECTORS_ORDER " ORDER BY entry.rowid LIMIT ?5"
/* Parameters: id, model. */
#define RL_SQLITE_VECTOR                            \
    "SELECT rowid, id, vector FROM run_embeddings " \
    "WHERE id = ?1 AND model = ?2 AND vector IS NOT NULL"

#endif
