/* Why a database file can't be opened, read or written. SQLite says "unable to open", and
 * the system's last error is often that of another attempt of SQLite's.
 *
 * Threads: any. No state.
 */
#ifndef RL_SQLITE_CAUSE_H
#define RL_SQLITE_CAUSE_H

#include <stdbool.h>
#include <stddef.h>

/* Looks at the file, those beside it and the folders above it, as they are now. `out`
 * gets a sentence that names what is wrong and what to do. `error`: SQLite's system
 * error, or 0. False, with "" in `out`, if nothing is found. */
bool rl_sqlite_cause(const char *path, int error, char *out, size_t size);

#endif
