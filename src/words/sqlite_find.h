/* The index of words on SQLite, as a search reads it.
 *
 * Threads: any. Ownership: as in index.h.
 */
#ifndef RL_SQLITE_FIND_H
#define RL_SQLITE_FIND_H

#include "store/sqlite/sqlite_file.h"
#include "words/index.h"

/* Whether there is an index; if so up to which rowid runs are in it, and whether it has
 * words, or else trigrams. */
rl_status rl_sqlite_words_state(rl_sqlite_conn *conn, bool *made, int64_t *position,
                                bool *as_words, rl_err *err);

/* Fills err; returns RL_CONFIG. */
rl_status rl_sqlite_words_lacks_fts5(rl_err *err);

/* As rl_words_index_ops.find. */
rl_status rl_sqlite_words_find(rl_sqlite_file *file, const rl_words_query *query,
                               rl_words_found *found, rl_err *err);

/* As rl_words_index_ops.waiting. */
rl_status rl_sqlite_words_waiting(rl_sqlite_file *file, int64_t *waiting, rl_err *err);

#endif
