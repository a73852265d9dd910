/* The outbox on PostgreSQL. See pg_outbox.h. */
#include "meaning/outbox/pg_outbox.h"

#include "core/alloc.h"
#include "meaning/outbox/pg_outbox_sql.h"
#include "meaning/outbox/pg_vector.h"
#include "store/postgres/postgres_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_TEXT 24 /* bytes of an int64 as text, with the NUL */
#define CLAIM_TRIES 10 /* while others claim the same rows */
#define DEADLOCK "40P01"

static const char first_id[] = "00000000-0000-0000-0000-000000000000";

typedef struct pg_outbox {
    rl_outbox base;
    rl_pg_pool *pool;     /* borrowed */
    rl_pg_reader *reader; /* borrowed; for searches */
    rl_pg_vector vector;
} pg_outbox;

static rl_pg_pool *pool_of(rl_outbox *outbox)
{
    return ((pg_outbox *)outbox)->pool;
}

static rl_pg_reader *reader_of(rl_outbox *outbox)
{
    return ((pg_outbox *)outbox)->reader;
}

static rl_pg_vector *vector_of(rl_outbox *outbox)
{
    return &((pg_outbox *)outbox)->vector;
}

static const char *number(char out[NUMBER_TEXT], int64_t value)
{
    snprintf(out, NUMBER_TEXT, "%lld", (long long)value);
    return out;
}

/* A column as text; "" for NULL. */
static const char *text_of(const PGresult *result, int row, int column)
{
    return PQgetvalue(result, row, column);
}

static int64_t number_of(const PGresult *result, int row, int column)
{
    return strtoll(text_of(result, row, column), NULL, 10);
}

static size_t add_text(rl_outbox_jobs *jobs, const PGresult *result, int row, int column)
{
    return rl_outbox_add_text(jobs, text_of(result, row, column),
                              (size_t)PQgetlength(result, row, column));
}

static void add_job(rl_outbox_jobs *jobs, int64_t lease, const PGresult *result, int row)
{
    rl_outbox_job job = {.version = number_of(result, row, 1),
                         .lease = lease,
                         .attempts = (unsigned)number_of(result, row, 2),
                         .run_deleted = PQgetisnull(result, row, 5) != 0,
                         .created_at = number_of(result, row, 7),
                         .text_hash = (uint64_t)number_of(result, row, 9),
                         .dim = (uint32_t)number_of(result, row, 11)};

    snprintf(job.id, sizeof job.id, "%s", text_of(result, row, 0));
    job.wpk_id = add_text(jobs, result, row, 3);
    job.run_id = add_text(jobs, result, row, 4);
    job.status = add_text(jobs, result, row, 5);
    job.model = add_text(jobs, result, row, 6);
    job.outputs = add_text(jobs, result, row, 8);
    job.outputs_len = (size_t)PQgetlength(result, row, 8);
    job.values = add_text(jobs, result, row, 12);
    job.values_len = (size_t)PQgetlength(result, row, 12);
    if (!PQgetisnull(result, row, 10)) {
        size_t bytes = (size_t)PQgetlength(result, row, 10);

        job.dim = bytes == job.dim * sizeof(float) ? job.dim : 0;
        job.vector =
            rl_outbox_add_vector(jobs, text_of(result, row, 10), job.dim * sizeof(float));
    }
    rl_buf_add(&jobs->list, &job, sizeof job);
}

/* Adds the rows that are claimed; gives how many. */
static int add_jobs(rl_outbox_jobs *jobs, int64_t lease, const PGresult *result)
{
    int claimed = 0;

    for (int row = 0; row < PQntuples(result); row++) {
        if (!PQgetisnull(result, row, 0)) {
            add_job(jobs, lease, result, row);
            claimed++;
        }
    }
    return claimed;
}

static rl_status outbox_claim(rl_outbox *outbox, const rl_outbox_claim *claim,
                              rl_outbox_jobs *jobs, rl_err *err)
{
    char now[NUMBER_TEXT], until[NUMBER_TEXT], limit[NUMBER_TEXT], bytes[NUMBER_TEXT];
    const char *const values[] = {rl_outbox_state_names[claim->state],
                                  number(now, claim->now), number(until, claim->until),
                                  number(limit, (int64_t)claim->limit),
                                  number(bytes, (int64_t)RL_OUTBOX_BYTES)};
    const char *const sql = rl_pg_pool_is_spread(pool_of(outbox))
                                ? RL_PG_OUTBOX_CLAIM("")
                                : RL_PG_OUTBOX_CLAIM(RL_PG_OUTBOX_SKIP);
    rl_status status = RL_OK;
    bool unknown; /* then the lease ends by itself */
    bool again = true;

    rl_pg_vector_copy(vector_of(outbox)); /* vectors of the rounds before */
    rl_outbox_jobs_clear(jobs);
    for (int tries = 0; again && tries < CLAIM_TRIES; tries++) {
        PGresult *result = NULL;

        status =
            rl_pg_pool_write(pool_of(outbox), sql, 5, values, &result, &unknown, err);
        if (status == RL_OK) { /* others may have claimed all that it found */
            again = add_jobs(jobs, claim->until, result) == 0 && PQntuples(result) > 0;
        } else { /* two claims may lock the same rows in two orders */
            again = strcmp(err->sqlstate, DEADLOCK) == 0;
        }
        PQclear(result);
    }
    return status == RL_OK && rl_outbox_jobs_failed(jobs) ? rl_err_nomem(err) : status;
}

static rl_status outbox_recall(rl_outbox *outbox, int64_t beyond, rl_err *err)
{
    char stamp[NUMBER_TEXT];
    const char *const values[] = {number(stamp, beyond)};
    PGresult *result = NULL;
    bool unknown; /* then the next one does it */
    rl_status status = rl_pg_pool_write(pool_of(outbox), RL_PG_OUTBOX_RECALL, 1, values,
                                        &result, &unknown, err);

    PQclear(result);
    return status;
}

/* The statements of an outcome; the second one runs only when the first has found no row.
 * */
#define STATEMENTS(where)                                                \
    {                                                                    \
        [RL_OUTBOX_NEW_VECTOR] = {RL_PG_OUTBOX_NEW_VECTOR(where), NULL}, \
        [RL_OUTBOX_SAME_TEXT] = {RL_PG_OUTBOX_SAME_TEXT(where), NULL},   \
        [RL_OUTBOX_UPSERTED] = {RL_PG_OUTBOX_UPSERTED(where), NULL},     \
        [RL_OUTBOX_NO_TEXT] = {RL_PG_OUTBOX_NO_TEXT(where),              \
                               RL_PG_OUTBOX_NO_TEXT_UPSERTED(where)},    \
        [RL_OUTBOX_REMOVED] = {RL_PG_OUTBOX_REMOVED(where), NULL},       \
        [RL_OUTBOX_REJECTED] = {RL_PG_OUTBOX_REJECTED(where), NULL},     \
        [RL_OUTBOX_POSTPONED] = {RL_PG_OUTBOX_POSTPONED(where), NULL},   \
    }

typedef const char *const statement_pair[2];

static statement_pair for_unlocked_row[] = STATEMENTS(RL_PG_OUTBOX_UNLOCKED_ROW);
static statement_pair for_row[] = STATEMENTS(RL_PG_OUTBOX_ROW);

#define MOST_VALUES 10
#define ROW_VALUES 4 /* those of RL_PG_OUTBOX_ROW */

/* The parameters of an outcome's first statement. */
typedef struct parameters {
    const char *values[MOST_VALUES];
    int lengths[MOST_VALUES], formats[MOST_VALUES];
    char numbers[MOST_VALUES][NUMBER_TEXT];
    int count;
} parameters;

static void add_number(parameters *all, int64_t value)
{
    all->values[all->count] = number(all->numbers[all->count], value);
    all->count++;
}

static void fill(parameters *all, const rl_outbox_result *result)
{
    memset(all, 0, sizeof *all);
    all->values[all->count++] = result->key.id;
    all->values[all->count++] = result->key.wpk_id;
    add_number(all, result->version);
    add_number(all, result->lease);
    switch (result->outcome) {
    case RL_OUTBOX_NEW_VECTOR:
        all->values[all->count++] = result->model;
        add_number(all, result->dim);
        add_number(all, (int64_t)result->text_hash);
        add_number(all, (int64_t)result->text_bytes);
        add_number(all, (int64_t)result->used_bytes);
        all->values[all->count] = (const char *)result->vector;
        all->lengths[all->count] = (int)(result->dim * sizeof(float));
        all->formats[all->count++] = 1;
        break;
    case RL_OUTBOX_REJECTED:
        all->values[all->count++] = result->error;
        break;
    case RL_OUTBOX_POSTPONED:
        add_number(all, result->again_at);
        all->values[all->count++] = result->error;
        break;
    default:
        break;
    }
}

static rl_status run(rl_pg_conn *conn, const char *sql, const parameters *all, int count,
                     bool *found, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status = PQsendQueryParams(conn->pg, sql, count, NULL, all->values,
                                         all->lengths, all->formats, 0)
                           ? rl_pg_conn_last(conn, &result, err)
                           : rl_pg_conn_error(conn, NULL, err);

    *found = status == RL_OK && strcmp(PQcmdTuples(result), "0") != 0;
    PQclear(result);
    return status;
}

/* Records a result: in a transaction of many rows only if nobody has locked this row, so
 * that the transaction never waits and can't be part of a deadlock; with `alone` also if
 * it has to wait. */
static rl_status finish_row(rl_pg_conn *conn, const rl_outbox_result *result, bool alone,
                            bool *found, rl_err *err)
{
    const char *const *sql = (alone ? for_row : for_unlocked_row)[result->outcome];
    parameters all;
    rl_status status;

    fill(&all, result);
    status = run(conn, sql[0], &all, all.count, found, err);
    if (status == RL_OK && !*found && sql[1] != NULL) {
        status = run(conn, sql[1], &all, ROW_VALUES, found, err);
    }
    if (status == RL_OK && !*found && alone) {
        status = run(conn, RL_PG_OUTBOX_RELEASE, &all, ROW_VALUES, found, err);
    }
    return status;
}

static rl_status finish_rows(rl_pg_conn *conn, const rl_outbox_result *results,
                             size_t count, bool *found, rl_err *err)
{
    rl_status status = rl_pg_conn_exec(conn, RL_PG_BEGIN, 0, NULL, false, NULL, err);

    for (size_t i = 0; i < count && status == RL_OK; i++) {
        status = finish_row(conn, &results[i], false, &found[i], err);
    }
    status = rl_pg_conn_end(conn, status, err);
    for (size_t i = 0; i < count && status == RL_OK; i++) {
        if (!found[i]) {
            status = finish_row(conn, &results[i], true, &found[i], err);
        }
    }
    return status;
}

static rl_status outbox_finish(rl_outbox *outbox, const rl_outbox_result *results,
                               size_t count, rl_err *err)
{
    bool *found = count > 0 ? rl_calloc(count, sizeof *found) : NULL;
    rl_pg_conn *conn = NULL;
    rl_status status = RL_OK;

    if (count > 0 && found == NULL) {
        return rl_err_nomem(err);
    }
    if (count > 0) {
        status = rl_pg_pool_take(pool_of(outbox), &conn, err);
    }
    if (conn != NULL) {
        status = rl_pg_conn_open(conn, err);
        if (status == RL_OK) {
            status = finish_rows(conn, results, count, found, err);
        }
        rl_pg_pool_give(pool_of(outbox), conn);
    }
    rl_free(found);
    return status;
}

static rl_status outbox_count(rl_outbox *outbox, bool embedded, rl_outbox_counts *counts,
                              rl_err *err)
{
    const char *const values[] = {
        rl_outbox_state_names[embedded ? RL_OUTBOX_EMBEDDED : RL_OUTBOX_PENDING]};
    PGresult *result = NULL;
    rl_status status =
        rl_pg_pool_read(pool_of(outbox), RL_PG_OUTBOX_COUNTS, 1, values, &result, err);
    rl_outbox_state state;

    memset(counts, 0, sizeof *counts);
    for (int row = 0; status == RL_OK && row < PQntuples(result); row++) {
        if (rl_outbox_state_parse(text_of(result, row, 0), &state)) {
            counts->rows[state] = number_of(result, row, 1);
            if (state == RL_OUTBOX_FAILED) {
                snprintf(counts->last_error, sizeof counts->last_error, "%s",
                         text_of(result, row, 2));
            }
        }
    }
    PQclear(result);
    return status;
}

static rl_status outbox_queue(rl_outbox *outbox, rl_outbox_walk *walk, rl_err *err)
{
    char dim[NUMBER_TEXT];
    const char *const values[] = {walk->txid[0] != '\0' ? walk->txid : "0",
                                  walk->id[0] != '\0' ? walk->id : first_id, walk->model,
                                  number(dim, walk->dim)};
    PGresult *result = NULL;
    bool unknown;
    rl_status status = rl_pg_pool_write(pool_of(outbox), RL_PG_OUTBOX_WALK, 4, values,
                                        &result, &unknown, err);

    walk->more = status == RL_OK && PQntuples(result) > 0;
    if (walk->more) {
        snprintf(walk->txid, sizeof walk->txid, "%s", text_of(result, 0, 0));
        snprintf(walk->id, sizeof walk->id, "%s", text_of(result, 0, 1));
        walk->queued += number_of(result, 0, 2);
    }
    PQclear(result);
    return status;
}

/* The statement of a scan: [in one workflow][with filters of the runs]. */
static const char *scan_sql(const rl_near_query *query, bool of_run)
{
    static const char *const statements[2][2] = {
        {RL_PG_VECTORS RL_PG_VECTORS_BLOCK RL_PG_VECTORS_ALL,
         RL_PG_VECTORS RL_PG_VECTORS_OF_RUN RL_PG_VECTORS_BLOCK RL_PG_VECTORS_ALL},
        {RL_PG_VECTORS RL_PG_VECTORS_BLOCK RL_PG_VECTORS_IN,
         RL_PG_VECTORS RL_PG_VECTORS_OF_RUN RL_PG_VECTORS_BLOCK RL_PG_VECTORS_IN},
    };

    return statements[query->wpk_id != NULL][of_run];
}

/* Reads all vectors that match, which works without pgvector. */
static rl_status scan(rl_pg_reader *reader, const rl_near_query *query,
                      rl_vector_sink sink, void *ctx, rl_err *err)
{
    const bool of_run = query->status != NULL || query->since != RL_TIME_NONE;
    const int block = (int)rl_vector_block(query->dim);
    char dim[NUMBER_TEXT], limit[NUMBER_TEXT], since[NUMBER_TEXT];
    const char *values[] = {query->model,
                            number(dim, query->dim),
                            query->wpk_id != NULL ? query->wpk_id : "",
                            first_id,
                            number(limit, block),
                            query->status,
                            query->since != RL_TIME_NONE ? number(since, query->since)
                                                         : NULL};
    PGresult *last = NULL; /* the block before, which `values` borrow */
    rl_status status = RL_OK;
    int rows = block;

    while (status == RL_OK && rows == block) {
        PGresult *result = NULL;

        status = rl_pg_reader_read(reader, RL_PG_OWN_WORK, scan_sql(query, of_run),
                                   of_run ? 7 : 5, values, &result, err);
        rows = status == RL_OK ? PQntuples(result) : 0;
        for (int row = 0; row < rows && status == RL_OK; row++) {
            status = rl_pg_vector_give(result, row, sink, ctx, err);
        }
        if (rows > 0) {
            values[2] = text_of(result, rows - 1, 1);
            values[3] = text_of(result, rows - 1, 0);
        }
        PQclear(last);
        last = result;
    }
    PQclear(last);
    return status;
}

static rl_status outbox_vector(rl_outbox *outbox, const rl_outbox_key *key,
                               const char *model, rl_vector_sink sink, void *ctx,
                               rl_err *err)
{
    const char *const values[] = {model, key->id, key->wpk_id};
    PGresult *result = NULL;
    rl_status status = rl_pg_reader_read(reader_of(outbox), RL_PG_OWN_WORK, RL_PG_VECTOR,
                                         3, values, &result, err);

    if (status == RL_OK && PQntuples(result) > 0) {
        status = rl_pg_vector_give(result, 0, sink, ctx, err);
    }
    PQclear(result);
    return status;
}

static rl_status outbox_nearest(rl_outbox *outbox, const rl_near_query *query,
                                rl_vector_sink sink, void *ctx, rl_err *err)
{
    bool available = false;
    rl_status status =
        rl_pg_vector_nearest(vector_of(outbox), query, sink, ctx, &available, err);

    if (status == RL_OK && !available) {
        status = scan(reader_of(outbox), query, sink, ctx, err);
    }
    return status;
}

static void outbox_before_fork(rl_outbox *outbox)
{
    rl_pg_vector_before_fork(vector_of(outbox));
}

static void outbox_after_fork(rl_outbox *outbox)
{
    rl_pg_vector_after_fork(vector_of(outbox));
}

static void outbox_free(rl_outbox *outbox)
{
    rl_pg_vector_destroy(vector_of(outbox));
    rl_free(outbox);
}

static const rl_outbox_ops ops = {
    .claim = outbox_claim,
    .finish = outbox_finish,
    .recall = outbox_recall,
    .count = outbox_count,
    .queue = outbox_queue,
    .vector = outbox_vector,
    .nearest = outbox_nearest,
    .before_fork = outbox_before_fork,
    .after_fork = outbox_after_fork,
    .free = outbox_free,
};

rl_status rl_pg_outbox_new(rl_store *store, const rl_migrations *pgvector,
                           rl_outbox **outbox, rl_err *err)
{
    pg_outbox *self = rl_calloc(1, sizeof *self);

    if (self == NULL) {
        return rl_err_nomem(err);
    }
    self->base.ops = &ops;
    self->pool = rl_postgres_pool_of(store);
    self->reader = rl_postgres_reader_of(store);
    rl_pg_vector_init(&self->vector, self->pool, self->reader, pgvector);
    *outbox = &self->base;
    return RL_OK;
}

static bool has_text(void *rule, const rl_run *run)
{
    return rl_outbox_action_of(rule, run) == RL_OUTBOX_QUEUE;
}

rl_pg_hook rl_pg_outbox_hook(const rl_embed_rule *rule)
{
    return (rl_pg_hook){
        .insert = {RL_PG_QUEUED(RL_PG_INSERT), RL_PG_INSERT_QUEUED_NAME,
                   RL_PG_PARAMETERS},
        .merge = {RL_PG_QUEUED(RL_PG_MERGE), RL_PG_MERGE_QUEUED_NAME, RL_PG_PARAMETERS},
        .flag = has_text,
        .ctx = (void *)rule,
    };
}
