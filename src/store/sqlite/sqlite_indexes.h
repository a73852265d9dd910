/* Indexes of a file in use: the migrations that rl_sqlite_migrate leaves for later.
 *
 * Threads: as rl_sqlite_file.
 */
#ifndef RL_SQLITE_INDEXES_H
#define RL_SQLITE_INDEXES_H

#include "store/sqlite/sqlite_file.h"

/* As `build_indexes` of a store. Each index is built in a transaction of its own, in which
 * others commit to the file beside this one. */
rl_status rl_sqlite_build_indexes(rl_sqlite_file *file, rl_err *err);

#endif
