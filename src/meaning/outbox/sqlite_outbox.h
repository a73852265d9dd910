/* The outbox of embeddings in a SQLite file.
 *
 * Threads: any, as rl_sqlite_file's. Ownership: borrows the file and the rule.
 */
#ifndef RL_SQLITE_OUTBOX_H
#define RL_SQLITE_OUTBOX_H

#include "meaning/outbox/outbox.h"
#include "store/sqlite/sqlite_file.h"
#include "store/sqlite/sqlite_run.h"

/* Makes the outbox of a file, which must outlive it. RL_NOMEM. */
rl_status rl_sqlite_outbox_new(rl_sqlite_file *file, rl_outbox **outbox, rl_err *err);

/* The hook that writes the row of a run in the transaction of the run. The rule must
 * outlive the store. */
rl_sqlite_hook rl_sqlite_outbox_hook(const rl_embed_rule *rule);

#endif
