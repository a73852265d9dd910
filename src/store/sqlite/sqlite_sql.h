/* The SQL of the SQLite store and of the journal. Only SQL; values are always bound. The
 * parameters of RL_SQLITE_INSERT are the columns of rl_column, in that order, from 1.
 */
#ifndef RL_SQLITE_SQL_H
#define RL_SQLITE_SQL_H

#include "store/merge_sql.h"
#include "store/parts_sql.h"
#include "store/query_sql.h"

#define RL_SQLITE_BEGIN "BEGIN IMMEDIATE"
#define RL_SQLITE_BEGIN_READ "BEGIN"
#define RL_SQLITE_COMMIT "COMMIT"
#define RL_SQLITE_ROLLBACK "ROLLBACK"
/* Around what may fail without the rest of the transaction. */
#define RL_SQLITE_SAVE "SAVEPOINT names"
#define RL_SQLITE_RELEASE "RELEASE names"
#define RL_SQLITE_RESTORE "ROLLBACK TO names; " RL_SQLITE_RELEASE

#define RL_SQLITE_WAL "PRAGMA journal_mode = WAL"
#define RL_SQLITE_READ_SCHEMA "SELECT 1 FROM sqlite_master LIMIT 1"
#define RL_SQLITE_LOCK_ALL "PRAGMA locking_mode = EXCLUSIVE; " RL_SQLITE_READ_SCHEMA
/* Lets a file that has no tables yet give free pages back, which costs a commit the page
 * that says who owns its new pages. Changes nothing of another file. */
#define RL_SQLITE_CAN_SHRINK "PRAGMA auto_vacuum = INCREMENTAL"
#define RL_SQLITE_REWRITE RL_SQLITE_CAN_SHRINK "; VACUUM"
/* Whether it was let, the free pages, and the bytes of a page. */
#define RL_SQLITE_SPACE                                                           \
    "SELECT auto_vacuum = 2, freelist_count, page_size FROM pragma_auto_vacuum, " \
    "pragma_freelist_count, pragma_page_size"
/* Gives a free page back with each of its rows. */
#define RL_SQLITE_SHRINK "PRAGMA incremental_vacuum"
#define RL_SQLITE_SYNC_OFF "PRAGMA synchronous = OFF"
#define RL_SQLITE_SYNC_NORMAL "PRAGMA synchronous = NORMAL"
#define RL_SQLITE_SYNC_FULL "PRAGMA synchronous = FULL"

/* Parameter 19: rl_run.is_own. */
#define RL_SQLITE_INSERT                                                  \
    RL_SQL_INSERT                                                         \
    "(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, " \
    "?16, ?17, ?18)" RL_SQL_MERGE("?19")

/* Between the columns of one row and the statement that gives its id; and after that. */
#define RL_SQLITE_ONE_BEFORE RL_SQL_FROM RL_SQL_WHERE "id = (SELECT id FROM ("
#define RL_SQLITE_ONE_AFTER "))"
#define RL_SQLITE_NAME_OF_ID "SELECT run_id FROM workflow_runs WHERE id = ?1"
#define RL_SQLITE_NAME_TAKEN \
    "SELECT 1 FROM workflow_runs WHERE wpk_id = ?1 AND run_id = ?2"

#define RL_SQLITE_IS_AHEAD RL_SQL_IS_AHEAD("?1", "?2", "?3")
#define RL_SQLITE_RENAME RL_SQL_RENAME("?1", "?2", "?3")

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

/* Heartbeats. Parameters: owner, the time in microseconds since 1970. */
#define RL_SQLITE_BEAT_FIRST                                      \
    "INSERT INTO runlog_owners (owner, seen_at) VALUES (?1, ?2) " \
    "ON CONFLICT (owner) DO "
#define RL_SQLITE_BEAT_NOW RL_SQLITE_BEAT_FIRST "UPDATE SET seen_at = excluded.seen_at"
#define RL_SQLITE_BEAT_UNLESS RL_SQLITE_BEAT_FIRST "NOTHING"
#define RL_SQLITE_BEAT_END "DELETE FROM runlog_owners WHERE owner = ?1"
#define RL_SQLITE_BEAT_TIDY                                                       \
    "DELETE FROM runlog_owners WHERE seen_at < ?2 - 3600000000 AND ?1 = '' AND "  \
    "owner NOT IN (SELECT owner FROM workflow_runs WHERE status = 'running' AND " \
    "status <> 'completed' AND owner IS NOT NULL)"
/* Parameters: the time, the time before which an owner is silent. A time to come: the
 * clock was set back. */
#define RL_SQLITE_SILENT                                               \
    "SELECT owner FROM runlog_owners WHERE seen_at < ?2 OR seen_at > " \
    "?1 + (?1 - ?2) ORDER BY owner"

/* The next seq is greater than all before it, even after the journal was emptied:
 * `settled` is the greatest seq that was ever removed. */
#define RL_SQLITE_JOURNAL_COLUMNS RL_SQL_COLUMNS ", own, wide_numbers, parts, parts_use"
#define RL_SQLITE_REJECTED_COLUMNS \
    RL_SQLITE_JOURNAL_COLUMNS ", reason, sqlstate, rejected_at, target"
#define RL_SQLITE_NEXT_SEQ                                \
    "1 + max(ifnull((SELECT max(seq) FROM journal), 0), " \
    "(SELECT settled FROM journal_lease))"

/* The journal's parameters: those of RL_SQLITE_INSERT, wide_numbers, parts, parts_use.
 * journal_rejected has four more: reason, sqlstate, the time, and the target. */
#define RL_SQLITE_JOURNAL_VALUES                                              \
    "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, " \
    "?17, ?18, ?19, ?20, ?21, ?22"
#define RL_SQLITE_REJECTED_VALUES RL_SQLITE_JOURNAL_VALUES ", ?23, ?24, ?25, ?26"

#define RL_SQLITE_JOURNAL_APPEND                                        \
    "INSERT INTO journal (seq, " RL_SQLITE_JOURNAL_COLUMNS ", target) " \
    "VALUES (" RL_SQLITE_NEXT_SEQ ", " RL_SQLITE_JOURNAL_VALUES ", ?23)"

/* The targets of logs that are for one database (?1 place, ?2 database, ?3 cluster; ""
 * if unknown): those for the same place that are not known to be for another database,
 * and those for the same database elsewhere that is not known to be a copy. */
#define RL_SQLITE_IS_OWN                                                         \
    "((place = ?1 AND (database IN ('', ?2) OR ?2 = '')) OR (database = ?2 AND " \
    "?2 <> '' AND (cluster IN ('', ?3) OR ?3 = '')))"
#define RL_SQLITE_WITH_OWN                                                    \
    "WITH RECURSIVE own(target) AS (VALUES (0) UNION ALL SELECT target FROM " \
    "journal_targets WHERE " RL_SQLITE_IS_OWN ")"

/* The next logs for that database, in their order: of each target the first, and after
 * each log the next one of its target. Further parameters: the seq after which to begin,
 * how many. */
#define RL_SQLITE_JOURNAL_LIST                                                      \
    RL_SQLITE_WITH_OWN                                                              \
    ", next(target, seq) AS (SELECT target, (SELECT min(seq) FROM journal WHERE "   \
    "journal.target = own.target AND seq > ?4) FROM own UNION ALL SELECT target, "  \
    "(SELECT min(journal.seq) FROM journal WHERE journal.target = next.target AND " \
    "journal.seq > next.seq) FROM next WHERE seq IS NOT NULL ORDER BY 2) "          \
    "SELECT seq FROM next WHERE seq IS NOT NULL LIMIT ?5"
#define RL_SQLITE_JOURNAL_READ \
    "SELECT " RL_SQLITE_JOURNAL_COLUMNS ", seq FROM journal WHERE seq = ?1"

/* The least and the greatest seq for that database; whether there are logs for others;
 * the rejected logs; when the log with the least seq was logged; the greatest seq that was
 * ever given; whether seqs are missing between the oldest logs, more than RL_HELD_MAX: those
 * that are held are the oldest. */
#define RL_SQLITE_JOURNAL_BOUNDS                                                         \
    RL_SQLITE_WITH_OWN                                                                   \
    " SELECT (SELECT min((SELECT min(seq) FROM journal WHERE journal.target = "          \
    "own.target)) FROM own), (SELECT max((SELECT max(seq) FROM journal WHERE "           \
    "journal.target = own.target)) FROM own), EXISTS (SELECT 1 FROM journal_targets "    \
    "AS other WHERE NOT " RL_SQLITE_IS_OWN " AND EXISTS (SELECT 1 FROM journal WHERE "   \
    "journal.target = other.target)), (SELECT count(*) FROM journal_rejected), "         \
    "(SELECT revision FROM journal WHERE seq = (SELECT min((SELECT min(seq) FROM "       \
    "journal WHERE journal.target = own.target)) FROM own)), " RL_SQLITE_NEXT_SEQ        \
    " - 1, (SELECT max(seq) - min(seq) >= count(*) FROM (SELECT seq FROM journal ORDER " \
    "BY seq LIMIT 300))"

/* For each target how many logs there are, and whether they are for that database; with
 * ?4 those without a target are not. */
#define RL_SQLITE_JOURNAL_COUNT                                                      \
    "SELECT (SELECT count(*) FROM journal WHERE journal.target = known.target) AS "  \
    "runs, is_own, place FROM (SELECT 0 AS target, NOT ?4 AS is_own, '' AS place "   \
    "UNION ALL SELECT target, " RL_SQLITE_IS_OWN ", place FROM journal_targets) AS " \
    "known WHERE runs > 0 ORDER BY runs DESC"

/* Parameters: place, database, cluster. */
#define RL_SQLITE_TARGET_FIND                                                            \
    "SELECT target FROM journal_targets WHERE place = ?1 AND database = ?2 AND cluster " \
    "= ?3"
#define RL_SQLITE_TARGET_ADD                                                            \
    "INSERT OR IGNORE INTO journal_targets (place, database, cluster) VALUES (?1, ?2, " \
    "?3)"

/* Parameters: seq, reason, sqlstate, now. */
#define RL_SQLITE_JOURNAL_COPY_REJECTED                                      \
    "INSERT INTO journal_rejected (" RL_SQLITE_REJECTED_COLUMNS ") "         \
    "SELECT " RL_SQLITE_JOURNAL_COLUMNS ", ?2, ?3, ?4, target FROM journal " \
    "WHERE seq = ?1"

/* A rejected run that was never in the journal. */
#define RL_SQLITE_JOURNAL_ADD_REJECTED                          \
    "INSERT INTO journal_rejected (" RL_SQLITE_REJECTED_COLUMNS \
    ") VALUES (" RL_SQLITE_REJECTED_VALUES ")"

#define RL_SQLITE_JOURNAL_DELETE "DELETE FROM journal WHERE seq = ?1"

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
/* A row if building an index of the runs takes a while. */
#define RL_SQLITE_IS_LARGE "SELECT 1 FROM workflow_runs WHERE rowid > 20000 LIMIT 1"
#define RL_SQLITE_ADD_MIGRATION                                           \
    "INSERT INTO runlog_migrations (number, name, checksum, applied_at) " \
    "VALUES (?1, ?2, ?3, ?4)"

#endif
