/* The SQL of the outbox on PostgreSQL. Only SQL; values are always bound. All but vectors and
 * payloads is asked for as text. */
#ifndef RL_PG_OUTBOX_SQL_H
#define RL_PG_OUTBOX_SQL_H

/* Parameters: state, now, until, limit. */
#define RL_PG_BOX_CLAIM                                                               \
    "WITH due AS (SELECT wpk_id, id FROM run_embeddings "                             \
    "WHERE state = $1 AND state <> 'done' AND next_attempt_at <= $2::bigint "         \
    "ORDER BY next_attempt_at LIMIT $4::bigint FOR UPDATE SKIP LOCKED), claimed AS (" \
    "UPDATE run_embeddings AS box SET next_attempt_at = $3::bigint, "                 \
    "attempts = box.attempts + 1, upserted = box.upserted OR box.state = 'embedded' " \
    "FROM due WHERE box.wpk_id = due.wpk_id AND box.id = due.id RETURNING box.*) "    \
    "SELECT box.id::text, box.version::text, box.attempts::text, box.wpk_id, "        \
    "run.run_id, run.status, box.model, "                                             \
    "(extract(epoch FROM run.created_at) * 1000000)::bigint::text, "                  \
    "CASE WHEN $1 = 'pending' THEN run.outputs::text END, box.text_hash::text, "      \
    "CASE WHEN $1 = 'embedded' THEN box.vector END, box.dim::text "                   \
    "FROM claimed AS box LEFT JOIN workflow_runs AS run "                             \
    "ON run.wpk_id = box.wpk_id AND run.id = box.id"

/* What has become of a row. Parameters: id, wpk_id, version; then those that are named. */
#define RL_PG_BOX_THAT " WHERE id = $1::uuid AND wpk_id = $2 AND version = $3::bigint"
/* model, dim, text_hash, text_bytes, used_bytes, vector */
#define RL_PG_BOX_VECTOR                                                         \
    "UPDATE run_embeddings SET state = 'embedded', attempts = 0, "               \
    "last_error = NULL, next_attempt_at = 0, model = $4, dim = $5::int, "        \
    "text_hash = $6::bigint, text_bytes = $7::bigint, used_bytes = $8::bigint, " \
    "vector = $9::bytea, stamp = txid_current()" RL_PG_BOX_THAT
#define RL_PG_BOX_TEXT                                             \
    "UPDATE run_embeddings SET state = 'embedded', attempts = 0, " \
    "last_error = NULL, next_attempt_at = 0" RL_PG_BOX_THAT
#define RL_PG_BOX_UPSERTED \
    "UPDATE run_embeddings SET state = 'done', last_error = NULL" RL_PG_BOX_THAT
#define RL_PG_BOX_REMOVED "DELETE FROM run_embeddings" RL_PG_BOX_THAT
#define RL_PG_BOX_NONE "DELETE FROM run_embeddings" RL_PG_BOX_THAT " AND NOT upserted"
#define RL_PG_BOX_NONE_UPSERTED                                                        \
    "UPDATE run_embeddings SET state = 'deleted', attempts = 0, next_attempt_at = 0, " \
    "last_error = NULL, vector = NULL, stamp = NULL" RL_PG_BOX_THAT
/* error */
#define RL_PG_BOX_REFUSED \
    "UPDATE run_embeddings SET state = 'failed', last_error = $4" RL_PG_BOX_THAT
/* again_at, error */
#define RL_PG_BOX_LATER                                                     \
    "UPDATE run_embeddings SET next_attempt_at = $4::bigint, last_error = " \
    "$5" RL_PG_BOX_THAT

#define RL_PG_BOX_COUNTS                                                  \
    "SELECT state, count(*)::text, (array_agg(last_error "                \
    "ORDER BY next_attempt_at DESC) FILTER (WHERE state = 'failed'))[1] " \
    "FROM run_embeddings WHERE state <> 'done' GROUP BY state"

/* How many vectors are read at once. */
#define RL_PG_VECTORS_CHUNK 1000
/* Parameters: model, stamp, id, limit. What is not committed yet has a stamp at or above the
 * last column. */
#define RL_PG_VECTORS                                                                  \
    "SELECT id::text, wpk_id, vector, stamp::text, "                                   \
    "txid_snapshot_xmin(txid_current_snapshot())::text FROM run_embeddings "           \
    "WHERE model = $1 AND stamp IS NOT NULL AND (stamp, id) > ($2::bigint, $3::uuid) " \
    "ORDER BY stamp, id LIMIT $4::bigint"
/* Parameters: model, id, wpk_id. */
#define RL_PG_VECTOR                                                 \
    "SELECT id::text, wpk_id, vector, '0', '0' FROM run_embeddings " \
    "WHERE model = $1 AND id = $2::uuid AND wpk_id = $3 AND vector IS NOT NULL"

#endif
