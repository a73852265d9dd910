/* All that a recorder has for embeddings: the clients, the indexer and the searcher; and the
 * settings of the three.
 *
 * Threads: any. Ownership: owns its parts and borrows the rest.
 */
#ifndef RL_MEANING_H
#define RL_MEANING_H

#include "record/indexer.h"
#include "record/search.h"
#include "record/services.h"

/* The settings. Every text is owned (rl_malloc), or NULL. */
typedef struct rl_meaning_config {
    char *openai_key; /* NULL: nothing is embedded */
    char *openai_base_url, *model;
    char *path; /* where the text of a run is, in its outputs; NULL: the default rule */
    char **headers; /* more of them for the embedding server, ended by NULL; or NULL */
    unsigned dimensions;
    char *milvus_endpoint, *milvus_token; /* the first NULL: no Milvus */
    uint64_t timeout_ns;                  /* how long a server may take to answer */
} rl_meaning_config;

void rl_meaning_config_free(rl_meaning_config *config); /* what it owns */

typedef struct rl_meaning {
    rl_embed_rule rule;
    rl_services services;
    rl_indexer indexer;
    rl_searcher searcher;
    bool embeds, indexes; /* a key is set; or a key or an endpoint */
} rl_meaning;

/* How the outbox is. */
typedef struct rl_meaning_stats {
    int64_t waiting, failed; /* rows */
    char error[RL_ERR_TEXT]; /* why: of a server that is not well, else of a row; or "" */
} rl_meaning_stats;

/* Before the store is made: what it needs of the settings, NULL where nothing is embedded. */
const rl_embed_rule *rl_meaning_rule(rl_meaning *meaning,
                                     const rl_meaning_config *config);

void rl_meaning_init(rl_meaning *meaning, const rl_meaning_config *config,
                     rl_store *store, rl_metrics *metrics, rl_notices *notices);
/* Ends the connections; the threads have ended, nobody is inside. */
void rl_meaning_close(rl_meaning *meaning);
void rl_meaning_destroy(rl_meaning *meaning);

/* Something was written that may have to be embedded. Quick. */
static inline void rl_meaning_hint(rl_meaning *meaning)
{
    if (meaning->indexes) {
        rl_indexer_hint(&meaning->indexer);
    }
}

/* See rl_indexer_drain; RL_OK where nothing is indexed. */
rl_status rl_meaning_drain(rl_meaning *meaning, uint64_t end, bool patient, rl_err *err);
bool rl_meaning_stop(rl_meaning *meaning, uint64_t end); /* see rl_worker_stop */

/* May wait for the database. */
void rl_meaning_look(rl_meaning *meaning, rl_meaning_stats *stats);

void rl_meaning_before_fork(rl_meaning *meaning);
void rl_meaning_after_fork(rl_meaning *meaning, bool in_child);

#endif
