/* The PostgreSQL store: one connection that writes batches and one for queries, so that a
 * reader never waits for a commit.
 *
 * A batch goes out in pipeline mode between two Syncs, which makes it one implicit
 * transaction and one round trip: the unnamed statement is prepared once, then bound and
 * executed for each run.
 * Threads: `writer` is used by the one thread in `write`; `side` under `side_lock`;
 * `open_lock` covers the first opening. Ownership: the store owns its DSN and connections,
 * and borrows the migrations.
 */
#include "core/alloc.h"
#include "core/json.h"
#include "core/uuid.h"
#include "store/pg_conn.h"
#include "store/postgres_sql.h"
#include "store/store.h"

#include <pthread.h>
#include <stdlib.h>

/* Object identifiers of built-in types (PostgreSQL's pg_type.dat); they never change. */
#define OID_INT4 23
#define OID_TEXT 25
#define OID_TIMESTAMPTZ 1184
#define OID_UUID 2950
#define OID_JSONB 3802

/* PostgreSQL counts time from 2000-01-01. */
#define PG_EPOCH INT64_C(946684800000000)

typedef struct postgres_store {
    rl_store base;
    char *dsn; /* owned */
    const rl_migrations *migrations;
    pthread_mutex_t open_lock, side_lock;
    bool ready; /* the migrations are applied */
    rl_pg_conn writer, side;
    rl_buf wide; /* payloads rewritten for jsonb; used by the writer */
} postgres_store;

static const rl_dialect dialect = {
    .select_columns = {"id", "wpk_id", "run_id", "status", "duration_ms", "thread_id",
                       "error_type", "error_text", "started_at", "created_at",
                       "updated_at", "inputs", "outputs", "node_logs", "metadata",
                       "owner"},
    .text_cast = "",
    .time_cast = "::timestamptz",
    .id_cast = "::uuid",
    .int_cast = "::bigint",
    .placeholder = '$',
};

static rl_status postgres_prepare(rl_store *store, rl_err *err)
{
    postgres_store *self = (postgres_store *)store;
    rl_status status = RL_OK;

    pthread_mutex_lock(&self->open_lock);
    if (!self->ready) {
        status = rl_pg_conn_open(&self->writer, err);
        if (status == RL_OK) {
            status = rl_pg_migrate(&self->writer, self->migrations, err);
        }
        self->ready = status == RL_OK;
    }
    pthread_mutex_unlock(&self->open_lock);
    return status;
}

/* The values of one row, as libpq takes them. */
typedef struct row {
    const char *values[RL_COLUMNS];
    int lengths[RL_COLUMNS]; /* of the binary values */
    char numbers[RL_COLUMNS][8];
} row;

static void put_big_endian(char *out, uint64_t value, int size)
{
    for (int i = 0; i < size; i++) {
        out[i] = (char)(value >> (8 * (size - 1 - i)));
    }
}

static uint64_t get_big_endian(const char *in, int size)
{
    uint64_t value = 0;

    for (int i = 0; i < size; i++) {
        value = value << 8 | (unsigned char)in[i];
    }
    return value;
}

static void set_number(row *values, rl_column column, uint64_t number, int size)
{
    put_big_endian(values->numbers[column], number, size);
    values->values[column] = values->numbers[column];
    values->lengths[column] = size;
}

static void set_time(row *values, rl_column column, int64_t stamp)
{
    if (stamp != RL_TIME_NONE) {
        set_number(values, column, (uint64_t)(stamp - PG_EPOCH), 8);
    }
}

/* Payloads with doubles of 1e16 and more are rewritten into `wide`. */
static rl_status widen_payloads(rl_buf *wide, const rl_run *run, row *values, rl_err *err)
{
    size_t at[RL_COLUMNS] = {0};

    rl_buf_reset(wide, 0);
    for (int column = 0; column < RL_COLUMNS; column++) {
        const rl_slice *slice = &run->texts[column];

        if (rl_columns[column].kind == RL_KIND_JSON && slice->given) {
            at[column] = wide->len;
            rl_json_widen(wide, run->arena.data + slice->at, slice->len);
            rl_buf_add_char(wide, '\0');
        }
    }
    if (wide->failed) {
        return rl_err_nomem(err);
    }
    for (int column = 0; column < RL_COLUMNS; column++) {
        if (rl_columns[column].kind == RL_KIND_JSON && run->texts[column].given) {
            values->values[column] = wide->data + at[column];
        }
    }
    return RL_OK;
}

static const Oid types[RL_COLUMNS] = {
    OID_UUID,  OID_TEXT,  OID_TEXT,        OID_TEXT,        OID_INT4,        OID_TEXT,
    OID_TEXT,  OID_TEXT,  OID_TIMESTAMPTZ, OID_TIMESTAMPTZ, OID_TIMESTAMPTZ, OID_JSONB,
    OID_JSONB, OID_JSONB, OID_JSONB,       OID_TEXT};

/* Queues one run, for the prepared statement or (`alone`) with the statement itself; libpq
 * copies the values. */
static rl_status send_run(postgres_store *self, const rl_run *run, int64_t now,
                          bool alone, rl_err *err)
{
    static const int formats[RL_COLUMNS] = {[RL_ID] = 1,
                                            [RL_DURATION_MS] = 1,
                                            [RL_STARTED_AT] = 1,
                                            [RL_CREATED_AT] = 1,
                                            [RL_UPDATED_AT] = 1};
    row values = {.values = {NULL}};
    rl_status status = RL_OK;
    int sent;

    for (int column = 0; column < RL_COLUMNS; column++) {
        values.values[column] = rl_run_text(run, (rl_column)column);
    }
    values.values[RL_ID] = (const char *)run->id;
    values.lengths[RL_ID] = 16;
    if (run->duration_ms != RL_NO_DURATION) {
        set_number(&values, RL_DURATION_MS, (uint64_t)run->duration_ms, 4);
    }
    set_time(&values, RL_STARTED_AT, run->started_at);
    set_time(&values, RL_CREATED_AT, run->created_at);
    set_time(&values, RL_UPDATED_AT, now);
    if (run->wide_numbers) {
        status = widen_payloads(&self->wide, run, &values, err);
    }
    if (status != RL_OK) {
        return status;
    }
    sent = alone ? PQsendQueryParams(self->writer.pg, RL_PG_INSERT, RL_COLUMNS, types,
                                     values.values, values.lengths, formats, 0)
                 : PQsendQueryPrepared(self->writer.pg, "", RL_COLUMNS, values.values,
                                       values.lengths, formats, 0);
    return sent ? RL_OK : rl_pg_conn_error(&self->writer, NULL, err);
}

static rl_status send_batch(postgres_store *self, const rl_batch *batch, rl_err *err)
{
    int64_t now = rl_time_now();
    rl_status status = RL_OK;

    if (!PQenterPipelineMode(self->writer.pg) ||
        !PQsendPrepare(self->writer.pg, "", RL_PG_INSERT, RL_COLUMNS, types)) {
        return rl_pg_conn_error(&self->writer, NULL, err);
    }
    for (size_t i = 0; i < batch->count && status == RL_OK; i++) {
        status = send_run(self, batch->runs[i], now, false, err);
    }
    if (status == RL_OK && !PQpipelineSync(self->writer.pg)) {
        status = rl_pg_conn_error(&self->writer, NULL, err);
    }
    return status;
}

/* Reads until the Sync is answered, or for one run alone until there are no more results;
 * the first error is the one that tells. */
static rl_status read_results(rl_pg_conn *conn, bool alone, rl_err *err)
{
    rl_status status = RL_OK;
    bool ended = false;

    while (!ended) {
        PGresult *result = NULL;
        ExecStatusType kind;

        if (rl_pg_conn_next(conn, &result, status == RL_OK ? err : NULL) != RL_OK) {
            return RL_STORE;
        }
        if (result == NULL && rl_pg_conn_lost(conn)) {
            return status == RL_OK ? rl_pg_conn_error(conn, NULL, err) : status;
        }
        kind = result != NULL ? PQresultStatus(result) : PGRES_COMMAND_OK;
        ended = alone ? result == NULL : kind == PGRES_PIPELINE_SYNC;
        if (status == RL_OK && kind == PGRES_FATAL_ERROR) {
            status = rl_pg_conn_error(conn, result, err);
        }
        PQclear(result);
    }
    return status;
}

static rl_status write_once(postgres_store *self, const rl_batch *batch, rl_err *err)
{
    rl_pg_conn *conn = &self->writer;
    const bool alone = batch->count == 1; /* a transaction by itself, with less ado */
    rl_status status = rl_pg_conn_open(conn, err);

    if (status != RL_OK) {
        return status;
    }
    status = alone ? send_run(self, batch->runs[0], rl_time_now(), true, err)
                   : send_batch(self, batch, err);
    if (status != RL_OK) {
        /* half a batch may be queued: only a new connection is in a known state */
        rl_pg_conn_close(conn);
        return status;
    }
    status = read_results(conn, alone, err);
    if (rl_pg_conn_lost(conn) || (!alone && !PQexitPipelineMode(conn->pg))) {
        rl_pg_conn_close(conn);
    }
    return status;
}

static rl_status postgres_write(rl_store *store, const rl_batch *batch, rl_err *err)
{
    postgres_store *self = (postgres_store *)store;
    bool used_before = self->writer.pg != NULL;
    rl_status status;

    if (!batch->may_wait) {
        return rl_err_set(err, RL_BUSY, "a server has to be waited for");
    }
    status = write_once(self, batch, err);
    if (status == RL_STORE && used_before && self->writer.pg == NULL) {
        /* the server may have been restarted since; a repeated insert changes nothing */
        status = write_once(self, batch, err);
    }
    return status;
}

static void add_cell(rl_rows *rows, const PGresult *result, int at_row, int index,
                     rl_kind kind)
{
    const char *value = PQgetvalue(result, at_row, index);
    size_t len = (size_t)PQgetlength(result, at_row, index);
    char id[RL_UUID_TEXT];
    int64_t stamp;

    if (PQgetisnull(result, at_row, index)) {
        rl_rows_add_null(rows);
        return;
    }
    switch (kind) {
    case RL_KIND_UUID:
        rl_uuid_format((const uint8_t *)value, id);
        rl_rows_add_text(rows, id, RL_UUID_TEXT - 1);
        break;
    case RL_KIND_INT:
        rl_rows_add_number(rows, (int32_t)get_big_endian(value, 4));
        break;
    case RL_KIND_TIME:
        stamp = (int64_t)get_big_endian(value, 8);
        if (stamp > RL_TIME_MAX - PG_EPOCH || stamp < RL_TIME_MIN - PG_EPOCH) {
            rl_rows_add_null(rows); /* 'infinity', or a year that datetime can't hold */
        } else {
            rl_rows_add_number(rows, stamp + PG_EPOCH);
        }
        break;
    case RL_KIND_JSON: /* a byte for the version, then the text */
        rl_rows_add_text(rows, value + 1, len - 1);
        break;
    case RL_KIND_TEXT:
        rl_rows_add_text(rows, value, len);
        break;
    }
}

/* Runs a query or a deletion on the second connection, once more if that was cut while it
 * was idle. Called with side_lock held. */
static rl_status side_exec(postgres_store *self, const rl_query *query, bool remove,
                           PGresult **result, rl_err *err)
{
    bool used_before = self->side.pg != NULL;
    rl_bindings bindings;
    rl_status status = RL_OK;
    rl_buf sql;

    rl_buf_init(&sql, RL_BUF_MAX);
    rl_query_sql(query, &dialect, remove, &sql, &bindings);
    if (sql.failed) {
        status = rl_err_nomem(err);
    }
    for (int tries = 0; status == RL_OK && tries < 2; tries++) {
        status = rl_pg_conn_open(&self->side, err);
        if (status == RL_OK) {
            status = rl_pg_conn_exec(&self->side, sql.data, bindings.count,
                                     bindings.values, true, result, err);
        }
        if (status == RL_OK || !used_before || !rl_pg_conn_lost(&self->side)) {
            break;
        }
        used_before = false;
        status = RL_OK;
    }
    rl_buf_free(&sql);
    return status;
}

static rl_status postgres_query(rl_store *store, const rl_query *query, rl_rows *rows,
                                rl_err *err)
{
    postgres_store *self = (postgres_store *)store;
    size_t count;
    const rl_column *columns = rl_shape_columns(query->shape, &count);
    PGresult *result = NULL;
    rl_status status;
    int found;

    pthread_mutex_lock(&self->side_lock);
    status = side_exec(self, query, false, &result, err);
    pthread_mutex_unlock(&self->side_lock);
    found = status == RL_OK ? PQntuples(result) : 0;
    for (int i = 0; i < found; i++) {
        for (size_t column = 0; column < count; column++) {
            add_cell(rows, result, i, (int)column, rl_columns[columns[column]].kind);
        }
    }
    if (status == RL_OK && rl_rows_failed(rows)) {
        status = rl_err_nomem(err);
    }
    PQclear(result);
    return status;
}

static rl_status postgres_remove(rl_store *store, const rl_query *query, int64_t *count,
                                 rl_err *err)
{
    postgres_store *self = (postgres_store *)store;
    PGresult *result = NULL;
    rl_status status;

    pthread_mutex_lock(&self->side_lock);
    status = side_exec(self, query, true, &result, err);
    pthread_mutex_unlock(&self->side_lock);
    if (status == RL_OK) {
        *count = strtoll(PQcmdTuples(result), NULL, 10);
    }
    PQclear(result);
    return status;
}

static void postgres_close(rl_store *store)
{
    postgres_store *self = (postgres_store *)store;

    rl_pg_conn_close(&self->side);
    rl_pg_conn_close(&self->writer);
    pthread_mutex_destroy(&self->side_lock);
    pthread_mutex_destroy(&self->open_lock);
    rl_buf_free(&self->wide);
    rl_free(self->dsn);
    rl_free(self);
}

static const rl_store_ops ops = {
    .name = "postgres",
    .prepare = postgres_prepare,
    .write = postgres_write,
    .query = postgres_query,
    .remove = postgres_remove,
    .close = postgres_close,
};

rl_status rl_postgres_new(const char *dsn, const rl_migrations *migrations,
                          rl_store **store, rl_err *err)
{
    postgres_store *self = rl_calloc(1, sizeof *self);

    if (self == NULL || (self->dsn = rl_strdup(dsn)) == NULL) {
        rl_free(self);
        return rl_err_nomem(err);
    }
    self->base.ops = &ops;
    self->migrations = migrations;
    self->writer.dsn = self->dsn;
    self->side.dsn = self->dsn;
    rl_buf_init(&self->wide, RL_BUF_MAX);
    pthread_mutex_init(&self->open_lock, NULL);
    pthread_mutex_init(&self->side_lock, NULL);
    *store = &self->base;
    return RL_OK;
}
