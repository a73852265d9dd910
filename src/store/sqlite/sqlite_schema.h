/* What is in the way of runlog's tables in a SQLite file: somebody else's tables.
 *
 * Threads and ownership: as for the handle.
 */
#ifndef RL_SQLITE_SCHEMA_H
#define RL_SQLITE_SCHEMA_H

#include "core/err.h"

#include <sqlite3.h>

/* Reads the schema of an open file, and changes nothing. RL_STORE with err->unusable when
 * the file has not been migrated, and has a table, view or index with the name of one of
 * runlog's tables; but a workflow_runs with the columns of migration 001 is adopted. `rc`
 * gets SQLite's code; where that is an error, the caller is to report it. `path` is for
 * the message. */
rl_status rl_sqlite_schema_check(sqlite3 *db, const char *path, int *rc, rl_err *err);

#endif
