/* Retires the WAL of a SQLite database whose -wal or -shm was deleted while it was open.
 *
 * Other processes may still have the deleted files open, and be in the midst of a commit.
 * Once a new -wal exists, what they write to the old one is lost, and what they copy from
 * it destroys the database. So no process may use the old one from then on, however long it
 * is held up. For that, its -shm, which they all have mapped, is changed to say that a
 * later version of SQLite wrote it. Every SQLite refuses such a -shm with
 * SQLITE_CANTOPEN, for reads, commits and checkpoints that begin afterwards.
 *
 * Source: SQLite, "WAL-mode File Format", sections 2.1 to 2.3.
 */
#ifndef RL_SQLITE_RETIRE_H
#define RL_SQLITE_RETIRE_H

#include "store/sqlite/sqlite_conn.h"

/* Copies all of the WAL into the database file and retires it, both while no one else can
 * commit; or another process has done so. `conn` is any open connection to the old files,
 * without a transaction. Waits for commits, checkpoints and reads of others; false, and
 * the WAL is in use as before, after RL_SQLITE_WAIT_NS and when a fork is pending. */
bool rl_sqlite_retire_wal(rl_sqlite_conn *conn);

#endif
