/* Meaning: embeddings, Milvus and search, as a companion of a recorder. It owns the outbox, the
 * clients of the two servers, the indexer and the searcher.
 *
 * Threads: any. Ownership: the recorder owns its companion; a pointer to it is valid as long as
 * the recorder is.
 */
#ifndef RL_MEANING_H
#define RL_MEANING_H

#include "meaning/search/search.h"
#include "record/recorder/companion.h"

/* The settings. Every text is owned (rl_malloc), or NULL. */
typedef struct rl_meaning_config {
    char *openai_key; /* NULL: nothing is embedded */
    char *openai_base_url, *model;
    char *path; /* where the text of a run is, in its outputs; NULL: the default rule */
    char **headers; /* more of them for the embedding server, ended by NULL; or NULL */
    unsigned dimensions;
    char *milvus_endpoint, *milvus_token; /* the first NULL: no Milvus */
    uint64_t timeout_ns;                  /* how long a server may take to answer */
    rl_migration_set pgvector;            /* of the extension; only with PostgreSQL */
} rl_meaning_config;

void rl_meaning_config_free(
    rl_meaning_config *config); /* what it owns; leaves it empty */

typedef struct rl_meaning rl_meaning;

/* Makes the companion; nothing is opened, no thread is started. Takes over (steals) what config
 * owns, also when it fails, and leaves it empty. */
rl_status rl_meaning_new(rl_meaning_config *config, rl_meaning **meaning, rl_err *err);

/* As a recorder takes it; and back. */
rl_companion *rl_meaning_companion(rl_meaning *meaning);
rl_meaning *rl_meaning_of(rl_companion *companion);

const rl_meaning_config *rl_meaning_config_of(const rl_meaning *meaning);

/* What stats() says. */
typedef struct rl_meaning_stats {
    uint64_t embedded,
        upserted;            /* texts that have got a vector, vectors that Milvus took */
    int64_t waiting, failed; /* rows of the outbox */
    char error[RL_ERR_TEXT]; /* why: of a server that is not well, else of a row; or "" */
} rl_meaning_stats;

/* May wait for the database. */
void rl_meaning_get_stats(rl_meaning *meaning, rl_meaning_stats *stats);

/* Calls of the user's, through the recorder's gate: RL_CLOSED when it is closed. They wait for
 * the database and the servers, until the monotonic clock shows `end` nanoseconds. See
 * search.h. */
rl_status rl_meaning_search(rl_meaning *meaning, const rl_search *search, uint64_t end,
                            rl_rows *rows, rl_buf *scores, rl_err *err);
rl_status rl_meaning_embed(rl_meaning *meaning, const char *text, size_t len,
                           uint64_t end, rl_embeddings *vector, rl_err *err);
rl_status rl_meaning_upsert(rl_meaning *meaning, const rl_milvus_row *row, uint32_t dim,
                            uint64_t end, rl_err *err);

#endif
