/* Embeddings, Milvus and search, as a companion of a recorder
 * (record/recorder/companion.h). It owns the outbox, the clients of the two servers, the
 * indexer and the searcher.
 *
 * Threads: any, once the recorder is made. Ownership: the recorder owns its companion, so
 * a pointer to it is valid as long as the recorder is.
 */
#ifndef RL_MEANING_H
#define RL_MEANING_H

#include "meaning/search/search.h"
#include "record/recorder/companion.h"

/* The settings. Every text is owned (rl_malloc), or NULL. */
typedef struct rl_meaning_config {
    char *openai_key; /* NULL: no embeddings */
    char *openai_base_url, *model;
    char *path;     /* of the text in a run's outputs; NULL: the default (embed_text.h) */
    char **headers; /* extra ones for the embedding server, ended by NULL; or NULL */
    unsigned dimensions;
    char *milvus_endpoint, *milvus_token; /* endpoint NULL: no Milvus */
    uint64_t timeout_ns;                  /* of one attempt of a request */
    rl_migration_set pgvector;            /* for PostgreSQL with the extension */
} rl_meaning_config;

/* Frees what the config owns and empties it. */
void rl_meaning_config_free(rl_meaning_config *config);

typedef struct rl_meaning rl_meaning;

/* Makes the companion; opens nothing and starts no thread. Takes over (steals) what
 * config owns, also when it fails, and leaves it empty. RL_NOMEM. */
rl_status rl_meaning_new(rl_meaning_config *config, rl_meaning **meaning, rl_err *err);

/* The two are one object: what rl_recorder_new takes, and the way back. */
rl_companion *rl_meaning_companion(rl_meaning *meaning);
rl_meaning *rl_meaning_of(rl_companion *companion);

/* Borrowed as long as the companion lives. */
const rl_meaning_config *rl_meaning_config_of(const rl_meaning *meaning);

typedef struct rl_meaning_stats {
    uint64_t embedded, upserted; /* texts that got a vector, vectors that Milvus took */
    int64_t waiting, failed;     /* rows of the outbox */
    char error[RL_ERR_TEXT];     /* of a server, else of the last failed row; or "" */
} rl_meaning_stats;

/* Counts rows only while the recorder is open. May wait for the database. */
void rl_meaning_get_stats(rl_meaning *meaning, rl_meaning_stats *stats);

/* Queues the runs without a vector of the configured model, until the walk is over
 * (`more` is false) or until `end`. `walk` is all zeros at first, but for `more`. RL_CONFIG
 * without OPENAI_KEY. */
rl_status rl_meaning_queue(rl_meaning *meaning, rl_outbox_walk *walk, uint64_t end,
                           rl_err *err);

/* The calls of search.h for the user, let in by the recorder's gate: RL_CLOSED after its
 * close. They wait for the database and the servers until the monotonic clock shows `end`
 * nanoseconds. */
rl_status rl_meaning_search(rl_meaning *meaning, const rl_search *search, uint64_t end,
                            rl_rows *rows, rl_buf *scores, rl_err *err);
rl_status rl_meaning_embed(rl_meaning *meaning, const char *text, size_t len,
                           uint64_t end, rl_embeddings *vector, rl_err *err);
rl_status rl_meaning_upsert(rl_meaning *meaning, const rl_milvus_row *row, uint32_t dim,
                            uint64_t end, rl_err *err);

#endif
