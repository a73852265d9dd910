/* One connection to PostgreSQL. See pg_conn.h. */
#include "store/pg_conn.h"

#include "core/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define SILENCE_NS UINT64_C(30000000000) /* how long an answer is waited for */

/* "already exists, skipping" is of no interest to the user's standard error. */
static void ignore_notice(void *ctx, const char *message)
{
    (void)ctx;
    (void)message;
}

/* Replaces every place where the password stands in a message. */
static void scrub(char *text, const char *password)
{
    size_t len = password != NULL ? strlen(password) : 0;
    char *at = text;

    while (len > 0 && (at = strstr(at, password)) != NULL) {
        memset(at, '*', len);
        at += len;
    }
}

/* A message without the line breaks at its end. */
static int trimmed(const char *message)
{
    size_t len = strlen(message);

    while (len > 0 && message[len - 1] == '\n') {
        len--;
    }
    return (int)(len < RL_ERR_TEXT ? len : RL_ERR_TEXT);
}

static bool is_retryable(const char *sqlstate)
{
    static const char *const classes[] = {"08", "40", "53", "55P03", "57P"};

    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if (strncmp(sqlstate, classes[i], strlen(classes[i])) == 0) {
            return true;
        }
    }
    return false;
}

rl_status rl_pg_conn_error(rl_pg_conn *conn, const PGresult *result, rl_err *err)
{
    const char *state =
        result != NULL ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    const char *message =
        state != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;

    if (message == NULL) {
        message = PQerrorMessage(conn->pg);
    }
    rl_err_set(err, RL_STORE, "PostgreSQL: %.*s", trimmed(message), message);
    if (err != NULL) {
        scrub(err->text, PQpass(conn->pg));
        if (state != NULL) {
            strncpy(err->sqlstate, state, sizeof err->sqlstate - 1);
        }
        err->retryable = state != NULL ? is_retryable(state) : true;
    }
    return RL_STORE;
}

/* libpq's own message would quote a part of the string, maybe the password. */
static rl_status check_dsn(const char *dsn, rl_err *err)
{
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(dsn, &message);
    rl_status status = RL_OK;

    if (options == NULL) {
        status = rl_err_set(err, RL_STORE,
                            "PostgreSQL: POSTGRES_DSN can't be parsed: it must be a URI "
                            "(postgresql://user@host/dbname) or keywords and values "
                            "(host=... dbname=...)");
    }
    PQconninfoFree(options);
    PQfreemem(message);
    return status;
}

rl_status rl_pg_conn_open(rl_pg_conn *conn, rl_err *err)
{
    /* what stands before the DSN is a default, what stands behind it is decided */
    const char *const keys[] = {"fallback_application_name", "connect_timeout",
                                "keepalives_idle",           "keepalives_interval",
                                "keepalives_count",          "dbname",
                                "client_encoding",           NULL};
    const char *const values[] = {"runlog", "10",      "30",   "10",
                                  "3",      conn->dsn, "UTF8", NULL};
    rl_status status = RL_OK;

    if (conn->pg != NULL && PQstatus(conn->pg) == CONNECTION_OK) {
        return RL_OK;
    }
    rl_pg_conn_close(conn);
    status = check_dsn(conn->dsn, err);
    if (status != RL_OK) {
        return status;
    }
    conn->pg = PQconnectdbParams(keys, values, 1);
    if (conn->pg == NULL) {
        return rl_err_nomem(err);
    }
    PQsetNoticeProcessor(conn->pg, ignore_notice, NULL);
    if (PQstatus(conn->pg) != CONNECTION_OK || PQsetnonblocking(conn->pg, 1) != 0) {
        status = rl_pg_conn_error(conn, NULL, err);
        rl_pg_conn_close(conn);
    }
    return status;
}

void rl_pg_conn_close(rl_pg_conn *conn)
{
    PQfinish(conn->pg);
    conn->pg = NULL;
}

bool rl_pg_conn_lost(const rl_pg_conn *conn)
{
    return conn->pg == NULL || PQstatus(conn->pg) != CONNECTION_OK;
}

/* Waits until the socket can be read (or also written), at most until `end`. */
static rl_status wait_for_socket(rl_pg_conn *conn, bool to_write, uint64_t end,
                                 rl_err *err)
{
    struct pollfd poller = {.fd = PQsocket(conn->pg), .events = POLLIN};
    uint64_t now = rl_monotonic_ns();
    int ready = 0;

    if (to_write) {
        poller.events |= POLLOUT;
    }
    while (now < end) {
        ready = poll(&poller, 1, (int)((end - now) / 1000000) + 1);
        if (ready > 0) {
            return RL_OK;
        }
        if (ready < 0 && errno != EINTR) {
            break;
        }
        now = rl_monotonic_ns();
    }
    rl_err_set(err, RL_STORE, "PostgreSQL: %s",
               ready < 0 ? strerror(errno) : "the server has not answered for 30 s");
    if (err != NULL) {
        err->retryable = true;
    }
    rl_pg_conn_close(conn);
    return RL_STORE;
}

rl_status rl_pg_conn_next(rl_pg_conn *conn, PGresult **result, rl_err *err)
{
    uint64_t end = rl_monotonic_ns() + SILENCE_NS;
    int unsent;

    *result = NULL;
    for (;;) {
        unsent = PQflush(conn->pg);
        if (unsent < 0) {
            return rl_pg_conn_error(conn, NULL, err);
        }
        if (unsent == 0 && !PQisBusy(conn->pg)) {
            *result = PQgetResult(conn->pg);
            return RL_OK;
        }
        if (wait_for_socket(conn, unsent > 0, end, err) != RL_OK) {
            return RL_STORE;
        }
        if (!PQconsumeInput(conn->pg)) {
            return rl_pg_conn_error(conn, NULL, err);
        }
    }
}

rl_status rl_pg_conn_exec(rl_pg_conn *conn, const char *sql, int count,
                          const char *const *values, bool binary, PGresult **result,
                          rl_err *err)
{
    PGresult *next = NULL, *last = NULL;
    rl_status status;
    int sent;

    /* several statements in one text go by the simple protocol only */
    sent = count == 0 && !binary ? PQsendQuery(conn->pg, sql)
                                 : PQsendQueryParams(conn->pg, sql, count, NULL, values,
                                                     NULL, NULL, binary);
    if (!sent) {
        return rl_pg_conn_error(conn, NULL, err);
    }
    while ((status = rl_pg_conn_next(conn, &next, err)) == RL_OK && next != NULL) {
        if (PQresultStatus(last) == PGRES_FATAL_ERROR && last != NULL) {
            PQclear(next); /* the first error is the one that tells */
        } else {
            PQclear(last);
            last = next;
        }
    }
    if (status == RL_OK && last == NULL) {
        status = rl_pg_conn_error(conn, NULL, err);
    } else if (status == RL_OK && PQresultStatus(last) != PGRES_COMMAND_OK &&
               PQresultStatus(last) != PGRES_TUPLES_OK) {
        status = rl_pg_conn_error(conn, last, err);
    }
    if (status == RL_OK && result != NULL) {
        *result = last;
    } else {
        PQclear(last);
    }
    return status;
}
