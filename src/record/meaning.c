/* All that a recorder has for embeddings. See meaning.h. */
#include "record/meaning.h"

#include "core/alloc.h"

#include <stdio.h>
#include <string.h>

void rl_meaning_config_free(rl_meaning_config *config)
{
    for (char **header = config->headers; header != NULL && *header != NULL; header++) {
        rl_free(*header);
    }
    rl_free(config->headers);
    rl_free(config->openai_key);
    rl_free(config->openai_base_url);
    rl_free(config->model);
    rl_free(config->path);
    rl_free(config->milvus_endpoint);
    rl_free(config->milvus_token);
}

const rl_embed_rule *rl_meaning_rule(rl_meaning *meaning, const rl_meaning_config *config)
{
    meaning->rule.path = config->path;
    return config->openai_key != NULL ? &meaning->rule : NULL;
}

void rl_meaning_init(rl_meaning *meaning, const rl_meaning_config *config,
                     rl_store *store, rl_metrics *metrics, rl_notices *notices)
{
    const rl_service_options options = {
        .openai = {.key = config->openai_key,
                   .base_url = config->openai_base_url,
                   .model = config->model,
                   .headers = (const char *const *)config->headers,
                   .dimensions = config->dimensions,
                   .timeout_ns = config->timeout_ns},
        .milvus = {.endpoint = config->milvus_endpoint,
                   .token = config->milvus_token,
                   .collection = RL_MILVUS_COLLECTION,
                   .timeout_ns = config->timeout_ns},
    };

    meaning->embeds = config->openai_key != NULL;
    meaning->indexes = meaning->embeds || config->milvus_endpoint != NULL;
    rl_services_init(&meaning->services, &options);
    rl_indexer_init(&meaning->indexer, store, &meaning->services, &meaning->rule, metrics,
                    notices);
    rl_searcher_init(&meaning->searcher, store, &meaning->services);
}

void rl_meaning_close(rl_meaning *meaning)
{
    rl_services_close(&meaning->services);
}

void rl_meaning_destroy(rl_meaning *meaning)
{
    rl_indexer_destroy(&meaning->indexer);
    rl_services_destroy(&meaning->services);
}

rl_status rl_meaning_drain(rl_meaning *meaning, uint64_t end, bool patient, rl_err *err)
{
    return meaning->indexes ? rl_indexer_drain(&meaning->indexer, end, patient, err)
                            : RL_OK;
}

bool rl_meaning_stop(rl_meaning *meaning, uint64_t end)
{
    return rl_indexer_stop(&meaning->indexer, end);
}

void rl_meaning_look(rl_meaning *meaning, rl_meaning_stats *stats)
{
    rl_indexer *indexer = &meaning->indexer;
    bool upserts = meaning->services.options.milvus.endpoint != NULL;
    rl_box_counts counts;
    rl_err ignored;

    memset(stats, 0, sizeof *stats);
    if (!meaning->indexes) {
        return;
    }
    rl_indexer_error(indexer, stats->error, sizeof stats->error);
    if (indexer->store->ops->look(indexer->store, upserts, &counts, &ignored) == RL_OK) {
        stats->waiting = counts.rows[RL_BOX_PENDING];
        if (upserts) {
            stats->waiting += counts.rows[RL_BOX_EMBEDDED] + counts.rows[RL_BOX_DELETED];
        }
        stats->failed = counts.rows[RL_BOX_FAILED];
        if (stats->error[0] == '\0') {
            snprintf(stats->error, sizeof stats->error, "%s", counts.last_error);
        }
    }
}

void rl_meaning_before_fork(rl_meaning *meaning)
{
    rl_indexer_before_fork(&meaning->indexer);
    rl_services_before_fork(&meaning->services);
}

void rl_meaning_after_fork(rl_meaning *meaning, bool in_child)
{
    rl_services_after_fork(&meaning->services, in_child);
    rl_indexer_after_fork(&meaning->indexer, in_child);
}
