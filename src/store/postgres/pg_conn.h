/* One connection to PostgreSQL: connecting, waiting with a time-out, errors.
 *
 * Threads: one thread at a time uses a connection; its owner ensures that.
 * Ownership: the connection owns the PGconn and borrows its server. The caller owns the
 * results that a function gives (PQclear).
 */
#ifndef RL_PG_CONN_H
#define RL_PG_CONN_H

#include "core/err.h"
#include "core/notice.h"
#include "store/postgres/pg_attempt.h"
#include "store/postgres/pg_session.h"

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* 2000-01-01, from which PostgreSQL counts time, in microseconds since 1970. */
#define RL_PG_EPOCH INT64_C(946684800000000)

/* Shared by all connections of a store. */
typedef struct rl_pg_server {
    const char *dsn;      /* borrowed */
    uint64_t timeout_ns;  /* how long the server may take to answer */
    atomic_uint timeouts; /* so far; each makes idle connections suspect */
    /* what may have committed so far: batches of runs and deletions; anything else */
    atomic_uint_fast64_t run_writes, other_writes;
    atomic_bool schema_lost;       /* a table was missing since the last check of them */
    atomic_bool rename_logged;     /* that runs keep the names which they have */
    atomic_bool spread;            /* the tables lie on several servers (Citus) */
    rl_pg_sessions lost;           /* whose connections were lost during a batch */
    const struct rl_pg_hook *hook; /* borrowed, or NULL; see pg_row.h */
    rl_notices *notices;           /* borrowed, or NULL */
} rl_pg_server;

typedef struct rl_pg_conn {
    PGconn *pg;              /* owned; NULL while it is not connected */
    rl_pg_attempt *attempt;  /* owned; one that has not ended yet, or NULL */
    rl_pg_server *server;    /* borrowed */
    unsigned timeouts;       /* of the server, when this connection was last checked */
    uint64_t timeout_ns;     /* of the current wait for an answer */
    uint64_t connect_ns;     /* the most to wait for a connection; 0: by the DSN */
    const atomic_bool *stop; /* borrowed, or NULL; true ends a wait */
    uint64_t last_answer_ns; /* monotonic nanoseconds: when the server last answered */
    unsigned connects;       /* how often this has connected; identifies the PGconn */
    bool timed_out;          /* the last wait ended with the time-out */
    bool reads_only;         /* to a replica: nothing may be written over it */
    bool cancels;            /* what gets a time-out is cancelled in the server */
    bool hurried;            /* ... and its caller does not wait for that */
    bool patient;            /* only silence counts for the time-out: bytes extend it */
    bool cancelled;          /* the server was asked to cancel the current command */
} rl_pg_conn;

/* Opens nothing. Borrows `stop`, which may be NULL. */
void rl_pg_conn_init(rl_pg_conn *conn, rl_pg_server *server, const atomic_bool *stop);

/* Connects, unless it is connected. First checks a connection that was idle: its socket,
 * and by an empty query when it was idle for long or another connection got a time-out
 * meanwhile. Reconnects if the check fails. Errors never show the password. An attempt to
 * connect that takes too long goes on, for the next call. */
rl_status rl_pg_conn_open(rl_pg_conn *conn, rl_err *err);
void rl_pg_conn_close(rl_pg_conn *conn);

/* Closes the connection, and gives up an attempt to connect. */
void rl_pg_conn_free(rl_pg_conn *conn);

/* In the child of a fork: gives up the connection without sending anything, as the
 * session is the parent's. `clean`: no other thread was using it at the fork, so this may
 * also free it. */
void rl_pg_conn_abandon(rl_pg_conn *conn, bool clean);

/* Whether the connection is closed or broken: rl_pg_conn_open will reconnect. */
bool rl_pg_conn_lost(const rl_pg_conn *conn);

/* Fills err with the result's error, or with the connection's if `result` is NULL. Sets
 * err->retryable, and err->rejected if the server rejects the row. Returns RL_STORE. */
rl_status rl_pg_conn_error(rl_pg_conn *conn, const PGresult *result, rl_err *err);

/* Closes the connection after a retryable failure; err gets `why`. Returns RL_STORE. */
rl_status rl_pg_conn_give_up(rl_pg_conn *conn, const char *why, rl_err *err);

/* Sends what is queued and waits for the next result, which is NULL after the last result
 * of a command. A failure or a time-out closes the connection, as a late answer would be
 * taken for that to another query. If the connection `cancels`, a time-out first has the
 * server cancel the command, and waits up to a second for that, unless it is `hurried`.
 * If it is `patient`, the time starts again whenever bytes arrive, or leave for the
 * server. */
rl_status rl_pg_conn_next(rl_pg_conn *conn, PGresult **result, rl_err *err);

/* Around the results of one command that rl_pg_conn_next reads: forgets the time-out of
 * the one before; and closes a connection whose command was to be cancelled and did not end
 * with that, but with `sqlstate`. rl_pg_conn_last does both. */
void rl_pg_conn_begin(rl_pg_conn *conn);
void rl_pg_conn_settle(rl_pg_conn *conn, const char *sqlstate);

/* Waits for all results of one command; gives the last one, or the first error. `result`
 * may be NULL. err->sqlstate is set if the server has refused the command; without it
 * the connection failed, and the command may have been executed. */
rl_status rl_pg_conn_last(rl_pg_conn *conn, PGresult **result, rl_err *err);

/* Runs a statement with `count` text parameters, and waits as rl_pg_conn_last does.
 * `binary`: of the results. If neither is used, `sql` may hold several statements. */
rl_status rl_pg_conn_exec(rl_pg_conn *conn, const char *sql, int count,
                          const char *const *values, bool binary, PGresult **result,
                          rl_err *err);

/* Sets *has: whether a statement without parameters gives a row. */
rl_status rl_pg_conn_has_row(rl_pg_conn *conn, const char *sql, bool *has, rl_err *err);

/* Rolls the transaction back. If that fails, closes the connection: else its next user
 * would be in that transaction. Does nothing on a lost connection. */
void rl_pg_conn_rollback(rl_pg_conn *conn);

/* Ends a transaction: commits it if `status` is RL_OK, and rolls it back otherwise, or if
 * the server refuses to commit. Returns `status`, or the commit's. */
rl_status rl_pg_conn_end(rl_pg_conn *conn, rl_status status, rl_err *err);

#endif
