/* Search by meaning. See search.h. */
#include "meaning/search/search.h"

#include "core/alloc.h"
#include "core/hash.h"
#include "core/uuid.h"
#include "record/recorder/lost.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS 3
#define MILVUS_MAX 16384 /* the most hits that Milvus returns */

void rl_searcher_init(rl_searcher *searcher, rl_store *store, rl_outbox *outbox,
                      rl_services *services)
{
    searcher->store = store;
    searcher->outbox = outbox;
    searcher->services = services;
}

static bool has_milvus(const rl_searcher *searcher)
{
    return searcher->services->options.milvus.endpoint != NULL;
}

rl_status rl_search_embed(rl_searcher *searcher, const char *text, size_t len,
                          uint64_t end, rl_embeddings *vector, rl_err *err)
{
    rl_embed_text wanted = {.text = text, .len = len};
    rl_services *services = searcher->services;
    rl_service_set *set = NULL;
    rl_openai *openai = NULL;
    rl_status status = rl_services_take(services, end, &set, err);

    if (status == RL_OK) {
        status = rl_services_openai(services, set, &openai, err);
        if (status == RL_OK) {
            status = rl_openai_embed(openai, &wanted, 1, ATTEMPTS, end, vector, err);
        }
        rl_services_give(services, set);
    }
    return status;
}

/* The candidates of a search: ids and scores, whose runs may be deleted or not match. */
typedef struct candidates {
    rl_searcher *searcher;
    const rl_search *search;
    uint64_t end;
    const float *vector; /* [dim] */
    uint32_t dim;
    char itself[RL_UUID_TEXT]; /* the run searched for, which is no hit; "" for none */
    rl_vector_hit *hits;       /* owned: [asked] */
    size_t asked, count;       /* candidates: wanted, found */
    bool more;                 /* there may be more than these */
} candidates;

static bool is_lost(const rl_search *search)
{
    return search->status != NULL && strcmp(search->status, "lost") == 0;
}

/* The store has no status "lost": such a run is stored as running. Milvus is not asked
 * for "running" either, as its row has the status from the moment of the upsert. */
static const char *status_for_milvus(const rl_search *search)
{
    bool is_open = is_lost(search) ||
                   (search->status != NULL && strcmp(search->status, "running") == 0);

    return is_open ? NULL : search->status;
}

static rl_status ask_milvus(candidates *self, rl_err *err)
{
    rl_services *services = self->searcher->services;
    const rl_milvus_search wanted = {.vector = self->vector,
                                     .dim = self->dim,
                                     .wpk_id = self->search->wpk_id,
                                     .status = status_for_milvus(self->search),
                                     .since = self->search->since,
                                     .limit = self->asked};
    rl_milvus_hit *found = rl_calloc(self->asked, sizeof *found);
    rl_service_set *set = NULL;
    rl_milvus *milvus = NULL;
    size_t count = 0;
    rl_status status = found != NULL ? rl_services_take(services, self->end, &set, err)
                                     : rl_err_nomem(err);

    if (status == RL_OK) {
        status = rl_services_milvus(services, set, &milvus, err);
        if (status == RL_OK) {
            status =
                rl_milvus_find(milvus, &wanted, ATTEMPTS, self->end, found, &count, err);
        }
        rl_services_give(services, set);
    }
    self->count = 0;
    for (size_t i = 0; status == RL_OK && i < count; i++) {
        rl_vector_hit *hit = &self->hits[self->count];

        hit->score = found[i].score;
        self->count += rl_uuid_parse(found[i].id, hit->id); /* false: not runlog's */
    }
    self->more = count == self->asked;
    rl_free(found);
    return status;
}

static rl_status ask_store(candidates *self, rl_err *err)
{
    const rl_near_query wanted = {.model = self->searcher->services->options.openai.model,
                                  .vector = self->vector,
                                  .dim = self->dim,
                                  .wpk_id = self->search->wpk_id,
                                  .status = is_lost(self->search) ? "running"
                                                                  : self->search->status,
                                  .since = self->search->since,
                                  .limit = self->asked};
    rl_status status =
        rl_nearest_search(self->searcher->outbox, &wanted, self->hits, &self->count, err);

    self->more = self->count == self->asked;
    return status;
}

/* The ids of the candidates, with commas between them and a NUL. */
static void list_ids(const candidates *self, rl_buf *ids)
{
    char id[RL_UUID_TEXT];

    for (size_t i = 0; i < self->count; i++) {
        rl_uuid_format(self->hits[i].id, id);
        if (i > 0) {
            rl_buf_add_char(ids, ',');
        }
        rl_buf_add(ids, id, RL_UUID_TEXT - 1);
    }
    rl_buf_add_char(ids, '\0');
}

/* Reads the candidates' runs that match the filters, in any order. */
static rl_status read_runs(const candidates *self, rl_rows *rows, rl_err *err)
{
    rl_status status = RL_OK;
    rl_query query;
    rl_buf ids;

    rl_buf_init(&ids, RL_BUF_MAX);
    list_ids(self, &ids);
    if (ids.failed) {
        status = rl_err_nomem(err);
    } else if (self->count > 0) {
        rl_query_init(&query, RL_SHAPE_SUMMARY);
        query.ids = ids.data;
        query.texts[RL_WPK_ID] = self->search->wpk_id;
        query.texts[RL_STATUS] = self->search->status;
        query.since = self->search->since;
        query.limit = (int64_t)self->count;
        status = rl_lost_query(self->searcher->store, &query, rows, err);
    }
    rl_buf_free(&ids);
    return status;
}

/* A run that was read; sorted by id. */
typedef struct found_run {
    uint8_t id[16];
    size_t first; /* its first cell */
    bool taken;   /* it is among the results already */
} found_run;

static int compare_runs(const void *a, const void *b)
{
    return memcmp(((const found_run *)a)->id, ((const found_run *)b)->id,
                  sizeof((const found_run *)a)->id);
}

/* The runs that were read, sorted by id; owned by the caller. NULL without memory. */
static found_run *sort_runs(const rl_rows *rows, size_t *count)
{
    const size_t at = rl_shape_index(RL_SHAPE_SUMMARY, RL_ID);
    size_t width, filled = 0;
    found_run *runs;

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    runs = rl_calloc(rl_rows_cells(rows) / width + 1, sizeof *runs);
    for (size_t first = 0; runs != NULL && first < rl_rows_cells(rows); first += width) {
        const rl_cell *cell = rl_rows_cell(rows, first + at);
        char id[RL_UUID_TEXT] = "";

        if (!cell->null && cell->len == RL_UUID_TEXT - 1) {
            memcpy(id, rows->arena.data + cell->at, cell->len);
        }
        runs[filled].first = first;
        filled += rl_uuid_parse(id, runs[filled].id);
    }
    if (runs != NULL) {
        qsort(runs, filled, sizeof *runs, compare_runs);
    }
    *count = filled;
    return runs;
}

/* Appends the runs in the order of the hits, up to the limit, each once: a run whose
 * vector was replaced during a scan may be two of the hits. */
static rl_status rank(candidates *self, const rl_rows *from, rl_rows *rows,
                      rl_buf *scores, rl_err *err)
{
    size_t count = 0, left = self->search->limit;
    found_run *runs = sort_runs(from, &count);

    if (runs == NULL) {
        return rl_err_nomem(err);
    }
    qsort(self->hits, self->count, sizeof *self->hits, rl_vector_hit_compare);
    for (size_t i = 0; i < self->count && left > 0; i++) {
        found_run key = {.first = 0}, *found;

        memcpy(key.id, self->hits[i].id, sizeof key.id);
        found = bsearch(&key, runs, count, sizeof *runs, compare_runs);
        if (found != NULL && !found->taken) {
            rl_rows_copy(rows, from, RL_SHAPE_SUMMARY, found->first);
            rl_buf_add(scores, &self->hits[i].score, sizeof self->hits[i].score);
            found->taken = true;
            left--;
        }
    }
    rl_free(runs);
    return rl_rows_failed(rows) || scores->failed ? rl_err_nomem(err) : RL_OK;
}

/* A run is not similar to itself. */
static void drop_itself(candidates *self)
{
    uint8_t id[16];

    for (size_t i = 0; self->itself[0] != '\0' && i < self->count; i++) {
        if (rl_uuid_parse(self->itself, id) &&
            memcmp(self->hits[i].id, id, sizeof id) == 0) {
            self->count--;
            memmove(&self->hits[i], &self->hits[i + 1],
                    (self->count - i) * sizeof *self->hits);
            break;
        }
    }
}

/* Asks for candidates, four times as many each time, until enough of their runs match, or
 * there are no more. */
static rl_status find_runs(candidates *self, rl_rows *rows, rl_buf *scores, rl_err *err)
{
    const size_t most = has_milvus(self->searcher) ? MILVUS_MAX : UINT32_MAX;
    rl_status status = RL_OK;
    bool enough = false;
    size_t width;
    rl_rows found;

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    self->asked = self->search->limit + 1;
    while (status == RL_OK && !enough) {
        rl_vector_hit *hits = rl_realloc(self->hits, self->asked * sizeof *hits);

        rl_rows_init(&found);
        if (hits == NULL) {
            status = rl_err_nomem(err);
        } else {
            self->hits = hits;
            status =
                has_milvus(self->searcher) ? ask_milvus(self, err) : ask_store(self, err);
        }
        if (status == RL_OK) {
            drop_itself(self);
            status = read_runs(self, &found, err);
        }
        enough = rl_rows_cells(&found) / width >= self->search->limit || !self->more ||
                 self->asked == most;
        if (status == RL_OK && enough) {
            status = rank(self, &found, rows, scores, err);
        }
        self->asked = self->asked * 4 < most ? self->asked * 4 : most;
        rl_rows_free(&found);
    }
    rl_free(self->hits);
    return status;
}

/* What a search or an upsert needs of a stored run. */
typedef struct stored_run {
    char id[RL_UUID_TEXT]; /* "" when no run has this name */
    rl_buf texts;          /* owned: the texts that follow */
    const char *wpk_id, *status;
    int64_t created_at;
} stored_run;

static size_t add_text(rl_buf *texts, const rl_rows *rows, rl_column column)
{
    const rl_cell *cell = rl_rows_cell(rows, rl_shape_index(RL_SHAPE_SUMMARY, column));
    size_t at = texts->len;

    rl_buf_add(texts, rows->arena.data + cell->at, cell->len);
    rl_buf_add_char(texts, '\0');
    return at;
}

/* Finds the newest run of this name; wpk_id may be NULL. The caller frees the texts. */
static rl_status find_stored_run(rl_store *store, const char *run_id, const char *wpk_id,
                                 stored_run *found, rl_err *err)
{
    rl_status status;
    rl_query query;
    rl_rows rows;

    memset(found, 0, sizeof *found);
    rl_buf_init(&found->texts, RL_BUF_MAX);
    rl_query_init(&query, RL_SHAPE_SUMMARY);
    query.texts[RL_RUN_ID] = run_id;
    query.texts[RL_WPK_ID] = wpk_id;
    query.limit = 1;
    rl_rows_init(&rows);
    status = store->ops->query(store, &query, &rows, err);
    if (status == RL_OK && rl_rows_failed(&rows)) {
        status = rl_err_nomem(err);
    }
    if (status == RL_OK && rl_rows_cells(&rows) > 0) {
        size_t id = add_text(&found->texts, &rows, RL_ID);
        size_t workflow = add_text(&found->texts, &rows, RL_WPK_ID);
        size_t state = add_text(&found->texts, &rows, RL_STATUS);

        if (found->texts.failed) {
            status = rl_err_nomem(err);
        } else {
            snprintf(found->id, sizeof found->id, "%s", found->texts.data + id);
            found->wpk_id = found->texts.data + workflow;
            found->status = found->texts.data + state;
            found->created_at =
                rl_rows_cell(&rows, rl_shape_index(RL_SHAPE_SUMMARY, RL_CREATED_AT))
                    ->number;
        }
    }
    rl_rows_free(&rows);
    return status;
}

static rl_status copy_vector(void *ctx, const uint8_t id[16], const void *vector,
                             uint32_t dim, rl_err *err)
{
    rl_embeddings *copy = ctx;
    rl_status status = RL_OK;

    (void)id;
    rl_embeddings_free(copy);
    copy->values = rl_calloc(dim > 0 ? dim : 1, sizeof *copy->values);
    if (copy->values == NULL) {
        status = rl_err_nomem(err);
    } else {
        memcpy(copy->values, vector, dim * sizeof *copy->values);
        copy->dim = dim;
        copy->count = 1;
    }
    return status;
}

/* Loads the stored vector of the run that the search names, and its id. */
static rl_status load_vector(rl_searcher *searcher, const rl_search *search,
                             rl_embeddings *vector, char id[RL_UUID_TEXT], rl_err *err)
{
    rl_outbox *outbox = searcher->outbox;
    stored_run like;
    rl_status status = find_stored_run(searcher->store, search->like_run_id,
                                       search->like_wpk_id, &like, err);

    memcpy(id, like.id, RL_UUID_TEXT);
    if (status == RL_OK && id[0] == '\0') {
        status = rl_err_set(err, RL_INVALID, "run_id names no run in this database");
    }
    if (status == RL_OK) {
        const rl_outbox_key key = {.id = id, .wpk_id = like.wpk_id};

        status =
            outbox->ops->vector(outbox, &key, searcher->services->options.openai.model,
                                copy_vector, vector, err);
    }
    if (status == RL_OK && vector->count == 0) {
        status = rl_err_set(err, RL_INVALID,
                            "run_id names a run without an embedding by the model %s: "
                            "it has no text, or is not embedded yet",
                            searcher->services->options.openai.model);
    }
    rl_buf_free(&like.texts);
    return status;
}

rl_status rl_search_runs(rl_searcher *searcher, const rl_search *search, uint64_t end,
                         rl_rows *rows, rl_buf *scores, rl_err *err)
{
    rl_embeddings vector = {.values = NULL};
    candidates self = {.searcher = searcher, .search = search, .end = end};
    rl_status status =
        search->text != NULL
            ? rl_search_embed(searcher, search->text, search->len, end, &vector, err)
            : load_vector(searcher, search, &vector, self.itself, err);

    if (status == RL_OK) {
        self.vector = vector.values;
        self.dim = vector.dim;
        status = find_runs(&self, rows, scores, err);
    }
    rl_embeddings_free(&vector);
    return status;
}

/* Makes an id of a name, always the same: a UUID of version 8 (RFC 9562, section 5.8). */
static void make_id(const rl_milvus_row *row, char id[RL_UUID_TEXT])
{
    uint64_t halves[2];
    uint8_t bytes[16];

    halves[0] = rl_hash(row->wpk_id, strlen(row->wpk_id) + 1);
    halves[1] = rl_hash(row->run_id, strlen(row->run_id) + 1);
    halves[0] ^= halves[1] * UINT64_C(0x9e3779b97f4a7c15);
    memcpy(bytes, halves, sizeof bytes);
    bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x80);
    bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
    rl_uuid_format(bytes, id);
}

rl_status rl_search_upsert(rl_searcher *searcher, const rl_milvus_row *row, uint32_t dim,
                           uint64_t end, rl_err *err)
{
    rl_services *services = searcher->services;
    rl_milvus_row filled = *row;
    rl_service_set *set = NULL;
    rl_milvus *milvus = NULL;
    stored_run stored;
    rl_status status =
        find_stored_run(searcher->store, row->run_id,
                        row->wpk_id[0] != '\0' ? row->wpk_id : NULL, &stored, err);

    if (status == RL_OK && stored.id[0] != '\0') {
        filled.created_at = stored.created_at;
        filled.wpk_id = stored.wpk_id;
        filled.status = row->status[0] != '\0' ? row->status : stored.status;
    } else if (status == RL_OK) {
        make_id(row, stored.id);
    }
    filled.id = stored.id;
    if (status == RL_OK) {
        status = rl_services_take(services, end, &set, err);
    }
    if (status == RL_OK) {
        status = rl_services_milvus(services, set, &milvus, err);
        if (status == RL_OK) {
            status = rl_milvus_upsert(milvus, &filled, 1, dim, ATTEMPTS, end, err);
        }
        rl_services_give(services, set);
    }
    rl_buf_free(&stored.texts);
    return status;
}
