/* The SQL of the index of words on SQLite. Only SQL; values are always bound. */
#ifndef RL_SQLITE_WORDS_SQL_H
#define RL_SQLITE_WORDS_SQL_H

#include "store/parts_sql.h"
#include "store/query_sql.h"
#include "store/sqlite/sqlite_sql.h"

#define RL_SQLITE_WORDS_STATE "SELECT position, tokenizer FROM run_words"

/* A table without contents can't delete a run before SQLite 3.43: there it has the texts,
 * too. No search asks for a rank, so the lengths of texts are not stored where they need
 * not be. */
#define RL_SQLITE_WORDS_MAKE(options)                               \
    "CREATE VIRTUAL TABLE run_words_text USING fts5(body, " options \
    "); " RL_SQLITE_WORDS_MERGE
#define RL_SQLITE_WORDS_LEAN "content='', contentless_delete=1, "
#define RL_SQLITE_WORDS_WHOLE "columnsize=0, "
/* What is beyond ASCII in a word (plain.h) is part of it, whatever Unicode calls it. */
#define RL_SQLITE_WORDS_UNICODE "tokenize=\"unicode61 categories 'L* M* N* P* S* Co Cn'\""
#define RL_SQLITE_WORDS_TRIGRAM "tokenize='trigram'"
/* Segments that are merged at once: more than FTS5's 4 and 16, as batches are small, and
 * each level of merges rewrites the whole index. */
#define RL_SQLITE_WORDS_SET "INSERT INTO run_words_text (run_words_text, rank) VALUES "
#define RL_SQLITE_WORDS_MERGE \
    RL_SQLITE_WORDS_SET "('automerge', 32); " RL_SQLITE_WORDS_SET "('crisismerge', 64)"
/* To rebuild the index, its table is renamed, and emptied in steps. */
#define RL_SQLITE_WORDS_TABLE "run_words_text"
#define RL_SQLITE_WORDS_OLD "run_words_old"
#define RL_SQLITE_WORDS_HAS_TABLE "SELECT 1 FROM sqlite_master WHERE name = ?1"
#define RL_SQLITE_WORDS_RENAME \
    "ALTER TABLE " RL_SQLITE_WORDS_TABLE " RENAME TO " RL_SQLITE_WORDS_OLD
#define RL_SQLITE_WORDS_FORGET "DELETE FROM run_words"
/* FTS5 can't open a table, not even to drop it, without its first rows. */
#define RL_SQLITE_WORDS_EMPTY_OLD(part)                                                  \
    "DELETE FROM " RL_SQLITE_WORDS_OLD part                                              \
    " WHERE id > 10 AND id <= (SELECT max(id) FROM (SELECT id FROM " RL_SQLITE_WORDS_OLD \
        part " WHERE id > 10 ORDER BY id LIMIT 20))"
#define RL_SQLITE_WORDS_DROP_OLD "DROP TABLE " RL_SQLITE_WORDS_OLD
#define RL_SQLITE_WORDS_ADD_STATE \
    "INSERT INTO run_words (one, position, tokenizer) VALUES (1, 0, ?1)"

#define RL_SQLITE_WORDS_HAS_FTS5 "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"

/* The changed runs that are due (before ?1, in seconds), and whether they are there. */
#define RL_SQLITE_WORDS_DUE                                                     \
    "SELECT changed.run, changed.version, run.rowid IS NOT NULL FROM "          \
    "run_words_changed AS changed LEFT JOIN workflow_runs AS run ON run.rowid " \
    "= changed.run WHERE due <= ?1 LIMIT ?2"

/* What is indexed of a run. */
#define RL_SQLITE_WORDS_RUN                                               \
    "SELECT rowid, wpk_id, id, error_type, error_text, error_traceback, " \
    "inputs, outputs, node_logs FROM workflow_runs "
#define RL_SQLITE_WORDS_RUN_AT RL_SQLITE_WORDS_RUN "WHERE rowid = ?1 LIMIT ?2"
#define RL_SQLITE_WORDS_RUNS_AFTER \
    RL_SQLITE_WORDS_RUN "WHERE rowid > ?1 ORDER BY rowid LIMIT ?2"
/* A value that is no text is the definition of tools. */
#define RL_SQLITE_WORDS_PARTS                                  \
    "SELECT name >= " RL_SQL_NODES ", data FROM run_parts "    \
    "WHERE wpk_id = ?1 AND id = ?2 AND (name >= " RL_SQL_NODES \
    " OR substr(data, 1, 1) = '\"') ORDER BY name"

#define RL_SQLITE_WORDS_PUT \
    "INSERT OR REPLACE INTO run_words_text (rowid, body) VALUES (?1, ?2)"
#define RL_SQLITE_WORDS_REMOVE "DELETE FROM run_words_text WHERE rowid = ?1"
#define RL_SQLITE_WORDS_DONE \
    "DELETE FROM run_words_changed WHERE run = ?1 AND version = ?2"
#define RL_SQLITE_WORDS_MOVE "UPDATE run_words SET position = ?1"

/* A search (sqlite_walk.h): the runs that have the words ?1, up to the rowid ?2. The newest
 * come first, in the order in which they were recorded, which FTS5 has. */
#define RL_SQLITE_WORDS_HITS                                                          \
    "SELECT rowid FROM run_words_text WHERE run_words_text MATCH ?1 AND rowid <= ?2 " \
    "ORDER BY rowid DESC"

/* The id of a run, if it matches. Parameters, here and below: the rowid, wpk_id, status,
 * since. The rowid of a deleted run may belong to another one by
 * now. */
#define RL_SQLITE_WORDS_MATCHES                                           \
    "SELECT id FROM workflow_runs WHERE rowid = ?1 "                      \
    "AND (?2 IS NULL OR wpk_id = ?2) AND (?3 IS NULL OR status = ?3) "    \
    "AND (?4 IS NULL OR created_at >= ?4) AND NOT EXISTS (SELECT 1 FROM " \
    "run_words_changed WHERE run = ?1 AND due < 0)"

/* The runs that match, up to a rowid, the newest first. An index has all that is read, and
 * the rowid is hidden from the planner, which might else read the whole table. */
#define RL_SQLITE_WORDS_ROWS "SELECT +rowid FROM workflow_runs WHERE +rowid <= ?1 AND "
#define RL_SQLITE_WORDS_LATER " AND created_at >= ?4"
#define RL_SQLITE_WORDS_WPK "wpk_id = ?2"
#define RL_SQLITE_WORDS_STATUS "status = ?3" RL_SQL_NOT_COMPLETED
#define RL_SQLITE_WORDS_NEWEST " ORDER BY 1 DESC"
#define RL_SQLITE_WORDS_SINCE \
    RL_SQLITE_WORDS_ROWS "created_at >= ?4" RL_SQLITE_WORDS_NEWEST
#define RL_SQLITE_WORDS_OF_WORKFLOW(later) \
    RL_SQLITE_WORDS_ROWS RL_SQLITE_WORDS_WPK later RL_SQLITE_WORDS_NEWEST
#define RL_SQLITE_WORDS_OF_STATUS(later) \
    RL_SQLITE_WORDS_ROWS RL_SQLITE_WORDS_STATUS later RL_SQLITE_WORDS_NEWEST
#define RL_SQLITE_WORDS_OF_BOTH(later)       \
    RL_SQLITE_WORDS_ROWS RL_SQLITE_WORDS_WPK \
        " AND " RL_SQLITE_WORDS_STATUS later RL_SQLITE_WORDS_NEWEST

/* Without gaps among the rowids, exactly. */
#define RL_SQLITE_WORDS_WAITING                                          \
    "SELECT max(0, ifnull((SELECT max(rowid) FROM workflow_runs), 0) - " \
    "ifnull((SELECT position FROM run_words), 0)) + "                    \
    "(SELECT count(*) FROM run_words_changed)"

#endif
