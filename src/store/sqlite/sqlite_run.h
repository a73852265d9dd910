/* A run as a row of SQLite: the parameters of its insert, the insert of a batch, and back from
 * a row. Threads and ownership: as the connection's.
 */
#ifndef RL_SQLITE_RUN_H
#define RL_SQLITE_RUN_H

#include "store/sqlite/sqlite_conn.h"
#include "store/store.h"

/* A part of the program that writes rows of its own in the transaction of each run. */
typedef struct rl_sqlite_hook {
    /* The run's row was written. is_new: there was no row before, and the new one has the id
     * that `run` names. What fails undoes the whole transaction. */
    rl_status (*written)(void *ctx, rl_sqlite_conn *conn, const rl_run *run, bool is_new,
                         rl_err *err);
    void *ctx; /* borrowed */
} rl_sqlite_hook;

/* Binds a run to a statement whose first parameters are the columns of rl_column, then
 * whether its id is its own, and in the journal its wide_numbers. The texts are borrowed
 * until the statement has been stepped. False when there is no memory. */
bool rl_sqlite_bind_run(sqlite3_stmt *stmt, const rl_run *run, int64_t now);

/* Inserts the runs of a batch with a statement for rl_sqlite_bind_run. One run is a
 * transaction by itself; more than one get a BEGIN and a COMMIT. A run with an id of its own
 * whose name is another's gets another name. The hook (or NULL) is called for each run. */
rl_status rl_sqlite_insert_batch(rl_sqlite_conn *conn, const char *sql,
                                 const rl_sqlite_hook *hook, const rl_batch *batch,
                                 rl_err *err);

/* Fills a run from a row of the journal, in the order of rl_sqlite_bind_run. False when there is no
 * memory. A stamp or id that runlog did not write is left out, or made anew. */
bool rl_sqlite_read_run(sqlite3_stmt *stmt, rl_run *run);

#endif
