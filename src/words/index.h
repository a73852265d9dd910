/* The index of words of a database: what SQLite's and PostgreSQL's have in common.
 *
 * Threads: one at a time calls `work`, any thread `find`. Both may wait for the database.
 * Ownership: an index borrows the store.
 */
#ifndef RL_WORDS_INDEX_H
#define RL_WORDS_INDEX_H

#include "core/buf.h"
#include "core/err.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum rl_words_mode {
    RL_WORDS_OFF,
    RL_WORDS_ON,
    RL_WORDS_BY_TRIGRAM, /* of a new index on SQLite */
} rl_words_mode;

/* Which runs are searched for. */
typedef struct rl_words_query {
    const char *text;
    const char *wpk_id, *status; /* NULL: any; "lost" is stored as "running" */
    int64_t since;               /* microseconds since 1970, or RL_TIME_NONE */
    size_t limit;
} rl_words_query;

/* The runs found: the ids of the newest, each with its NUL. */
typedef struct rl_words_found {
    rl_buf ids;
    size_t count;
    int64_t waiting; /* runs that are not indexed as they are now, at most */
} rl_words_found;

typedef struct rl_words_index rl_words_index;

typedef struct rl_words_index_ops {
    /* Indexes some runs, in a transaction that holds no lock for long. *more: there are
     * others. RL_BUSY: somebody else is at it, or has the lock that it needs. */
    rl_status (*work)(rl_words_index *index, const atomic_bool *stop, bool *more,
                      rl_err *err);
    /* Appends to `found`. RL_INVALID for a text without words; RL_CONFIG without an
     * index. */
    rl_status (*find)(rl_words_index *index, const rl_words_query *query,
                      rl_words_found *found, rl_err *err);
    /* Empties the index, so that `work` fills it again. `mode`: its new kind;
     * RL_WORDS_OFF keeps the kind. */
    rl_status (*reset)(rl_words_index *index, rl_words_mode mode, rl_err *err);
    /* How many runs are not indexed as they are now, at most. */
    rl_status (*waiting)(rl_words_index *index, int64_t *waiting, rl_err *err);
    /* In the child of a fork: forgets what the parent's thread was doing. */
    void (*after_fork)(rl_words_index *index);
    void (*free)(rl_words_index *index); /* no call may be under way */
} rl_words_index_ops;

struct rl_words_index {
    const rl_words_index_ops *ops;
};

#define RL_WORDS_TEXT_MAX ((size_t)1 << 20) /* bytes of text of a run */
#define RL_WORDS_BATCH_RUNS 200
#define RL_WORDS_BATCH_BYTES ((size_t)256 << 10) /* of text, after which a batch ends */

/* Make the index of a store; open nothing. RL_NOMEM. */
rl_status rl_sqlite_words_new(rl_store *store, rl_words_mode mode, rl_words_index **index,
                              rl_err *err);
rl_status rl_pg_words_new(rl_store *store, rl_words_index **index, rl_err *err);

#endif
