/* The upsert that both databases use for a run. Only SQL, for a table that the statement
 * calls `run`.
 *
 * Logs of one run may arrive in any order and more than once: from several processes, or
 * from a journal whose batch was interrupted. So each row stores the revision of the log
 * that decided its status. The rule:
 * - A finished status is newer than "running". Of two finished or two running logs, the
 *   one with the greater revision is newer. A row without a revision (from before
 *   migration 003) is older than any log.
 * - A newer log replaces the columns that it gives, and always error_type, error_text and
 *   error_traceback, which belong to the status.
 * - An older log fills columns that are NULL.
 * - A repeated log changes nothing.
 */
#ifndef RL_MERGE_SQL_H
#define RL_MERGE_SQL_H

/* The columns of rl_column, in that order. */
#define RL_SQL_COLUMNS                                                                  \
    "id, wpk_id, run_id, status, duration_ms, thread_id, error_type, error_text, "      \
    "error_traceback, started_at, created_at, updated_at, inputs, outputs, node_logs, " \
    "metadata, owner, "                                                                 \
    "revision"

#define RL_SQL_INSERT "INSERT INTO workflow_runs AS run (" RL_SQL_COLUMNS ") VALUES "

/* As a comparison of rows, as an insert of PostgreSQL's sets each of its many copies up
 * anew. */
#define RL_SQL_IS_NEWER                                    \
    "(excluded.status <> 'running', excluded.revision) > " \
    "(run.status <> 'running', coalesce(run.revision, 0))"

/* The value of the newer log, even where that is NULL. */
#define RL_SQL_NEWEST(column)                                                           \
    column " = CASE WHEN " RL_SQL_IS_NEWER " THEN excluded." column " ELSE run." column \
           " END"

/* The value of the newer log, or of the older one where the newer has NULL. */
#define RL_SQL_NEWEST_GIVEN(column)                                          \
    column " = CASE WHEN " RL_SQL_IS_NEWER " THEN coalesce(excluded." column \
           ", run." column ") ELSE coalesce(run." column ", excluded." column ") END"

#define RL_SQL_FILLS_NULL(column) \
    "(run." column " IS NULL AND excluded." column " IS NOT NULL)"

/* clang-format off */
/* `own`: SQL for rl_run.is_own (see own_run.h). If the ids differ, the row belongs to
 * another run, and no row changes. A row without an owner was written by log_run, which
 * identifies a run by its name alone: the row is of the same run, and takes this id. */
#define RL_SQL_MERGE(own) \
    " ON CONFLICT (wpk_id, run_id) DO UPDATE SET " \
    "id = CASE WHEN " own " THEN excluded.id ELSE run.id END, " \
    RL_SQL_NEWEST("status") ", " \
    RL_SQL_NEWEST("error_type") ", " \
    RL_SQL_NEWEST("error_text") ", " \
    RL_SQL_NEWEST("error_traceback") ", " \
    RL_SQL_NEWEST("updated_at") ", " \
    RL_SQL_NEWEST("revision") ", " \
    RL_SQL_NEWEST_GIVEN("duration_ms") ", " \
    RL_SQL_NEWEST_GIVEN("thread_id") ", " \
    RL_SQL_NEWEST_GIVEN("started_at") ", " \
    RL_SQL_NEWEST_GIVEN("inputs") ", " \
    RL_SQL_NEWEST_GIVEN("outputs") ", " \
    RL_SQL_NEWEST_GIVEN("node_logs") ", " \
    RL_SQL_NEWEST_GIVEN("metadata") ", " \
    RL_SQL_NEWEST_GIVEN("owner") \
    " WHERE (NOT " own " OR run.id = excluded.id OR run.owner IS NULL)" \
    " AND (" RL_SQL_IS_NEWER \
    " OR " RL_SQL_FILLS_NULL("duration_ms") \
    " OR " RL_SQL_FILLS_NULL("thread_id") \
    " OR " RL_SQL_FILLS_NULL("started_at") \
    " OR " RL_SQL_FILLS_NULL("inputs") \
    " OR " RL_SQL_FILLS_NULL("outputs") \
    " OR " RL_SQL_FILLS_NULL("node_logs") \
    " OR " RL_SQL_FILLS_NULL("metadata") \
    " OR " RL_SQL_FILLS_NULL("owner") \
    ")"
/* clang-format on */

/* Selects a row if the run of one name should trade names with that of another: see
 * own_run.h. Then the statement that renames a run. Parameters: wpk_id and the names. */
#define RL_SQL_IS_AHEAD(wpk_id, plain, name)                          \
    "SELECT 1 FROM workflow_runs AS held, workflow_runs AS own "      \
    "WHERE held.wpk_id = " wpk_id " AND held.run_id = " plain         \
    " AND own.wpk_id = " wpk_id " AND own.run_id = " name             \
    " AND ((held.status = 'running' AND own.status <> 'running') OR " \
    "((held.status = 'running') = (own.status = 'running') AND "      \
    "(held.created_at, held.id) < (own.created_at, own.id)))"
#define RL_SQL_RENAME(wpk_id, from, to)                               \
    "UPDATE workflow_runs SET run_id = " to " WHERE wpk_id = " wpk_id \
    " AND run_id = " from

#endif
