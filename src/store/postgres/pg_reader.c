/* Where reads go. See pg_reader.h. */
#include "store/postgres/pg_reader.h"

#include "core/alloc.h"

#include <stdio.h>
#include <string.h>

#define CANCELED "57014"
#define CONFLICT "40001" /* with recovery */

/* How a read at the replica went. */
typedef enum outcome {
    ANSWERED,
    FAILED,    /* for good */
    BEHIND,    /* it lacks a write of this process */
    AWAY,      /* it does not answer, or is no replica any more */
    FALL_BACK, /* it could not answer this read */
} outcome;

/* A read, and what it asks of the replica. */
typedef struct read_call {
    rl_pg_own own;
    rl_pg_pool_work work;
    void *ctx;
    bool as_it_is;   /* however far the replica has got */
    uint64_t needed; /* LSN that it must have replayed */
    bool briefly;    /* the replica was away, or is lagging: it is not waited for */
} read_call;

rl_status rl_pg_reader_init(rl_pg_reader *reader, const rl_pg_replica_options *options,
                            rl_err *err)
{
    const rl_pg_server *primary = options->primary->conns[0].server;

    memset(reader, 0, sizeof *reader);
    reader->options = *options;
    if (options->dsn != NULL && (reader->dsn = rl_strdup(options->dsn)) == NULL) {
        return rl_err_nomem(err);
    }
    reader->options.dsn = reader->dsn;
    reader->stats = (rl_replica_stats){.there = reader->dsn != NULL, .lag = -1};
    reader->server.dsn = reader->dsn;
    reader->server.timeout_ns = primary->timeout_ns;
    reader->server.notices = primary->notices;
    rl_pg_sessions_init(&reader->server.lost);
    rl_pg_pool_init(&reader->pool, options->pool, &reader->server);
    for (unsigned i = 0; i < options->pool; i++) {
        reader->pool.conns[i].reads_only = true;
    }
    pthread_mutex_init(&reader->lock, NULL);
    return RL_OK;
}

void rl_pg_reader_free(rl_pg_reader *reader)
{
    rl_pg_pool_free(&reader->pool);
    rl_pg_sessions_destroy(&reader->server.lost);
    pthread_mutex_destroy(&reader->lock);
    rl_free(reader->dsn);
}

void rl_pg_reader_set_target(rl_pg_reader *reader, const rl_target *target)
{
    pthread_mutex_lock(&reader->lock);
    if (memcmp(&reader->target, target, sizeof *target) != 0) {
        reader->target = *target;
        atomic_fetch_add(&reader->targets, 1);
    }
    pthread_mutex_unlock(&reader->lock);
}

/* Whether an error says that a server was not reached, or takes nobody in. */
static bool is_unreachable(const rl_err *err)
{
    return err->code == RL_STORE && err->retryable &&
           (err->sqlstate[0] == '\0' || strncmp(err->sqlstate, "08", 2) == 0 ||
            strncmp(err->sqlstate, "53", 2) == 0 ||
            strncmp(err->sqlstate, "57P", 3) == 0);
}

bool rl_pg_reader_lose_primary(rl_pg_reader *reader, const rl_err *err)
{
    const bool lost = reader->dsn != NULL && is_unreachable(err);

    if (lost) {
        pthread_mutex_lock(&reader->lock);
        rl_breaker_record_failure(&reader->primary, rl_monotonic_ns());
        pthread_mutex_unlock(&reader->lock);
    }
    return lost;
}

bool rl_pg_reader_avoids_primary(rl_pg_reader *reader)
{
    return reader->dsn != NULL && rl_breaker_is_open(&reader->primary) &&
           rl_monotonic_ns() < atomic_load(&reader->primary.retry_at);
}

static rl_status read_on(rl_pg_reader *reader, rl_pg_conn *conn, const read_call *call,
                         rl_err *err)
{
    rl_status status = rl_pg_conn_open(conn, err);

    if (status == RL_OK) {
        status = rl_pg_replica_check(reader, conn, call->needed, call->briefly, err);
    }
    return status == RL_OK ? call->work(conn, call->ctx, err) : status;
}

static outcome judge(const rl_pg_conn *conn, rl_status status, const rl_err *err)
{
    outcome found = FALL_BACK;

    if (status == RL_OK) {
        found = ANSWERED;
    } else if (status == RL_TIMEOUT) {
        found = BEHIND;
    } else if (status != RL_STORE || strcmp(err->sqlstate, CANCELED) == 0) {
        found = FAILED;
    } else if (strcmp(err->sqlstate, CONFLICT) == 0) {
        found = FALL_BACK; /* also where it has ended the session */
    } else if (is_unreachable(err) || rl_pg_conn_lost(conn)) {
        found = AWAY;
    }
    return found;
}

/* Takes note of how a read at the replica went, and logs a change. */
static void note_outcome(rl_pg_reader *reader, outcome found, const rl_err *err)
{
    rl_notices *notices = reader->server.notices;
    bool changed = false;

    pthread_mutex_lock(&reader->lock);
    if (found == AWAY) {
        changed = !reader->stats.away;
        rl_breaker_record_failure(&reader->breaker, rl_monotonic_ns());
        reader->stats.away = true;
        reader->stats.lag = -1;
        snprintf(reader->stats.error, sizeof reader->stats.error, "%s", err->text);
    } else if (found != FAILED) {
        changed = reader->stats.away;
        rl_breaker_record_success(&reader->breaker);
        reader->stats.away = false;
        reader->stats.error[0] = '\0';
        reader->lagging = reader->lagging || found == BEHIND;
        reader->stats.reads += found == ANSWERED;
    }
    pthread_mutex_unlock(&reader->lock);
    if (changed && found == AWAY) {
        rl_notices_add(notices, RL_NOTICE_WARNING,
                       "reads go to the primary until the replica is back (logged once): "
                       "%s",
                       err->text);
    } else if (changed) {
        rl_notices_add(notices, RL_NOTICE_INFO, "the replica is back: reads go there");
    }
}

/* Reads at the replica: at once on a new connection if the one that there was is cut. */
static outcome read_replica(rl_pg_reader *reader, read_call *call, rl_err *err)
{
    rl_pg_conn *conn = NULL;
    bool was_away, was_connected;
    outcome found;

    pthread_mutex_lock(&reader->lock);
    was_away = rl_breaker_is_open(&reader->breaker);
    found = rl_pg_replica_may_call(&reader->breaker, rl_monotonic_ns()) ? ANSWERED
                                                                        : FALL_BACK;
    call->needed = call->as_it_is ? 0 : reader->needed[call->own];
    call->briefly = was_away || reader->lagging;
    pthread_mutex_unlock(&reader->lock);
    if (found == ANSWERED && rl_pg_pool_take(&reader->pool, &conn, err) != RL_OK) {
        found = FAILED;
    } else if (found == ANSWERED) {
        was_connected = conn->pg != NULL;
        conn->connect_ns = was_away ? RL_PG_PROBE_NS : 0;
        found = judge(conn, read_on(reader, conn, call, err), err);
        if (found == AWAY && was_connected && rl_pg_conn_lost(conn) && !conn->timed_out) {
            found = judge(conn, read_on(reader, conn, call, err), err);
        }
        rl_pg_pool_give_read(&reader->pool, conn);
        note_outcome(reader, found, err);
    }
    return found;
}

/* After the replica could not answer. */
static rl_status read_primary(rl_pg_reader *reader, read_call *call, outcome found,
                              rl_err *err)
{
    bool lost = found == BEHIND && rl_pg_reader_avoids_primary(reader);
    rl_status status = RL_OK;

    if (!lost) {
        *err = (rl_err){.code = RL_OK};
        status = rl_pg_pool_run_read(reader->options.primary, call->work, call->ctx, err);
        lost = rl_pg_reader_lose_primary(reader, err) && found == BEHIND;
    }
    if (lost) {
        call->as_it_is = true;
        status = read_replica(reader, call, err) == ANSWERED ? RL_OK : err->code;
    } else {
        pthread_mutex_lock(&reader->lock);
        reader->stats.fallbacks++;
        pthread_mutex_unlock(&reader->lock);
    }
    return status;
}

rl_status rl_pg_reader_run(rl_pg_reader *reader, rl_pg_own own, rl_pg_pool_work work,
                           void *ctx, rl_err *err)
{
    read_call call = {.own = own, .work = work, .ctx = ctx};
    rl_err failure = {.code = RL_OK};
    rl_status status;
    outcome found;

    if (reader->dsn == NULL) {
        return rl_pg_pool_run_read(reader->options.primary, work, ctx, err);
    }
    rl_pg_replica_ask_primary(reader, own);
    found = read_replica(reader, &call, &failure);
    if (found == ANSWERED) {
        status = RL_OK;
    } else if (found == FAILED) {
        status = failure.code;
    } else {
        status = read_primary(reader, &call, found, &failure);
    }
    if (status != RL_OK && err != NULL) {
        *err = failure;
    }
    return status;
}

rl_status rl_pg_reader_read(rl_pg_reader *reader, rl_pg_own own, const char *sql,
                            int count, const char *const *values, PGresult **result,
                            rl_err *err)
{
    rl_pg_query statement = {sql, count, values, result};

    return rl_pg_reader_run(reader, own, rl_pg_pool_statement, &statement, err);
}

rl_status rl_pg_reader_read_primary(rl_pg_reader *reader, const char *sql, int count,
                                    const char *const *values, PGresult **result,
                                    rl_err *err)
{
    rl_err own = {.code = RL_OK};
    bool lost = rl_pg_reader_avoids_primary(reader);
    rl_status status = RL_OK;

    if (!lost) {
        status =
            rl_pg_pool_read(reader->options.primary, sql, count, values, result, &own);
        lost = rl_pg_reader_lose_primary(reader, &own);
    }
    if (lost) {
        status =
            rl_pg_reader_read(reader, RL_PG_OWN_RUNS, sql, count, values, result, &own);
    }
    if (status != RL_OK && err != NULL) {
        *err = own;
    }
    return status;
}

void rl_pg_reader_get_stats(rl_pg_reader *reader, rl_replica_stats *stats)
{
    pthread_mutex_lock(&reader->lock);
    *stats = reader->stats;
    pthread_mutex_unlock(&reader->lock);
}

void rl_pg_reader_before_fork(rl_pg_reader *reader)
{
    rl_pg_pool_before_fork(&reader->pool);
    pthread_mutex_lock(&reader->lock);
}

void rl_pg_reader_after_fork(rl_pg_reader *reader, bool in_child)
{
    pthread_mutex_unlock(&reader->lock);
    if (in_child) { /* the parent will terminate them */
        rl_pg_sessions_init(&reader->server.lost);
    }
    rl_pg_pool_after_fork(&reader->pool, in_child);
}
