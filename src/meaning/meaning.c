/* The companion for embeddings and search. See meaning.h. */
#include "meaning/meaning.h"

#include "core/alloc.h"
#include "core/clock.h"
#include "meaning/index/indexer.h"
#include "meaning/outbox/pg_outbox.h"
#include "meaning/outbox/sqlite_outbox.h"
#include "record/recorder/recorder.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

struct rl_meaning {
    rl_companion companion; /* first, so that a pointer to it is one to the whole */
    rl_meaning_config config;
    rl_migrations pgvector; /* borrows those of the config */
    rl_embed_rule rule;
    rl_sqlite_hook sqlite_hook;
    rl_pg_hook pg_hook;
    rl_recorder *recorder; /* borrowed */
    rl_outbox *outbox;     /* owned; NULL before start */
    rl_index_metrics metrics;
    rl_services services;
    rl_indexer indexer;
    rl_searcher searcher;
};

rl_meaning *rl_meaning_of(rl_companion *companion)
{
    return (rl_meaning *)companion;
}

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
    rl_migration_set_free(&config->pgvector);
    memset(config, 0, sizeof *config);
}

static rl_status make_outbox(rl_meaning *meaning, rl_store *store, rl_err *err)
{
    rl_sqlite_file *file = rl_sqlite_file_of(store);
    /* with Milvus no search would use the extension */
    bool use_pgvector = meaning->config.milvus_endpoint == NULL;

    return file != NULL
               ? rl_sqlite_outbox_new(file, &meaning->outbox, err)
               : rl_pg_outbox_new(store, use_pgvector ? &meaning->pgvector : NULL,
                                  &meaning->outbox, err);
}

static rl_status start(rl_companion *companion, const rl_companion_host *host,
                       rl_err *err)
{
    rl_meaning *meaning = rl_meaning_of(companion);
    const rl_meaning_config *config = &meaning->config;
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
    rl_status status = make_outbox(meaning, host->store, err);

    if (status == RL_OK) {
        meaning->recorder = host->recorder;
        rl_services_init(&meaning->services, &options);
        rl_indexer_init(&meaning->indexer,
                        &(rl_index_parts){.store = host->store,
                                          .outbox = meaning->outbox,
                                          .services = &meaning->services,
                                          .rule = &meaning->rule,
                                          .metrics = &meaning->metrics,
                                          .notices = host->notices});
        rl_searcher_init(&meaning->searcher, host->store, meaning->outbox,
                         &meaning->services);
    }
    return status;
}

/* Milvus alone is work, too: it may have rows of deleted runs. */
static bool has_work(rl_companion *companion)
{
    const rl_meaning_config *config = &rl_meaning_of(companion)->config;

    return config->openai_key != NULL || config->milvus_endpoint != NULL;
}

static void notify(rl_companion *companion)
{
    if (has_work(companion)) {
        rl_indexer_notify(&rl_meaning_of(companion)->indexer);
    }
}

static rl_status drain(rl_companion *companion, uint64_t end, bool patient, rl_err *err)
{
    return has_work(companion)
               ? rl_indexer_drain(&rl_meaning_of(companion)->indexer, end, patient, err)
               : RL_OK;
}

static bool stop(rl_companion *companion, uint64_t end)
{
    return rl_indexer_stop(&rl_meaning_of(companion)->indexer, end);
}

static void close_services(rl_companion *companion)
{
    rl_meaning *meaning = rl_meaning_of(companion);

    rl_services_close(&meaning->services);
}

static void before_fork(rl_companion *companion)
{
    rl_meaning *meaning = rl_meaning_of(companion);

    rl_indexer_before_fork(&meaning->indexer);
    rl_services_before_fork(&meaning->services);
    if (meaning->outbox->ops->before_fork != NULL) {
        meaning->outbox->ops->before_fork(meaning->outbox);
    }
}

static void after_fork(rl_companion *companion, bool in_child)
{
    rl_meaning *meaning = rl_meaning_of(companion);

    if (meaning->outbox->ops->after_fork != NULL) {
        meaning->outbox->ops->after_fork(meaning->outbox);
    }
    rl_services_after_fork(&meaning->services, in_child);
    rl_indexer_after_fork(&meaning->indexer, in_child);
}

static void free_meaning(rl_companion *companion)
{
    rl_meaning *meaning = rl_meaning_of(companion);

    if (meaning->outbox != NULL) {
        rl_indexer_destroy(&meaning->indexer);
        rl_services_destroy(&meaning->services);
        meaning->outbox->ops->free(meaning->outbox);
    }
    rl_meaning_config_free(&meaning->config);
    rl_free(meaning);
}

static const rl_companion_ops ops = {
    .start = start,
    .notify = notify,
    .has_work = has_work,
    .drain = drain,
    .stop = stop,
    .close = close_services,
    .before_fork = before_fork,
    .after_fork = after_fork,
    .free = free_meaning,
};

rl_status rl_meaning_new(rl_meaning_config *config, rl_meaning **out, rl_err *err)
{
    rl_meaning *meaning = rl_calloc(1, sizeof *meaning);

    if (meaning == NULL) {
        rl_meaning_config_free(config);
        return rl_err_nomem(err);
    }
    meaning->config = *config;
    memset(config, 0, sizeof *config);
    meaning->companion.ops = &ops;
    meaning->pgvector = rl_migrations_of(&meaning->config.pgvector);
    if (meaning->config.openai_key != NULL) {
        meaning->rule.path = meaning->config.path;
        meaning->sqlite_hook = rl_sqlite_outbox_hook(&meaning->rule);
        meaning->pg_hook = rl_pg_outbox_hook(&meaning->rule);
        meaning->companion.sqlite_hook = &meaning->sqlite_hook;
        meaning->companion.pg_hook = &meaning->pg_hook;
    }
    *out = meaning;
    return RL_OK;
}

rl_companion *rl_meaning_companion(rl_meaning *meaning)
{
    return &meaning->companion;
}

const rl_meaning_config *rl_meaning_config_of(const rl_meaning *meaning)
{
    return &meaning->config;
}

/* Only inside the recorder's gate, with an open database. */
static void count_outbox(rl_meaning *meaning, rl_meaning_stats *stats)
{
    bool upserts = meaning->config.milvus_endpoint != NULL;
    rl_outbox_counts counts;
    rl_err ignored;

    rl_indexer_error(&meaning->indexer, stats->error, sizeof stats->error);
    if (meaning->outbox->ops->count(meaning->outbox, upserts, &counts, &ignored) ==
        RL_OK) {
        stats->waiting = counts.rows[RL_OUTBOX_PENDING];
        if (upserts) {
            stats->waiting +=
                counts.rows[RL_OUTBOX_EMBEDDED] + counts.rows[RL_OUTBOX_DELETED];
        }
        stats->failed = counts.rows[RL_OUTBOX_FAILED];
        if (stats->error[0] == '\0') {
            snprintf(stats->error, sizeof stats->error, "%s", counts.last_error);
        }
    }
}

void rl_meaning_get_stats(rl_meaning *meaning, rl_meaning_stats *stats)
{
    rl_err ignored;

    memset(stats, 0, sizeof *stats);
    stats->embedded = rl_metric_get(&meaning->metrics.embedded);
    stats->upserted = rl_metric_get(&meaning->metrics.upserted);
    if (has_work(&meaning->companion) && rl_recorder_is_ready(meaning->recorder) &&
        rl_recorder_enter(meaning->recorder, &ignored) == RL_OK) {
        count_outbox(meaning, stats);
        rl_recorder_leave(meaning->recorder);
    }
}

/* A step, inside the gate. In between others write. */
static rl_status queue_step(rl_meaning *meaning, rl_outbox_walk *walk, rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(meaning->recorder, err);

    if (status == RL_OK) {
        walk->model = meaning->config.model;
        walk->dim = meaning->config.dimensions;
        status = meaning->outbox->ops->queue(meaning->outbox, walk, err);
        notify(&meaning->companion);
        rl_recorder_leave(meaning->recorder);
    }
    return status;
}

rl_status rl_meaning_queue(rl_meaning *meaning, rl_outbox_walk *walk, uint64_t end,
                           rl_err *err)
{
    const struct timespec pause = {0, 1000000};
    rl_status status =
        meaning->config.openai_key != NULL
            ? RL_OK
            : rl_err_set(err, RL_CONFIG,
                         "OPENAI_KEY is not set, and embedding runs needs it");

    while (status == RL_OK && walk->more && rl_monotonic_ns() < end) {
        status = queue_step(meaning, walk, err);
        nanosleep(&pause, NULL);
    }
    return status;
}

rl_status rl_meaning_search(rl_meaning *meaning, const rl_search *search, uint64_t end,
                            rl_rows *rows, rl_buf *scores, rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(meaning->recorder, err);

    if (status == RL_OK) {
        status = rl_search_runs(&meaning->searcher, search, end, rows, scores, err);
        rl_recorder_leave(meaning->recorder);
    }
    return status;
}

rl_status rl_meaning_embed(rl_meaning *meaning, const char *text, size_t len,
                           uint64_t end, rl_embeddings *vector, rl_err *err)
{
    rl_status status = rl_recorder_enter(meaning->recorder, err);

    if (status == RL_OK) {
        status = rl_search_embed(&meaning->searcher, text, len, end, vector, err);
        rl_recorder_leave(meaning->recorder);
    }
    return status;
}

rl_status rl_meaning_upsert(rl_meaning *meaning, const rl_milvus_row *row, uint32_t dim,
                            uint64_t end, rl_err *err)
{
    rl_status status = rl_recorder_enter_to_query(meaning->recorder, err);

    if (status == RL_OK) {
        status = rl_search_upsert(&meaning->searcher, row, dim, end, err);
        rl_recorder_leave(meaning->recorder);
    }
    return status;
}
