/* The walk over the runs on SQLite that have the words and match the filters.
 *
 * FTS5 gives the runs that have the words, the newest first, and each is looked at. If a
 * word is frequent and the filters are narrow, that may be all runs. So after some runs
 * the walk goes over those that match the filters, which indexes of workflow_runs give,
 * and over the runs with the words side by side.
 *
 * Threads: one at a time, as the connection. Ownership: everything is borrowed.
 */
#ifndef RL_SQLITE_WALK_H
#define RL_SQLITE_WALK_H

#include "store/sqlite/sqlite_conn.h"
#include "words/index.h"

/* Appends the ids of the runs to `found`. `terms`: what FTS5 is asked (terms.h). */
rl_status rl_sqlite_words_walk(rl_sqlite_conn *conn, const rl_words_query *query,
                               const char *terms, rl_words_found *found, rl_err *err);

#endif
