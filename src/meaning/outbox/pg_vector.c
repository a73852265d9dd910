/* pgvector. See pg_vector.h. */
#include "meaning/outbox/pg_vector.h"

#include "core/alloc.h"
#include "core/clock.h"
#include "meaning/outbox/pg_vector_sql.h"
#include "store/postgres/pg_migrate.h"
#include "store/postgres/postgres_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_NS UINT64_C(3000000000)    /* between two searches for the extension */
#define REFUSED_NS UINT64_C(60000000000) /* the same, after its migrations have failed */
#define SEARCH_NS UINT64_C(60000000000)  /* the least time-out of a search */
#define COPY_NS UINT64_C(200000000)      /* for the copies of one call */
#define COPY_ROWS 256                    /* of a statement */
#define ROW_VALUES 4
#define NUMBER_TEXT 24 /* bytes of an int64 as text, with the NUL */
#define SQL_MAX 131072
#define HEAD 4 /* bytes before the numbers of a vector as the extension reads it */

static const char first_id[] = "00000000-0000-0000-0000-000000000000";

void rl_pg_vector_init(rl_pg_vector *vector, rl_pg_pool *pool, rl_pg_reader *reader,
                       const rl_migrations *migrations)
{
    memset(vector, 0, sizeof *vector);
    vector->pool = pool;
    vector->reader = reader;
    vector->migrations = migrations;
    pthread_mutex_init(&vector->lock, NULL);
}

void rl_pg_vector_destroy(rl_pg_vector *vector)
{
    pthread_mutex_destroy(&vector->lock);
}

static void set_state(rl_pg_vector *vector, bool ready, const char *schema,
                      uint64_t check_at)
{
    pthread_mutex_lock(&vector->lock);
    vector->ready = ready;
    vector->check_at = check_at;
    snprintf(vector->schema, sizeof vector->schema, "%s", schema);
    pthread_mutex_unlock(&vector->lock);
}

/* Whether the column can be used, as far as is known; copies the schema. *is_time gets
 * whether to look for the extension now. */
static bool is_ready(rl_pg_vector *vector, char schema[RL_PG_QUOTED], bool *is_time)
{
    bool ready;

    pthread_mutex_lock(&vector->lock);
    ready = vector->ready;
    *is_time = !ready && rl_monotonic_ns() >= vector->check_at;
    memcpy(schema, vector->schema, RL_PG_QUOTED);
    pthread_mutex_unlock(&vector->lock);
    return ready;
}

static rl_status set_up_transaction(rl_pg_conn *conn, void *schema, rl_err *err)
{
    const char *const values[] = {schema};

    return rl_pg_conn_exec(conn, RL_PG_VECTOR_SETTINGS, 1, values, false, NULL, err);
}

/* Applies the migrations. `has_column`: they seem to be applied already. */
static rl_status migrate(rl_pg_conn *conn, const rl_migrations *known, char *schema,
                         bool has_column, rl_err *err)
{
    const rl_pg_migration_plan plan = {
        .known = *known,
        .table_exists = RL_PG_VECTOR_HAS_MIGRATIONS,
        .create_table = RL_PG_VECTOR_MAKE_MIGRATIONS,
        .list = RL_PG_VECTOR_MIGRATIONS,
        .insert = RL_PG_VECTOR_APPLIED,
        .always_lock = !has_column,
        .delete_stale = RL_PG_VECTOR_FORGET,
        .configure = set_up_transaction,
        .ctx = schema,
    };

    return rl_pg_migrate_plan(conn, &plan, err);
}

/* Looks for the extension on an open connection, and applies the missing migrations. A
 * role that may not change the table searches without the extension. RL_STORE only when
 * the server is unavailable, or when the migrations are not those of this version. */
static rl_status check(rl_pg_vector *vector, rl_pg_conn *conn, rl_err *err)
{
    char schema[RL_PG_QUOTED] = "";
    PGresult *result = NULL;
    rl_err own = {.code = RL_OK};
    uint64_t again = CHECK_NS;
    rl_status status =
        rl_pg_conn_exec(conn, RL_PG_VECTOR_FIND, 0, NULL, true, &result, &own);
    bool found = status == RL_OK && PQntuples(result) > 0;
    bool has_column = found && strcmp(PQgetvalue(result, 0, 1), "true") == 0;

    if (found && conn->reads_only && !has_column) {
        found = false; /* who works on the primary adds the column */
    } else if (found) {
        snprintf(schema, sizeof schema, "%s", PQgetvalue(result, 0, 0));
        status = migrate(conn, vector->migrations, schema, has_column, &own);
        if (status != RL_OK && !own.unusable && !rl_pg_conn_lost(conn)) {
            status = RL_OK;
            found = false;
            again = REFUSED_NS;
        }
    }
    PQclear(result);
    /* after an error the next search checks again, so that it gets the error too */
    set_state(vector, status == RL_OK && found, schema,
              status == RL_OK ? rl_monotonic_ns() + again : 0);
    if (status != RL_OK && err != NULL) {
        *err = own;
    }
    return status;
}

/* Checks for the extension if it is time; *ready gets whether it can be used. */
static rl_status get_ready(rl_pg_vector *vector, rl_pg_conn *conn,
                           char schema[RL_PG_QUOTED], bool *ready, rl_err *err)
{
    rl_status status = RL_OK;
    bool must_check;

    *ready = is_ready(vector, schema, &must_check);
    if (must_check) {
        status = check(vector, conn, err);
        *ready = is_ready(vector, schema, &must_check) && status == RL_OK;
    }
    return status;
}

/* Whether a statement failed because the extension was dropped, and with it the column,
 * the type and its functions, or was moved to another schema. */
static bool is_dropped(const rl_err *err)
{
    return strncmp(err->sqlstate, "42", 2) == 0 || strcmp(err->sqlstate, "3F000") == 0;
}

rl_status rl_pg_vector_give(const PGresult *result, int row, rl_vector_sink sink,
                            void *ctx, rl_err *err)
{
    size_t bytes = (size_t)PQgetlength(result, row, 2);
    rl_status status = RL_OK;
    uint8_t id[16];

    if (!PQgetisnull(result, row, 2) && rl_uuid_parse(PQgetvalue(result, row, 0), id)) {
        status = sink(ctx, id, PQgetvalue(result, row, 2),
                      (uint32_t)(bytes / sizeof(float)), err);
    }
    return status;
}

/* A vector as the extension reads it: two numbers of 16 bits, its length and zero, then
 * float32, all with the high byte first. Source: pgvector, src/vector.c, vector_recv. */
static void write_vector(const void *numbers, uint32_t dim, unsigned char *out)
{
    const char *from = numbers;

    out[0] = (unsigned char)(dim >> 8);
    out[1] = (unsigned char)dim;
    out[2] = out[3] = 0;
    out += HEAD;
    for (uint32_t i = 0; i < dim; i++, from += sizeof(float), out += sizeof(float)) {
        uint32_t bits;

        memcpy(&bits, from, sizeof bits);
        out[0] = (unsigned char)(bits >> 24);
        out[1] = (unsigned char)(bits >> 16);
        out[2] = (unsigned char)(bits >> 8);
        out[3] = (unsigned char)bits;
    }
}

/* Calls the sink with the vectors that have no copy yet. */
static rl_status read_uncopied(rl_pg_conn *conn, const rl_near_query *query,
                               rl_vector_sink sink, void *ctx, rl_err *err)
{
    char dim[NUMBER_TEXT], limit[NUMBER_TEXT], behind[RL_UUID_TEXT];
    const char *const values[] = {query->model, dim, query->wpk_id, behind, limit};
    rl_status status = RL_OK;
    int count = RL_PG_UNCOPIED_CHUNK;

    snprintf(dim, sizeof dim, "%u", query->dim);
    snprintf(limit, sizeof limit, "%d", RL_PG_UNCOPIED_CHUNK);
    snprintf(behind, sizeof behind, "%s", first_id);
    while (status == RL_OK && count == RL_PG_UNCOPIED_CHUNK) {
        PGresult *result = NULL;

        status =
            rl_pg_conn_exec(conn, RL_PG_VECTOR_UNCOPIED, 5, values, true, &result, err);
        count = status == RL_OK ? PQntuples(result) : 0;
        for (int row = 0; row < count && status == RL_OK; row++) {
            status = rl_pg_vector_give(result, row, sink, ctx, err);
            snprintf(behind, sizeof behind, "%s", PQgetvalue(result, row, 0));
        }
        PQclear(result);
    }
    return status;
}

/* Runs a statement with some binary values. Waits longer than for other statements, as a
 * search can be slow. */
static rl_status run_binary(rl_pg_conn *conn, const char *sql, int count,
                            const char *const *values, const int *lengths,
                            const int *formats, PGresult **result, rl_err *err)
{
    const uint64_t timeout = conn->timeout_ns;
    rl_status status;

    conn->timeout_ns = timeout > SEARCH_NS ? timeout : SEARCH_NS;
    status = PQsendQueryParams(conn->pg, sql, count, NULL, values, lengths, formats, 1)
                 ? rl_pg_conn_last(conn, result, err)
                 : rl_pg_conn_error(conn, NULL, err);
    conn->timeout_ns = timeout;
    return status;
}

static rl_status read_nearest(rl_pg_conn *conn, const char *schema,
                              const rl_near_query *query, rl_vector_sink sink, void *ctx,
                              rl_err *err)
{
    const bool by_run = query->status != NULL || query->since != RL_TIME_NONE;
    const int lengths[6] = {[3] = (int)(HEAD + query->dim * sizeof(float))};
    const int formats[6] = {[3] = 1};
    char limit[NUMBER_TEXT], since[NUMBER_TEXT];
    const char *values[6] = {query->model, query->wpk_id, limit};
    unsigned char *numbers = rl_malloc((size_t)lengths[3]);
    PGresult *result = NULL;
    rl_status status;
    rl_buf sql;

    rl_buf_init(&sql, SQL_MAX);
    rl_buf_printf(&sql, RL_PG_VECTOR_NEAREST "%s" RL_PG_VECTOR_ORDER,
                  by_run ? RL_PG_VECTOR_RUNS : "", query->dim, schema, query->dim, schema,
                  schema, query->dim);
    snprintf(limit, sizeof limit, "%zu", query->limit);
    snprintf(since, sizeof since, "%lld", (long long)query->since);
    values[4] = query->status;
    values[5] = query->since != RL_TIME_NONE ? since : NULL;
    if (numbers == NULL || sql.failed) {
        status = rl_err_nomem(err);
    } else {
        write_vector(query->vector, query->dim, numbers);
        values[3] = (const char *)numbers;
        status = run_binary(conn, sql.data, by_run ? 6 : 4, values, lengths, formats,
                            &result, err);
    }
    for (int row = 0; status == RL_OK && row < PQntuples(result); row++) {
        status = rl_pg_vector_give(result, row, sink, ctx, err);
    }
    PQclear(result);
    rl_free(numbers);
    rl_buf_free(&sql);
    return status;
}

static rl_status search(rl_pg_conn *conn, const char *schema, const rl_near_query *query,
                        rl_vector_sink sink, void *ctx, rl_err *err)
{
    rl_status status =
        rl_pg_conn_exec(conn, RL_PG_VECTOR_BEGIN, 0, NULL, false, NULL, err);

    if (status == RL_OK) {
        status = read_uncopied(conn, query, sink, ctx, err);
        if (status == RL_OK) {
            status = read_nearest(conn, schema, query, sink, ctx, err);
        }
        status = rl_pg_conn_end(conn, status, err);
    }
    return status;
}

/* A search, for rl_pg_pool_run. */
typedef struct searching {
    rl_pg_vector *vector;
    const rl_near_query *query;
    rl_vector_sink sink;
    void *ctx;
    bool *available;
} searching;

/* Searches on a connection; checks once more when the extension was dropped or moved
 * meanwhile. */
static rl_status try_nearest(rl_pg_conn *conn, void *ctx, rl_err *err)
{
    const searching *self = ctx;
    char schema[RL_PG_QUOTED];
    rl_err own = {.code = RL_OK};
    rl_status status = RL_OK;

    *self->available = false;
    for (int tries = 0; tries < 2; tries++) {
        status = get_ready(self->vector, conn, schema, self->available, &own);
        if (status != RL_OK || !*self->available) {
            break;
        }
        status = search(conn, schema, self->query, self->sink, self->ctx, &own);
        if (status == RL_OK || rl_pg_conn_lost(conn) || !is_dropped(&own)) {
            break;
        }
        set_state(self->vector, false, "", 0);
    }
    if (status != RL_OK && err != NULL) {
        *err = own;
    }
    return status;
}

rl_status rl_pg_vector_nearest(rl_pg_vector *vector, const rl_near_query *query,
                               rl_vector_sink sink, void *ctx, bool *available,
                               rl_err *err)
{
    searching self = {vector, query, sink, ctx, available};

    *available = false;
    return vector->migrations != NULL && query->dim <= RL_PG_VECTOR_DIM_MAX
               ? rl_pg_reader_run(vector->reader, RL_PG_OWN_WORK, try_nearest, &self, err)
               : RL_OK;
}

/* The values of a statement that makes copies. */
typedef struct copies {
    const char *values[COPY_ROWS * ROW_VALUES];
    int lengths[COPY_ROWS * ROW_VALUES], formats[COPY_ROWS * ROW_VALUES];
    rl_buf numbers; /* the vectors, one behind the other */
    rl_buf sql;
} copies;

/* Makes the statement and its values, which borrow the rows. */
static void fill(copies *self, const PGresult *rows, const char *schema)
{
    const int count = PQntuples(rows);
    size_t bytes = 0, at = 0;

    for (int row = 0; row < count; row++) {
        bytes += HEAD + (size_t)PQgetlength(rows, row, 3);
    }
    rl_buf_add_text(&self->sql, RL_PG_VECTOR_COPY);
    if (!rl_buf_reserve(&self->numbers, bytes)) {
        return;
    }
    for (int row = 0; row < count; row++) {
        const uint32_t dim = (uint32_t)PQgetlength(rows, row, 3) / sizeof(float);
        const int first = row * ROW_VALUES;
        char *numbers = self->numbers.data + at;

        rl_buf_printf(&self->sql, "%s" RL_PG_VECTOR_ROW, row > 0 ? ", " : "", first + 1,
                      first + 2, first + 3, first + 4, schema);
        for (int column = 0; column < 3; column++) {
            self->values[first + column] = PQgetvalue(rows, row, column);
        }
        write_vector(PQgetvalue(rows, row, 3), dim, (unsigned char *)numbers);
        self->values[first + 3] = numbers;
        self->lengths[first + 3] = (int)(HEAD + dim * sizeof(float));
        self->formats[first + 3] = 1;
        at += (size_t)self->lengths[first + 3];
    }
    rl_buf_add_text(&self->sql, RL_PG_VECTOR_COPIED);
    rl_buf_add_char(&self->sql, '\0');
}

/* Copies the next rows after the id `behind`, in a transaction. Sets `behind` to the id
 * of the last one, and *count to their number. */
static rl_status copy_some(rl_pg_conn *conn, const char *schema,
                           char behind[RL_UUID_TEXT], int *count, rl_err *err)
{
    char limit[NUMBER_TEXT];
    const char *const values[] = {behind, limit};
    PGresult *rows = NULL;
    copies *self = rl_calloc(1, sizeof *self);
    rl_status status = self != NULL
                           ? rl_pg_conn_exec(conn, RL_PG_BEGIN, 0, NULL, false, NULL, err)
                           : rl_err_nomem(err);

    *count = 0;
    if (status != RL_OK) {
        rl_free(self);
        return status;
    }
    rl_buf_init(&self->numbers, RL_BUF_MAX);
    rl_buf_init(&self->sql, SQL_MAX);
    snprintf(limit, sizeof limit, "%d", COPY_ROWS);
    status = rl_pg_conn_exec(conn, RL_PG_VECTOR_TO_COPY, 2, values, true, &rows, err);
    if (status == RL_OK && PQntuples(rows) > 0) {
        fill(self, rows, schema);
        status = self->numbers.failed || self->sql.failed
                     ? rl_err_nomem(err)
                     : run_binary(conn, self->sql.data, PQntuples(rows) * ROW_VALUES,
                                  self->values, self->lengths, self->formats, NULL, err);
        *count = PQntuples(rows);
        snprintf(behind, RL_UUID_TEXT, "%s", PQgetvalue(rows, *count - 1, 0));
    }
    status = rl_pg_conn_end(conn, status, err);
    PQclear(rows);
    rl_buf_free(&self->numbers);
    rl_buf_free(&self->sql);
    rl_free(self);
    return status;
}

void rl_pg_vector_copy(rl_pg_vector *vector)
{
    const uint64_t end = rl_monotonic_ns() + COPY_NS;
    char schema[RL_PG_QUOTED], behind[RL_UUID_TEXT];
    rl_pg_conn *conn = NULL;
    rl_err err = {.code = RL_OK};
    rl_status status;
    bool must_check, ready = is_ready(vector, schema, &must_check);
    int count = COPY_ROWS;

    if (vector->migrations == NULL || !(ready || must_check) ||
        rl_pg_pool_take(vector->pool, &conn, &err) != RL_OK) {
        return;
    }
    snprintf(behind, sizeof behind, "%s", first_id);
    status = rl_pg_conn_open(conn, &err);
    if (status == RL_OK) {
        status = get_ready(vector, conn, schema, &ready, &err);
    }
    while (status == RL_OK && ready && count == COPY_ROWS && rl_monotonic_ns() < end) {
        status = copy_some(conn, schema, behind, &count, &err);
    }
    if (status != RL_OK &&
        ready) { /* dropped, or the server refuses: not again at once */
        set_state(vector, false, "",
                  is_dropped(&err) ? 0 : rl_monotonic_ns() + REFUSED_NS);
    }
    rl_pg_pool_give(vector->pool, conn);
}

void rl_pg_vector_before_fork(rl_pg_vector *vector)
{
    pthread_mutex_lock(&vector->lock);
}

void rl_pg_vector_after_fork(rl_pg_vector *vector)
{
    pthread_mutex_unlock(&vector->lock);
}
