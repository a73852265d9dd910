/* The SQL of the outbox on PostgreSQL. Only SQL; values are always bound. All but vectors and
 * payloads is asked for as text. */
#ifndef RL_PG_OUTBOX_SQL_H
#define RL_PG_OUTBOX_SQL_H

#include "store/postgres/postgres_sql.h"

/* Inserts a run with its row in the outbox. One more parameter than RL_PG_INSERT: whether the
 * row is made, or only worked on again where there is one. Gives a row if the run was changed. */
#define RL_PG_INSERT_QUEUED                                                            \
    "WITH kept AS (" RL_PG_INSERT " RETURNING id, wpk_id), noted AS ("                 \
    "INSERT INTO run_embeddings AS entry (id, wpk_id, state, next_attempt_at) "        \
    "SELECT kept.id, kept.wpk_id, 'pending', 0 FROM kept WHERE $19 OR EXISTS ("        \
    "SELECT 1 FROM run_embeddings AS there "                                           \
    "WHERE there.wpk_id = kept.wpk_id AND there.id = kept.id) "                        \
    "ON CONFLICT (wpk_id, id) DO UPDATE SET state = 'pending', "                       \
    "version = entry.version + 1, attempts = 0, last_error = NULL, next_attempt_at = " \
    "CASE WHEN entry.last_error IS NULL THEN entry.next_attempt_at ELSE 0 END)"        \
    " SELECT 1 FROM kept"
/* The name that it is prepared by. It changes with the statement. */
#define RL_PG_INSERT_QUEUED_NAME "runlog_insert_queued_19c"

/* Parameters: state, now, until, limit, and bytes of outputs after which no more rows are
 * taken. */
#define RL_PG_OUTBOX_CLAIM                                                             \
    "WITH due AS (SELECT wpk_id, id, next_attempt_at FROM run_embeddings "             \
    "WHERE state = $1 AND state <> 'done' AND next_attempt_at <= $2::bigint "          \
    "ORDER BY next_attempt_at LIMIT $4::bigint FOR UPDATE SKIP LOCKED), "              \
    "sized AS (SELECT due.wpk_id, due.id, "                                            \
    "sum(CASE WHEN $1 = 'pending' THEN octet_length(run.outputs::text) END) OVER ("    \
    "ORDER BY due.next_attempt_at, due.id "                                            \
    "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before "                     \
    "FROM due LEFT JOIN workflow_runs AS run "                                         \
    "ON run.wpk_id = due.wpk_id AND run.id = due.id), "                                \
    "claimed AS (UPDATE run_embeddings AS entry SET next_attempt_at = $3::bigint, "    \
    "attempts = entry.attempts + 1, last_error = NULL, "                               \
    "upserted = entry.upserted OR entry.state = 'embedded' FROM sized "                \
    "WHERE entry.wpk_id = sized.wpk_id AND entry.id = sized.id "                       \
    "AND coalesce(sized.before, 0) < $5::bigint RETURNING entry.*) "                   \
    "SELECT entry.id::text, entry.version::text, entry.attempts::text, entry.wpk_id, " \
    "run.run_id, run.status, entry.model, "                                            \
    "(extract(epoch FROM run.created_at) * 1000000)::bigint::text, "                   \
    "CASE WHEN $1 = 'pending' THEN run.outputs::text END, entry.text_hash::text, "     \
    "CASE WHEN $1 = 'embedded' THEN entry.vector END, "                                \
    "CASE WHEN entry.vector IS NOT NULL THEN entry.dim END::text "                     \
    "FROM claimed AS entry LEFT JOIN workflow_runs AS run "                            \
    "ON run.wpk_id = entry.wpk_id AND run.id = entry.id"

/* Which row. Parameters: id, wpk_id, version, lease. */
#define RL_PG_OUTBOX_IS                                       \
    "id = $1::uuid AND wpk_id = $2 AND version = $3::bigint " \
    "AND next_attempt_at = $4::bigint"
#define RL_PG_OUTBOX_THAT " WHERE " RL_PG_OUTBOX_IS
/* The same, unless somebody has locked it, who is about to change its version. */
#define RL_PG_OUTBOX_FREE                                             \
    " WHERE " RL_PG_OUTBOX_IS                                         \
    " AND id = (SELECT id FROM run_embeddings WHERE " RL_PG_OUTBOX_IS \
    " FOR UPDATE SKIP LOCKED)"

/* What has become of a row; `that` is one of those two. Parameters: those of it, then those
 * that are named. */
/* model, dim, text_hash, text_bytes, used_bytes, vector */
#define RL_PG_OUTBOX_VECTOR(that)                                                \
    "UPDATE run_embeddings SET state = 'embedded', attempts = 0, "               \
    "last_error = NULL, next_attempt_at = 0, model = $5, dim = $6::int, "        \
    "text_hash = $7::bigint, text_bytes = $8::bigint, used_bytes = $9::bigint, " \
    "vector = $10::bytea, stamp = txid_current()" that
#define RL_PG_OUTBOX_TEXT(that)                                    \
    "UPDATE run_embeddings SET state = 'embedded', attempts = 0, " \
    "last_error = NULL, next_attempt_at = 0" that
#define RL_PG_OUTBOX_UPSERTED(that)                            \
    "UPDATE run_embeddings SET state = 'done', attempts = 0, " \
    "last_error = NULL, next_attempt_at = 0" that
#define RL_PG_OUTBOX_REMOVED(that) "DELETE FROM run_embeddings" that
#define RL_PG_OUTBOX_NONE(that) "DELETE FROM run_embeddings" that " AND NOT upserted"
#define RL_PG_OUTBOX_NONE_UPSERTED(that)                                               \
    "UPDATE run_embeddings SET state = 'deleted', attempts = 0, next_attempt_at = 0, " \
    "last_error = NULL, model = NULL, dim = NULL, vector = NULL, text_hash = NULL, "   \
    "stamp = NULL" that
/* error */
#define RL_PG_OUTBOX_REFUSED(that) \
    "UPDATE run_embeddings SET state = 'failed', last_error = $5" that
/* again_at, error */
#define RL_PG_OUTBOX_LATER(that) \
    "UPDATE run_embeddings SET next_attempt_at = $5::bigint, last_error = $6" that
/* One that was logged again or deleted meanwhile, and waits for this. */
#define RL_PG_OUTBOX_RELEASE                                         \
    "UPDATE run_embeddings SET next_attempt_at = 0 "                 \
    "WHERE id = $1::uuid AND wpk_id = $2 AND version <> $3::bigint " \
    "AND next_attempt_at = $4::bigint"

/* Parameter: one more state. */
#define RL_PG_OUTBOX_COUNTS                                                    \
    "SELECT state, count(*)::text, CASE WHEN state = 'failed' THEN ("          \
    "SELECT last_error FROM run_embeddings WHERE state = 'failed' "            \
    "AND state <> 'done' ORDER BY next_attempt_at DESC LIMIT 1) END "          \
    "FROM run_embeddings WHERE state IN ('pending', 'failed', 'deleted', $1) " \
    "AND state <> 'done' GROUP BY state"

/* A block of the vectors. Parameters: model, dim, wpk_id and id of the row that was read last
 * (or the workflow), how many rows; with RL_PG_VECTORS_OF_RUN status or NULL, and since
 * (microseconds since 1970) or NULL. A row that does not fit counts too, with no vector, so
 * that each block is short. */
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
