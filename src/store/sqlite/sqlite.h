/* The SQLite store, and access to its file for other parts of the program.
 *
 * Threads: any.
 * Ownership: the store owns its file and borrows the migrations and the hook.
 */
#ifndef RL_SQLITE_H
#define RL_SQLITE_H

#include "store/sqlite/sqlite_file.h"
#include "store/sqlite/sqlite_run.h"
#include "store/store.h"

/* Creates a store on the file at `path`, copied; the first use opens the file. The
 * migrations, the hook (or NULL) and the notices (or NULL) must stay valid until the
 * store is closed. It adds an ERROR to the notices when the file was deleted or replaced. */
rl_status rl_sqlite_new(const char *path, const rl_migrations *migrations,
                        const rl_sqlite_hook *hook, rl_notices *notices, rl_store **store,
                        rl_err *err);

/* The file of a SQLite store, borrowed for its lifetime; NULL for another store. */
rl_sqlite_file *rl_sqlite_file_of(rl_store *store);

#endif
