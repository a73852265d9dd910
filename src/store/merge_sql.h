/* How both databases insert a run, and what they do when it is there already: the same SQL,
 * for a table that the statement calls `run`. Only SQL.
 *
 * The logs of a run may arrive in any order and more than once: from several processes, and
 * from a journal whose batch was cut. So a row keeps the revision of the log that decided
 * it. A finished status beats "running"; between two of a kind the greater revision is the
 * newer one. A newer log replaces what it gives and leaves what it does not give, but
 * error_type and error_text go with the status; an older one fills what is missing; the same
 * once more changes nothing. Rows from before migration 003 have no revision and are older.
 */
#ifndef RL_MERGE_SQL_H
#define RL_MERGE_SQL_H

/* The columns of rl_column, in that order. */
#define RL_SQL_COLUMNS                                                                  \
    "id, wpk_id, run_id, status, duration_ms, thread_id, error_type, error_text, "      \
    "started_at, created_at, updated_at, inputs, outputs, node_logs, metadata, owner, " \
    "revision"

#define RL_SQL_INSERT "INSERT INTO workflow_runs AS run (" RL_SQL_COLUMNS ") VALUES "

#define RL_SQL_NEWER                                                 \
    "((excluded.status <> 'running' AND run.status = 'running') OR " \
    "(excluded.revision > coalesce(run.revision, 0) AND "            \
    "(excluded.status <> 'running' OR run.status = 'running')))"

/* With the status: taken from the newer log, given or not. */
#define RL_SQL_GOES(column)                                                          \
    column " = CASE WHEN " RL_SQL_NEWER " THEN excluded." column " ELSE run." column \
           " END"

/* Taken from the newer log that gives it. */
#define RL_SQL_STAYS(column)                                              \
    column " = CASE WHEN " RL_SQL_NEWER " THEN coalesce(excluded." column \
           ", run." column ") ELSE coalesce(run." column ", excluded." column ") END"

#define RL_SQL_FILLS(column) \
    "(run." column " IS NULL AND excluded." column " IS NOT NULL)"

/* clang-format off */
/* `own`: whether the id is the record's own. Such a record meets another's row when the ids
 * differ: then no row changes, see own_run.h. A row without an owner is log_run's, which has
 * only the name: it is the same run, and becomes this record. */
#define RL_SQL_MERGE(own) \
    " ON CONFLICT (wpk_id, run_id) DO UPDATE SET " \
    "id = CASE WHEN " own " THEN excluded.id ELSE run.id END, " \
    RL_SQL_GOES("status") ", " RL_SQL_GOES("error_type") ", " RL_SQL_GOES("error_text") ", " \
    RL_SQL_GOES("updated_at") ", " RL_SQL_GOES("revision") ", " RL_SQL_STAYS("duration_ms") ", " \
    RL_SQL_STAYS("thread_id") ", " RL_SQL_STAYS("started_at") ", " RL_SQL_STAYS("inputs") ", " \
    RL_SQL_STAYS("outputs") ", " RL_SQL_STAYS("node_logs") ", " RL_SQL_STAYS("metadata") ", " \
    RL_SQL_STAYS("owner") " WHERE (NOT " own " OR run.id = excluded.id OR run.owner IS NULL)" \
    " AND (" RL_SQL_NEWER " OR " RL_SQL_FILLS("duration_ms") " OR " RL_SQL_FILLS("thread_id") \
    " OR " RL_SQL_FILLS("started_at") " OR " RL_SQL_FILLS("inputs") " OR " RL_SQL_FILLS("outputs") \
    " OR " RL_SQL_FILLS("node_logs") " OR " RL_SQL_FILLS("metadata") " OR " RL_SQL_FILLS("owner") ")"
/* clang-format on */

#endif
