/* A connection that writes batches. See pg_writer.h. */
#include "store/postgres/pg_writer.h"

#include "core/lock.h"
#include "store/postgres/pg_migrate.h"
#include "store/postgres/pg_own.h"
#include "store/postgres/pg_parts.h"
#include "store/postgres/pg_row.h"
#include "store/postgres/pg_target.h"
#include "store/postgres/postgres_sql.h"

#include <stdlib.h>
#include <string.h>

#define NO_SUCH_STATEMENT "26000" /* invalid_sql_statement_name */
#define READ_ONLY "25006"         /* read_only_sql_transaction */
#define HAS_STATEMENT "42P05"     /* duplicate_prepared_statement */
#define NOT_UNIQUE "23505"        /* unique_violation */

void rl_pg_writer_init(rl_pg_writer *writer, rl_pg_server *server,
                       const atomic_bool *stop)
{
    memset(writer, 0, sizeof *writer);
    pthread_mutex_init(&writer->lock, NULL);
    rl_pg_conn_init(&writer->conn, server, stop);
    rl_buf_init(&writer->wide, RL_BUF_MAX);
    rl_buf_init(&writer->unchanged, RL_BUF_MAX);
}

void rl_pg_writer_free(rl_pg_writer *writer)
{
    rl_pg_conn_free(&writer->conn);
    rl_buf_free(&writer->wide);
    rl_buf_free(&writer->unchanged);
    pthread_mutex_destroy(&writer->lock);
}

static const rl_pg_insert *insert_of(const rl_pg_writer *writer)
{
    return rl_pg_insert_by(writer->conn.server->hook);
}

/* Queues one run for the prepared statement, or with the statement's text if `with_sql`;
 * libpq copies the values. */
static rl_status send_run(rl_pg_writer *writer, const rl_run *run, int64_t now,
                          bool with_sql, rl_err *err)
{
    PGconn *pg = writer->conn.pg;
    const rl_pg_insert *insert = insert_of(writer);
    rl_pg_row row;
    rl_status status =
        rl_pg_row_fill(&row, run, now, writer->conn.server->hook, &writer->wide, err);
    int sent;

    if (status == RL_OK) {
        sent = with_sql
                   ? PQsendQueryParams(pg, insert->sql, insert->parameters, rl_pg_types,
                                       row.values, row.lengths, rl_pg_formats, 0)
                   : PQsendQueryPrepared(pg, writer->pooled ? "" : insert->name,
                                         insert->parameters, row.values, row.lengths,
                                         rl_pg_formats, 0);
        if (!sent) {
            status = rl_pg_conn_error(&writer->conn, NULL, err);
        }
    }
    return status;
}

/* Whether the batch takes more than one statement, and so needs a pipeline. */
static bool needs_pipeline(const rl_batch *batch)
{
    return batch->count > 1 || rl_pg_parts_given(batch);
}

/* Queues the whole batch in pipeline mode: first all inserts, then the runs' parts. */
static rl_status send_pipeline(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    PGconn *pg = writer->conn.pg;
    const rl_pg_insert *insert = insert_of(writer);
    int64_t now = rl_time_now();
    rl_status status = RL_OK;

    if (!PQenterPipelineMode(pg) ||
        (writer->pooled &&
         !PQsendPrepare(pg, "", insert->sql, insert->parameters, rl_pg_types))) {
        return rl_pg_conn_error(&writer->conn, NULL, err);
    }
    for (size_t i = 0; i < batch->count && status == RL_OK; i++) {
        status = send_run(writer, batch->runs[i], now, false, err);
    }
    if (status == RL_OK && rl_pg_parts_given(batch)) {
        status = rl_pg_parts_send(&writer->conn, batch, &writer->wide, err);
    }
    if (status == RL_OK && !PQpipelineSync(pg)) {
        status = rl_pg_conn_error(&writer->conn, NULL, err);
    }
    return status;
}

/* If `result` answers an insert (those come first), counts it in *next, and adds its run
 * to writer->unchanged if the run has an id of its own and no row changed: insert_own
 * handles it after the commit. */
static void collect_unchanged(rl_pg_writer *writer, PGresult *result,
                              const rl_batch *batch, size_t *next)
{
    if (batch != NULL && result != NULL && *next < batch->count &&
        PQcmdTuples(result)[0] != '\0') {
        const rl_run *run = batch->runs[(*next)++];

        if (run->is_own && strcmp(PQcmdTuples(result), "0") == 0) {
            rl_buf_add(&writer->unchanged, &run, sizeof run);
        }
    }
}

/* Reads all results: of a pipeline up to its Sync, else of one command. Gives the first
 * error. `batch` is NULL for a command that inserts nothing. */
static rl_status read_results(rl_pg_writer *writer, const rl_batch *batch, bool pipeline,
                              rl_err *err)
{
    rl_pg_conn *conn = &writer->conn;
    rl_status status = RL_OK;
    bool ended = false, after_null = true; /* no command starts with NULL */
    size_t next = 0;

    while (!ended) {
        PGresult *result = NULL;
        ExecStatusType kind;

        if (rl_pg_conn_next(conn, &result, status == RL_OK ? err : NULL) != RL_OK) {
            return RL_STORE;
        }
        if (result == NULL && rl_pg_conn_lost(conn)) {
            return status == RL_OK ? rl_pg_conn_error(conn, NULL, err) : status;
        }
        if (result == NULL && after_null) { /* libpq had no memory for the result */
            return rl_pg_conn_give_up(conn, "the answer to a batch was lost",
                                      status == RL_OK ? err : NULL);
        }
        after_null = result == NULL;
        kind = result != NULL ? PQresultStatus(result) : PGRES_COMMAND_OK;
        ended = pipeline ? kind == PGRES_PIPELINE_SYNC : result == NULL;
        if (status == RL_OK && kind == PGRES_FATAL_ERROR) {
            status = rl_pg_conn_error(conn, result, err);
        }
        collect_unchanged(writer, result, batch, &next);
        PQclear(result);
    }
    return status;
}

/* Terminates the lost sessions of this server. Drops those that it can't terminate: they
 * have ended, are on another server, or this role may not. */
static void terminate_lost_sessions(rl_pg_writer *writer)
{
    rl_pg_sessions *lost = &writer->conn.server->lost;
    rl_pg_session session;
    rl_err ignored;

    while (!rl_pg_conn_lost(&writer->conn) && rl_pg_sessions_take(lost, &session)) {
        const char *const values[] = {session.pid, session.seen_at, session.server_start};

        (void)rl_pg_conn_exec(&writer->conn, RL_PG_TERMINATE, 3, values, false, NULL,
                              &ignored);
        if (rl_pg_conn_lost(&writer->conn)) { /* try again on the next connection */
            rl_pg_sessions_add(lost, &session);
        }
    }
}

/* Sets writer->pooled and writer->session. A pooler reports a process id of its own at
 * connecting, not that of the server process. */
static rl_status detect_pooler(rl_pg_writer *writer, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status =
        rl_pg_conn_exec(&writer->conn, RL_PG_BACKEND, 0, NULL, false, &result, err);

    if (status == RL_OK) {
        writer->pooled =
            PQntuples(result) != 1 ||
            strtol(PQgetvalue(result, 0, 0), NULL, 10) != PQbackendPID(writer->conn.pg);
        writer->prepared = false;
        writer->checked_connects = writer->conn.connects;
        rl_pg_session_read(&writer->session, result);
        atomic_store(&writer->conn.server->spread,
                     PQntuples(result) == 1 && PQgetvalue(result, 0, 3)[0] == 't');
    }
    PQclear(result);
    if (status == RL_OK && writer->pooled) { /* the pooler shares it with other clients */
        memset(&writer->session, 0, sizeof writer->session);
    } else if (status == RL_OK) {
        terminate_lost_sessions(writer);
    }
    return status;
}

/* Not in the pipeline of a batch: after a failed one it would be unknown whether the
 * session has the statement. */
static rl_status prepare_statement(rl_pg_writer *writer, rl_err *err)
{
    const rl_pg_insert *insert = insert_of(writer);

    if (!PQsendPrepare(writer->conn.pg, insert->name, insert->sql, insert->parameters,
                       rl_pg_types)) {
        return rl_pg_conn_error(&writer->conn, NULL, err);
    }
    return read_results(writer, NULL, false, err);
}

/* After a new connection of a writer that is bound to a database: whether it is that. */
static rl_status check_target(rl_pg_writer *writer, rl_err *err)
{
    rl_target target = writer->target;
    rl_status status = rl_pg_target_read(&writer->conn, &target, err);

    if (status == RL_OK && (strcmp(target.database, writer->target.database) != 0 ||
                            strcmp(target.cluster, writer->target.cluster) != 0)) {
        status = rl_pg_conn_give_up(&writer->conn,
                                    "POSTGRES_DSN leads to another database now", err);
    }
    if (status == RL_OK) {
        writer->target_connects = writer->conn.connects;
    }
    return status;
}

/* Connects, unless connected, and checks a new connection for a pooler. */
static rl_status connect_writer(rl_pg_writer *writer, rl_err *err)
{
    rl_status status = rl_pg_conn_open(&writer->conn, err);

    if (status == RL_OK && writer->checked_connects != writer->conn.connects) {
        status = writer->is_bound ? check_target(writer, err) : RL_OK;
        status = status == RL_OK ? detect_pooler(writer, err) : status;
    }
    return status;
}

/* Sends a batch; for an empty one, a query that any server answers. */
static rl_status send_batch(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    rl_pg_conn *conn = &writer->conn;
    rl_status status = RL_OK;

    if (needs_pipeline(batch)) {
        status = send_pipeline(writer, batch, err);
    } else if (batch->count == 1) { /* a transaction by itself, which needs no pipeline */
        status = send_run(writer, batch->runs[0], rl_time_now(), writer->pooled, err);
    } else if (!PQsendQuery(conn->pg, RL_PG_BACKEND)) {
        status = rl_pg_conn_error(conn, NULL, err);
    }
    if (status != RL_OK) {
        /* half of the batch may be queued: only a new connection has a known state */
        writer->server_lost = status == RL_STORE;
        rl_pg_sessions_add(&conn->server->lost, &writer->session);
        rl_pg_conn_close(conn);
    }
    return status;
}

/* Connects, prepares the statement if necessary, and sends the batch. */
static rl_status start_write(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    rl_status status = connect_writer(writer, err);

    writer->server_lost = false;
    if (status == RL_OK && !writer->pooled && !writer->prepared) {
        status = prepare_statement(writer, err);
        writer->prepared = status == RL_OK;
        writer->server_lost = status != RL_OK && rl_pg_conn_lost(&writer->conn);
    }
    return status == RL_OK ? send_batch(writer, batch, err) : status;
}

/* After a write with this status: inserts the runs whose name another run has, or which
 * are stored under another name already. */
static rl_status insert_own(rl_pg_writer *writer, const rl_batch *batch, rl_status status,
                            rl_err *err)
{
    const rl_run **unchanged;

    if (status == RL_STORE && batch->count == 1 && batch->runs[0]->is_own &&
        strcmp(err->sqlstate, NOT_UNIQUE) == 0) {
        status = RL_OK;
        rl_buf_add(&writer->unchanged, &batch->runs[0], sizeof batch->runs[0]);
    }
    if (status == RL_OK && writer->unchanged.failed) {
        status = rl_err_nomem(err);
    }
    unchanged = (const rl_run **)(void *)writer->unchanged.data;
    for (size_t i = 0; status == RL_OK && i < writer->unchanged.len / sizeof *unchanged;
         i++) {
        status = rl_pg_own_insert(&writer->conn, &writer->wide, unchanged[i], err);
        if (status == RL_OK && unchanged[i]->parts.given) { /* its row had another name */
            status = rl_pg_parts_write(&writer->conn, unchanged[i], &writer->wide, err);
        }
    }
    rl_buf_reset(&writer->unchanged, 4096);
    return status;
}

/* Reads the answer to a batch, unless sending it failed (`sent`), and brings the
 * connection into a known state. */
static rl_status finish_write(rl_pg_writer *writer, const rl_batch *batch, rl_status sent,
                              rl_err *err)
{
    rl_pg_conn *conn = &writer->conn;
    const bool pipeline = needs_pipeline(batch);
    rl_status status = sent;

    if (sent == RL_OK) {
        status = read_results(writer, batch, pipeline, err);
        writer->server_lost =
            status == RL_STORE && rl_pg_conn_lost(conn) && !conn->timed_out;
        if (rl_pg_conn_lost(conn)) {
            rl_pg_sessions_add(&conn->server->lost, &writer->session);
        }
        if (!rl_pg_conn_lost(conn) && pipeline && !PQexitPipelineMode(conn->pg)) {
            rl_pg_conn_close(conn);
        }
    }
    status = insert_own(writer, batch, status, err);
    if (status == RL_STORE && strcmp(err->sqlstate, READ_ONLY) == 0) {
        writer->server_lost = true; /* reconnecting may find the new primary */
    }
    if (rl_pg_conn_lost(conn) || (status == RL_STORE && err->retryable)) {
        rl_pg_conn_close(conn);
    }
    return status;
}

static rl_status write_once(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    return finish_write(writer, batch, start_write(writer, batch, err), err);
}

/* Whether a pooler is there although detect_pooler found none, as it reported the
 * server's process id: the named statement is missing or exists already. */
static bool is_statement_missing(rl_pg_writer *writer, const rl_err *err)
{
    return !writer->pooled && (strcmp(err->sqlstate, NO_SUCH_STATEMENT) == 0 ||
                               strcmp(err->sqlstate, HAS_STATEMENT) == 0);
}

void rl_pg_writer_send(rl_pg_writer *writer, const rl_batch *batch)
{
    pthread_mutex_lock(&writer->lock);
    writer->was_connected = writer->conn.pg != NULL;
    writer->status = start_write(writer, batch, &writer->failure);
}

rl_status rl_pg_writer_finish(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    rl_err *failure = &writer->failure;
    rl_status status = finish_write(writer, batch, writer->status, failure);

    if (status == RL_STORE && is_statement_missing(writer, failure)) {
        writer->pooled = true;
        writer->prepared = false;
        status = write_once(writer, batch, failure);
    } else if (status == RL_STORE && writer->was_connected && writer->server_lost) {
        /* the server may have restarted; repeating an insert changes nothing */
        status = write_once(writer, batch, failure);
    }
    if (status != RL_OK) {
        *err = *failure;
    }
    pthread_mutex_unlock(&writer->lock);
    return status;
}

rl_status rl_pg_writer_write(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    rl_pg_writer_send(writer, batch);
    return rl_pg_writer_finish(writer, batch, err);
}

rl_status rl_pg_writer_identify(rl_pg_writer *writer, rl_target *target, rl_err *err)
{
    rl_status status;

    pthread_mutex_lock(&writer->lock);
    writer->is_bound = false;
    status = connect_writer(writer, err);
    if (status == RL_OK && writer->target_connects != writer->conn.connects) {
        status = rl_pg_target_read(&writer->conn, &writer->target, err);
    }
    if (status == RL_OK) {
        writer->target_connects = writer->conn.connects;
        memcpy(target->database, writer->target.database, sizeof target->database);
        memcpy(target->cluster, writer->target.cluster, sizeof target->cluster);
        writer->is_bound = true;
    }
    pthread_mutex_unlock(&writer->lock);
    return status;
}

rl_status rl_pg_writer_run(rl_pg_writer *writer, const char *sql, const char *value,
                           rl_err *err)
{
    const char *const values[] = {value};
    rl_status status;

    pthread_mutex_lock(&writer->lock);
    status = connect_writer(writer, err);
    if (status == RL_OK) {
        status = rl_pg_conn_exec(&writer->conn, sql, 1, values, false, NULL, err);
    }
    if (rl_pg_conn_lost(&writer->conn)) {
        rl_pg_conn_close(&writer->conn);
    }
    pthread_mutex_unlock(&writer->lock);
    return status;
}

rl_status rl_pg_writer_migrate(rl_pg_writer *writer, const rl_migrations *migrations,
                               rl_target *target, rl_err *err)
{
    rl_status status;

    pthread_mutex_lock(&writer->lock);
    status = connect_writer(writer, err);
    if (status == RL_OK) {
        status = rl_pg_migrate(&writer->conn, migrations, err);
    }
    if (status == RL_OK) {
        status = rl_pg_target_read(&writer->conn, target, err);
    }
    if (rl_pg_conn_lost(&writer->conn)) {
        rl_pg_conn_close(&writer->conn);
    }
    pthread_mutex_unlock(&writer->lock);
    return status;
}

void rl_pg_writer_before_fork(rl_pg_writer *writer, uint64_t end)
{
    writer->lock_held = rl_lock_until(&writer->lock, end);
}

void rl_pg_writer_after_fork(rl_pg_writer *writer, bool in_child)
{
    if (in_child) {
        rl_pg_conn_abandon(&writer->conn, writer->lock_held);
        memset(&writer->session, 0, sizeof writer->session); /* of the parent */
        if (!writer->lock_held) { /* the thread that holds it exists only in the parent */
            pthread_mutex_init(&writer->lock, NULL);
            rl_buf_init(&writer->wide, RL_BUF_MAX);
            rl_buf_init(&writer->unchanged, RL_BUF_MAX);
        }
    }
    if (writer->lock_held) {
        pthread_mutex_unlock(&writer->lock);
    }
}
