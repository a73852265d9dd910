/* The heartbeats of owners of runs, in a SQLite file: see rl_store_ops. Their clock is the
 * machine's, as only processes of one machine share the file.
 *
 * Threads: any; all wait for the file.
 */
#ifndef RL_SQLITE_BEAT_H
#define RL_SQLITE_BEAT_H

#include "store/sqlite/sqlite_file.h"

/* RL_BUSY when a lock is not free within RL_SQLITE_BRIEF_NS. */
rl_status rl_sqlite_beat(rl_sqlite_file *file, rl_beat beat, const char *owner,
                         rl_err *err);

/* Within the transaction that writes the batch: RL_BEAT_FIRST for the owners of its open
 * runs, so that none of them dies unknown. */
rl_status rl_sqlite_beat_first(rl_sqlite_conn *conn, const rl_batch *batch, rl_err *err);

rl_status rl_sqlite_silent(rl_sqlite_file *file, int64_t seconds, rl_rows *rows,
                           rl_err *err);

#endif
