/* Search by meaning: the runs whose texts are nearest to a text, or to the text of
 * another run.
 *
 * The nearest vectors come from Milvus if it is configured, else from the outbox
 * (nearest.h). The runs come from the store, so a deleted run, or one that does not match
 * the filters, is never a hit. The score is the cosine of the two vectors.
 *
 * Threads: any. Ownership: borrows its parts and all arguments.
 */
#ifndef RL_SEARCH_H
#define RL_SEARCH_H

#include "meaning/search/nearest.h"
#include "meaning/services/services.h"
#include "store/store.h"

#define RL_SEARCH_LIMIT_MAX 1000

typedef struct rl_searcher {
    rl_store *store;
    rl_outbox *outbox;
    rl_services *services;
} rl_searcher;

/* Searches for the runs nearest to a text, or with `text` NULL to a run. */
typedef struct rl_search {
    const char *text; /* UTF-8; not empty */
    size_t len;
    const char *like_run_id, *like_wpk_id; /* the second: NULL for any */
    const char *wpk_id, *status;           /* filters, or NULL */
    int64_t since; /* a filter: microseconds since 1970, or RL_TIME_NONE */
    size_t limit;  /* 1 to RL_SEARCH_LIMIT_MAX */
} rl_search;

void rl_searcher_init(rl_searcher *searcher, rl_store *store, rl_outbox *outbox,
                      rl_services *services);

/* These three wait for the servers until the monotonic clock shows `end` nanoseconds.
 * They return RL_CONFIG when a setting is missing or wrong, RL_SERVICE for an error of a
 * server, and RL_STORE or RL_NOMEM. */

/* Appends the runs, of RL_SHAPE_SUMMARY and nearest first, to `rows`, and a float for
 * each to `scores`. RL_INVALID also for a run that is not stored, or has no vector (yet).
 * */
rl_status rl_search_runs(rl_searcher *searcher, const rl_search *search, uint64_t end,
                         rl_rows *rows, rl_buf *scores, rl_err *err);

/* Embeds a text of `len` bytes; the caller frees the vector. */
rl_status rl_search_embed(rl_searcher *searcher, const char *text, size_t len,
                          uint64_t end, rl_embeddings *vector, rl_err *err);

/* Puts a vector of the user's into Milvus. If the run of this name is stored, the row
 * gets its id, and its wpk_id and status where those given are ""; else an id made of its
 * name. */
rl_status rl_search_upsert(rl_searcher *searcher, const rl_milvus_row *row, uint32_t dim,
                           uint64_t end, rl_err *err);

#endif
