/* A run as a row of SQLite: the parameters of its insert, the insert of a batch, and back from
 * a row. Threads and ownership: as the connection's.
 */
#ifndef RL_SQLITE_RUN_H
#define RL_SQLITE_RUN_H

#include "store/sqlite_conn.h"
#include "store/store.h"

/* Binds a run to a statement whose first parameters are the columns of rl_column, then
 * whether its id is its own, and in the journal its wide_numbers. The texts are borrowed
 * until the statement has been stepped. False when there is no memory. */
bool rl_sqlite_bind_run(sqlite3_stmt *stmt, const rl_run *run, int64_t now);

/* Inserts the runs of a batch with a statement for rl_sqlite_bind_run. One run is a
 * transaction by itself; more than one get a BEGIN and a COMMIT. A run with an id of its own
 * whose name is another's gets another name. With a rule (or NULL) each gets its row in the
 * outbox. */
rl_status rl_sqlite_insert_batch(rl_sqlite_conn *conn, const char *sql,
                                 const rl_embed_rule *rule, const rl_batch *batch,
                                 rl_err *err);

/* Fills a run from a row of the journal, in the order of rl_sqlite_bind_run. False when there is no
 * memory. A stamp or id that runlog did not write is left out, or made anew. */
bool rl_sqlite_read_run(sqlite3_stmt *stmt, rl_run *run);

#endif
