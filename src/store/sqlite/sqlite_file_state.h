/* Inside a SQLite file, for the files that make it up: sqlite_file.c (for the callers),
 * sqlite_replaced.c (what was deleted or replaced) and sqlite_checkpoint.c (the WAL).
 *
 * Threads: each function says which locks are held.
 */
#ifndef RL_SQLITE_FILE_STATE_H
#define RL_SQLITE_FILE_STATE_H

#include "store/sqlite/sqlite_file.h"

/* Locks of all connections. */
void rl_sqlite_file_lock_all(rl_sqlite_file *file);
void rl_sqlite_file_unlock_all(rl_sqlite_file *file);

/* Opens a connection, unless it is open. Its lock held. */
rl_status rl_sqlite_file_open_conn(rl_sqlite_file *file, rl_sqlite_conn *conn,
                                   rl_err *err);

/* Closes all connections after one proved `broken`; returns whether to try again, which
 * is so the first time. If SQLite can't open the file or its -shm for writing, it
 * silently opens it for reading only, and all connections of the process share that until
 * all are closed. No lock held. */
bool rl_sqlite_file_reopen_broken(rl_sqlite_file *file, bool broken, bool *reopened);

/* When nothing is open, another process may rightly delete the -wal and the -shm. */
void rl_sqlite_file_forget_wal(rl_sqlite_file *file);

/* Closes all connections. All locks held. */
void rl_sqlite_file_drop_all(rl_sqlite_file *file);

/* Whether the file, its -wal or its -shm was deleted or replaced. Looks once in 5 ms, or
 * `now`. Any locks. */
bool rl_sqlite_file_is_replaced(rl_sqlite_file *file, bool now);

/* Closes files that are no longer those at the path. All locks held. */
void rl_sqlite_file_abandon(rl_sqlite_file *file);

/* Before each use: closes files that are no longer those at the path. No lock held. */
void rl_sqlite_file_check_path(rl_sqlite_file *file);

/* SQLite's WAL hook: after each commit it gets the length of the WAL in pages. `ctx` is
 * the file. Write lock held. */
int rl_sqlite_file_count_wal_pages(void *ctx, sqlite3 *db, const char *name, int pages);

#endif
