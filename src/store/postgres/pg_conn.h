/* One connection to PostgreSQL: connecting, waiting with a bound, errors.
 *
 * Threads: a connection is used by one thread at a time; its owner sees to that.
 * Ownership: the connection owns the PGconn and borrows its server. Results that a
 * function gives are owned by the caller (PQclear).
 */
#ifndef RL_PG_CONN_H
#define RL_PG_CONN_H

#include "core/err.h"
#include "store/postgres/pg_session.h"

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* PostgreSQL counts time from 2000-01-01: its zero, in microseconds since 1970. */
#define RL_PG_EPOCH INT64_C(946684800000000)

/* What the connections to one server have in common. */
typedef struct rl_pg_server {
    const char *dsn;      /* borrowed */
    uint64_t timeout_ns;  /* how long the server may take to answer */
    atomic_uint timeouts; /* how often it did not: then no idle connection is trusted */
    rl_pg_sessions lost;  /* of connections that were lost in the middle of a batch */
    const struct rl_pg_hook *hook; /* borrowed, or NULL; see pg_row.h */
} rl_pg_server;

typedef struct rl_pg_conn {
    PGconn *pg;              /* owned; NULL while it is not connected */
    rl_pg_server *server;    /* borrowed */
    unsigned timeouts;       /* of the server, up to which this connection is trusted */
    uint64_t timeout_ns;     /* how long an answer is waited for now */
    const atomic_bool *stop; /* borrowed, or NULL: when it is set, waiting ends */
    uint64_t last_answer_ns; /* monotonic nanoseconds: when it last answered */
    unsigned connects;       /* grows with each connection that is made */
    bool timed_out;          /* it was closed for the server's silence */
} rl_pg_conn;

void rl_pg_conn_init(rl_pg_conn *conn, rl_pg_server *server, const atomic_bool *stop);

/* Connects, unless it is connected. A connection that was idle is looked at first, and
 * one idle for long, or while another one got no answer, is asked for one: what was cut
 * meanwhile is made anew. RL_STORE names no password. */
rl_status rl_pg_conn_open(rl_pg_conn *conn, rl_err *err);
void rl_pg_conn_close(rl_pg_conn *conn);

/* In the child of a fork: lets go of the connection without a word to the server, for it
 * is the parent's. `clean`: no other thread was using it at the fork, so it can be freed
 * too. */
void rl_pg_conn_abandon(rl_pg_conn *conn, bool clean);

/* Whether the connection was lost, so that it must be opened again. */
bool rl_pg_conn_lost(const rl_pg_conn *conn);

/* Describes what went wrong: the result's error, or the connection's when it is NULL. */
rl_status rl_pg_conn_error(rl_pg_conn *conn, const PGresult *result, rl_err *err);

/* Sends what is queued and waits for the next result, which may be NULL (the end of one
 * command's results). Where that fails, a server that is silent for longer than the
 * time-out included, the connection is closed: nobody can tell what it would still
 * answer. */
rl_status rl_pg_conn_next(rl_pg_conn *conn, PGresult **result, rl_err *err);

/* Waits for the last result of what was sent, or its first error; `result` may be NULL
 * when only the success matters. */
rl_status rl_pg_conn_last(rl_pg_conn *conn, PGresult **result, rl_err *err);

/* Runs a statement (without values: any number of them) and waits as rl_pg_conn_last
 * does. `binary`: results in binary. */
rl_status rl_pg_conn_exec(rl_pg_conn *conn, const char *sql, int count,
                          const char *const *values, bool binary, PGresult **result,
                          rl_err *err);

#endif
