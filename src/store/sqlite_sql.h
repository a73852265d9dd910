/* The SQL of the SQLite store. Only SQL; values are always bound. The parameters of
 * RL_SQLITE_INSERT are the columns of rl_column, in that order, from 1.
 */
#ifndef RL_SQLITE_SQL_H
#define RL_SQLITE_SQL_H

#define RL_SQLITE_BEGIN "BEGIN IMMEDIATE"
#define RL_SQLITE_COMMIT "COMMIT"
#define RL_SQLITE_ROLLBACK "ROLLBACK"

#define RL_SQLITE_WAL "PRAGMA journal_mode = WAL"
#define RL_SQLITE_SYNC_NORMAL "PRAGMA synchronous = NORMAL"
#define RL_SQLITE_SYNC_FULL "PRAGMA synchronous = FULL"

#define RL_SQLITE_INSERT                                                              \
    "INSERT INTO workflow_runs (id, wpk_id, run_id, status, duration_ms, thread_id, " \
    "error_type, error_text, started_at, created_at, updated_at, inputs, outputs, "   \
    "node_logs, metadata, owner) "                                                    \
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) " \
    "ON CONFLICT (wpk_id, run_id) DO UPDATE SET "                                     \
    "status = excluded.status, "                                                      \
    "duration_ms = coalesce(excluded.duration_ms, duration_ms), "                     \
    "thread_id = coalesce(excluded.thread_id, thread_id), "                           \
    "error_type = excluded.error_type, error_text = excluded.error_text, "            \
    "started_at = coalesce(excluded.started_at, started_at), "                        \
    "updated_at = excluded.updated_at, "                                              \
    "inputs = coalesce(excluded.inputs, inputs), "                                    \
    "outputs = coalesce(excluded.outputs, outputs), "                                 \
    "node_logs = coalesce(excluded.node_logs, node_logs), "                           \
    "metadata = coalesce(excluded.metadata, metadata), "                              \
    "owner = coalesce(excluded.owner, owner) "                                        \
    "WHERE excluded.status <> 'running' OR workflow_runs.status = 'running'"

#define RL_SQLITE_HAS_MIGRATIONS \
    "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'runlog_migrations'"
#define RL_SQLITE_MAKE_MIGRATIONS                                              \
    "CREATE TABLE IF NOT EXISTS runlog_migrations ("                           \
    "number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, " \
    "applied_at TEXT NOT NULL)"
#define RL_SQLITE_MIGRATIONS \
    "SELECT number, checksum FROM runlog_migrations ORDER BY number"
#define RL_SQLITE_APPLIED                                                 \
    "INSERT INTO runlog_migrations (number, name, checksum, applied_at) " \
    "VALUES (?1, ?2, ?3, ?4)"

#endif
