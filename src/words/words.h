/* The index of words, as a companion of a recorder (record/recorder/companion.h): a
 * thread of its own indexes the runs after they were committed; searches read the index.
 *
 * plain.c makes words of a text, run_text.c the text of a run, terms.c a query of what a
 * user asks for. sqlite_*.c and pg_words.c are the index on the two databases, and index.h is what they have in common. Nobody who records a run knows of
 * this wing.
 *
 * Threads: any, once the recorder is made. Ownership: the recorder owns its companion.
 */
#ifndef RL_WORDS_H
#define RL_WORDS_H

#include "record/recorder/companion.h"
#include "words/index.h"

#define RL_WORDS_LIMIT_MAX 1000

typedef struct rl_words rl_words;

/* Makes the companion; opens nothing and starts no thread. RL_NOMEM. */
rl_status rl_words_new(rl_words_mode mode, rl_words **words, rl_err *err);

/* The two are one object: what rl_recorder_new takes, and the way back. */
rl_companion *rl_words_companion(rl_words *words);
rl_words *rl_words_of(rl_companion *companion);

/* Appends the runs that have the words, of RL_SHAPE_SUMMARY and the newest first. First
 * gives the thread up to a second to index what was just recorded. *waiting: how many
 * runs are not indexed as they are now, at most. RL_CLOSED, RL_INVALID, RL_CONFIG, RL_STORE,
 * RL_NOMEM. */
rl_status rl_words_search(rl_words *words, const rl_words_query *query, rl_rows *rows,
                          int64_t *waiting, rl_err *err);

/* Empties the index, so that it is filled again. `mode`: its new kind (RL_WORDS_OFF keeps
 * the kind). RL_CONFIG if this recorder fills no index; else as rl_words_search. */
rl_status rl_words_reset(rl_words *words, rl_words_mode mode, rl_err *err);

/* How many runs are not indexed as they are now, at most; on SQLite also open ones, whose
 * turn comes when they are older. On PostgreSQL a run is not indexed before all transactions
 * have ended that were open when it was logged, in any database of the server. Returns as
 * rl_words_reset. */
rl_status rl_words_waiting(rl_words *words, int64_t *waiting, rl_err *err);

/* Gives the thread up to a second to index. *done: it has indexed all whose turn it was.
 * Returns as rl_words_reset; and the error for which nothing can be indexed. */
rl_status rl_words_fill(rl_words *words, bool *done, rl_err *err);

typedef struct rl_words_stats {
    uint64_t indexed;        /* runs, by this process */
    char error[RL_ERR_TEXT]; /* why nothing can be indexed now, or "" */
} rl_words_stats;

void rl_words_get_stats(rl_words *words, rl_words_stats *stats);

#endif
