/* A run as a row of SQLite: the parameters of its insert, and back from a row. */
#ifndef RL_SQLITE_RUN_H
#define RL_SQLITE_RUN_H

#include "core/run.h"

#include <sqlite3.h>

/* Binds a run to a statement whose first parameters are the columns of rl_column. The texts
 * are borrowed until the statement has been stepped. False when there is no memory. */
bool rl_sqlite_bind_run(sqlite3_stmt *stmt, const rl_run *run, int64_t now);

/* Fills a run from a row whose first columns are those of rl_column. False when there is no
 * memory. A stamp or id that runlog did not write is left out, or made anew. */
bool rl_sqlite_read_run(sqlite3_stmt *stmt, rl_run *run);

#endif
