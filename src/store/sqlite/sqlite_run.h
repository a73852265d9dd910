/* Writes runs to rows of SQLite, and reads them from the journal's rows.
 * Threads and ownership: as for the connection.
 */
#ifndef RL_SQLITE_RUN_H
#define RL_SQLITE_RUN_H

#include "store/sqlite/sqlite_conn.h"
#include "store/store.h"

/* Lets another part of the program write its own rows in the transaction of each run. */
typedef struct rl_sqlite_hook {
    /* Called after the run's row was written. is_new: the row is new, and its id is
     * run->id. An error rolls back the transaction of the whole batch. */
    rl_status (*written)(void *ctx, rl_sqlite_conn *conn, const rl_run *run, bool is_new,
                         rl_err *err);
    void *ctx; /* borrowed */
} rl_sqlite_hook;

/* Binds a run to a statement whose parameters are the columns of rl_column, is_own, and
 * in the journal wide_numbers, parts and parts_use. `now` is the updated_at, microseconds
 * since 1970. The statement borrows the run's texts until it is stepped. False if there
 * is no memory. */
bool rl_sqlite_bind_run(sqlite3_stmt *stmt, const rl_run *run, int64_t now);

/* Inserts the runs of a batch (or none), in one transaction, with a statement for
 * rl_sqlite_bind_run, and with RL_SQLITE_INSERT also their parts. A run with an id of its
 * own whose name is taken gets another name,
 * see own_run.h. Calls the hook, unless NULL, for each run. The caller rolls back
 * errors. */
rl_status rl_sqlite_insert_batch(rl_sqlite_conn *conn, const char *sql,
                                 const rl_sqlite_hook *hook, const rl_batch *batch,
                                 rl_err *err);

/* Fills a run from a row of the journal, whose columns are in the order of
 * rl_sqlite_bind_run. Replaces an invalid created_at or id by a new one, and drops an
 * invalid other time: somebody has edited the file. False if there is no memory. */
bool rl_sqlite_read_run(sqlite3_stmt *stmt, rl_run *run);

#endif
