/* The lease on the runs in a SQLite file: one process at a time moves them on (see
 * store/sqlite/journal_file.h).
 *
 * Threads: any; waits for the disk. State: none.
 */
#ifndef RL_LEASE_H
#define RL_LEASE_H

#include "store/sqlite/journal_file.h"

#define RL_LEASE_US INT64_C(30000000) /* a lease, microseconds: time for one batch */

/* The name of a holder: this process, and the number of the part of it. */
void rl_lease_name(unsigned number, char name[RL_JOURNAL_FILE_OWNER]);

/* Takes the lease, unless a running process holds it. */
rl_status rl_lease_take(rl_journal_file *file, const char *name, bool *taken,
                        rl_err *err);

#endif
