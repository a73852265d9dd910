/* Why a database file can't be opened, read or written. SQLite says "unable to open", and
 * the system's last error is often that of another attempt of SQLite's.
 *
 * Threads: any. No state.
 */
#ifndef RL_SQLITE_CAUSE_H
#define RL_SQLITE_CAUSE_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Looks at the file, those beside it and the folders above it, as they are now. `out`
 * gets a sentence that names what is wrong and what to do. `error`: SQLite's system
 * error, or 0. False, with "" in `out`, if nothing is found. */
bool rl_sqlite_cause(const char *path, int error, char *out, size_t size);

/* Before SQLite opens the file, which need not exist. RL_STORE where SQLite would read the
 * path otherwise than the system does (it drops the slash at the end, and a folder that is
 * not there before "/.."), or take what is no regular file. RL_CONFIG where the file would
 * have several -wal: it has hard links, or is mounted by itself. */
rl_status rl_sqlite_check(const char *path, rl_err *err);

#endif
