/* A round of the indexer. See index_round.h. */
#include "meaning/index/index_round.h"

#include "core/hash.h"
#include "meaning/outbox/embed_text.h"

#include <string.h>
#include <time.h>

#define LEASE_US INT64_C(120000000)   /* of a claimed row: longer than all that follows */
#define CALL_NS UINT64_C(90000000000) /* for the calls of a server, with their retries */
#define FINISH_NS UINT64_C(20000000000) /* for recording the results */
#define FINISH_PAUSE_NS UINT64_C(200000000)
#define PROBE_NS UINT64_C(5000000000)
#define ATTEMPTS 2
#define DIMS 2 /* lengths of vectors in a claim that have errors of their own */
#define GARBLED_ATTEMPTS 3 /* of a row whose text alone gets an invalid answer */

/* No row waits longer than this from now on: of one that does, whoever set its time had
 * another clock, which was set back since. And how often that is looked for. */
#define FAR_US ((int64_t)(2 * RL_INDEX_AFTER_MOST_NS / 1000))
#define RECALL_NS UINT64_C(60000000000)

static void report_progress(rl_index_stage *stage, bool failed)
{
    rl_index_progress *progress = stage->progress;

    pthread_mutex_lock(&progress->lock);
    progress->failures += failed;
    pthread_cond_broadcast(&progress->changed);
    pthread_mutex_unlock(&progress->lock);
}

/* Has rows that wait for a time that nobody would set today be claimed now. */
static void recall(rl_index_stage *stage, int64_t now)
{
    rl_outbox *outbox = stage->parts->outbox;
    rl_err ignored; /* what lasts fails the claim, too */

    if (rl_monotonic_ns() >= stage->recall_at) {
        stage->recall_at = rl_monotonic_ns() + RECALL_NS;
        (void)outbox->ops->recall(outbox, now + FAR_US, &ignored);
    }
}

/* Claims rows; false when there are none, or when the database fails. */
static bool claim(rl_index_stage *stage, rl_outbox_state state, size_t limit)
{
    int64_t now = rl_time_now();
    const rl_outbox_claim wanted = {state, limit, now, now + LEASE_US};
    rl_outbox *outbox = stage->parts->outbox;
    rl_err err = {.code = RL_OK};
    bool claimed;

    recall(stage, now);
    claimed = outbox->ops->claim(outbox, &wanted, &stage->jobs, &err) == RL_OK;
    if (claimed) {
        rl_server_health_ok(&stage->database);
    } else {
        rl_server_health_failed(&stage->database, &err);
        report_progress(stage, true);
    }
    return claimed && rl_outbox_job_count(&stage->jobs) > 0;
}

/* Waits before the results are written again; false when the thread is to end. */
static bool pause_before_retry(const rl_index_stage *stage)
{
    const struct timespec pause = rl_timespec(FINISH_PAUSE_NS);

    nanosleep(&pause, NULL);
    return !atomic_load(&stage->parts->services->stop);
}

/* Records the first `count` results. Embeddings cost money, so a database that is
 * unavailable for a moment must not lose them: tries again until the lease is about to
 * end. */
static bool finish(rl_index_stage *stage, size_t count)
{
    const uint64_t end = rl_monotonic_ns() + FINISH_NS;
    rl_outbox *outbox = stage->parts->outbox;
    rl_err ignored; /* what lasts fails the next claim, too */
    bool finished;

    do {
        finished = outbox->ops->finish(outbox, stage->results, count, &ignored) == RL_OK;
        report_progress(stage, !finished);
    } while (!finished && rl_monotonic_ns() < end && pause_before_retry(stage));
    return finished;
}

static rl_outbox_result result_of(const rl_outbox_jobs *jobs, const rl_outbox_job *job,
                                  rl_outbox_outcome outcome)
{
    const rl_outbox_result result = {
        .key = {job->id, rl_outbox_text(jobs, job->wpk_id)},
        .version = job->version,
        .lease = job->lease,
        .outcome = outcome,
    };

    return result;
}

/* The result of a row that was not done: postponed, or rejected when the error is about
 * the row itself. Borrows the error's text. */
static void postpone_row(rl_index_stage *stage, const rl_err *err,
                         rl_outbox_result *result)
{
    uint64_t now = rl_monotonic_ns(), at = rl_server_health_again_at(&stage->health);
    int64_t pause_us = at > now ? (int64_t)((at - now) / 1000) : 0;

    result->outcome = err->rejected ? RL_OUTBOX_REJECTED : RL_OUTBOX_POSTPONED;
    result->again_at = err->code == RL_CLOSED ? 0 : rl_time_now() + pause_us;
    result->error = err->code == RL_CLOSED ? NULL : err->text;
}

static void log_rejected(rl_index_stage *stage, const rl_err *err, size_t count)
{
    if (err->rejected) {
        rl_notices_add(stage->parts->notices, RL_NOTICE_ERROR,
                       "%s of %zu run%s failed: %s", stage->health.work, count,
                       count == 1 ? "" : "s", err->text);
    }
}

static void postpone(rl_index_stage *stage, const rl_err *err, rl_outbox_result *results,
                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        postpone_row(stage, err, &results[i]);
    }
    log_rejected(stage, err, count);
}

/* Updates the server's health by an answer. A server that rejects a single row is well.
 * Without memory the call can be made later. */
static void update_health(rl_index_stage *stage, rl_status status, rl_err *err)
{
    if (status == RL_INVALID) {
        err->rejected = true;
    } else if (status == RL_NOMEM) {
        err->retryable = true;
    }
    if (status == RL_OK || err->rejected) {
        rl_server_health_ok(&stage->health);
    } else if (status != RL_CLOSED) {
        rl_server_health_failed(&stage->health, err);
        report_progress(stage, true);
    }
}

/* The texts that a round embeds. The results of the jobs that need no embedding are the
 * first `ready` results of the stage. */
typedef struct texts {
    rl_embed_text list[RL_INDEX_TEXTS];
    const rl_outbox_job *jobs[RL_INDEX_TEXTS];
    size_t count, ready;
} texts;

static void add_text(rl_index_stage *stage, texts *all, const rl_outbox_job *job)
{
    const rl_outbox_jobs *jobs = &stage->jobs;
    const rl_openai_options *wanted = &stage->parts->services->options.openai;
    rl_buf *buf = &stage->texts;
    const rl_json_value values = {rl_outbox_text(jobs, job->values), job->values_len};
    size_t at = buf->len;
    bool has_text =
        !job->run_deleted &&
        rl_embed_text_find(rl_outbox_text(jobs, job->outputs), job->outputs_len,
                           stage->parts->rule->path, values, buf);
    bool is_embedded = has_text && job->dim > 0 && !buf->failed &&
                       (wanted->dimensions == 0 || wanted->dimensions == job->dim) &&
                       strcmp(rl_outbox_text(jobs, job->model), wanted->model) == 0 &&
                       rl_hash(buf->data + at, buf->len - at) == job->text_hash;

    if (has_text && !is_embedded) {
        all->list[all->count] = (rl_embed_text){.len = buf->len - at};
        all->jobs[all->count++] = job;
    } else {
        buf->len = at;
        stage->results[all->ready++] =
            result_of(jobs, job, has_text ? RL_OUTBOX_SAME_TEXT : RL_OUTBOX_NO_TEXT);
    }
}

/* False without memory. */
static bool collect_texts(rl_index_stage *stage, texts *all)
{
    size_t at = 0;

    all->count = all->ready = 0;
    rl_buf_reset(&stage->texts, 0);
    for (size_t i = 0; i < rl_outbox_job_count(&stage->jobs); i++) {
        add_text(stage, all, rl_outbox_job_at(&stage->jobs, i));
    }
    for (size_t i = 0; i < all->count && !stage->texts.failed; i++) {
        all->list[i].text = stage->texts.data + at;
        at += all->list[i].len;
    }
    return !stage->texts.failed;
}

static void fill_result(const rl_index_stage *stage, const rl_embed_text *text,
                        const float *vector, uint32_t dim, rl_outbox_result *result)
{
    if (text->refused) {
        result->outcome = RL_OUTBOX_REJECTED;
        result->error = "the embedding server rejects the text of this run";
        return;
    }
    result->outcome = RL_OUTBOX_NEW_VECTOR;
    result->model = stage->parts->services->options.openai.model;
    result->vector = vector;
    result->dim = dim;
    result->text_hash = rl_hash(text->text, text->len);
    result->text_bytes = text->len;
    result->used_bytes = text->used;
}

static void fill_results(rl_index_stage *stage, const texts *all,
                         const rl_embeddings *vectors, rl_outbox_result *results)
{
    uint64_t rejected = 0;

    for (size_t i = 0; i < all->count; i++) {
        fill_result(stage, &all->list[i], vectors->values + i * vectors->dim,
                    vectors->dim, &results[i]);
        rejected += all->list[i].refused;
    }
    rl_metric_add(&stage->parts->metrics->embedded, all->count - rejected);
    if (rejected > 0) {
        rl_notices_add(stage->parts->notices, RL_NOTICE_ERROR,
                       "the embedding server rejects the text of %llu run%s",
                       (unsigned long long)rejected, rejected == 1 ? "" : "s");
    }
}

/* Finds out why an answer was invalid. After several texts, smaller batches follow at
 * once. After a single text, a request with a harmless word shows whether the text or the
 * server is at fault. RL_OK when it is not the server; then this fills the results. */
static rl_status handle_garbled(rl_index_stage *stage, rl_openai *openai,
                                const texts *all, rl_err *err)
{
    rl_outbox_result *results = stage->results + all->ready;
    const bool one = all->count == 1;
    rl_embed_text probe = {.text = "text", .len = 4};
    rl_embeddings vector = {.values = NULL};
    rl_status status = RL_OK;
    rl_err probe_err = {.code = RL_OK};

    if (one) {
        status = rl_openai_embed(openai, &probe, 1, ATTEMPTS,
                                 rl_monotonic_ns() + PROBE_NS, &vector, &probe_err);
        rl_embeddings_free(&vector);
    }
    if (status == RL_OK) {
        err->rejected = one && all->jobs[0]->attempts >= GARBLED_ATTEMPTS;
        err->retryable = true;
        postpone(stage, err, results, all->count);
    } else {
        *err = probe_err;
    }
    return status;
}

/* The size of the next batch. A failure halves it, as one text may be at fault, or the
 * server too slow for so many. It grows slowly, so that the next batch does not fail as
 * well. */
static size_t next_batch(size_t batch, size_t count, bool succeeded)
{
    size_t next = succeeded ? batch + batch / 8 + 1 : (count + 1) / 2;

    return next < RL_INDEX_TEXTS ? next : RL_INDEX_TEXTS;
}

static rl_status embed_texts(rl_index_stage *stage, texts *all, rl_embeddings *vectors,
                             rl_err *err)
{
    rl_outbox_result *results = stage->results + all->ready;
    rl_openai *openai = NULL;
    rl_status status =
        rl_services_openai(stage->parts->services, stage->set, &openai, err);
    bool garbled;

    for (size_t i = 0; i < all->count; i++) {
        results[i] = result_of(&stage->jobs, all->jobs[i], RL_OUTBOX_POSTPONED);
    }
    if (status == RL_OK) {
        status = rl_openai_embed(openai, all->list, all->count, ATTEMPTS,
                                 rl_monotonic_ns() + CALL_NS, vectors, err);
    }
    stage->batch = next_batch(stage->batch, all->count, status == RL_OK);
    garbled = status == RL_SERVICE && err->garbled;
    if (garbled) {
        status = handle_garbled(stage, openai, all, err);
    }
    update_health(stage, status, err);
    if (status != RL_OK) {
        postpone(stage, err, results, all->count);
    } else if (!garbled) {
        fill_results(stage, all, vectors, results);
    }
    return status;
}

bool rl_index_embed(rl_index_stage *stage)
{
    rl_embeddings vectors = {.values = NULL};
    rl_err err = {.code = RL_OK};
    rl_status status = RL_OK;
    texts all;
    bool finished;

    if (!claim(stage, RL_OUTBOX_PENDING, stage->batch)) {
        return false;
    }
    if (!collect_texts(stage, &all)) { /* the lease makes the rows wait */
        report_progress(stage, true);
        return false;
    }
    if (all.count > 0) {
        status = embed_texts(stage, &all, &vectors, &err);
    }
    finished = finish(stage, all.ready + all.count);
    rl_embeddings_free(&vectors);
    return finished && (status == RL_OK || err.rejected);
}

/* Upserts the rows whose vectors have `dim` numbers. */
static rl_status upsert_rows(rl_index_stage *stage, rl_milvus *milvus, uint32_t dim,
                             uint64_t end, rl_err *err)
{
    const rl_outbox_jobs *jobs = &stage->jobs;
    rl_milvus_row rows[RL_INDEX_ROWS];
    rl_status status = RL_OK;
    size_t count = 0;

    for (size_t i = 0; i < rl_outbox_job_count(jobs); i++) {
        const rl_outbox_job *job = rl_outbox_job_at(jobs, i);

        if (job->dim == dim && !job->run_deleted) {
            rows[count++] = (rl_milvus_row){
                .id = job->id,
                .wpk_id = rl_outbox_text(jobs, job->wpk_id),
                .status = rl_outbox_text(jobs, job->status),
                .run_id = rl_outbox_text(jobs, job->run_id),
                .created_at = job->created_at,
                .vector = rl_outbox_vector(jobs, job),
            };
        }
    }
    status = rl_milvus_upsert(milvus, rows, count, dim, ATTEMPTS, end, err);
    if (status == RL_OK) {
        rl_metric_add(&stage->parts->metrics->upserted, count);
    }
    return status;
}

/* Whether a row to upsert is the first one whose vector has its length. */
static bool is_first_of_dim(const rl_outbox_jobs *jobs, size_t at)
{
    const rl_outbox_job *job = rl_outbox_job_at(jobs, at);
    bool first = !job->run_deleted && job->dim > 0;

    for (size_t i = 0; i < at && first; i++) {
        first = rl_outbox_job_at(jobs, i)->run_deleted ||
                rl_outbox_job_at(jobs, i)->dim != job->dim;
    }
    return first;
}

/* Postpones the rows with vectors of one length, from row `first` on. */
static void postpone_dim(rl_index_stage *stage, const rl_err *err, size_t first)
{
    const rl_outbox_jobs *jobs = &stage->jobs;
    const uint32_t dim = rl_outbox_job_at(jobs, first)->dim;
    size_t count = 0;

    for (size_t i = first; i < rl_outbox_job_count(jobs); i++) {
        if (rl_outbox_job_at(jobs, i)->dim == dim &&
            !rl_outbox_job_at(jobs, i)->run_deleted) {
            postpone_row(stage, err, &stage->results[i]);
            count++;
        }
    }
    log_rejected(stage, err, count);
}

/* Upserts the rows by the length of their vectors; there are several lengths only after
 * the model was changed. The results borrow the text of `errors`. */
static bool upsert_by_dim(rl_index_stage *stage, rl_milvus *milvus, rl_err errors[DIMS])
{
    const rl_outbox_jobs *jobs = &stage->jobs;
    const uint64_t end = rl_monotonic_ns() + CALL_NS;
    size_t dims = 0;
    bool succeeded = true;

    for (size_t first = 0; first < rl_outbox_job_count(jobs); first++) {
        rl_err *err = &errors[dims];
        rl_status status;

        if (!is_first_of_dim(jobs, first)) {
            continue;
        }
        dims += dims < DIMS - 1;
        *err = (rl_err){.code = RL_OK};
        status = upsert_rows(stage, milvus, rl_outbox_job_at(jobs, first)->dim, end, err);
        update_health(stage, status, err);
        if (status != RL_OK) {
            postpone_dim(stage, err, first);
        }
        succeeded = succeeded && (status == RL_OK || err->rejected);
    }
    return succeeded;
}

bool rl_index_upsert(rl_index_stage *stage)
{
    const rl_outbox_jobs *jobs = &stage->jobs;
    rl_milvus *milvus = NULL;
    rl_err errors[DIMS] = {{.code = RL_OK}}, *err = &errors[0];
    rl_status status;
    bool succeeded;

    if (!claim(stage, RL_OUTBOX_EMBEDDED, RL_INDEX_ROWS)) {
        return false;
    }
    for (size_t i = 0; i < rl_outbox_job_count(jobs); i++) {
        const rl_outbox_job *job = rl_outbox_job_at(jobs, i);

        stage->results[i] = result_of(
            jobs, job, job->run_deleted ? RL_OUTBOX_NO_TEXT : RL_OUTBOX_UPSERTED);
        if (job->dim == 0 && !job->run_deleted) {
            stage->results[i].outcome = RL_OUTBOX_REJECTED;
            stage->results[i].error =
                "the stored vector does not have the length that column dim says";
        }
    }
    status = rl_services_milvus(stage->parts->services, stage->set, &milvus, err);
    succeeded = status == RL_OK;
    if (status == RL_OK) {
        succeeded = upsert_by_dim(stage, milvus, errors);
    } else {
        update_health(stage, status, err);
        postpone(stage, err, stage->results, rl_outbox_job_count(jobs));
    }
    return finish(stage, rl_outbox_job_count(jobs)) && succeeded;
}

bool rl_index_remove(rl_index_stage *stage)
{
    const rl_outbox_jobs *jobs = &stage->jobs;
    const char *ids[RL_INDEX_ROWS];
    rl_milvus *milvus = NULL;
    rl_err err = {.code = RL_OK};
    rl_status status;

    if (!claim(stage, RL_OUTBOX_DELETED, RL_INDEX_ROWS)) {
        return false;
    }
    for (size_t i = 0; i < rl_outbox_job_count(jobs); i++) {
        ids[i] = rl_outbox_job_at(jobs, i)->id;
        stage->results[i] = result_of(jobs, rl_outbox_job_at(jobs, i), RL_OUTBOX_REMOVED);
    }
    status = rl_services_milvus(stage->parts->services, stage->set, &milvus, &err);
    if (status == RL_OK) {
        status = rl_milvus_delete(milvus, ids, rl_outbox_job_count(jobs), ATTEMPTS,
                                  rl_monotonic_ns() + CALL_NS, &err);
    }
    update_health(stage, status, &err);
    if (status != RL_OK) {
        postpone(stage, &err, stage->results, rl_outbox_job_count(jobs));
    }
    return finish(stage, rl_outbox_job_count(jobs)) && status == RL_OK;
}
