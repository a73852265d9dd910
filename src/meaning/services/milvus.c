/* The client of Milvus and its operations on rows. See milvus.h. */
#include "meaning/services/milvus.h"

#include "core/alloc.h"
#include "core/base64.h"
#include "meaning/services/milvus_call.h"
#include "meaning/services/milvus_endpoint.h"
#include "meaning/services/milvus_filter.h"
#include "net/backoff.h"

#include <math.h>
#include <stdio.h>

#define SERVICE "/milvus.proto.milvus.MilvusService"
#define AUTHORIZATION "authorization: "

/* Limits of a call that upserts; Milvus itself takes 64 MiB. */
#define BATCH_BYTES ((size_t)4 << 20)
#define BATCH_ROWS ((size_t)1000)
#define ROW_EXTRA ((size_t)32) /* bytes of the tags, lengths and the time of a row */
#define BATCH_IDS ((size_t)1000)

/* Milvus's clients send the token in base64, without a word like "Bearer". */
static char *make_authorization(const char *token)
{
    const size_t len = strlen(token), head = sizeof AUTHORIZATION - 1;
    char *header = rl_malloc(head + 4 * ((len + 2) / 3) + 1);

    if (header != NULL) {
        memcpy(header, AUTHORIZATION, head);
        header[head + rl_base64_encode(header + head, (const uint8_t *)token, len)] =
            '\0';
    }
    return header;
}

/* What no error may show: the token, which may be "user:password", and what is sent. */
static void list_secrets(rl_milvus *milvus)
{
    const char *colon = milvus->token != NULL ? strchr(milvus->token, ':') : NULL;
    size_t count = 0;

    if (milvus->authorization != NULL) {
        milvus->secrets[count++] = milvus->authorization + sizeof AUTHORIZATION - 1;
    }
    if (milvus->token != NULL) {
        milvus->secrets[count++] = milvus->token;
    }
    if (colon != NULL) {
        milvus->secrets[count++] = colon + 1;
    }
}

static char *make_service_url(const char *url)
{
    const size_t size = strlen(url) + sizeof SERVICE;
    char *made = rl_malloc(size);

    if (made != NULL) {
        snprintf(made, size, "%s" SERVICE, url);
    }
    return made;
}

/* Fills a client; after an error the caller frees it. */
static rl_status fill(rl_milvus *milvus, const rl_milvus_options *options,
                      const char *url, rl_err *err)
{
    const char *token =
        options->token != NULL && *options->token != '\0' ? options->token : NULL;
    const rl_http_options http = {
        .name = "Milvus", .timeout_ns = options->timeout_ns, .stop = options->stop};

    milvus->strong = options->strong;
    milvus->collection = rl_strdup(options->collection);
    milvus->url = make_service_url(url);
    if (token != NULL) {
        milvus->token = rl_strdup(token);
        milvus->authorization = make_authorization(token);
        list_secrets(milvus);
    }
    if (milvus->collection == NULL || milvus->url == NULL ||
        (token != NULL && (milvus->token == NULL || milvus->authorization == NULL))) {
        return rl_err_nomem(err);
    }
    return rl_http_new(&http, &milvus->http, err);
}

rl_status rl_milvus_new(const rl_milvus_options *options, rl_milvus **milvus, rl_err *err)
{
    rl_milvus *made = NULL;
    char *url = NULL;
    rl_status status = rl_milvus_parse_endpoint(options->endpoint, &url, err);

    *milvus = NULL;
    if (status != RL_OK) {
        return status;
    }
    made = rl_calloc(1, sizeof *made);
    if (made == NULL) {
        status = rl_err_nomem(err);
        goto out;
    }
    rl_buf_init(&made->request, RL_BUF_MAX);
    rl_buf_init(&made->filter, RL_BUF_MAX);
    rl_http_answer_init(&made->answer);
    status = fill(made, options, url, err);
    made->grpc = (rl_grpc){.http = made->http,
                           .url = made->url,
                           .authorization = made->authorization,
                           .secrets = made->secrets,
                           .name = "Milvus",
                           .token_setting = "MILVUS_TOKEN"};
out:
    if (status == RL_OK) {
        *milvus = made;
    } else {
        rl_milvus_free(made);
    }
    rl_free(url);
    return status;
}

void rl_milvus_free(rl_milvus *milvus)
{
    if (milvus != NULL) {
        rl_http_free(milvus->http);
        rl_http_answer_free(&milvus->answer);
        rl_buf_free(&milvus->request);
        rl_buf_free(&milvus->filter);
        rl_free(milvus->collection);
        rl_free(milvus->url);
        rl_free(milvus->token);
        rl_free(milvus->authorization);
        rl_free(milvus);
    }
}

void rl_milvus_abandon(rl_milvus *milvus)
{
    rl_http_abandon(milvus->http);
}

static rl_milvus_operation begin(rl_milvus *milvus, unsigned attempts, uint64_t end,
                                 rl_err *err)
{
    return (rl_milvus_operation){.milvus = milvus,
                                 .attempts = attempts > 0 ? attempts : 1,
                                 .end = end,
                                 .err = err != NULL ? err : &milvus->ignored};
}

static rl_status check_vector(const float *vector, uint32_t dim, rl_err *err)
{
    for (uint32_t i = 0; i < dim; i++) {
        if (!isfinite(vector[i])) {
            return rl_err_set(err, RL_INVALID, "the embedding has %s at index %u",
                              isnan(vector[i]) ? "a NaN" : "an infinity", (unsigned)i);
        }
    }
    if (dim == 0 || dim > RL_MILVUS_DIM_MAX) {
        return rl_err_set(err, RL_INVALID,
                          "an embedding has 1 to %d numbers for Milvus, not %u",
                          RL_MILVUS_DIM_MAX, (unsigned)dim);
    }
    return RL_OK;
}

static rl_status check_id(const char *id, rl_err *err)
{
    const size_t len = strlen(id);

    if (len == 0 || len >= RL_MILVUS_ID) {
        return rl_err_set(err, RL_INVALID, "an id has 1 to %d bytes for Milvus, not %zu",
                          RL_MILVUS_ID - 1, len);
    }
    return RL_OK;
}

/* One call of an operation, on a collection that is ready. */
typedef struct rl_milvus_step {
    const char *method;
    uint32_t dim; /* of the vectors; 0 when there are none */
    bool create;  /* the collection if it is missing */
    void (*put)(rl_milvus *milvus, const void *args, rl_buf *request);
    const void *args;
} rl_milvus_step;

/* Whether to check the collection again and repeat the call: the collection was dropped
 * or released, or may have changed since the last check. */
static bool is_stale(const rl_milvus_operation *op, rl_status status, bool was_ready)
{
    return status == RL_SERVICE &&
           (op->code == RL_MILVUS_MISSING || op->code == RL_MILVUS_NOT_LOADED ||
            (was_ready && op->milvus->answer.grpc_status == 0 && !op->err->retryable));
}

/* Makes the collection ready and makes the call. *exists is false when there is no
 * collection. */
static rl_status run_step(rl_milvus_operation *op, const rl_milvus_step *step,
                          bool *exists)
{
    rl_milvus *milvus = op->milvus;
    const unsigned most = op->attempts > 2 ? op->attempts : 2;
    rl_status status = RL_OK;
    bool again = true;

    for (unsigned tried = 1; again; tried++) {
        const bool was_ready = milvus->is_ready;

        op->code = RL_MILVUS_FAILED;
        status = rl_milvus_prepare(op, step->dim, step->create, exists);
        if (status == RL_OK && *exists) {
            step->put(milvus, step->args, rl_milvus_begin_request(op));
            status = rl_milvus_call(op, step->method, false);
        }
        again = is_stale(op, status, was_ready) && tried < most &&
                !rl_milvus_is_timed_out(op);
        if (again) {
            milvus->is_ready = false;
            if (tried > 1) {
                const rl_status waited = rl_milvus_wait(op, rl_backoff_ns(tried - 1));

                again = waited == RL_OK;
                status = waited == RL_OK ? status : waited;
            }
        }
    }
    return status;
}

/* The rows of one call. */
typedef struct rl_milvus_batch {
    const rl_milvus_row *rows;
    size_t count;
    uint32_t dim;
} rl_milvus_batch;

static void put_batch(rl_milvus *milvus, const void *args, rl_buf *request)
{
    const rl_milvus_batch *batch = args;

    rl_milvus_put_upsert(request, milvus->collection, batch->rows, batch->count,
                         batch->dim, milvus->max_length);
}

static size_t row_bytes(const rl_milvus_row *row, uint32_t dim)
{
    return (size_t)dim * 4 + ROW_EXTRA + strlen(row->id) +
           strnlen(row->wpk_id, RL_MILVUS_TEXT) + strnlen(row->status, RL_MILVUS_TEXT) +
           strnlen(row->run_id, RL_MILVUS_TEXT);
}

static bool has_id(const rl_milvus_batch *batch, const char *id)
{
    bool found = false;

    for (size_t i = 0; i < batch->count && !found; i++) {
        found = strcmp(batch->rows[i].id, id) == 0;
    }
    return found;
}

/* The rows of the next call. Milvus would store both of two rows with the same id in one
 * upsert, so the second one is left to the call after it. */
static rl_milvus_batch next_batch(const rl_milvus_row *rows, size_t count, uint32_t dim)
{
    rl_milvus_batch batch = {.rows = rows, .dim = dim};
    size_t bytes = 0;

    while (batch.count < count && batch.count < BATCH_ROWS) {
        const rl_milvus_row *row = &rows[batch.count];

        bytes += row_bytes(row, dim);
        if (batch.count != 0 && (bytes > BATCH_BYTES || has_id(&batch, row->id))) {
            break;
        }
        batch.count++;
    }
    return batch;
}

static rl_status upsert_batch(rl_milvus_operation *op, const rl_milvus_batch *batch)
{
    const rl_milvus_step step = {.method = "Upsert",
                                 .dim = batch->dim,
                                 .create = true,
                                 .put = put_batch,
                                 .args = batch};
    uint64_t upserted = 0;
    bool exists;
    rl_status status = run_step(op, &step, &exists);

    if (status == RL_OK && !rl_milvus_get_upserted(op->message, &upserted)) {
        status = rl_milvus_unreadable(op, step.method);
    }
    if (status == RL_OK && upserted != batch->count) {
        rl_milvus_fail(op, "%llu of %zu rows were upserted", (unsigned long long)upserted,
                       batch->count);
        op->err->retryable = true;
        status = RL_SERVICE;
    }
    return status;
}

rl_status rl_milvus_upsert(rl_milvus *milvus, const rl_milvus_row *rows, size_t count,
                           uint32_t dim, unsigned attempts, uint64_t end, rl_err *err)
{
    rl_milvus_operation op = begin(milvus, attempts, end, err);
    rl_status status = RL_OK;

    for (size_t i = 0; i < count && status == RL_OK; i++) {
        status = check_id(rows[i].id, err);
        if (status == RL_OK) {
            status = check_vector(rows[i].vector, dim, err);
        }
    }
    while (count != 0 && status == RL_OK) {
        const rl_milvus_batch batch = next_batch(rows, count, dim);

        status = upsert_batch(&op, &batch);
        rows += batch.count;
        count -= batch.count;
    }
    return status;
}

typedef struct rl_milvus_ids {
    const char *const *ids;
    size_t count;
} rl_milvus_ids;

static void put_ids(rl_milvus *milvus, const void *args, rl_buf *request)
{
    const rl_milvus_ids *ids = args;

    rl_buf_reset(&milvus->filter, RL_MILVUS_RETAINED);
    rl_milvus_add_ids(&milvus->filter, ids->ids, ids->count);
    rl_milvus_put_delete(request, milvus->collection, &milvus->filter);
    request->failed = request->failed || milvus->filter.failed;
}

rl_status rl_milvus_delete(rl_milvus *milvus, const char *const *ids, size_t count,
                           unsigned attempts, uint64_t end, rl_err *err)
{
    rl_milvus_operation op = begin(milvus, attempts, end, err);
    rl_status status = RL_OK;
    bool exists = true;

    for (size_t i = 0; i < count && status == RL_OK; i++) {
        status = check_id(ids[i], err);
    }
    while (count != 0 && status == RL_OK && exists) {
        const rl_milvus_ids some = {ids, count < BATCH_IDS ? count : BATCH_IDS};
        const rl_milvus_step step = {.method = "Delete", .put = put_ids, .args = &some};

        status = run_step(&op, &step, &exists);
        ids += some.count;
        count -= some.count;
    }
    return status;
}

static void put_search(rl_milvus *milvus, const void *args, rl_buf *request)
{
    const rl_milvus_search *search = args;

    rl_buf_reset(&milvus->filter, RL_MILVUS_RETAINED);
    rl_milvus_add_filter(&milvus->filter, search, milvus->max_length);
    rl_milvus_put_search(request, milvus->collection, search, &milvus->filter,
                         milvus->strong);
    request->failed = request->failed || milvus->filter.failed;
}

rl_status rl_milvus_find(rl_milvus *milvus, const rl_milvus_search *search,
                         unsigned attempts, uint64_t end, rl_milvus_hit *hits,
                         size_t *count, rl_err *err)
{
    rl_milvus_operation op = begin(milvus, attempts, end, err);
    const rl_milvus_step step = {
        .method = "Search", .dim = search->dim, .put = put_search, .args = search};
    bool exists = false;
    rl_status status = check_vector(search->vector, search->dim, err);

    *count = 0;
    if (status == RL_OK && (search->limit == 0 || search->limit > RL_MILVUS_LIMIT_MAX)) {
        status = rl_err_set(err, RL_INVALID, "Milvus finds 1 to %zu rows, not %zu",
                            RL_MILVUS_LIMIT_MAX, search->limit);
    }
    if (status == RL_OK) {
        status = run_step(&op, &step, &exists);
    }
    if (status == RL_OK && exists &&
        !rl_milvus_get_hits(op.message, hits, search->limit, count)) {
        status = rl_milvus_unreadable(&op, step.method);
    }
    return status;
}
