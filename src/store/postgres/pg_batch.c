/* The statements that write a batch. See pg_batch.h. */
#include "store/postgres/pg_batch.h"

#include "core/hash.h"
#include "store/postgres/pg_parts.h"
#include "store/postgres/pg_row.h"
#include "store/postgres/postgres_sql.h"

#include <stdlib.h>
#include <string.h>

#define RETAIN 4096 /* bytes of a list that are kept for the next batch */

static size_t count_of(const rl_buf *list)
{
    return list->len / sizeof(rl_pg_entry);
}

static const rl_pg_entry *entries(const rl_pg_batch *batch)
{
    return (const rl_pg_entry *)(const void *)batch->list.data;
}

void rl_pg_batch_init(rl_pg_batch *batch)
{
    rl_buf_init(&batch->list, RL_BUF_MAX);
    rl_buf_init(&batch->there, RL_BUF_MAX);
    rl_buf_init(&batch->unchanged, RL_BUF_MAX);
    rl_buf_init(&batch->wide, RL_BUF_MAX);
    memset(batch->running, 0, sizeof batch->running);
    batch->merges = false;
}

void rl_pg_batch_free(rl_pg_batch *batch)
{
    rl_buf_free(&batch->list);
    rl_buf_free(&batch->there);
    rl_buf_free(&batch->unchanged);
    rl_buf_free(&batch->wide);
}

/* By name. The logs of one run stay in their order. */
static int compare(const void *left, const void *right)
{
    const rl_pg_entry *a = left, *b = right;
    int order = strcmp(rl_run_text(a->run, RL_WPK_ID), rl_run_text(b->run, RL_WPK_ID));

    if (order == 0) {
        order = strcmp(rl_run_text(a->run, RL_RUN_ID), rl_run_text(b->run, RL_RUN_ID));
    }
    if (order == 0) {
        order = a->place < b->place ? -1 : 1;
    }
    return order;
}

static uint64_t hash_name(const rl_run *run)
{
    const char *wpk_id = rl_run_text(run, RL_WPK_ID);
    const char *run_id = rl_run_text(run, RL_RUN_ID);

    return rl_hash(wpk_id, strlen(wpk_id)) * 31 + rl_hash(run_id, strlen(run_id));
}

/* Whether the run's row is probably there: open runs are written once a second. With
 * parts, the row must be in the transaction of its parts. */
static bool is_merged(const rl_pg_batch *batch, const rl_run *run)
{
    const uint64_t hash = hash_name(run);

    return run->parts.given || rl_run_is_open(run) ||
           batch->running[hash % RL_PG_RUNNING] == hash;
}

void rl_pg_batch_remember(rl_pg_batch *batch, const rl_batch *runs)
{
    for (size_t i = 0; i < runs->count; i++) {
        const char *status = rl_run_text(runs->runs[i], RL_STATUS);
        const uint64_t hash = hash_name(runs->runs[i]);
        uint64_t *known = &batch->running[hash % RL_PG_RUNNING];

        if (status != NULL && strcmp(status, "running") == 0) {
            *known = hash;
        } else if (*known == hash) {
            *known = 0;
        }
    }
}

rl_status rl_pg_batch_set(rl_pg_batch *batch, const rl_batch *runs, rl_err *err)
{
    rl_buf_reset(&batch->list, RETAIN);
    rl_buf_reset(&batch->there, RETAIN);
    rl_buf_reset(&batch->unchanged, RETAIN);
    batch->merges = false;
    for (size_t i = 0; i < runs->count; i++) {
        const rl_pg_entry entry = {runs->runs[i], i, is_merged(batch, runs->runs[i])};

        rl_buf_add(&batch->list, &entry, sizeof entry);
    }
    /* so that adding to them can't fail after the server has committed */
    (void)rl_buf_reserve(&batch->there, batch->list.len);
    (void)rl_buf_reserve(&batch->unchanged, batch->list.len);
    if (batch->list.failed || batch->there.failed || batch->unchanged.failed) {
        return rl_err_nomem(err);
    }
    if (runs->count > 1) {
        qsort(batch->list.data, runs->count, sizeof(rl_pg_entry), compare);
    }
    return RL_OK;
}

bool rl_pg_batch_next(rl_pg_batch *batch)
{
    const rl_buf done = batch->list;

    batch->list = batch->there;
    batch->there = done;
    rl_buf_reset(&batch->there, RETAIN);
    batch->merges = true;
    return batch->list.len > 0;
}

rl_status rl_pg_batch_prepare(rl_pg_conn *conn, rl_err *err)
{
    const rl_pg_hook *hook = conn->server->hook;
    const rl_pg_statement *const both[] = {rl_pg_insert_by(hook), rl_pg_merge_by(hook)};
    rl_status status = RL_OK;

    /* not in the pipeline of a batch: after a failed one it would be unknown whether the
     * session has them */
    for (size_t i = 0; i < 2 && status == RL_OK; i++) {
        status = PQsendPrepare(conn->pg, both[i]->name, both[i]->sql, both[i]->parameters,
                               rl_pg_types)
                     ? rl_pg_conn_last(conn, NULL, err)
                     : rl_pg_conn_error(conn, NULL, err);
    }
    return status;
}

static const rl_pg_statement *statement_for(const rl_pg_batch *batch,
                                            const rl_pg_conn *conn,
                                            const rl_pg_entry *entry)
{
    const rl_pg_hook *hook = conn->server->hook;

    return batch->merges || entry->merged ? rl_pg_merge_by(hook) : rl_pg_insert_by(hook);
}

/* Queues one run for a prepared statement, or with the statement's text if `with_sql`;
 * libpq copies the values. */
static rl_status send_run(rl_pg_batch *batch, rl_pg_conn *conn, const rl_pg_entry *entry,
                          int64_t now, bool pooled, bool with_sql, rl_err *err)
{
    const rl_pg_statement *statement = statement_for(batch, conn, entry);
    rl_pg_row row;
    rl_status status =
        rl_pg_row_fill(&row, entry->run, now, conn->server->hook, &batch->wide, err);
    int sent;

    if (status == RL_OK) {
        sent = with_sql ? PQsendQueryParams(conn->pg, statement->sql,
                                            statement->parameters, rl_pg_types,
                                            row.values, row.lengths, rl_pg_formats, 0)
                        : PQsendQueryPrepared(conn->pg, pooled ? "" : statement->name,
                                              statement->parameters, row.values,
                                              row.lengths, rl_pg_formats, 0);
        if (!sent) {
            status = rl_pg_conn_error(conn, NULL, err);
        }
    }
    return status;
}

/* Whether the transaction takes more than one statement, and so needs a pipeline. */
static bool needs_pipeline(const rl_pg_batch *batch)
{
    const size_t count = count_of(&batch->list);

    return count > 1 || (count == 1 && entries(batch)->run->parts.given);
}

/* Behind a pooler all runs of a transaction go by one statement, which has no name, and
 * is parsed once for them. */
static bool send_unnamed(rl_pg_batch *batch, rl_pg_conn *conn)
{
    const rl_pg_entry *runs = entries(batch);
    const rl_pg_statement *statement;

    for (size_t i = 0; i < count_of(&batch->list); i++) {
        batch->merges = batch->merges || runs[i].merged;
    }
    statement = statement_for(batch, conn, runs);
    return PQsendPrepare(conn->pg, "", statement->sql, statement->parameters,
                         rl_pg_types) != 0;
}

/* Queues the transaction in pipeline mode: first all rows, then the runs' parts. */
static rl_status send_pipeline(rl_pg_batch *batch, rl_pg_conn *conn, bool pooled,
                               rl_err *err)
{
    const rl_pg_entry *runs = entries(batch);
    const size_t count = count_of(&batch->list);
    int64_t now = rl_time_now();
    rl_status status = RL_OK;

    if (!PQenterPipelineMode(conn->pg) || (pooled && !send_unnamed(batch, conn))) {
        return rl_pg_conn_error(conn, NULL, err);
    }
    for (size_t i = 0; i < count && status == RL_OK; i++) {
        status = send_run(batch, conn, &runs[i], now, pooled, false, err);
    }
    if (status == RL_OK) {
        status = rl_pg_parts_send(conn, runs, count, &batch->wide, err);
    }
    if (status == RL_OK && !PQpipelineSync(conn->pg)) {
        status = rl_pg_conn_error(conn, NULL, err);
    }
    return status;
}

rl_status rl_pg_batch_send(rl_pg_batch *batch, rl_pg_conn *conn, bool pooled, rl_err *err)
{
    rl_status status = RL_OK;

    if (needs_pipeline(batch)) {
        status = send_pipeline(batch, conn, pooled, err);
    } else if (count_of(&batch->list) == 1) { /* a transaction by itself */
        status =
            send_run(batch, conn, entries(batch), rl_time_now(), pooled, pooled, err);
    } else if (!PQsendQuery(conn->pg, RL_PG_BACKEND)) {
        status = rl_pg_conn_error(conn, NULL, err);
    }
    return status;
}

/* If `result` answers the statement of a run (those come first), counts it in *next. A
 * run whose insert found a row is to be merged. One whose merge changed none may have
 * another name, or no row. */
static void collect(rl_pg_batch *batch, PGresult *result, size_t *next)
{
    const char *changed = result != NULL ? PQcmdTuples(result) : "";

    if (*next < count_of(&batch->list) && changed[0] != '\0') {
        const rl_pg_entry *entry = &entries(batch)[(*next)++];
        const bool none = strcmp(changed, "0") == 0;

        if (none && !batch->merges && !entry->merged) {
            rl_buf_add(&batch->there, entry, sizeof *entry);
        } else if (none) {
            rl_buf_add(&batch->unchanged, &entry->run, sizeof entry->run);
        }
    }
}

rl_status rl_pg_batch_read(rl_pg_batch *batch, rl_pg_conn *conn, rl_err *err)
{
    const bool pipeline = needs_pipeline(batch), probes = batch->list.len == 0;
    rl_status status = RL_OK;
    bool ended = false, after_null = true; /* no command starts with NULL */
    size_t next = 0;

    rl_pg_conn_begin(conn);
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
        if (!probes) {
            collect(batch, result, &next);
        }
        PQclear(result);
    }
    rl_pg_conn_settle(conn, status == RL_OK ? "" : err->sqlstate);
    if (status == RL_OK && rl_pg_conn_lost(conn)) { /* its standbys may not have it */
        status = rl_pg_conn_give_up(
            conn, "the server committed a batch only after it was told to cancel it",
            err);
        err->timed_out = true;
    }
    return status;
}
