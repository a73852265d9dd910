/* Creates and rebuilds the index of words on SQLite.
 *
 * To rebuild it, its table is renamed, and an empty one takes its place in one short
 * transaction. The old table is then emptied in steps, because dropping a large table
 * takes long. If a process dies, the next one continues.
 *
 * Threads: any. Ownership: as in index.h.
 */
#ifndef RL_SQLITE_MAKE_H
#define RL_SQLITE_MAKE_H

#include "store/sqlite/sqlite_file.h"
#include "words/index.h"

/* Makes the index, unless it is there. RL_CONFIG without FTS5. */
rl_status rl_sqlite_words_make(rl_sqlite_file *file, rl_words_mode mode, rl_wait wait,
                               rl_err *err);

/* Empties the index. `mode`: what it becomes; RL_WORDS_OFF: what it was. */
rl_status rl_sqlite_words_reset(rl_sqlite_file *file, rl_words_mode mode, rl_err *err);

/* Whether there is an old table. */
rl_status rl_sqlite_words_has_old(rl_sqlite_conn *conn, bool *has, rl_err *err);

/* A step of its removal. *more: it is not gone yet. */
rl_status rl_sqlite_words_remove_old(rl_sqlite_file *file, rl_wait wait, bool *more,
                                     rl_err *err);

#endif
