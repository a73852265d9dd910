/* Reads the roll-up of a SQLite file, as database.h says: its pieces, how many runs wait to
 * be counted, and its size.
 *
 * Threads: any. Ownership: the file is borrowed.
 */
#ifndef RL_SQLITE_ROLLUP_READ_H
#define RL_SQLITE_ROLLUP_READ_H

#include "rollup/database.h"
#include "store/sqlite/sqlite_file.h"

rl_status rl_sqlite_rollup_read(rl_sqlite_file *file, const rl_rollup_query *query,
                                rl_rollup_rows *rows, int64_t *waiting, rl_err *err);
rl_status rl_sqlite_rollup_waiting(rl_sqlite_file *file, int64_t *waiting, rl_err *err);
rl_status rl_sqlite_rollup_size(rl_sqlite_file *file, rl_rollup_size *size, rl_err *err);

#endif
