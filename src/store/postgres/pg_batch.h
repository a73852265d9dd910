/* The statements that write a batch of runs on one connection.
 *
 * A batch is one pipeline up to one Sync, which makes it one implicit transaction and one
 * round trip; a single run without parts is one statement. A run that is probably new is
 * inserted by a statement that leaves an existing row alone, because the server sets up
 * the merge for each row (docs/performance.md). Runs whose row exists are merged in a second
 * transaction. In between, nothing of them is written, and none is acknowledged. A run is
 * in the same transaction as its parts and the rows of a hook.
 *
 * Every transaction takes the locks of rows in one order, that of the runs' names, so that
 * transactions never wait for one another in a circle.
 * Threads: one at a time. Ownership: borrows the runs, from rl_pg_batch_set until the
 * batch is written.
 */
#ifndef RL_PG_BATCH_H
#define RL_PG_BATCH_H

#include "store/postgres/pg_conn.h"
#include "store/store.h"

#define RL_PG_RUNNING 1024 /* names of runs that are known to be there */

typedef struct rl_pg_batch {
    rl_buf list;      /* of rl_pg_entry: the runs of the transaction, ordered by name */
    rl_buf there;     /* of the same: runs whose insert found a row */
    rl_buf unchanged; /* of const rl_run *: with an own id, whose merge changed no row */
    rl_buf wide;      /* see rl_pg_row_fill */
    bool merges;      /* the transaction merges all its runs */
    /* Hashes of the names of runs that were last written as running, each at its place:
     * the next log of such a run is merged. A wrong guess costs time only. */
    uint64_t running[RL_PG_RUNNING];
} rl_pg_batch;

void rl_pg_batch_init(rl_pg_batch *batch);
void rl_pg_batch_free(rl_pg_batch *batch); /* not the struct */

/* Takes the runs, for their first transaction. RL_NOMEM. */
rl_status rl_pg_batch_set(rl_pg_batch *batch, const rl_batch *runs, rl_err *err);

/* After a transaction that was committed: takes those of its runs that are still to be
 * merged. False if there are none. */
bool rl_pg_batch_next(rl_pg_batch *batch);

/* After the whole batch: remembers which of its runs are still running. */
void rl_pg_batch_remember(rl_pg_batch *batch, const rl_batch *runs);

/* Has the session prepare the two statements, under their names. */
rl_status rl_pg_batch_prepare(rl_pg_conn *conn, rl_err *err);

/* Sends the transaction; for an empty batch, a query that any server answers. `pooled`:
 * the session may be another one by now, and has no named statements. After an error only
 * a new connection has a known state. */
rl_status rl_pg_batch_send(rl_pg_batch *batch, rl_pg_conn *conn, bool pooled,
                           rl_err *err);

/* Reads the answer. The first error of the server, or of the connection. */
rl_status rl_pg_batch_read(rl_pg_batch *batch, rl_pg_conn *conn, rl_err *err);

#endif
