/* The SQL of the index of words on PostgreSQL. Only SQL; values are always bound. */
#ifndef RL_PG_WORDS_SQL_H
#define RL_PG_WORDS_SQL_H

#include "store/parts_sql.h"
#include "store/postgres/postgres_sql.h"

/* Locks the place up to which runs are indexed; no row if another process has. In a
 * database that was restored on another server, it may lie in that one's future. The
 * greatest number, RL_PG_QUEUED_PLACE: runs to be indexed are in run_words_queue. */
#define RL_PG_WORDS_PLACE                                                       \
    "SELECT CASE WHEN txid <= pg_catalog.txid_snapshot_xmax("                   \
    "pg_catalog.txid_current_snapshot()) OR txid = " RL_PG_QUEUED_PLACE         \
    " THEN txid ELSE 0 END::text, id::text FROM run_words_position FOR UPDATE " \
    "SKIP LOCKED"

/* The row may have been deleted with all others. */
#define RL_PG_WORDS_PLACE_AGAIN \
    "INSERT INTO run_words_position DEFAULT VALUES ON CONFLICT (one) DO NOTHING"

/* An open run is indexed again when it is twice as old, and not within 5 s. */
#define RL_PG_WORDS_AGAIN                                                \
    "(old.indexed_at + greatest(interval '5 seconds', old.indexed_at - " \
    "old.created_at))"
#define RL_PG_WORDS_IS_LATER \
    "(run.status = 'running' AND old.id IS NOT NULL AND " RL_PG_WORDS_AGAIN " > now())"

/* The first megabyte of a run's parts, as an array, in which the last value may be cut. A
 * value that is no text is the definition of tools. */
#define RL_PG_WORDS_PARTS                                                        \
    "(SELECT '[' || string_agg(left(data, 1000000 - before::int), ',' ORDER BY " \
    "name) || ']' FROM (SELECT name, data, sum(octet_length(data)) OVER (ORDER " \
    "BY name) - octet_length(data) AS before FROM run_parts AS part WHERE "      \
    "part.wpk_id = run.wpk_id AND part.id = run.id AND (name >= " RL_SQL_NODES   \
    " OR left(data, 1) = '\"')) AS sized WHERE before < 1000000)"

/* A picked run: its place, key, and, unless it is left for later, its texts; whether it is
 * from a full batch, after which there may be more. */
#define RL_PG_WORDS_READ(place)                                              \
    "SELECT picked." place "::text, run.id::text, run.wpk_id, later::text, " \
    "run.error_type, run.error_text, run.error_traceback, "                  \
    "CASE WHEN NOT later THEN run.inputs::text END, "                        \
    "CASE WHEN NOT later THEN run.outputs::text END, "                       \
    "CASE WHEN NOT later THEN run.node_logs::text END, "                     \
    "CASE WHEN NOT later THEN " RL_PG_WORDS_PARTS " END, "                   \
    "(asked >= $2::int OR longest >= $1::bigint)::text "                     \
    "FROM (SELECT *, max(before) OVER () AS longest FROM picked) AS picked " \
    "JOIN workflow_runs AS run ON run.wpk_id = picked.wpk_id AND "           \
    "run.id = picked.id WHERE before < $1::bigint "
/* The lock lets no other transaction delete the run before this one has committed its
 * words. */
#define RL_PG_WORDS_READ_LOCKED     \
    RL_PG_WORDS_READ("logged_txid") \
    "ORDER BY picked.logged_txid, picked.id FOR KEY SHARE OF run"
#define RL_PG_WORDS_SIZED(place)                                          \
    "sum(coalesce(pg_column_size(run.inputs), 0) + "                      \
    "coalesce(pg_column_size(run.outputs), 0) + "                         \
    "coalesce(pg_column_size(run.node_logs), 0) + "                       \
    "coalesce((SELECT least(sum(octet_length(part.data)), 1000000) FROM " \
    "run_parts AS part WHERE part.wpk_id = run.wpk_id AND part.id = "     \
    "run.id), 0)) OVER (ORDER BY " place " "                              \
    "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"

/* The next runs. Parameters: bytes after which no more are read, how many, and the place.
 * Transactions before the oldest one that is still open have committed, or never will. */
#define RL_PG_WORDS_NEXT                                                                \
    "WITH run AS (SELECT * FROM workflow_runs WHERE (logged_txid, id) > ($3::bigint, "  \
    "$4::uuid) AND logged_txid < pg_catalog.txid_snapshot_xmin("                        \
    "pg_catalog.txid_current_snapshot()) ORDER BY logged_txid, id LIMIT $2::int), "     \
    "picked AS (SELECT run.wpk_id, run.id, run.logged_txid, "                           \
    "count(*) OVER () AS asked, coalesce(" RL_PG_WORDS_SIZED(                           \
        "run.logged_txid, run.id") ", 0) AS before, " RL_PG_WORDS_IS_LATER " AS later " \
                                   "FROM run LEFT JOIN run_words AS old ON old.wpk_id " \
                                   "= run.wpk_id AND old.id = "                         \
                                   "run.id) " RL_PG_WORDS_READ_LOCKED

/* The same of the queue, with the first two parameters; instead of a place it gives the
 * changes, separated by commas. Several servers have no lock for rows of many shards. Words
 * of a run that is deleted while they are written may stay: no search finds them, as each
 * looks for the run, too. */
#define RL_PG_WORDS_NEXT_QUEUED                                                          \
    "WITH queued AS MATERIALIZED (SELECT wpk_id, change, id, queued_at FROM "            \
    "run_words_queue ORDER BY queued_at LIMIT $2::int), next AS MATERIALIZED (SELECT "   \
    "wpk_id, id, min(queued_at) AS queued_at, string_agg(change::text, ',') AS changes " \
    "FROM queued GROUP BY wpk_id, id), "                                                 \
    "picked AS MATERIALIZED (SELECT next.wpk_id, next.id, next.changes, "                \
    "(SELECT count(*) FROM queued) AS asked, coalesce(" RL_PG_WORDS_SIZED(               \
        "next.queued_at, next.id") ", 0) AS before, " RL_PG_WORDS_IS_LATER               \
                                   " AS later FROM workflow_runs AS run "                \
                                   "JOIN next ON run.wpk_id = next.wpk_id AND run.id = " \
                                   "next.id LEFT JOIN run_words "                        \
                                   "AS old ON old.wpk_id = run.wpk_id AND old.id = "     \
                                   "run.id) " RL_PG_WORDS_READ("changes")
/* Parameters: arrays of workflows and changes. */
#define RL_PG_WORDS_UNQUEUE                                                     \
    "DELETE FROM run_words_queue WHERE wpk_id = ANY ($1::text[]) AND change = " \
    "ANY ($2::uuid[])"
/* Changes of runs that are gone. */
#define RL_PG_WORDS_UNQUEUE_GONE                                             \
    "DELETE FROM run_words_queue AS change WHERE NOT EXISTS (SELECT 1 FROM " \
    "workflow_runs AS run WHERE run.wpk_id = change.wpk_id AND run.id = change.id)"

/* The open runs that are due. Parameters: the first two. */
#define RL_PG_WORDS_OLDER                                                              \
    "WITH picked AS (SELECT run.wpk_id, run.id, run.logged_txid, "                     \
    "count(*) OVER () AS asked, coalesce(" RL_PG_WORDS_SIZED(                          \
        "run.logged_txid, run.id") ", 0) AS before, false AS later "                   \
                                   "FROM (SELECT * FROM run_words WHERE due <= now() " \
                                   "LIMIT $2::int) AS old "                            \
                                   "JOIN workflow_runs AS run ON run.wpk_id = "        \
                                   "old.wpk_id AND run.id = "                          \
                                   "old.id) "
#define RL_PG_WORDS_DUE RL_PG_WORDS_OLDER RL_PG_WORDS_READ_LOCKED
#define RL_PG_WORDS_DUE_QUEUED RL_PG_WORDS_OLDER RL_PG_WORDS_READ("logged_txid")

/* Parameters: arrays of workflows, ids and tsvectors, whose words are in lower case as far
 * as they are ASCII. */
#define RL_PG_WORDS_GIVEN "unnest($1::text[], $2::uuid[]"
#define RL_PG_WORDS_PUT                                                                 \
    "INSERT INTO run_words (wpk_id, id, created_at, indexed_at, words) "                \
    "SELECT given.wpk_id, given.id, run.created_at, now(), "                            \
    "lower(given.words)::tsvector FROM " RL_PG_WORDS_GIVEN ", $3::text[]) AS "          \
    "given (wpk_id, id, words) JOIN workflow_runs AS run ON run.wpk_id = given.wpk_id " \
    "AND run.id = given.id ON CONFLICT (wpk_id, id) DO UPDATE SET created_at = "        \
    "excluded.created_at, indexed_at = excluded.indexed_at, due = NULL, words = "       \
    "excluded.words"
#define RL_PG_WORDS_LATER                                                             \
    "UPDATE run_words AS old SET due = " RL_PG_WORDS_AGAIN " FROM " RL_PG_WORDS_GIVEN \
    ") AS given (wpk_id, id) WHERE old.wpk_id = "                                     \
    "given.wpk_id AND old.id = given.id AND old.due IS NULL"
#define RL_PG_WORDS_MOVE "UPDATE run_words_position SET txid = $1::bigint, id = $2::uuid"

/* Parameters: the tsquery, wpk_id, status, since (microseconds since 1970), limit. */
#define RL_PG_WORDS_FIND                                                    \
    "SELECT run.id::text FROM run_words AS word JOIN workflow_runs AS run " \
    "ON run.wpk_id = word.wpk_id AND run.id = word.id "                     \
    "WHERE word.words @@ lower($1)::tsquery "                               \
    "AND ($2::text IS NULL OR word.wpk_id = $2) "                           \
    "AND ($3::text IS NULL OR run.status = $3) "                            \
    "AND ($4::bigint IS NULL OR word.created_at >= 'epoch'::timestamptz + " \
    "$4::bigint * interval '1 microsecond') "                               \
    "ORDER BY word.created_at DESC, word.id DESC LIMIT $5::bigint"

/* In the order in which a process that indexes locks them: it would be a deadlock else. */
#define RL_PG_WORDS_RESET "TRUNCATE run_words_position, run_words"
/* All runs are queued; those that are logged meanwhile twice. */
#define RL_PG_WORDS_RESET_QUEUED                                                   \
    "BEGIN; TRUNCATE run_words; INSERT INTO run_words_queue (wpk_id, change, id, " \
    "queued_at) SELECT wpk_id, gen_random_uuid(), id, now() FROM workflow_runs; COMMIT"

/* How many runs are behind the place. Parameter: no more than so many are counted. */
#define RL_PG_WORDS_BEHIND                                                          \
    "(SELECT count(*) FROM (SELECT 1 FROM workflow_runs AS run WHERE "              \
    "(run.logged_txid, run.id) > (coalesce((SELECT txid FROM run_words_position), " \
    "0), coalesce((SELECT id FROM run_words_position), "                            \
    "'00000000-0000-0000-0000-000000000000')) LIMIT $1::bigint) AS later) + "       \
    "(SELECT count(*) FROM (SELECT 1 FROM run_words_queue LIMIT $1::bigint) AS queued)"
#define RL_PG_WORDS_WAITING "SELECT (" RL_PG_WORDS_BEHIND ")::text"

/* With open runs whose turn comes when they are older. */
#define RL_PG_WORDS_MISSING       \
    "SELECT (" RL_PG_WORDS_BEHIND \
    " + (SELECT count(*) FROM run_words WHERE due IS NOT NULL))::text"

#endif
