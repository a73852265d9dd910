/* A connection to PostgreSQL that writes batches of runs (pg_batch.h).
 *
 * The statements are prepared under a name if the connection leads to one server process.
 * Behind a pooler, which may give each transaction another server connection, each
 * transaction prepares the unnamed statement. A transaction that a deadlock or another
 * conflict has rolled back is repeated at once, a few times.
 * Threads: any; the functions take the writer's lock, and others wait for it.
 * Ownership: the writer borrows the server and `stop`.
 */
#ifndef RL_PG_WRITER_H
#define RL_PG_WRITER_H

#include "store/migrate.h"
#include "store/postgres/pg_batch.h"
#include "store/store.h"

#include <pthread.h>

typedef struct rl_pg_writer {
    pthread_mutex_t lock;
    rl_pg_conn conn;
    rl_pg_batch batch;
    unsigned checked_connects; /* conn.connects when `pooled` and `session` were set */
    bool pooled;               /* the connection leads through a pooler */
    rl_pg_session session;     /* of the connection; unknown if it is pooled */
    bool prepared;             /* the session has the named statements */
    bool is_bound;             /* writes to `target` only */
    rl_target target;          /* the database, without the place */
    unsigned target_connects;  /* conn.connects when `target` was read */
    bool was_connected; /* before the last send: the server may have restarted since */
    rl_status status;   /* of the last send */
    rl_err failure;     /* of the last send or finish */
    bool server_lost; /* the last write found the connection cut, or a read-only server */
    bool lock_held;   /* during a fork: it took the lock in time */
} rl_pg_writer;

void rl_pg_writer_init(rl_pg_writer *writer, rl_pg_server *server,
                       const atomic_bool *stop);
void rl_pg_writer_free(rl_pg_writer *writer); /* not the struct */

/* Writes a batch. After an error some of its runs may be written: repeating that changes
 * nothing. An empty batch only checks that the server answers. Connects if necessary, and
 * tries again on a new connection if an idle one proved to be cut. */
rl_status rl_pg_writer_write(rl_pg_writer *writer, const rl_batch *batch, rl_err *err);

/* rl_pg_writer_write in two steps: sends the batch, then waits for the answer; the caller
 * may do other work in between. After each rl_pg_writer_send the same thread calls
 * rl_pg_writer_finish once, with the same batch. The writer is locked in between. */
void rl_pg_writer_send(rl_pg_writer *writer, const rl_batch *batch);
rl_status rl_pg_writer_finish(rl_pg_writer *writer, const rl_batch *batch, rl_err *err);

/* Asks which database the connection leads to, and has later writes fail (retryable)
 * where a new connection leads to another one. Leaves the place alone. */
rl_status rl_pg_writer_identify(rl_pg_writer *writer, rl_target *target, rl_err *err);

/* Runs a statement with one text parameter, for the thread that forwards. */
rl_status rl_pg_writer_run(rl_pg_writer *writer, const char *sql, const char *value,
                           rl_err *err);

/* Connects and applies the missing migrations; then asks which database it is. Tables that
 * are made anew get the id that `target` has, if any: what waits for that is for them. */
rl_status rl_pg_writer_migrate(rl_pg_writer *writer, const rl_migrations *migrations,
                               rl_target *target, rl_err *err);

/* Around a fork: takes the lock, waiting until `end` (monotonic nanoseconds) for a thread
 * that uses the connection, and releases it. The child gives up the connection, which it
 * can free only if the fork took the lock. */
void rl_pg_writer_before_fork(rl_pg_writer *writer, uint64_t end);
void rl_pg_writer_after_fork(rl_pg_writer *writer, bool in_child);

#endif
