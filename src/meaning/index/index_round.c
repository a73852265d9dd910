/* A round of the indexer. See index_round.h. */
#include "meaning/index/index_round.h"

#include "core/hash.h"
#include "meaning/outbox/embed_text.h"

#include <string.h>
#include <time.h>

#define LEASE_US INT64_C(120000000) /* who takes a row works on it for so long at most */
#define CALL_NS UINT64_C(90000000000)   /* less than that: the calls with their retries */
#define SETTLE_NS UINT64_C(20000000000) /* and the rest: writing down what came of them */
#define SETTLE_PAUSE_NS UINT64_C(200000000)
#define WORD_NS UINT64_C(5000000000)
#define ATTEMPTS 2
#define DIMS 2             /* lengths of vectors in a claim whose errors are told apart */
#define GARBLED_ATTEMPTS 3 /* of a text alone whose answer can't be right */

static void note_moved(rl_indexer *indexer, bool failed)
{
    pthread_mutex_lock(&indexer->lock);
    indexer->failures += failed;
    pthread_cond_broadcast(&indexer->moved);
    pthread_mutex_unlock(&indexer->lock);
}

/* Takes rows; false when there are none, or the database fails, whose own notices tell. */
static bool claim(rl_index_stage *stage, rl_outbox_state state, size_t limit)
{
    int64_t now = rl_time_now();
    const rl_outbox_claim wanted = {state, limit, now, now + LEASE_US};
    rl_outbox *outbox = stage->indexer->with.outbox;
    rl_err ignored;
    bool taken = outbox->ops->claim(outbox, &wanted, &stage->jobs, &ignored) == RL_OK;

    if (!taken) {
        note_moved(stage->indexer, true);
    }
    return taken && rl_outbox_job_count(&stage->jobs) > 0;
}

/* Waits a moment; false when the thread is to end. */
static bool pause_settling(const rl_indexer *indexer)
{
    const struct timespec moment = rl_timespec(SETTLE_PAUSE_NS);

    nanosleep(&moment, NULL);
    return !atomic_load(&indexer->with.services->stop);
}

/* Writes the first `count` results down. What was paid for is not given up because the
 * database is away for a moment; it is when the lease comes to its end. */
static bool settle(rl_index_stage *stage, size_t count)
{
    const uint64_t end = rl_monotonic_ns() + SETTLE_NS;
    rl_outbox *outbox = stage->indexer->with.outbox;
    rl_err err = {.code = RL_OK}; /* the database's own notices tell */
    bool settled;

    do {
        settled = outbox->ops->finish(outbox, stage->results, count, &err) == RL_OK;
        note_moved(stage->indexer, !settled);
    } while (!settled && rl_monotonic_ns() < end && pause_settling(stage->indexer));
    return settled;
}

static rl_outbox_result result_of(const rl_outbox_jobs *jobs, const rl_outbox_job *job,
                                  rl_outbox_outcome outcome)
{
    const rl_outbox_result result = {
        .name = {job->id, rl_outbox_text(jobs, job->wpk_id)},
        .version = job->version,
        .lease = job->lease,
        .outcome = outcome,
    };

    return result;
}

/* A row was not done: it is put off, or refused for what is in it. Borrows the error's text. */
static void put_off_one(rl_index_stage *stage, const rl_err *err,
                        rl_outbox_result *result)
{
    uint64_t now = rl_monotonic_ns(), at = rl_server_health_again_at(&stage->health);
    int64_t pause_us = at > now ? (int64_t)((at - now) / 1000) : 0;

    result->outcome = err->rejected ? RL_OUTBOX_REFUSED : RL_OUTBOX_AGAIN;
    result->again_at = err->code == RL_CLOSED ? 0 : rl_time_now() + pause_us;
    result->error = err->code == RL_CLOSED ? NULL : err->text;
}

static void tell_refused(rl_index_stage *stage, const rl_err *err, size_t count)
{
    if (err->rejected) {
        rl_notices_add(stage->indexer->with.notices, RL_NOTICE_ERROR,
                       "%s of %zu run%s failed: %s", stage->health.work, count,
                       count == 1 ? "" : "s", err->text);
    }
}

/* The rows of `results` were not done. */
static void put_off(rl_index_stage *stage, const rl_err *err, rl_outbox_result *results,
                    size_t count)
{
    for (size_t i = 0; i < count; i++) {
        put_off_one(stage, err, &results[i]);
    }
    tell_refused(stage, err, count);
}

/* What an answer tells of its server. What is refused for what is in it tells nothing bad;
 * what can't be tried for want of memory can be later. */
static void judge(rl_index_stage *stage, rl_status status, rl_err *err)
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
        note_moved(stage->indexer, true);
    }
}

/* The texts of the jobs that are to be embedded; the results of the others come first. */
typedef struct texts {
    rl_embed_text list[RL_INDEX_TEXTS];
    const rl_outbox_job *jobs[RL_INDEX_TEXTS];
    size_t count, ready;
} texts;

static void add_text(rl_index_stage *stage, texts *all, const rl_outbox_job *job)
{
    const rl_outbox_jobs *jobs = &stage->jobs;
    const rl_openai_options *wanted = &stage->indexer->with.services->options.openai;
    rl_buf *buf = &stage->texts;
    size_t at = buf->len;
    bool has_text =
        !job->gone &&
        rl_embed_text_find(rl_outbox_text(jobs, job->outputs), job->outputs_len,
                           stage->indexer->with.rule->path, buf);
    bool is_known = has_text && job->dim > 0 && !buf->failed &&
                    (wanted->dimensions == 0 || wanted->dimensions == job->dim) &&
                    strcmp(rl_outbox_text(jobs, job->model), wanted->model) == 0 &&
                    rl_hash(buf->data + at, buf->len - at) == job->text_hash;

    if (has_text && !is_known) {
        all->list[all->count] = (rl_embed_text){.len = buf->len - at};
        all->jobs[all->count++] = job;
    } else {
        buf->len = at;
        stage->results[all->ready++] =
            result_of(jobs, job, has_text ? RL_OUTBOX_HAS_TEXT : RL_OUTBOX_HAS_NONE);
    }
}

/* False where there was no memory for them. */
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

/* The result of a text that the server has answered. */
static void fill_result(const rl_indexer *indexer, const rl_embed_text *text,
                        const float *vector, uint32_t dim, rl_outbox_result *result)
{
    if (text->refused) {
        result->outcome = RL_OUTBOX_REFUSED;
        result->error = "the embedding server refuses the text of this run";
        return;
    }
    result->outcome = RL_OUTBOX_HAS_VECTOR;
    result->model = indexer->with.services->options.openai.model;
    result->vector = vector;
    result->dim = dim;
    result->text_hash = rl_hash(text->text, text->len);
    result->text_bytes = text->len;
    result->used_bytes = text->used;
}

static void fill_results(rl_index_stage *stage, const texts *all,
                         const rl_embeddings *vectors, rl_outbox_result *results)
{
    uint64_t refused = 0;

    for (size_t i = 0; i < all->count; i++) {
        fill_result(stage->indexer, &all->list[i], vectors->values + i * vectors->dim,
                    vectors->dim, &results[i]);
        refused += all->list[i].refused;
    }
    rl_metric_add(&stage->indexer->with.metrics->embedded, all->count - refused);
    if (refused > 0) {
        rl_notices_add(stage->indexer->with.notices, RL_NOTICE_ERROR,
                       "the embedding server refuses the text of %llu runs",
                       (unsigned long long)refused);
    }
}

/* An answer can't be right. Where it is to several texts they are tried by fewer, at once;
 * where it is to one, any other word shows whether it is that text or the server. RL_OK when
 * it is not the server; then the results say what becomes of the rows. */
static rl_status judge_garbled(rl_index_stage *stage, rl_openai *openai, const texts *all,
                               rl_err *err)
{
    rl_outbox_result *results = stage->results + all->ready;
    const bool one = all->count == 1;
    rl_embed_text word = {.text = "text", .len = 4};
    rl_embeddings vector = {.values = NULL};
    rl_status status = RL_OK;
    rl_err other = {.code = RL_OK};

    if (one) {
        status = rl_openai_embed(openai, &word, 1, ATTEMPTS, rl_monotonic_ns() + WORD_NS,
                                 &vector, &other);
        rl_embeddings_free(&vector);
    }
    if (status == RL_OK) {
        err->rejected = one && all->jobs[0]->attempts >= GARBLED_ATTEMPTS;
        err->retryable = true;
        put_off(stage, err, results, all->count);
    } else {
        *err = other;
    }
    return status;
}

/* Half of what has failed: perhaps it is one of them, or the server is too slow for so many.
 * It grows again slowly, or the next one would be too much as well. */
static size_t next_batch(size_t batch, size_t count, bool fine)
{
    size_t next = fine ? batch + batch / 8 + 1 : (count + 1) / 2;

    return next < RL_INDEX_TEXTS ? next : RL_INDEX_TEXTS;
}

static rl_status embed_texts(rl_index_stage *stage, texts *all, rl_embeddings *vectors,
                             rl_err *err)
{
    rl_outbox_result *results = stage->results + all->ready;
    rl_openai *openai = NULL;
    rl_status status =
        rl_services_openai(stage->indexer->with.services, stage->set, &openai, err);
    bool garbled;

    for (size_t i = 0; i < all->count; i++) {
        results[i] = result_of(&stage->jobs, all->jobs[i], RL_OUTBOX_AGAIN);
    }
    if (status == RL_OK) {
        status = rl_openai_embed(openai, all->list, all->count, ATTEMPTS,
                                 rl_monotonic_ns() + CALL_NS, vectors, err);
    }
    stage->batch = next_batch(stage->batch, all->count, status == RL_OK);
    garbled = status == RL_SERVICE && err->garbled;
    if (garbled) {
        status = judge_garbled(stage, openai, all, err);
    }
    judge(stage, status, err);
    if (status != RL_OK) {
        put_off(stage, err, results, all->count);
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
    bool settled;

    if (!claim(stage, RL_OUTBOX_PENDING, stage->batch) || !collect_texts(stage, &all)) {
        return false;
    }
    if (all.count > 0) {
        status = embed_texts(stage, &all, &vectors, &err);
    }
    settled = settle(stage, all.ready + all.count);
    rl_embeddings_free(&vectors);
    return settled && (status == RL_OK || err.rejected);
}

/* Upserts the rows whose vectors have `dim` numbers; results [count] are those of the jobs. */
static rl_status upsert_rows(rl_index_stage *stage, rl_milvus *milvus, uint32_t dim,
                             uint64_t end, rl_err *err)
{
    const rl_outbox_jobs *jobs = &stage->jobs;
    rl_milvus_row rows[RL_INDEX_ROWS];
    rl_status status = RL_OK;
    size_t count = 0;

    for (size_t i = 0; i < rl_outbox_job_count(jobs); i++) {
        const rl_outbox_job *job = rl_outbox_job_at(jobs, i);

        if (job->dim == dim && !job->gone) {
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
        rl_metric_add(&stage->indexer->with.metrics->upserted, count);
    }
    return status;
}

/* Whether a row is the first of its length that is to be upserted. */
static bool is_first_of_dim(const rl_outbox_jobs *jobs, size_t at)
{
    const rl_outbox_job *job = rl_outbox_job_at(jobs, at);
    bool first = !job->gone && job->dim > 0;

    for (size_t i = 0; i < at && first; i++) {
        first =
            rl_outbox_job_at(jobs, i)->gone || rl_outbox_job_at(jobs, i)->dim != job->dim;
    }
    return first;
}

/* The rows of that length, from `first` on, were not upserted. */
static void put_off_dim(rl_index_stage *stage, const rl_err *err, size_t first)
{
    const rl_outbox_jobs *jobs = &stage->jobs;
    const uint32_t dim = rl_outbox_job_at(jobs, first)->dim;
    size_t count = 0;

    for (size_t i = first; i < rl_outbox_job_count(jobs); i++) {
        if (rl_outbox_job_at(jobs, i)->dim == dim && !rl_outbox_job_at(jobs, i)->gone) {
            put_off_one(stage, err, &stage->results[i]);
            count++;
        }
    }
    tell_refused(stage, err, count);
}

/* Goes through the rows by the length of their vectors: there is more than one only where the
 * model was changed. The results borrow the text of `errors`. */
static bool upsert_by_dim(rl_index_stage *stage, rl_milvus *milvus, rl_err errors[DIMS])
{
    const rl_outbox_jobs *jobs = &stage->jobs;
    const uint64_t end = rl_monotonic_ns() + CALL_NS;
    size_t dims = 0;
    bool fine = true;

    for (size_t first = 0; first < rl_outbox_job_count(jobs); first++) {
        rl_err *err = &errors[dims];
        rl_status status;

        if (!is_first_of_dim(jobs, first)) {
            continue;
        }
        dims += dims < DIMS - 1;
        *err = (rl_err){.code = RL_OK};
        status = upsert_rows(stage, milvus, rl_outbox_job_at(jobs, first)->dim, end, err);
        judge(stage, status, err);
        if (status != RL_OK) {
            put_off_dim(stage, err, first);
        }
        fine = fine && (status == RL_OK || err->rejected);
    }
    return fine;
}

bool rl_index_upsert(rl_index_stage *stage)
{
    const rl_outbox_jobs *jobs = &stage->jobs;
    rl_milvus *milvus = NULL;
    rl_err errors[DIMS] = {{.code = RL_OK}}, *err = &errors[0];
    rl_status status;
    bool fine;

    if (!claim(stage, RL_OUTBOX_EMBEDDED, RL_INDEX_ROWS)) {
        return false;
    }
    for (size_t i = 0; i < rl_outbox_job_count(jobs); i++) {
        const rl_outbox_job *job = rl_outbox_job_at(jobs, i);

        stage->results[i] =
            result_of(jobs, job, job->gone ? RL_OUTBOX_HAS_NONE : RL_OUTBOX_UPSERTED);
        if (job->dim == 0 && !job->gone) {
            stage->results[i].outcome = RL_OUTBOX_REFUSED;
            stage->results[i].error = "the vector has another length than dim says";
        }
    }
    status = rl_services_milvus(stage->indexer->with.services, stage->set, &milvus, err);
    fine = status == RL_OK;
    if (status == RL_OK) {
        fine = upsert_by_dim(stage, milvus, errors);
    } else {
        judge(stage, status, err);
        put_off(stage, err, stage->results, rl_outbox_job_count(jobs));
    }
    return settle(stage, rl_outbox_job_count(jobs)) && fine;
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
    status = rl_services_milvus(stage->indexer->with.services, stage->set, &milvus, &err);
    if (status == RL_OK) {
        status = rl_milvus_delete(milvus, ids, rl_outbox_job_count(jobs), ATTEMPTS,
                                  rl_monotonic_ns() + CALL_NS, &err);
    }
    judge(stage, status, &err);
    if (status != RL_OK) {
        put_off(stage, &err, stage->results, rl_outbox_job_count(jobs));
    }
    return settle(stage, rl_outbox_job_count(jobs)) && status == RL_OK;
}
