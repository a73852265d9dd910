/* The PostgreSQL store: a connection that writes batches, one on which the worker thread
 * forwards the journal, and a pool for queries, so that readers never wait for a commit.
 *
 * Threads: any; writers and pool have locks of their own, `open_lock` guards `ready`.
 * Ownership: see postgres.h.
 */
#include "store/postgres/postgres.h"

#include "core/alloc.h"
#include "core/lock.h"
#include "core/uuid.h"
#include "store/postgres/pg_indexes.h"
#include "store/postgres/pg_target.h"
#include "store/postgres/pg_writer.h"
#include "store/postgres/postgres_sql.h"
#include "store/query_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a batch of a deletion should take, or a tenth of the time-out if that is less;
 * and the time between two batches, in which others get the connection. */
#define BATCH_NS UINT64_C(50000000)
#define PAUSE_NS UINT64_C(1000000)
#define FIRST_BATCH 50 /* runs */

/* How long a fork waits for threads that use a connection. */
#define FORK_WAIT_NS UINT64_C(200000000)

typedef struct postgres_store {
    rl_store base;
    char *dsn; /* owned */
    rl_pg_server server;
    const rl_migrations *migrations;
    pthread_mutex_t open_lock;
    bool ready;                  /* under open_lock: the migrations are applied */
    bool was_ready;              /* under open_lock: they were, at some time */
    bool open_lock_held;         /* during a fork: it took open_lock in time */
    pthread_mutex_t target_lock; /* not held while waiting for the server */
    rl_target target;            /* under target_lock */
    rl_pg_writer writer, forwarder;
    rl_pg_pool pool;       /* for queries */
    rl_pg_reader reader;   /* decides where they go */
    rl_pg_pool background; /* for a companion's own work: one connection */
} postgres_store;

static const rl_dialect dialect = {
    .time_cast = "::timestamptz",
    .id_cast = "::uuid",
    .int_cast = "::bigint",
    .ids_before = RL_PG_IDS_BEFORE,
    .ids_after = RL_PG_IDS_AFTER,
    .tag_before = RL_PG_TAG_BEFORE,
    .tag_after = RL_PG_TAG_AFTER,
    .metadata_before = RL_PG_METADATA_BEFORE,
    .metadata_after = RL_PG_METADATA_AFTER,
    .error_before = RL_PG_ERROR_BEFORE,
    .error_after = RL_PG_ERROR_AFTER,
    .node_before = RL_PG_NODE_BEFORE,
    .node_after = RL_PG_NODE_AFTER,
    .hidden_before = RL_PG_HIDDEN_BEFORE,
    .hidden_after = RL_PG_HIDDEN_AFTER,
    .parts = RL_PG_PARTS,
    .values = RL_PG_VALUES,
    .totals = RL_PG_TOTALS,
    .spans_before = RL_PG_SPANS_BEFORE,
    .spans_after = RL_PG_SPANS_AFTER,
    .newest_before = RL_PG_NEWEST_BEFORE,
    .newest_after = RL_PG_NEWEST_AFTER,
    .placeholder = '$',
};

static void postgres_target(rl_store *store, rl_target *target)
{
    postgres_store *self = (postgres_store *)store;

    pthread_mutex_lock(&self->target_lock);
    *target = self->target;
    pthread_mutex_unlock(&self->target_lock);
}

static void set_target(postgres_store *self, const rl_target *target)
{
    pthread_mutex_lock(&self->target_lock);
    self->target = *target;
    pthread_mutex_unlock(&self->target_lock);
    rl_pg_reader_set_target(&self->reader, target);
}

static rl_status postgres_identify(rl_store *store, rl_target *target, rl_err *err)
{
    postgres_store *self = (postgres_store *)store;
    rl_status status;

    postgres_target(store, target);
    status = rl_pg_writer_identify(&self->forwarder, target, err);
    if (status == RL_OK) {
        set_target(self, target);
    }
    return status;
}

static rl_status postgres_prepare(rl_store *store, rl_err *err)
{
    postgres_store *self = (postgres_store *)store;
    rl_status status = RL_OK;
    rl_target target;

    pthread_mutex_lock(&self->open_lock);
    if (atomic_exchange(&self->server.schema_lost, false)) {
        self->ready = false;
    }
    if (!self->ready) {
        postgres_target(store, &target);
        status = rl_pg_writer_migrate(&self->writer, self->migrations, &target, err);
        self->ready = status == RL_OK;
        if (self->ready) {
            self->was_ready = true;
            set_target(self, &target);
        } else if (self->was_ready && status == RL_STORE &&
                   (!err->unusable || err->missing)) {
            err->retryable = true; /* somebody is at it: runs wait */
        }
    }
    pthread_mutex_unlock(&self->open_lock);
    return status;
}

/* With a replica, reads go on there while the primary is away. */
static rl_status postgres_prepare_read(rl_store *store, rl_err *err)
{
    postgres_store *self = (postgres_store *)store;
    rl_status status = RL_OK;

    if (!rl_pg_reader_avoids_primary(&self->reader)) {
        status = postgres_prepare(store, err);
    }
    return status != RL_OK && rl_pg_reader_lose_primary(&self->reader, err) ? RL_OK
                                                                            : status;
}

/* After a statement with this status: if its tables were missing, looks for them, or makes
 * them anew; *mended: then it may succeed now. Another error if that may be possible
 * later. */
static rl_status mend_schema(rl_store *store, rl_status status, bool *mended, rl_err *err)
{
    rl_err own = {.code = RL_OK};

    *mended =
        status == RL_STORE && err->missing && postgres_prepare(store, &own) == RL_OK;
    if (own.retryable) {
        *err = own;
    }
    return status;
}

static rl_status postgres_write(rl_store *store, const rl_batch *batch, rl_err *err)
{
    postgres_store *self = (postgres_store *)store;
    rl_status status;
    bool mended;

    if (batch->wait == RL_NO_WAIT) {
        return rl_err_set(err, RL_BUSY, "PostgreSQL: a write must wait for the server");
    }
    status = rl_pg_writer_write(&self->writer, batch, err);
    status = mend_schema(store, status, &mended, err);
    return mended ? rl_pg_writer_write(&self->writer, batch, err) : status;
}

static void postgres_send(rl_store *store, const rl_batch *batch)
{
    rl_pg_writer_send(&((postgres_store *)store)->forwarder, batch);
}

static rl_status postgres_finish(rl_store *store, const rl_batch *batch, rl_err *err)
{
    return rl_pg_writer_finish(&((postgres_store *)store)->forwarder, batch, err);
}

static uint64_t get_big_endian(const char *in, int size)
{
    uint64_t value = 0;

    for (int i = 0; i < size; i++) {
        value = value << 8 | (unsigned char)in[i];
    }
    return value;
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
        if (stamp > RL_TIME_MAX - RL_PG_EPOCH || stamp < RL_TIME_MIN - RL_PG_EPOCH) {
            rl_rows_add_null(rows); /* 'infinity', or a year that datetime can't hold */
        } else {
            rl_rows_add_number(rows, stamp + RL_PG_EPOCH);
        }
        break;
    case RL_KIND_JSON: /* jsonb: a version byte, then the text */
        rl_rows_add_text(rows, value + 1, len - 1);
        break;
    case RL_KIND_TEXT:
        rl_rows_add_text(rows, value, len);
        break;
    }
}

static rl_status read_rows(postgres_store *self, const rl_query *query, const char *sql,
                           const rl_bindings *bindings, PGresult **result, rl_err *err)
{
    return query->at_primary
               ? rl_pg_pool_read(&self->pool, sql, bindings->count, bindings->values,
                                 result, err)
               : rl_pg_reader_read(&self->reader, RL_PG_OWN_RUNS, sql, bindings->count,
                                   bindings->values, result, err);
}

static rl_status postgres_query(rl_store *store, const rl_query *query, rl_rows *rows,
                                rl_err *err)
{
    postgres_store *self = (postgres_store *)store;
    size_t count;
    const rl_column *columns = rl_shape_columns(query->shape, &count);
    rl_dialect own = dialect;
    PGresult *result = NULL;
    rl_err own_err = {.code = RL_OK};
    rl_bindings bindings;
    rl_status status;
    bool mended;
    rl_buf sql;
    int found;

    rl_buf_init(&sql, RL_BUF_MAX);
    own.is_spread = atomic_load(&self->server.spread);
    rl_query_sql(query, &own, false, &sql, &bindings);
    if (sql.failed) {
        status = rl_err_nomem(err);
    } else {
        status = read_rows(self, query, sql.data, &bindings, &result, &own_err);
        status = mend_schema(store, status, &mended, &own_err);
        if (mended) {
            status = read_rows(self, query, sql.data, &bindings, &result, &own_err);
        }
        if (status != RL_OK && err != NULL) {
            *err = own_err;
        }
    }
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
    rl_buf_free(&sql);
    return status;
}

static rl_status postgres_beat(rl_store *store, rl_beat beat, const char *owner,
                               rl_err *err)
{
    static const char *const statements[] = {
        [RL_BEAT_NOW] = RL_PG_BEAT_NOW,
        [RL_BEAT_FIRST] = RL_PG_BEAT_UNLESS,
        [RL_BEAT_END] = RL_PG_BEAT_END,
        [RL_BEAT_TIDY] = RL_PG_BEAT_TIDY,
    };

    return rl_pg_writer_run(&((postgres_store *)store)->forwarder, statements[beat],
                            owner, err);
}

static rl_status postgres_silent(rl_store *store, int64_t seconds, rl_rows *rows,
                                 rl_err *err)
{
    postgres_store *self = (postgres_store *)store;
    char number[24];
    const char *const values[] = {number};
    PGresult *result = NULL;
    rl_status status;

    snprintf(number, sizeof number, "%lld", (long long)seconds);
    /* a standby's clock stands still with an idle primary */
    status =
        rl_pg_reader_read_primary(&self->reader, RL_PG_SILENT, 1, values, &result, err);
    for (int i = 0; status == RL_OK && i < PQntuples(result); i++) {
        add_cell(rows, result, i, 0, RL_KIND_TEXT);
    }
    PQclear(result);
    return status == RL_OK && rl_rows_failed(rows) ? rl_err_nomem(err) : status;
}

/* Makes the list of the batch's ids, and gives the first one behind them. */
static const char *list_ids(const rl_removal *removal, size_t count, rl_buf *list)
{
    const char *id = removal->ids;

    for (size_t i = 0; i < count; i++) {
        const size_t len = strlen(id);

        rl_buf_add(list, id, len);
        rl_buf_add_char(list, i + 1 < count ? ',' : '\0');
        id += len + 1;
    }
    return id;
}

/* Whether a smaller batch may succeed: this one took too long, also for a time limit of
 * the server's, or was the victim of a deadlock. It was rolled back. */
static bool may_be_smaller(const rl_err *err)
{
    static const char *const states[] = {"57014", "40P01", "40001"};
    bool found = false;

    for (size_t i = 0; i < sizeof states / sizeof *states && !found; i++) {
        found = strcmp(err->sqlstate, states[i]) == 0;
    }
    return found;
}

/* Sets the size of the next batch, after one of `count` runs that took `took_ns`. */
static void set_batch(const postgres_store *self, rl_removal *removal, size_t count,
                      uint64_t took_ns)
{
    const uint64_t timeout_ns = self->server.timeout_ns;
    const uint64_t wanted_ns = timeout_ns / 10 < BATCH_NS ? timeout_ns / 10 : BATCH_NS;

    removal->batch = count;
    if (took_ns > wanted_ns && count > 1) {
        removal->batch = count / 2;
    } else if (took_ns < wanted_ns / 2 && !removal->careful) {
        removal->batch = count * 2;
    }
    removal->pause_ns = PAUSE_NS;
}

/* A batch of a deletion whose runs a hook counts, in one transaction. */
typedef struct counted_removal {
    const rl_removal_hook *hook;
    const char *sql;
    const rl_bindings *bindings;
    int64_t deleted;
} counted_removal;

static rl_status remove_and_count(rl_pg_conn *conn, void *ctx, rl_err *err)
{
    counted_removal *self = ctx;
    PGresult *rows = NULL;
    bool wanted = false;
    rl_status status = self->hook->pg_begin(self->hook->ctx, conn, &wanted, err);
    rl_buf sql;

    rl_buf_init(&sql, RL_BUF_MAX);
    rl_buf_add_text(&sql, self->sql);
    rl_buf_add_text(&sql, wanted ? self->hook->returning : "");
    rl_buf_add_char(&sql, '\0');
    if (status == RL_OK) {
        status = sql.failed ? rl_err_nomem(err)
                            : rl_pg_conn_exec(conn, sql.data, self->bindings->count,
                                              self->bindings->values, true, &rows, err);
    }
    if (status == RL_OK) {
        self->deleted = strtoll(PQcmdTuples(rows), NULL, 10);
    }
    if (status == RL_OK && wanted) {
        status = self->hook->pg_deleted(self->hook->ctx, conn, rows, err);
    }
    PQclear(rows);
    rl_buf_free(&sql);
    return status;
}

/* Executes the statement that deletes a batch. */
static rl_status remove_runs(postgres_store *self, const rl_removal *removal,
                             const char *sql, const rl_bindings *bindings,
                             int64_t *deleted, bool *unknown, rl_err *err)
{
    counted_removal counted = {removal->hook, sql, bindings, 0};
    PGresult *result = NULL;
    rl_status status;

    if (removal->hook != NULL) {
        status =
            rl_pg_pool_transact(&self->pool, remove_and_count, &counted, unknown, err);
        *deleted = counted.deleted;
    } else {
        status = rl_pg_pool_write(&self->pool, sql, bindings->count, bindings->values,
                                  &result, unknown, err);
        *deleted = status == RL_OK ? strtoll(PQcmdTuples(result), NULL, 10) : 0;
        PQclear(result);
    }
    return status;
}

static rl_status postgres_remove(rl_store *store, rl_removal *removal, rl_err *err)
{
    postgres_store *self = (postgres_store *)store;
    const uint64_t start = rl_monotonic_ns();
    const size_t most = removal->batch > 0 ? removal->batch : FIRST_BATCH;
    const size_t count = removal->left < most ? removal->left : most;
    rl_query query = *removal->query;
    rl_err own = {.code = RL_OK};
    int64_t deleted = 0;
    rl_bindings bindings;
    rl_buf sql, ids;
    rl_status status;
    bool unknown = false;
    const char *behind;

    if (count == 0) {
        return RL_OK; /* the server has committed it all */
    }

    rl_buf_init(&sql, RL_BUF_MAX);
    rl_buf_init(&ids, RL_BUF_MAX);
    behind = list_ids(removal, count, &ids);
    query.ids = ids.data;
    if (!ids.failed) {
        rl_query_sql(&query, &dialect, true, &sql, &bindings);
    }
    status = ids.failed || sql.failed ? rl_err_nomem(&own)
                                      : remove_runs(self, removal, sql.data, &bindings,
                                                    &deleted, &unknown, &own);
    atomic_fetch_add(&self->server.run_writes, 1);
    if (status == RL_OK) {
        removal->deleted += deleted;
        removal->ids = behind;
        removal->left -= count;
        set_batch(self, removal, count, rl_monotonic_ns() - start);
    } else if (count > 1 && may_be_smaller(&own)) {
        removal->batch = count / 10 > 0 ? count / 10 : 1;
        removal->careful = true;
        status = RL_OK;
    } else {
        removal->unknown = unknown ? count : 0;
        *err = own;
    }
    rl_buf_free(&ids);
    rl_buf_free(&sql);
    return status;
}

static void postgres_before_fork(rl_store *store)
{
    postgres_store *self = (postgres_store *)store;
    uint64_t end = rl_monotonic_ns() + FORK_WAIT_NS;

    self->open_lock_held = rl_lock_until(&self->open_lock, end);
    rl_pg_writer_before_fork(&self->writer, end);
    rl_pg_writer_before_fork(&self->forwarder, end);
    rl_pg_reader_before_fork(&self->reader);
    rl_pg_pool_before_fork(&self->pool);
    rl_pg_pool_before_fork(&self->background);
    pthread_mutex_lock(&self->target_lock);
}

static void postgres_after_fork(rl_store *store, bool in_child)
{
    postgres_store *self = (postgres_store *)store;

    pthread_mutex_unlock(&self->target_lock);
    if (in_child) { /* the parent will terminate them */
        rl_pg_sessions_init(&self->server.lost);
    }
    rl_pg_pool_after_fork(&self->background, in_child);
    rl_pg_pool_after_fork(&self->pool, in_child);
    rl_pg_reader_after_fork(&self->reader, in_child);
    rl_pg_writer_after_fork(&self->forwarder, in_child);
    rl_pg_writer_after_fork(&self->writer, in_child);
    if (self->open_lock_held) {
        pthread_mutex_unlock(&self->open_lock);
    } else if (in_child) { /* the thread that holds it exists only in the parent */
        pthread_mutex_init(&self->open_lock, NULL);
    }
}

static rl_status postgres_build_indexes(rl_store *store, rl_err *err)
{
    postgres_store *self = (postgres_store *)store;

    return rl_pg_indexes_build(&self->server, self->migrations, err);
}

static void postgres_close(rl_store *store)
{
    postgres_store *self = (postgres_store *)store;

    rl_pg_reader_free(&self->reader);
    rl_pg_pool_free(&self->background);
    rl_pg_pool_free(&self->pool);
    rl_pg_writer_free(&self->forwarder);
    rl_pg_writer_free(&self->writer);
    rl_pg_sessions_destroy(&self->server.lost);
    pthread_mutex_destroy(&self->open_lock);
    pthread_mutex_destroy(&self->target_lock);
    rl_free(self->dsn);
    rl_free(self);
}

static const rl_store_ops ops = {
    .name = "postgres",
    .prepare = postgres_prepare,
    .prepare_read = postgres_prepare_read,
    .write = postgres_write,
    .send = postgres_send,
    .finish = postgres_finish,
    .target = postgres_target,
    .identify = postgres_identify,
    .beat = postgres_beat,
    .silent = postgres_silent,
    .query = postgres_query,
    .remove = postgres_remove,
    .build_indexes = postgres_build_indexes,
    .before_fork = postgres_before_fork,
    .after_fork = postgres_after_fork,
    .close = postgres_close,
};

/* Before anything else of the store. */
static void init_server(postgres_store *self, const rl_postgres_options *options)
{
    self->server.dsn = self->dsn;
    self->server.timeout_ns = options->timeout_ns;
    self->server.hook = options->hook;
    self->server.notices = options->notices;
    rl_pg_sessions_init(&self->server.lost);
}

rl_status rl_postgres_new(const rl_postgres_options *options,
                          const rl_migrations *migrations, rl_store **store, rl_err *err)
{
    postgres_store *self = rl_calloc(1, sizeof *self);
    const rl_pg_replica_options reading = {
        .dsn = options->read_dsn,
        .pool = options->pool,
        .primary = self != NULL ? &self->pool : NULL,
        .migrations = migrations,
        .acknowledged_runs = options->acknowledged_runs,
    };
    rl_status status;

    if (self == NULL || (self->dsn = rl_strdup(options->dsn)) == NULL) {
        status = rl_err_nomem(err);
    } else {
        status = rl_pg_target_place(self->dsn, self->target.place, err);
    }
    if (status == RL_OK) {
        init_server(self, options);
        rl_pg_pool_init(&self->pool, options->pool, &self->server);
        status = rl_pg_reader_init(&self->reader, &reading, err);
        if (status != RL_OK) {
            rl_pg_pool_free(&self->pool);
            rl_pg_sessions_destroy(&self->server.lost);
        }
    }
    if (status != RL_OK) {
        rl_free(self != NULL ? self->dsn : NULL);
        rl_free(self);
        return status;
    }
    self->base.ops = &ops;
    self->migrations = migrations;
    pthread_mutex_init(&self->open_lock, NULL);
    pthread_mutex_init(&self->target_lock, NULL);
    rl_pg_writer_init(&self->writer, &self->server, NULL);
    self->writer.conn.hurried = true; /* somebody waits for it */
    rl_pg_writer_init(&self->forwarder, &self->server, options->stop);
    self->forwarder.conn.patient = true;
    rl_pg_pool_init(&self->background, 1, &self->server);
    *store = &self->base;
    return RL_OK;
}

rl_pg_reader *rl_postgres_reader_of(rl_store *store)
{
    return &((postgres_store *)store)->reader;
}

rl_pg_pool *rl_postgres_pool_of(rl_store *store)
{
    return &((postgres_store *)store)->pool;
}

rl_pg_pool *rl_postgres_background_of(rl_store *store)
{
    return &((postgres_store *)store)->background;
}
