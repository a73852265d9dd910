/* Runs by meaning: the runs whose texts are nearest to a text, or to another run's.
 *
 * The nearest vectors come from Milvus where there is one, else from the store (nearest.h).
 * The runs come from the store: one that is deleted, or does not fit the filters, is no hit. The
 * score is the cosine of the two vectors, from all of them.
 *
 * Threads: any. Ownership: borrows all that it is made with.
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

/* What is looked for: the nearest to a text, or with `text` NULL to the run of that name. */
typedef struct rl_search {
    const char *text; /* UTF-8; not empty */
    size_t len;
    const char *like_run_id, *like_wpk_id; /* the second may be NULL */
    const char *wpk_id, *status;           /* filters, or NULL */
    int64_t since;                         /* a filter, or RL_TIME_NONE */
    size_t limit;                          /* 1 to RL_SEARCH_LIMIT_MAX */
} rl_search;

void rl_searcher_init(rl_searcher *searcher, rl_store *store, rl_outbox *outbox,
                      rl_services *services);

/* Appends the runs, of RL_SHAPE_SUMMARY and nearest first, to `rows`, and a float for each to
 * `scores`. RL_CONFIG without the settings that it takes; RL_INVALID for a run that is not
 * there, or has no vector (yet); RL_SERVICE, RL_STORE. */
rl_status rl_search_runs(rl_searcher *searcher, const rl_search *search, uint64_t end,
                         rl_rows *rows, rl_buf *scores, rl_err *err);

/* The vector of a text. */
rl_status rl_search_embed(rl_searcher *searcher, const char *text, size_t len,
                          uint64_t end, rl_embeddings *vector, rl_err *err);

/* Puts a vector of the user's into Milvus: that of the run of this name, with the id of its
 * record (and its wpk_id and status where those given are ""), or of a run that is not kept
 * here, with an id that is made of its name. */
rl_status rl_search_upsert(rl_searcher *searcher, const rl_milvus_row *row, uint32_t dim,
                           uint64_t end, rl_err *err);

#endif
