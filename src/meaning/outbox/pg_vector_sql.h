/* The SQL of pgvector. Only SQL; values are always bound. "%s" stands for the quoted
 * schema of the extension, which need not be on the search path. "%u" stands for a
 * dimension, as the name of a type can't have a parameter. */
#ifndef RL_PG_VECTOR_SQL_H
#define RL_PG_VECTOR_SQL_H

#include "store/postgres/pg_schema_sql.h"

/* The extension's schema, and whether the column exists; no row without the extension. */
#define RL_PG_VECTOR_FIND                                                              \
    "SELECT pg_catalog.quote_ident(space.nspname), " RL_PG_VECTOR_HAS_COLUMN "::text " \
    "FROM pg_catalog.pg_extension AS extension JOIN pg_catalog.pg_namespace AS space " \
    "ON space.oid = extension.extnamespace WHERE extension.extname = 'vector'"
#define RL_PG_VECTOR_HAS_COLUMN                            \
    "EXISTS (SELECT 1 FROM pg_catalog.pg_attribute AS a "  \
    "JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid " \
    "WHERE c.relname = 'run_embeddings' AND "              \
    "c.relnamespace = " RL_PG_SCHEMA                       \
    "AND a.attname = 'embedding' AND NOT a.attisdropped)"

/* For the transaction of the migrations: makes the extension's schema visible, and lets
 * nobody who writes runs wait long behind them. Parameter: the quoted schema. */
#define RL_PG_VECTOR_SETTINGS                                                \
    "SELECT pg_catalog.set_config('search_path', "                           \
    "pg_catalog.current_setting('search_path') || ', ' || $1::text, true), " \
    "pg_catalog.set_config('lock_timeout', '1000', true)"

#define RL_PG_VECTOR_HAS_MIGRATIONS                     \
    "SELECT 1 FROM pg_catalog.pg_class "                \
    "WHERE relname = 'runlog_pgvector_migrations' AND " \
    "relnamespace = " RL_PG_SCHEMA
#define RL_PG_VECTOR_MAKE_MIGRATIONS                                           \
    "CREATE TABLE IF NOT EXISTS runlog_pgvector_migrations ("                  \
    "number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, " \
    "applied_at TIMESTAMPTZ NOT NULL DEFAULT NOW())"
#define RL_PG_VECTOR_MIGRATIONS \
    "SELECT number, checksum FROM runlog_pgvector_migrations ORDER BY number"
#define RL_PG_VECTOR_APPLIED                                           \
    "INSERT INTO runlog_pgvector_migrations (number, name, checksum) " \
    "VALUES ($1::int, $2, $3)"
/* After somebody has dropped the extension, and the column with it. */
#define RL_PG_VECTOR_FORGET \
    "DELETE FROM runlog_pgvector_migrations WHERE NOT " RL_PG_VECTOR_HAS_COLUMN

/* A search reads one snapshot, in which each vector is copied or not. */
#define RL_PG_VECTOR_BEGIN "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

#define RL_PG_UNCOPIED "vector IS NOT NULL AND embedding_stamp IS DISTINCT FROM stamp"
#define RL_PG_UNCOPIED_CHUNK 1000
/* Vectors without a copy. Parameters: model, dim, wpk_id or NULL, the last id of the
 * chunk before, limit. */
#define RL_PG_VECTOR_UNCOPIED                                                   \
    "SELECT id::text, wpk_id, vector FROM run_embeddings WHERE " RL_PG_UNCOPIED \
    " AND model = $1 AND dim = $2::int AND ($3::text IS NULL OR wpk_id = $3) "  \
    "AND id > $4::uuid ORDER BY run_embeddings.id LIMIT $5::bigint"

/* The nearest. Parameters: model, wpk_id or NULL, limit, the vector (binary); with
 * RL_PG_VECTOR_RUNS also status or NULL, and since (microseconds since 1970) or NULL.
 * Equal vectors are ordered by id. */
#define RL_PG_VECTOR_NEAREST \
    "SELECT entry.id::text, entry.wpk_id, entry.vector FROM run_embeddings AS entry"
#define RL_PG_VECTOR_RUNS                                                            \
    " JOIN workflow_runs AS run ON run.wpk_id = entry.wpk_id AND run.id = entry.id " \
    "AND ($5::text IS NULL OR run.status = $5) "                                     \
    "AND ($6::bigint IS NULL OR run.created_at >= "                                  \
    "'epoch'::timestamptz + $6::bigint * interval '1 microsecond')"
#define RL_PG_VECTOR_ORDER                                                         \
    " WHERE entry.model = $1 AND entry.dim = %u AND entry.embedding_stamp = "      \
    "entry.stamp "                                                                 \
    "AND ($2::text IS NULL OR entry.wpk_id = $2) "                                 \
    "ORDER BY entry.embedding::%s.vector(%u) OPERATOR(%s.<=>) $4::%s.vector(%u), " \
    "entry.id LIMIT $3::bigint"

/* The rows to copy; pgvector takes 16,000 numbers at most. Parameters: the last id of the
 * chunk before (else the scan would pass the dead index entries of that chunk again),
 * limit. */
#define RL_PG_VECTOR_TO_COPY                                            \
    "SELECT id::text, wpk_id, stamp::text, vector FROM run_embeddings " \
    "WHERE " RL_PG_UNCOPIED " AND dim <= 16000 AND id > $1::uuid "      \
    "ORDER BY run_embeddings.id LIMIT $2::bigint FOR UPDATE SKIP LOCKED"
/* Stores copies: RL_PG_VECTOR_COPY, a RL_PG_VECTOR_ROW for each, RL_PG_VECTOR_COPIED. The
 * parameters of a row are id, wpk_id, stamp and the vector (binary); "%d" are their
 * numbers. */
#define RL_PG_VECTOR_COPY                                              \
    "UPDATE run_embeddings AS entry SET embedding = given.embedding, " \
    "embedding_stamp = given.stamp FROM (VALUES "
#define RL_PG_VECTOR_ROW "($%d::uuid, $%d::text, $%d::bigint, $%d::%s.vector)"
#define RL_PG_VECTOR_COPIED                                                        \
    ") AS given (id, wpk_id, stamp, embedding) WHERE entry.wpk_id = given.wpk_id " \
    "AND entry.id = given.id AND entry.stamp = given.stamp"

#endif
