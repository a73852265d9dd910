/* A connection to PostgreSQL that writes batches of runs.
 *
 * A batch goes out in pipeline mode between two Syncs, which makes it one implicit
 * transaction and one round trip; a run alone is a statement by itself. The statement is
 * prepared by name where the connection leads to one server process, and else for each
 * batch without a name, so that a pooler may give each transaction another server
 * connection. Threads: the functions lock the writer, so one thread at a time is inside;
 * others wait. Ownership: the writer borrows the server and `stop`.
 */
#ifndef RL_PG_WRITER_H
#define RL_PG_WRITER_H

#include "store/migrate.h"
#include "store/postgres/pg_conn.h"
#include "store/store.h"

#include <pthread.h>

typedef struct rl_pg_writer {
    pthread_mutex_t lock;
    rl_pg_conn conn;
    rl_buf wide;      /* payloads rewritten for jsonb */
    rl_buf unchanged; /* of const rl_run *: those whose insertion has changed no row */
    unsigned
        checked_connects;  /* the serial of the connection of which these two are known */
    bool pooled;           /* a pooler stands in between */
    rl_pg_session session; /* of the connection, where none does */
    bool prepared;         /* the statement has its name on this connection */
    bool was_connected;    /* what was sent went to a connection that was there before */
    rl_status status;      /* of what was sent, and why it failed */
    rl_err failure;
    bool server_lost; /* the last write found the server cut off, or read-only */
    bool lock_held;   /* across a fork: the lock was got in time */
} rl_pg_writer;

void rl_pg_writer_init(rl_pg_writer *writer, rl_pg_server *server,
                       const atomic_bool *stop);
void rl_pg_writer_free(rl_pg_writer *writer); /* what it owns, not the struct */

/* Writes all runs of a batch in one transaction, or none; a batch of none only asks
 * whether the server answers. Connects where need be, again where the connection was cut
 * while it was idle. */
rl_status rl_pg_writer_write(rl_pg_writer *writer, const rl_batch *batch, rl_err *err);

/* The same in two steps, between which the caller may do something else while the server
 * works: the batch goes out, then the answer is read. Each rl_pg_writer_send is followed
 * by one rl_pg_writer_finish of the same thread, with the same batch: until then the
 * writer is locked. */
void rl_pg_writer_send(rl_pg_writer *writer, const rl_batch *batch);
rl_status rl_pg_writer_finish(rl_pg_writer *writer, const rl_batch *batch, rl_err *err);

/* Connects and applies the migrations that the database lacks. */
rl_status rl_pg_writer_migrate(rl_pg_writer *writer, const rl_migrations *migrations,
                               rl_err *err);

/* Around a fork. A thread that waits for the server is not waited for long (until `end`,
 * monotonic nanoseconds): the child then leaves the connection as it is. */
void rl_pg_writer_before_fork(rl_pg_writer *writer, uint64_t end);
void rl_pg_writer_after_fork(rl_pg_writer *writer, bool in_child);

#endif
