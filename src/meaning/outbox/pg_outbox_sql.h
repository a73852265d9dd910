/* The SQL of the outbox on PostgreSQL. Only SQL; values are always bound. Columns come as
 * text, but for vectors. */
#ifndef RL_PG_OUTBOX_SQL_H
#define RL_PG_OUTBOX_SQL_H

#include "meaning/outbox/outbox.h"
#include "store/postgres/postgres_sql.h"

/* `statement`, RL_PG_INSERT or RL_PG_MERGE, and the run's row of the outbox. One more
 * parameter, $20: whether to insert a missing row; an existing row becomes pending again
 * anyway. Returns a row if the run has changed. */
#define RL_PG_QUEUED(statement)                                                          \
    "WITH written AS (" statement " RETURNING id, wpk_id), queued AS ("                  \
    "INSERT INTO run_embeddings AS entry (id, wpk_id, state, next_attempt_at) "          \
    "SELECT written.id, written.wpk_id, 'pending', 0 FROM written WHERE $20 OR EXISTS (" \
    "SELECT 1 FROM run_embeddings AS old "                                               \
    "WHERE old.wpk_id = $2 AND old.id = written.id) "                                    \
    "ON CONFLICT (wpk_id, id) DO UPDATE SET state = 'pending', "                         \
    "version = entry.version + 1, attempts = 0, last_error = NULL, next_attempt_at = "   \
    "CASE WHEN entry.last_error IS NULL THEN entry.next_attempt_at ELSE 0 END)"          \
    " SELECT 1 FROM written"
/* The names of the prepared statements; they must change with the text. */
#define RL_PG_INSERT_QUEUED_NAME "runlog_insert_queued_20c"
#define RL_PG_MERGE_QUEUED_NAME "runlog_merge_queued_20c"

/* A step of rl_outbox_walk, in the order of migration 010's index: its last run, and how
 * many it has queued. It locks no row that stays as it is, and the others in the order in
 * which batches of runs do (pg_batch.h). Parameters: the last run of the step before, the
 * model, its length or 0. */
#define RL_PG_OUTBOX_WALK                                                                \
    "WITH run AS (SELECT wpk_id, id, run_id, status, logged_txid FROM workflow_runs "    \
    "WHERE (logged_txid, id) > ($1::bigint, $2::uuid) ORDER BY logged_txid, id "         \
    "LIMIT " RL_OUTBOX_WALK_RUNS                                                         \
    "), queued AS (INSERT INTO run_embeddings AS entry (id, "                            \
    "wpk_id, state, next_attempt_at) SELECT run.id, run.wpk_id, 'pending', 0 FROM run "  \
    "LEFT JOIN run_embeddings AS old ON old.wpk_id = run.wpk_id AND old.id = run.id "    \
    "WHERE run.status <> 'running' AND (old.id IS NULL OR old.state = 'failed' OR "      \
    "(old.state IN ('embedded', 'done') AND (old.model IS DISTINCT FROM $3 OR "          \
    "($4::int > 0 AND old.dim IS DISTINCT FROM $4::int)))) "                             \
    "ORDER BY run.wpk_id COLLATE \"C\", run.run_id COLLATE \"C\" "                       \
    "ON CONFLICT (wpk_id, id) "                                                          \
    "DO UPDATE SET state = 'pending', version = entry.version + 1, attempts = 0, "       \
    "last_error = NULL, dim = NULL, next_attempt_at = CASE WHEN entry.last_error IS "    \
    "NULL THEN entry.next_attempt_at ELSE 0 END RETURNING 1) SELECT logged_txid::text, " \
    "id::text, (SELECT count(*) FROM queued)::text FROM run ORDER BY logged_txid DESC, " \
    "id DESC LIMIT 1"

/* Claims rows. Parameters: state, now, until, limit, and the bytes of outputs after which
 * a claim takes no more rows. `lock` is RL_PG_OUTBOX_SKIP, or "" where the rows lie on
 * several servers, which know that for single shards only: then of those who find the same
 * row the others wait for the first, and see its lease. A row whose id is NULL is not
 * claimed; without any row, none was due. */
#define RL_PG_OUTBOX_SKIP " FOR UPDATE SKIP LOCKED"
#define RL_PG_OUTBOX_CLAIM(lock)                                                        \
    "WITH claimable AS (SELECT wpk_id, id, next_attempt_at FROM run_embeddings "        \
    "WHERE state = $1 AND state <> 'done' AND next_attempt_at <= $2::bigint "           \
    "ORDER BY next_attempt_at LIMIT $4::bigint" lock "), "                              \
    "sized AS (SELECT claimable.wpk_id, claimable.id, "                                 \
    "sum(CASE WHEN $1 = 'pending' THEN octet_length(run.outputs::text) END) OVER ("     \
    "ORDER BY claimable.next_attempt_at, claimable.id "                                 \
    "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before "                      \
    "FROM claimable LEFT JOIN workflow_runs AS run "                                    \
    "ON run.wpk_id = claimable.wpk_id AND run.id = claimable.id), "                     \
    "claimed AS (UPDATE run_embeddings AS entry SET next_attempt_at = $3::bigint, "     \
    "attempts = entry.attempts + 1, last_error = NULL, "                                \
    "upserted = entry.upserted OR entry.state = 'embedded' FROM sized "                 \
    "WHERE entry.wpk_id = sized.wpk_id AND entry.id = sized.id "                        \
    "AND coalesce(sized.before, 0) < $5::bigint AND entry.state = $1 "                  \
    "AND entry.next_attempt_at <= $2::bigint RETURNING entry.*), "                      \
    "texts AS MATERIALIZED (SELECT run.wpk_id, run.id, run.run_id, run.status, "        \
    "run.created_at, "                                                                  \
    "CASE WHEN $1 = 'pending' THEN run.outputs::text END AS outputs, "                  \
    "CASE WHEN $1 = 'pending' THEN (SELECT '{' || string_agg('\"' || name || '\":' || " \
    "data, ',') || '}' "                                                                \
    "FROM run_parts AS part WHERE part.wpk_id = run.wpk_id AND part.id = run.id "       \
    "AND name < " RL_SQL_NODES " AND octet_length(data) <= " RL_OUTBOX_VALUE            \
    " AND strpos(run.outputs::text, name) > 0) END AS parts "                           \
    "FROM claimed JOIN workflow_runs AS run "                                           \
    "ON run.wpk_id = claimed.wpk_id AND run.id = claimed.id) "                          \
    "SELECT entry.id::text, entry.version::text, entry.attempts::text, entry.wpk_id, "  \
    "run.run_id, run.status, entry.model, "                                             \
    "CASE WHEN run.created_at BETWEEN '0001-01-02' AND '9999-12-30' THEN "              \
    "(extract(epoch FROM run.created_at) * 1000000)::bigint END::text, "                \
    "run.outputs, entry.text_hash::text, "                                              \
    "CASE WHEN $1 = 'embedded' THEN entry.vector END, "                                 \
    "CASE WHEN entry.vector IS NOT NULL THEN entry.dim END::text, run.parts "           \
    "FROM sized LEFT JOIN claimed AS entry ON entry.wpk_id = sized.wpk_id "             \
    "AND entry.id = sized.id LEFT JOIN texts AS run "                                   \
    "ON run.wpk_id = entry.wpk_id AND run.id = entry.id"

/* Parameter: the time beyond which no row is to wait. */
#define RL_PG_OUTBOX_RECALL                                                     \
    "UPDATE run_embeddings SET next_attempt_at = 0 WHERE state IN ('pending', " \
    "'embedded', 'deleted') AND state <> 'done' AND next_attempt_at > $1::bigint"

/* A claimed row. Parameters: id, wpk_id, version, lease. */
#define RL_PG_OUTBOX_IS                                       \
    "id = $1::uuid AND wpk_id = $2 AND version = $3::bigint " \
    "AND next_attempt_at = $4::bigint"
#define RL_PG_OUTBOX_ROW " WHERE " RL_PG_OUTBOX_IS
/* The same row, unless another transaction has locked it, which is about to change its
 * version. */
#define RL_PG_OUTBOX_UNLOCKED_ROW                                     \
    " WHERE " RL_PG_OUTBOX_IS                                         \
    " AND id = (SELECT id FROM run_embeddings WHERE " RL_PG_OUTBOX_IS \
    " FOR UPDATE SKIP LOCKED)"

/* Record the result of a row; `where` is one of these two. Parameters: theirs, then those
 * named at each. */
/* model, dim, text_hash, text_bytes, used_bytes, vector */
#define RL_PG_OUTBOX_NEW_VECTOR(where)                                           \
    "UPDATE run_embeddings SET state = 'embedded', attempts = 0, "               \
    "last_error = NULL, next_attempt_at = 0, model = $5, dim = $6::int, "        \
    "text_hash = $7::bigint, text_bytes = $8::bigint, used_bytes = $9::bigint, " \
    "vector = $10::bytea, stamp = greatest(stamp + 1, "                          \
    "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint)" where
#define RL_PG_OUTBOX_SAME_TEXT(where)                              \
    "UPDATE run_embeddings SET state = 'embedded', attempts = 0, " \
    "last_error = NULL, next_attempt_at = 0" where
#define RL_PG_OUTBOX_UPSERTED(where)                           \
    "UPDATE run_embeddings SET state = 'done', attempts = 0, " \
    "last_error = NULL, next_attempt_at = 0" where
#define RL_PG_OUTBOX_REMOVED(where) "DELETE FROM run_embeddings" where
#define RL_PG_OUTBOX_NO_TEXT(where) "DELETE FROM run_embeddings" where " AND NOT upserted"
#define RL_PG_OUTBOX_NO_TEXT_UPSERTED(where)                                           \
    "UPDATE run_embeddings SET state = 'deleted', attempts = 0, next_attempt_at = 0, " \
    "last_error = NULL, model = NULL, dim = NULL, vector = NULL, text_hash = NULL, "   \
    "stamp = NULL" where
/* error */
#define RL_PG_OUTBOX_REJECTED(where) \
    "UPDATE run_embeddings SET state = 'failed', last_error = $5" where
/* again_at, error */
#define RL_PG_OUTBOX_POSTPONED(where) \
    "UPDATE run_embeddings SET next_attempt_at = $5::bigint, last_error = $6" where
/* The row of a run that was logged again or deleted since the claim: it can be claimed
 * again. */
#define RL_PG_OUTBOX_RELEASE                                         \
    "UPDATE run_embeddings SET next_attempt_at = 0 "                 \
    "WHERE id = $1::uuid AND wpk_id = $2 AND version <> $3::bigint " \
    "AND next_attempt_at = $4::bigint"

/* Parameter: one more state to count. */
#define RL_PG_OUTBOX_COUNTS                                                    \
    "SELECT state, count(*)::text, CASE WHEN state = 'failed' THEN ("          \
    "SELECT last_error FROM run_embeddings WHERE state = 'failed' "            \
    "AND state <> 'done' ORDER BY next_attempt_at DESC LIMIT 1) END "          \
    "FROM run_embeddings WHERE state IN ('pending', 'failed', 'deleted', $1) " \
    "AND state <> 'done' GROUP BY state"

/* A block of the vectors. Parameters: model, dim, wpk_id and id of the last row of the
 * block before, how many rows; with RL_PG_VECTORS_OF_RUN status or NULL, and since
 * (microseconds since 1970) or NULL. With RL_PG_VECTORS_IN wpk_id is the workflow. A row
 * that does not match is one of the block too, without a vector, so that no block takes
 * long. */
#define RL_PG_VECTORS                                                                  \
    "SELECT entry.id::text, entry.wpk_id, CASE WHEN entry.model = $1 AND entry.dim = " \
    "$2::int"
#define RL_PG_VECTORS_OF_RUN                                                \
    " AND EXISTS (SELECT 1 FROM workflow_runs AS run "                      \
    "WHERE run.wpk_id = entry.wpk_id AND run.id = entry.id "                \
    "AND ($6::text IS NULL OR run.status = $6) AND ($7::bigint IS NULL OR " \
    "run.created_at >= 'epoch'::timestamptz + $7::bigint * interval '1 microsecond'))"
#define RL_PG_VECTORS_BLOCK " THEN entry.vector END FROM run_embeddings AS entry WHERE "
#define RL_PG_VECTORS_ALL                        \
    "(entry.wpk_id, entry.id) > ($3, $4::uuid) " \
    "ORDER BY entry.wpk_id, entry.id LIMIT $5::bigint"
#define RL_PG_VECTORS_IN                         \
    "entry.wpk_id = $3 AND entry.id > $4::uuid " \
    "ORDER BY entry.id LIMIT $5::bigint"
/* Parameters: model, id, wpk_id. */
#define RL_PG_VECTOR                                       \
    "SELECT id::text, wpk_id, vector FROM run_embeddings " \
    "WHERE model = $1 AND id = $2::uuid AND wpk_id = $3 AND vector IS NOT NULL"

#endif
