/* A connection that writes batches. See pg_writer.h. */
#include "store/postgres/pg_writer.h"

#include "core/lock.h"
#include "store/postgres/pg_migrate.h"
#include "store/postgres/pg_own.h"
#include "store/postgres/pg_parts.h"
#include "store/postgres/pg_target.h"
#include "store/postgres/postgres_sql.h"

#include <stdlib.h>
#include <string.h>

#define NO_SUCH_STATEMENT "26000" /* invalid_sql_statement_name */
#define READ_ONLY "25006"         /* read_only_sql_transaction */
#define HAS_STATEMENT "42P05"     /* duplicate_prepared_statement */
#define NOT_UNIQUE "23505"        /* unique_violation */
#define DEADLOCK "40P01"          /* deadlock_detected */
#define NOT_SERIAL "40001"        /* serialization_failure */

/* How often a batch is repeated at once that others' transactions were in conflict with. */
#define CONFLICTS 3

void rl_pg_writer_init(rl_pg_writer *writer, rl_pg_server *server,
                       const atomic_bool *stop)
{
    memset(writer, 0, sizeof *writer);
    pthread_mutex_init(&writer->lock, NULL);
    rl_pg_conn_init(&writer->conn, server, stop);
    writer->conn.cancels = true;
    rl_pg_batch_init(&writer->batch);
}

void rl_pg_writer_free(rl_pg_writer *writer)
{
    rl_pg_conn_free(&writer->conn);
    rl_pg_batch_free(&writer->batch);
    pthread_mutex_destroy(&writer->lock);
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
    }
    return status;
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

/* Connects, unless connected, and checks a new connection for a pooler. Terminates lost
 * sessions, whose locks the next write might wait for. */
static rl_status connect_writer(rl_pg_writer *writer, rl_err *err)
{
    rl_status status = rl_pg_conn_open(&writer->conn, err);

    if (status == RL_OK && writer->checked_connects != writer->conn.connects) {
        status = writer->is_bound ? check_target(writer, err) : RL_OK;
        status = status == RL_OK ? detect_pooler(writer, err) : status;
    }
    if (status == RL_OK && !writer->pooled) { /* another writer may have lost it since */
        terminate_lost_sessions(writer);
    }
    return status;
}

/* Notes what a failed write says about the server and the session. */
static void note_lost(rl_pg_writer *writer, bool server_lost)
{
    writer->server_lost = server_lost;
    if (rl_pg_conn_lost(&writer->conn)) {
        rl_pg_sessions_add(&writer->conn.server->lost, &writer->session);
    }
}

static rl_status send_transaction(rl_pg_writer *writer, rl_err *err)
{
    rl_pg_conn *conn = &writer->conn;
    rl_status status = rl_pg_batch_send(&writer->batch, conn, writer->pooled, err);

    if (status != RL_OK) {
        /* half of it may be queued: only a new connection has a known state */
        rl_pg_conn_close(conn);
        note_lost(writer, status == RL_STORE);
    }
    return status;
}

/* Connects, prepares the statements if necessary, and sends the first transaction. */
static rl_status start_write(rl_pg_writer *writer, const rl_batch *batch, rl_err *err)
{
    rl_status status = connect_writer(writer, err);

    writer->server_lost = false;
    if (status == RL_OK && !writer->pooled && !writer->prepared) {
        status = rl_pg_batch_prepare(&writer->conn, err);
        writer->prepared = status == RL_OK;
        writer->server_lost = status != RL_OK && rl_pg_conn_lost(&writer->conn);
    }
    if (status == RL_OK) {
        status = rl_pg_batch_set(&writer->batch, batch, err);
    }
    return status == RL_OK ? send_transaction(writer, err) : status;
}

/* Reads the answer to a transaction, and brings the connection into a known state. */
static rl_status read_transaction(rl_pg_writer *writer, rl_err *err)
{
    rl_pg_conn *conn = &writer->conn;
    rl_status status = rl_pg_batch_read(&writer->batch, conn, err);

    note_lost(writer, status == RL_STORE && rl_pg_conn_lost(conn) && !conn->timed_out);
    if (!rl_pg_conn_lost(conn) && PQpipelineStatus(conn->pg) != PQ_PIPELINE_OFF &&
        !PQexitPipelineMode(conn->pg)) {
        rl_pg_conn_close(conn);
    }
    return status;
}

/* Sees to a run whose merge changed no row: another run has its name, it is stored under
 * another name already, or it has no row. */
static rl_status write_unchanged(rl_pg_writer *writer, const rl_run *run, rl_err *err)
{
    rl_buf *wide = &writer->batch.wide;
    rl_status status;

    if (!run->is_own) {
        return rl_pg_own_check(&writer->conn, wide, run, err);
    }
    status = rl_pg_own_insert(&writer->conn, wide, run, err);
    if (status == RL_OK && run->parts.given) { /* its row had another name */
        status = rl_pg_parts_write(&writer->conn, run, wide, err);
    }
    return status;
}

/* After a write with this status: sees to the runs that have changed nothing. */
static rl_status insert_own(rl_pg_writer *writer, const rl_batch *batch, rl_status status,
                            rl_err *err)
{
    rl_buf *unchanged = &writer->batch.unchanged;
    const rl_run **runs;

    if (status == RL_STORE && batch->count == 1 && batch->runs[0]->is_own &&
        strcmp(err->sqlstate, NOT_UNIQUE) == 0) {
        status = RL_OK;
        rl_buf_add(unchanged, &batch->runs[0], sizeof batch->runs[0]);
    }
    runs = (const rl_run **)(void *)unchanged->data;
    for (size_t i = 0; status == RL_OK && i < unchanged->len / sizeof *runs; i++) {
        status = write_unchanged(writer, runs[i], err);
    }
    return status;
}

/* Whether the transaction was rolled back because of what others did meanwhile. */
static bool is_conflict(rl_status status, const rl_err *err)
{
    return status == RL_STORE && (strcmp(err->sqlstate, DEADLOCK) == 0 ||
                                  strcmp(err->sqlstate, NOT_SERIAL) == 0);
}

/* Reads the answer to a batch, unless sending it failed (`sent`), and writes what is left
 * of it. */
static rl_status finish_write(rl_pg_writer *writer, const rl_batch *batch, rl_status sent,
                              rl_err *err)
{
    rl_pg_conn *conn = &writer->conn;
    rl_status status = sent == RL_OK ? read_transaction(writer, err) : sent;

    if (status == RL_OK && rl_pg_batch_next(&writer->batch)) {
        status = send_transaction(writer, err);
        status = status == RL_OK ? read_transaction(writer, err) : status;
    }
    status = insert_own(writer, batch, status, err);
    atomic_fetch_add(&conn->server->run_writes, 1);
    if (status == RL_OK) {
        rl_pg_batch_remember(&writer->batch, batch);
    }
    if (status == RL_STORE && strcmp(err->sqlstate, READ_ONLY) == 0) {
        writer->server_lost = true; /* reconnecting may find the new primary */
    }
    if (rl_pg_conn_lost(conn) ||
        (status == RL_STORE && err->retryable && !is_conflict(status, err))) {
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
    for (int i = 0; i < CONFLICTS && is_conflict(status, failure); i++) {
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

/* Applies the migrations; gives tables that this makes the id `database`, unless "". */
static rl_status migrate(rl_pg_conn *conn, const rl_migrations *migrations,
                         const char *database, rl_err *err)
{
    const char *const values[] = {database};
    bool had = true;
    rl_status status = RL_OK;

    if (database[0] != '\0') {
        status = rl_pg_conn_has_row(conn, RL_PG_HAS_MIGRATIONS, &had, err);
    }
    if (status == RL_OK) {
        status = rl_pg_migrate(conn, migrations, err);
    }
    if (status == RL_OK && !had) {
        status = rl_pg_conn_exec(conn, RL_PG_SET_DATABASE, 1, values, false, NULL, err);
    }
    return status;
}

rl_status rl_pg_writer_migrate(rl_pg_writer *writer, const rl_migrations *migrations,
                               rl_target *target, rl_err *err)
{
    rl_status status;

    pthread_mutex_lock(&writer->lock);
    status = connect_writer(writer, err);
    if (status == RL_OK) {
        status = migrate(&writer->conn, migrations, target->database, err);
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
            rl_pg_batch_init(&writer->batch);
        }
    }
    if (writer->lock_held) {
        pthread_mutex_unlock(&writer->lock);
    }
}
