/* The space that deleted runs have left free in a SQLite file. A file that runlog has made
 * gives it back in small steps; that of another program, or of an early version of runlog,
 * only as a whole.
 *
 * Threads: as rl_sqlite_file.
 */
#ifndef RL_SQLITE_SPACE_H
#define RL_SQLITE_SPACE_H

#include "store/sqlite/sqlite_file.h"

/* As `reclaim` and `rewrite` of a store. */
rl_status rl_sqlite_reclaim(rl_sqlite_file *file, rl_reclaim *reclaim, rl_err *err);
rl_status rl_sqlite_rewrite(rl_sqlite_file *file, rl_err *err);

#endif
