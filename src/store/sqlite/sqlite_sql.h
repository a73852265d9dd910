/* The SQL of the SQLite store and of the journal. Only SQL; values are always bound. The
 * parameters of RL_SQLITE_INSERT are the columns of rl_column, in that order, from 1.
 */
#ifndef RL_SQLITE_SQL_H
#define RL_SQLITE_SQL_H

#include "store/merge_sql.h"
#include "store/parts_sql.h"

#define RL_SQLITE_BEGIN "BEGIN IMMEDIATE"
#define RL_SQLITE_COMMIT "COMMIT"
#define RL_SQLITE_ROLLBACK "ROLLBACK"

#define RL_SQLITE_WAL "PRAGMA journal_mode = WAL"
#define RL_SQLITE_READ_SCHEMA "SELECT 1 FROM sqlite_master LIMIT 1"
#define RL_SQLITE_LOCK_ALL "PRAGMA locking_mode = EXCLUSIVE; " RL_SQLITE_READ_SCHEMA
#define RL_SQLITE_SYNC_OFF "PRAGMA synchronous = OFF"
#define RL_SQLITE_SYNC_NORMAL "PRAGMA synchronous = NORMAL"
#define RL_SQLITE_SYNC_FULL "PRAGMA synchronous = FULL"

/* Parameter 18: rl_run.is_own. */
#define RL_SQLITE_INSERT                                                  \
    RL_SQL_INSERT                                                         \
    "(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, " \
    "?16, ?17)" RL_SQL_MERGE("?18")

#define RL_SQLITE_NAME_OF_ID "SELECT run_id FROM workflow_runs WHERE id = ?1"
#define RL_SQLITE_NAME_TAKEN \
    "SELECT 1 FROM workflow_runs WHERE wpk_id = ?1 AND run_id = ?2"

/* The row that a run's parts belong to: its id, whether it has ended, and whether it has
 * no node_logs. Parameters: wpk_id; then the id of a run with an id of its own, or the
 * run_id. */
#define RL_SQLITE_PARTS_ROW                                                 \
    "SELECT id, status <> 'running', node_logs IS NULL FROM workflow_runs " \
    "WHERE wpk_id = ?1 AND "
#define RL_SQLITE_PARTS_ROW_BY_ID RL_SQLITE_PARTS_ROW "id = ?2"
#define RL_SQLITE_PARTS_ROW_BY_NAME RL_SQLITE_PARTS_ROW "run_id = ?2"

/* Parameters: wpk_id, id, name, data, revision. */
#define RL_SQLITE_PARTS_PUT                                             \
    "INSERT INTO run_parts (wpk_id, id, name, data, revision) "         \
    "VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (wpk_id, id, name) "       \
    "DO UPDATE SET data = excluded.data, revision = excluded.revision " \
    "WHERE run_parts.name >= " RL_SQL_NODES " AND excluded.revision "   \
    "> run_parts.revision"

#define RL_SQLITE_PARTS_OF_NODES "WHERE wpk_id = ?1 AND id = ?2 AND name >= " RL_SQL_NODES

/* Parameters: wpk_id, id. */
#define RL_SQLITE_PARTS_JOIN                                                  \
    "UPDATE workflow_runs SET node_logs = (SELECT '[' || "                    \
    "ifnull(group_concat(data), '') || ']' FROM (SELECT data FROM "           \
    "run_parts " RL_SQLITE_PARTS_OF_NODES " ORDER BY name)) "                 \
    "WHERE wpk_id = ?1 AND id = ?2 AND (SELECT ifnull(sum(length(data)), 0) " \
    "FROM run_parts " RL_SQLITE_PARTS_OF_NODES ") <= " RL_SQL_NODES_MAX
#define RL_SQLITE_PARTS_END "DELETE FROM run_parts " RL_SQLITE_PARTS_OF_NODES

/* The next seq is greater than all before it, even after the journal was emptied:
 * `settled` is the greatest seq that was ever removed. */
#define RL_SQLITE_JOURNAL_COLUMNS RL_SQL_COLUMNS ", own, wide_numbers, parts, parts_use"
#define RL_SQLITE_REJECTED_COLUMNS \
    RL_SQLITE_JOURNAL_COLUMNS ", reason, sqlstate, rejected_at"
#define RL_SQLITE_NEXT_SEQ                                \
    "1 + max(ifnull((SELECT max(seq) FROM journal), 0), " \
    "(SELECT settled FROM journal_lease))"

/* The journal's parameters: those of RL_SQLITE_INSERT, wide_numbers, parts, parts_use.
 * journal_rejected has three more: reason, sqlstate and the time. */
#define RL_SQLITE_JOURNAL_VALUES                                              \
    "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, " \
    "?17, ?18, ?19, ?20, ?21"
#define RL_SQLITE_REJECTED_VALUES RL_SQLITE_JOURNAL_VALUES ", ?22, ?23, ?24"

#define RL_SQLITE_JOURNAL_APPEND                           \
    "INSERT INTO journal (seq, " RL_SQLITE_JOURNAL_COLUMNS \
    ") VALUES (" RL_SQLITE_NEXT_SEQ ", " RL_SQLITE_JOURNAL_VALUES ")"

#define RL_SQLITE_JOURNAL_READ                                \
    "SELECT " RL_SQLITE_JOURNAL_COLUMNS ", seq FROM journal " \
    "WHERE seq > ?1 ORDER BY seq LIMIT ?2"

#define RL_SQLITE_JOURNAL_BOUNDS              \
    "SELECT (SELECT min(seq) FROM journal), " \
    "(SELECT max(seq) FROM journal), "        \
    "(SELECT count(*) FROM journal_rejected)"

/* Parameters: seq, reason, sqlstate, now. */
#define RL_SQLITE_JOURNAL_COPY_REJECTED                              \
    "INSERT INTO journal_rejected (" RL_SQLITE_REJECTED_COLUMNS ") " \
    "SELECT " RL_SQLITE_JOURNAL_COLUMNS ", ?2, ?3, ?4 FROM journal WHERE seq = ?1"

/* A rejected run that was never in the journal. */
#define RL_SQLITE_JOURNAL_ADD_REJECTED                          \
    "INSERT INTO journal_rejected (" RL_SQLITE_REJECTED_COLUMNS \
    ") VALUES (" RL_SQLITE_REJECTED_VALUES ")"

#define RL_SQLITE_JOURNAL_DELETE "DELETE FROM journal WHERE seq BETWEEN ?1 AND ?2"

#define RL_SQLITE_LEASE_HOLDER "SELECT owner, until FROM journal_lease"
/* Parameters: owner, until. */
#define RL_SQLITE_LEASE_TAKE "UPDATE journal_lease SET owner = ?1, until = ?2"
/* Renews (or with until 0 ends) the lease, if `owner` still holds it. Parameters: owner,
 * until, the greatest seq removed. */
#define RL_SQLITE_LEASE_RENEW                                                        \
    "UPDATE journal_lease SET until = ?2, owner = CASE WHEN ?2 > 0 THEN owner END, " \
    "settled = max(settled, ?3) WHERE owner = ?1"

#define RL_SQLITE_HAS_MIGRATIONS \
    "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'runlog_migrations'"
#define RL_SQLITE_CREATE_MIGRATIONS                                            \
    "CREATE TABLE IF NOT EXISTS runlog_migrations ("                           \
    "number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, " \
    "applied_at TEXT NOT NULL)"
#define RL_SQLITE_MIGRATIONS \
    "SELECT number, checksum FROM runlog_migrations ORDER BY number"
#define RL_SQLITE_ADD_MIGRATION                                           \
    "INSERT INTO runlog_migrations (number, name, checksum, applied_at) " \
    "VALUES (?1, ?2, ?3, ?4)"

#endif
