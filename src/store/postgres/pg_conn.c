/* One connection to PostgreSQL. See pg_conn.h. */
#include "store/postgres/pg_conn.h"

#include "core/clock.h"
#include "store/postgres/pg_cancel.h"
#include "store/postgres/pg_dsn.h"
#include "store/postgres/pg_secrets.h"
#include "store/postgres/postgres_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define IDLE_CHECK_NS UINT64_C(5000000000)   /* idle longer: check the connection */
#define PING_TIMEOUT_NS UINT64_C(1000000000) /* for the answer to that check */
#define CANCEL_NS UINT64_C(1000000000) /* for a cancel request, and the answer to it */
#define CONNECT_MIN_NS UINT64_C(2000000000) /* libpq's least time-out */
#define CONNECT_MORE_NS UINT64_C(200000000)
#define STOP_CHECK_MS 50 /* interval of reading `stop` while waiting */
#define FLOW_CHECK_MS 50 /* interval of looking at what is under way, while waiting */
#define CANCELED "57014" /* query_canceled */
#define NO_TABLE "42P01" /* undefined_table */

/* Keeps notices such as "already exists, skipping" off the standard error. */
static void ignore_notice(void *ctx, const char *message)
{
    (void)ctx;
    (void)message;
}

static bool is_in_classes(const char *sqlstate, const char *const *classes, size_t count)
{
    bool found = false;

    for (size_t i = 0; i < count && !found; i++) {
        found = strncmp(sqlstate, classes[i], strlen(classes[i])) == 0;
    }
    return found;
}

/* Source: PostgreSQL's documentation, appendix A, "PostgreSQL Error Codes". These may
 * pass: lost connections, conflicting transactions, lack of resources, locks, a server
 * that shuts down or is read-only after a failover, a statement time-out, a role or
 * database that does not exist yet, failing disks. */
static bool is_retryable(const char *sqlstate)
{
    static const char *const classes[] = {"08", "25006", "25P03", "25P04", "28", "3D",
                                          "40", "53",    "55P03", "57",    "58", "XX"};

    return is_in_classes(sqlstate, classes, sizeof classes / sizeof *classes);
}

/* A time limit of the server's: for a statement, a lock, an idle session, a transaction. */
static bool is_timeout(const char *sqlstate)
{
    static const char *const classes[] = {CANCELED, "55P03", "25P03", "25P04"};

    return is_in_classes(sqlstate, classes, sizeof classes / sizeof *classes);
}

/* Invalid data, constraints, limits and triggers, and what this server can't do with a row
 * of this form; not missing objects or privileges (42), which would affect any row. */
static bool is_row_rejection(const char *sqlstate)
{
    static const char *const classes[] = {"09", "0A", "21", "22", "23", "27",
                                          "2F", "38", "39", "44", "54", "P0"};

    return is_in_classes(sqlstate, classes, sizeof classes / sizeof *classes);
}

/* Whether a statement of runlog's own names a table that is not there; a trigger's error
 * has a context. */
static bool is_table_missing(const rl_pg_conn *conn, const PGresult *result,
                             const char *state)
{
    return !conn->reads_only && strcmp(state, NO_TABLE) == 0 &&
           PQresultErrorField(result, PG_DIAG_CONTEXT) == NULL;
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
    if (conn->cancelled && state != NULL && strcmp(state, CANCELED) == 0) {
        rl_err_set(err, RL_STORE,
                   "PostgreSQL: the server had not answered for %.3g s, and was told to "
                   "cancel the statement",
                   (double)conn->timeout_ns / 1e9);
    } else {
        rl_pg_set_message(conn->pg, conn->server->dsn, message, err);
    }
    if (err != NULL) {
        if (state != NULL) {
            strncpy(err->sqlstate, state, sizeof err->sqlstate - 1);
        }
        err->missing = state != NULL && is_table_missing(conn, result, state);
        err->retryable = state != NULL ? is_retryable(state) : true;
        err->timed_out = state != NULL && is_timeout(state);
        err->rejected = state != NULL && is_row_rejection(state);
        err->partial = state != NULL && err->retryable && !rl_pg_conn_lost(conn) &&
                       atomic_load(&conn->server->spread);
    }
    if (state != NULL && is_table_missing(conn, result, state)) {
        atomic_store(&conn->server->schema_lost, true);
    }
    return RL_STORE;
}

void rl_pg_conn_init(rl_pg_conn *conn, rl_pg_server *server, const atomic_bool *stop)
{
    memset(conn, 0, sizeof *conn);
    conn->server = server;
    conn->timeout_ns = server->timeout_ns;
    conn->stop = stop;
}

/* How long a caller waits for a connection: the time-out of libpq for each host, and a
 * moment for its message. */
static uint64_t connect_ns(const rl_pg_conn *conn, const rl_pg_dsn *dsn)
{
    uint64_t each = conn->timeout_ns > CONNECT_MIN_NS ? conn->timeout_ns : CONNECT_MIN_NS;

    if (dsn->timeout_ns > each) {
        each = dsn->timeout_ns;
    }
    return each * dsn->count + CONNECT_MORE_NS;
}

/* Has the server notice when this machine vanishes. One that can't is used all the same. */
static rl_status set_keepalives(rl_pg_conn *conn, rl_err *err)
{
    char pid[16];
    const char *const values[] = {pid};
    rl_status status;

    snprintf(pid, sizeof pid, "%d", PQbackendPID(conn->pg));
    status = rl_pg_conn_exec(conn, RL_PG_KEEPALIVES, 1, values, false, NULL, err);
    return rl_pg_conn_lost(conn) ? status : RL_OK;
}

/* Takes what an attempt has connected. */
static rl_status use_connection(rl_pg_conn *conn, PGconn *pg, uint64_t ended_ns,
                                rl_err *err)
{
    rl_status status = RL_OK;

    if (pg == NULL) {
        return rl_err_nomem(err);
    }
    conn->pg = pg;
    PQsetNoticeProcessor(conn->pg, ignore_notice, NULL);
    if (PQstatus(conn->pg) != CONNECTION_OK || PQsetnonblocking(conn->pg, 1) != 0) {
        status = rl_pg_conn_error(conn, NULL, err);
        rl_pg_conn_close(conn);
    }
    conn->last_answer_ns = ended_ns;
    conn->timeouts = atomic_load(&conn->server->timeouts);
    conn->timed_out = false;
    conn->connects++;
    return status == RL_OK ? set_keepalives(conn, err) : status;
}

/* Connects, or waits on for an attempt that an earlier call has left. */
static rl_status connect_new(rl_pg_conn *conn, rl_err *err)
{
    rl_pg_dsn dsn;
    uint64_t ended_ns = 0, limit_ns;
    PGconn *pg = NULL;
    const char *name = conn->reads_only ? RL_PG_READ_DSN : RL_PG_DSN;
    rl_status status = rl_pg_dsn_check(conn->server->dsn, name, &dsn, err);

    if (status != RL_OK) {
        return status;
    }
    limit_ns = conn->connect_ns > 0 ? conn->connect_ns : connect_ns(conn, &dsn);
    if (conn->attempt == NULL) {
        conn->attempt = rl_pg_attempt_new(conn->server->dsn, conn->timeout_ns);
    }
    if (conn->attempt == NULL) {
        return rl_err_nomem(err);
    }
    if (rl_pg_attempt_take(conn->attempt, rl_monotonic_ns() + limit_ns, conn->stop, &pg,
                           &ended_ns)) {
        conn->attempt = NULL;
        return use_connection(conn, pg, ended_ns, err);
    }
    status = rl_err_set(err, RL_STORE,
                        "PostgreSQL: no connection within %.3g s: the lookup of the "
                        "server's name, or the server, has not answered",
                        (double)limit_ns / 1e9);
    if (err != NULL) {
        err->retryable = true;
    }
    return status;
}

/* Whether an idle connection still works. The socket shows that it was closed; only a
 * query shows that a firewall drops its packets. */
static bool is_alive(rl_pg_conn *conn)
{
    struct pollfd poller = {.fd = PQsocket(conn->pg), .events = POLLIN};
    const uint64_t timeout = conn->timeout_ns;
    const unsigned timeouts = atomic_load(&conn->server->timeouts);
    const bool cancels = conn->cancels;
    rl_status status = RL_OK;
    rl_err ignored;

    /* a server that ends a session says so first: the end may be behind its message */
    for (int i = 0; i < 3 && poll(&poller, 1, 0) != 0; i++) {
        if (!PQconsumeInput(conn->pg)) {
            return false;
        }
    }
    if (conn->timeouts != timeouts ||
        rl_monotonic_ns() - conn->last_answer_ns > IDLE_CHECK_NS) {
        conn->timeout_ns = timeout < PING_TIMEOUT_NS ? timeout : PING_TIMEOUT_NS;
        conn->cancels = false;
        status = rl_pg_conn_exec(conn, "", 0, NULL, false, NULL, &ignored);
        conn->cancels = cancels;
        conn->timeout_ns = timeout;
        conn->timeouts = timeouts;
    }
    return status == RL_OK && PQstatus(conn->pg) == CONNECTION_OK;
}

rl_status rl_pg_conn_open(rl_pg_conn *conn, rl_err *err)
{
    uint64_t ended_ns = 0;
    PGconn *pg = NULL;
    rl_err ignored;

    if (conn->pg != NULL && PQstatus(conn->pg) == CONNECTION_OK && is_alive(conn)) {
        return RL_OK;
    }
    rl_pg_conn_close(conn);
    if (conn->attempt != NULL &&
        rl_pg_attempt_take(conn->attempt, 0, NULL, &pg, &ended_ns)) {
        conn->attempt = NULL; /* it has ended since an earlier call */
        if (use_connection(conn, pg, ended_ns, &ignored) == RL_OK && is_alive(conn)) {
            return RL_OK;
        }
        rl_pg_conn_close(conn);
    }
    return connect_new(conn, err);
}

void rl_pg_conn_close(rl_pg_conn *conn)
{
    PQfinish(conn->pg);
    conn->pg = NULL;
}

void rl_pg_conn_free(rl_pg_conn *conn)
{
    rl_pg_conn_close(conn);
    rl_pg_attempt_drop(conn->attempt);
    conn->attempt = NULL;
}

void rl_pg_conn_abandon(rl_pg_conn *conn, bool clean)
{
    int socket, null_fd;

    if (clean && conn->pg == NULL) {
        conn->pg = rl_pg_attempt_abandon(conn->attempt);
    }
    conn->attempt = NULL;
    socket = conn->pg != NULL ? PQsocket(conn->pg) : -1;

    if (socket >= 0) {
        /* PQfinish would send a Terminate message, which ends the parent's session */
        null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null_fd >= 0) {
            dup2(null_fd, socket);
            close(null_fd);
        } else {
            clean = false;
        }
    }
    if (clean) {
        PQfinish(conn->pg);
    } /* else leak it: another thread of the parent was changing it */
    conn->pg = NULL;
}

bool rl_pg_conn_lost(const rl_pg_conn *conn)
{
    return conn->pg == NULL || PQstatus(conn->pg) != CONNECTION_OK;
}

rl_status rl_pg_conn_give_up(rl_pg_conn *conn, const char *why, rl_err *err)
{
    rl_err_set(err, RL_STORE, "PostgreSQL: %s", why);
    if (err != NULL) {
        err->retryable = true;
    }
    rl_pg_conn_close(conn);
    return RL_STORE;
}

/* The bytes that the peer has not received of what was written to the socket; -1 if the
 * system does not tell. */
static int bytes_under_way(const rl_pg_conn *conn)
{
    int count = -1;

#ifdef TIOCOUTQ
    if (ioctl(PQsocket(conn->pg), TIOCOUTQ, &count) != 0) {
        count = -1;
    }
#endif
    return count;
}

/* The most milliseconds for one poll of a wait that has `left_ns`. */
static int poll_ms(const rl_pg_conn *conn, uint64_t left_ns)
{
    uint64_t most = left_ns / 1000000 + 1;

    if (conn->stop != NULL && most > STOP_CHECK_MS) {
        most = STOP_CHECK_MS;
    }
    if (conn->patient && most > FLOW_CHECK_MS) {
        most = FLOW_CHECK_MS;
    }
    return (int)most;
}

/* Waits until the socket can be read, or with `to_write` also written. RL_TIMEOUT at
 * `*end` (monotonic nanoseconds), which a patient connection moves while the peer receives
 * bytes. Any other failure closes the connection. */
static rl_status wait_for_socket(rl_pg_conn *conn, bool to_write, uint64_t *end,
                                 rl_err *err)
{
    struct pollfd poller = {.fd = PQsocket(conn->pg), .events = POLLIN};
    uint64_t now = rl_monotonic_ns();
    int left = conn->patient && !conn->cancelled ? bytes_under_way(conn) : -1;

    if (to_write) {
        poller.events |= POLLOUT;
    }
    while (now < *end) {
        int ready = poll(&poller, 1, poll_ms(conn, *end - now)), before = left;

        if (ready > 0) {
            return RL_OK;
        }
        if (ready < 0 && errno != EINTR) {
            return rl_pg_conn_give_up(conn, strerror(errno), err);
        }
        if (conn->stop != NULL && atomic_load(conn->stop)) {
            return rl_pg_conn_give_up(
                conn, "runlog is closing and has stopped waiting for the answer", err);
        }
        now = rl_monotonic_ns();
        left = before > 0 ? bytes_under_way(conn) : before;
        if (left < before) {
            *end = now + conn->timeout_ns;
        }
    }
    return RL_TIMEOUT;
}

/* After a time-out: has the server cancel the command, and gives it more time to answer,
 * until *end; or closes the connection. */
static rl_status handle_timeout(rl_pg_conn *conn, uint64_t *end, rl_err *err)
{
    char why[60];

    if (!conn->timed_out) {
        conn->timed_out = true;
        atomic_fetch_add(&conn->server->timeouts, 1);
    }
    if (conn->cancels && !conn->cancelled) {
        *end = rl_monotonic_ns() + (conn->hurried ? 0 : CANCEL_NS);
        conn->cancelled = rl_pg_cancel(conn->pg, *end);
        if (conn->cancelled) {
            return RL_OK;
        }
    }
    snprintf(why, sizeof why, "the server has not answered for %.3g s",
             (double)conn->timeout_ns / 1e9);
    (void)rl_pg_conn_give_up(conn, why, err);
    if (err != NULL) {
        err->timed_out = true;
        err->partial = atomic_load(&conn->server->spread);
    }
    return RL_STORE;
}

/* Closes the connection: libpq takes no command while an answer is outstanding. */
static rl_status fail(rl_pg_conn *conn, rl_err *err)
{
    rl_status status = rl_pg_conn_error(conn, NULL, err);

    rl_pg_conn_close(conn);
    return status;
}

rl_status rl_pg_conn_next(rl_pg_conn *conn, PGresult **result, rl_err *err)
{
    uint64_t end = rl_monotonic_ns() + conn->timeout_ns;
    rl_status status;
    int unsent;

    *result = NULL;
    for (;;) {
        unsent = PQflush(conn->pg);
        if (unsent < 0) {
            return fail(conn, err);
        }
        if (unsent == 0 && !PQisBusy(conn->pg)) {
            *result = PQgetResult(conn->pg);
            conn->last_answer_ns = rl_monotonic_ns();
            return RL_OK;
        }
        status = wait_for_socket(conn, unsent > 0, &end, err);
        if (status == RL_OK && conn->patient && !conn->cancelled) {
            end = rl_monotonic_ns() + conn->timeout_ns;
        } else if (status == RL_TIMEOUT) {
            status = handle_timeout(conn, &end, err);
        }
        if (status != RL_OK) {
            return status;
        }
        if (!PQconsumeInput(conn->pg)) {
            return fail(conn, err);
        }
    }
}

static bool is_success(const PGresult *result)
{
    ExecStatusType kind = PQresultStatus(result);

    return kind == PGRES_COMMAND_OK || kind == PGRES_TUPLES_OK ||
           kind == PGRES_EMPTY_QUERY;
}

void rl_pg_conn_begin(rl_pg_conn *conn)
{
    conn->cancelled = false;
    conn->timed_out = false;
}

void rl_pg_conn_settle(rl_pg_conn *conn, const char *sqlstate)
{
    if (conn->cancelled && strcmp(sqlstate, CANCELED) != 0) {
        rl_pg_conn_close(conn); /* the request may hit its next command */
    }
}

rl_status rl_pg_conn_last(rl_pg_conn *conn, PGresult **result, rl_err *err)
{
    PGresult *next = NULL, *last = NULL;
    rl_status status, refused = RL_OK;
    rl_err first = {.code = RL_OK};

    rl_pg_conn_begin(conn);
    while ((status = rl_pg_conn_next(conn, &next, err)) == RL_OK && next != NULL) {
        PQclear(last);
        last = next;
        if (refused == RL_OK && !is_success(last)) { /* later errors follow from it */
            refused = rl_pg_conn_error(conn, last, &first);
        }
    }
    if (status == RL_OK && last == NULL) {
        status = rl_pg_conn_error(conn, NULL, err);
    }
    if (refused != RL_OK) {
        status = refused;
        if (err != NULL) {
            *err = first;
        }
    }
    rl_pg_conn_settle(conn, first.sqlstate);
    if (status == RL_OK && result != NULL) {
        *result = last;
    } else {
        PQclear(last);
    }
    return status;
}

rl_status rl_pg_conn_exec(rl_pg_conn *conn, const char *sql, int count,
                          const char *const *values, bool binary, PGresult **result,
                          rl_err *err)
{
    /* only the simple protocol takes several statements in one text */
    int sent = count == 0 && !binary ? PQsendQuery(conn->pg, sql)
                                     : PQsendQueryParams(conn->pg, sql, count, NULL,
                                                         values, NULL, NULL, binary);

    return sent ? rl_pg_conn_last(conn, result, err) : rl_pg_conn_error(conn, NULL, err);
}

rl_status rl_pg_conn_has_row(rl_pg_conn *conn, const char *sql, bool *has, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status = rl_pg_conn_exec(conn, sql, 0, NULL, false, &result, err);

    *has = status == RL_OK && PQntuples(result) > 0;
    PQclear(result);
    return status;
}

void rl_pg_conn_rollback(rl_pg_conn *conn)
{
    rl_err ignored;

    if (!rl_pg_conn_lost(conn) &&
        rl_pg_conn_exec(conn, RL_PG_ROLLBACK, 0, NULL, false, NULL, &ignored) != RL_OK) {
        rl_pg_conn_close(conn);
    }
}

rl_status rl_pg_conn_end(rl_pg_conn *conn, rl_status status, rl_err *err)
{
    if (status == RL_OK) {
        status = rl_pg_conn_exec(conn, RL_PG_COMMIT, 0, NULL, false, NULL, err);
    }
    if (status != RL_OK) {
        rl_pg_conn_rollback(conn);
    }
    return status;
}
