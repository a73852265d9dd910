/* A connection that writes batches. See pg_writer.h. */
#include "store/pg_writer.h"

#include "core/json.h"
#include "core/lock.h"
#include "store/postgres_sql.h"

#include <stdlib.h>
#include <string.h>

/* Object identifiers of built-in types (PostgreSQL's pg_type.dat); they never change. */
#define OID_INT4 23
#define OID_INT8 20
#define OID_TEXT 25
#define OID_TIMESTAMPTZ 1184
#define OID_UUID 2950
#define OID_JSONB 3802

#define NO_SUCH_STATEMENT "26000" /* invalid_sql_statement_name */
#define READ_ONLY "25006"         /* read_only_sql_transaction */
#define HAS_STATEMENT "42P05"     /* duplicate_prepared_statement */

/* The values of one row, as libpq takes them. */
typedef struct row {
    const char *values[RL_COLUMNS];
    int lengths[RL_COLUMNS]; /* of the binary values */
    char numbers[RL_COLUMNS][8];
} row;

static const Oid types[RL_COLUMNS] = {
    OID_UUID,  OID_TEXT,  OID_TEXT,        OID_TEXT,        OID_INT4,        OID_TEXT,
    OID_TEXT,  OID_TEXT,  OID_TIMESTAMPTZ, OID_TIMESTAMPTZ, OID_TIMESTAMPTZ, OID_JSONB,
    OID_JSONB, OID_JSONB, OID_JSONB,       OID_TEXT,        OID_INT8};

static const int formats[RL_COLUMNS] = {
    [RL_ID] = 1,         [RL_DURATION_MS] = 1, [RL_STARTED_AT] = 1,
    [RL_CREATED_AT] = 1, [RL_UPDATED_AT] = 1,  [RL_REVISION] = 1};

void rl_pg_writer_init(rl_pg_writer *writer, rl_pg_server *server,
                       const atomic_bool *stop)
{
    memset(writer, 0, sizeof *writer);
    pthread_mutex_init(&writer->lock, NULL);
    rl_pg_conn_init(&writer->conn, server, stop);
    rl_buf_init(&writer->wide, RL_BUF_MAX);
}

void rl_pg_writer_free(rl_pg_writer *writer)
{
    rl_pg_conn_close(&writer->conn);
    rl_buf_free(&writer->wide);
    pthread_mutex_destroy(&writer->lock);
}

static void put_big_endian(char *out, uint64_t value, int size)
{
    for (int i = 0; i < size; i++) {
        out[i] = (char)(value >> (8 * (size - 1 - i)));
    }
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
        set_number(values, column, (uint64_t)(stamp - RL_PG_EPOCH), 8);
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

static rl_status fill_row(rl_pg_writer *writer, const rl_run *run, int64_t now,
                          row *values, rl_err *err)
{
    for (int column = 0; column < RL_COLUMNS; column++) {
        values->values[column] = rl_run_text(run, (rl_column)column);
    }
    values->values[RL_ID] = (const char *)run->id;
    values->lengths[RL_ID] = 16;
    if (run->duration_ms != RL_NO_DURATION) {
        set_number(values, RL_DURATION_MS, (uint64_t)run->duration_ms, 4);
    }
    set_time(values, RL_STARTED_AT, run->started_at);
    set_time(values, RL_CREATED_AT, run->created_at);
    set_time(values, RL_UPDATED_AT,
             run->updated_at != RL_TIME_NONE ? run->updated_at : now);
    set_number(values, RL_REVISION, (uint64_t)run->revision, 8);
    return run->wide_numbers ? widen_payloads(&writer->wide, run, values, err) : RL_OK;
}

static const char *statement_name(const rl_pg_writer *writer)
{
    return writer->pooled ? "" : RL_PG_INSERT_NAME;
}

/* Queues one run, for the prepared statement or (`whole`) with the statement itself; libpq
 * copies the values. */
static rl_status send_run(rl_pg_writer *writer, const rl_run *run, int64_t now,
                          bool whole, rl_err *err)
{
    PGconn *pg = writer->conn.pg;
    row values = {.values = {NULL}};
    rl_status status = fill_row(writer, run, now, &values, err);
    int sent;

    if (status == RL_OK) {
        sent = whole ? PQsendQueryParams(pg, RL_PG_INSERT, RL_COLUMNS, types,
                                         values.values, values.lengths, formats, 0)
                     : PQsendQueryPrepared(pg, statement_name(writer), RL_COLUMNS,
                                           values.values, values.lengths, formats, 0);
        if (!sent) {
            status = rl_pg_conn_error(&writer->conn, NULL, err);
        }
    }
    return status;
}

/* Queues the whole batch in pipeline mode. */
static rl_status send_pipeline(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    PGconn *pg = writer->conn.pg;
    int64_t now = rl_time_now();
    rl_status status = RL_OK;

    if (!PQenterPipelineMode(pg) ||
        (writer->pooled && !PQsendPrepare(pg, "", RL_PG_INSERT, RL_COLUMNS, types))) {
        return rl_pg_conn_error(&writer->conn, NULL, err);
    }
    for (size_t i = 0; i < batch->count && status == RL_OK; i++) {
        status = send_run(writer, batch->runs[i], now, false, err);
    }
    if (status == RL_OK && !PQpipelineSync(pg)) {
        status = rl_pg_conn_error(&writer->conn, NULL, err);
    }
    return status;
}

/* The answer that should be there is not: libpq had no memory for it. */
static rl_status end_without_answer(rl_pg_conn *conn, rl_err *err)
{
    rl_err_set(err, RL_STORE, "PostgreSQL: the answer to a batch was lost");
    if (err != NULL) {
        err->retryable = true;
    }
    rl_pg_conn_close(conn);
    return RL_STORE;
}

/* Reads until the Sync is answered, or without a pipeline until there are no more results;
 * the first error is the one that tells. */
static rl_status read_results(rl_pg_conn *conn, bool pipeline, rl_err *err)
{
    rl_status status = RL_OK;
    bool ended = false, after_null = false;

    while (!ended) {
        PGresult *result = NULL;
        ExecStatusType kind;

        if (rl_pg_conn_next(conn, &result, status == RL_OK ? err : NULL) != RL_OK) {
            return RL_STORE;
        }
        if (result == NULL && rl_pg_conn_lost(conn)) {
            return status == RL_OK ? rl_pg_conn_error(conn, NULL, err) : status;
        }
        if (result == NULL && after_null) { /* one ends each command; there are no more */
            return end_without_answer(conn, status == RL_OK ? err : NULL);
        }
        after_null = result == NULL;
        kind = result != NULL ? PQresultStatus(result) : PGRES_COMMAND_OK;
        ended = pipeline ? kind == PGRES_PIPELINE_SYNC : result == NULL;
        if (status == RL_OK && kind == PGRES_FATAL_ERROR) {
            status = rl_pg_conn_error(conn, result, err);
        }
        PQclear(result);
    }
    return status;
}

/* A pooler tells another process id than the one that serves the transaction: its own. */
static rl_status find_pooler(rl_pg_writer *writer, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status =
        rl_pg_conn_exec(&writer->conn, RL_PG_BACKEND, 0, NULL, false, &result, err);

    if (status == RL_OK) {
        writer->pooled =
            PQntuples(result) != 1 ||
            strtol(PQgetvalue(result, 0, 0), NULL, 10) != PQbackendPID(writer->conn.pg);
        writer->prepared = false;
        writer->known = writer->conn.serial;
    }
    PQclear(result);
    return status;
}

/* Alone, and not in the pipeline of a batch: of one that failed nobody could tell whether
 * the statement has its name. */
static rl_status prepare_statement(rl_pg_writer *writer, rl_err *err)
{
    if (!PQsendPrepare(writer->conn.pg, RL_PG_INSERT_NAME, RL_PG_INSERT, RL_COLUMNS,
                       types)) {
        return rl_pg_conn_error(&writer->conn, NULL, err);
    }
    return read_results(&writer->conn, false, err);
}

/* Connects, unless it is, and finds out what a new connection leads to. */
static rl_status connect_writer(rl_pg_writer *writer, rl_err *err)
{
    rl_status status = rl_pg_conn_open(&writer->conn, err);

    if (status == RL_OK && writer->known != writer->conn.serial) {
        status = find_pooler(writer, err);
    }
    return status;
}

/* Sends a batch; one of none asks for the server's process. */
static rl_status send_batch(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    rl_pg_conn *conn = &writer->conn;
    rl_status status = RL_OK;

    if (batch->count > 1) {
        status = send_pipeline(writer, batch, err);
    } else if (batch->count == 1) { /* a transaction by itself, with less ado */
        status = send_run(writer, batch->runs[0], rl_time_now(), writer->pooled, err);
    } else if (!PQsendQuery(conn->pg, RL_PG_BACKEND)) {
        status = rl_pg_conn_error(conn, NULL, err);
    }
    if (status != RL_OK) {
        /* half a batch may be queued: only a new connection is in a known state */
        writer->gone = status == RL_STORE;
        rl_pg_conn_close(conn);
    }
    return status;
}

/* Connects and sends. */
static rl_status begin(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    rl_status status = connect_writer(writer, err);

    writer->gone = false;
    if (status == RL_OK && !writer->pooled && !writer->prepared) {
        status = prepare_statement(writer, err);
        writer->prepared = status == RL_OK;
        writer->gone = status != RL_OK && rl_pg_conn_lost(&writer->conn);
    }
    return status == RL_OK ? send_batch(writer, batch, err) : status;
}

/* Reads the answer to what was sent, or looks at why it was not. */
static rl_status end(rl_pg_writer *writer, const rl_batch *batch, rl_status sent,
                     rl_err *err)
{
    rl_pg_conn *conn = &writer->conn;
    const bool pipeline = batch->count > 1;
    rl_status status = sent;

    if (sent == RL_OK) {
        status = read_results(conn, pipeline, err);
        writer->gone = status == RL_STORE && rl_pg_conn_lost(conn) && !conn->timed_out;
        if (!rl_pg_conn_lost(conn) && pipeline && !PQexitPipelineMode(conn->pg)) {
            rl_pg_conn_close(conn);
        }
    }
    if (status == RL_STORE && strcmp(err->sqlstate, READ_ONLY) == 0) {
        writer->gone = true; /* another server may have taken over */
    }
    if (rl_pg_conn_lost(conn) || (status == RL_STORE && err->retryable)) {
        rl_pg_conn_close(conn);
    }
    return status;
}

static rl_status write_once(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    return end(writer, batch, begin(writer, batch, err), err);
}

/* Another process id, but a pooler all the same: it may tell the server's own. */
static bool lost_statement(rl_pg_writer *writer, const rl_err *err)
{
    return !writer->pooled && (strcmp(err->sqlstate, NO_SUCH_STATEMENT) == 0 ||
                               strcmp(err->sqlstate, HAS_STATEMENT) == 0);
}

void rl_pg_writer_send(rl_pg_writer *writer, const rl_batch *batch)
{
    pthread_mutex_lock(&writer->lock);
    writer->used_before = writer->conn.pg != NULL;
    writer->status = begin(writer, batch, &writer->failure);
}

rl_status rl_pg_writer_finish(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    rl_err *own = &writer->failure;
    rl_status status = end(writer, batch, writer->status, own);

    if (status == RL_STORE && lost_statement(writer, own)) {
        writer->pooled = true;
        writer->prepared = false;
        status = write_once(writer, batch, own);
    } else if (status == RL_STORE && writer->used_before && writer->gone) {
        /* the server may have been restarted since; a repeated insert changes nothing */
        status = write_once(writer, batch, own);
    }
    if (status != RL_OK) {
        *err = *own;
    }
    pthread_mutex_unlock(&writer->lock);
    return status;
}

rl_status rl_pg_writer_write(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    rl_pg_writer_send(writer, batch);
    return rl_pg_writer_finish(writer, batch, err);
}

rl_status rl_pg_writer_migrate(rl_pg_writer *writer, const rl_migrations *migrations,
                               rl_err *err)
{
    rl_status status;

    pthread_mutex_lock(&writer->lock);
    status = connect_writer(writer, err);
    if (status == RL_OK) {
        status = rl_pg_migrate(&writer->conn, migrations, err);
    }
    if (rl_pg_conn_lost(&writer->conn)) {
        rl_pg_conn_close(&writer->conn);
    }
    pthread_mutex_unlock(&writer->lock);
    return status;
}

void rl_pg_writer_before_fork(rl_pg_writer *writer, uint64_t end)
{
    writer->held = rl_lock_until(&writer->lock, end);
}

void rl_pg_writer_after_fork(rl_pg_writer *writer, bool in_child)
{
    if (in_child) {
        rl_pg_conn_abandon(&writer->conn, writer->held);
        if (!writer->held) { /* its owner is not in this process */
            pthread_mutex_init(&writer->lock, NULL);
            rl_buf_init(&writer->wide, RL_BUF_MAX);
        }
    }
    if (writer->held) {
        pthread_mutex_unlock(&writer->lock);
    }
}
