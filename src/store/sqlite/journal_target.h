/* For which database the runs in a journal are. Programs with different POSTGRES_DSNs may
 * share its file, and the server may not have been reached yet. So each row has the number
 * of a row of journal_targets, which has what was known of the database (rl_target) when
 * the run was added; 0 is for any: of a run from before migration 007, or of one whose
 * POSTGRES_DSN could not be parsed.
 *
 * Threads and ownership: as for the connection or the file.
 */
#ifndef RL_JOURNAL_TARGET_H
#define RL_JOURNAL_TARGET_H

#include "store/sqlite/sqlite_file.h"

/* Runs in a journal. */
typedef struct rl_waiting {
    int64_t own, others; /* for the target, and for others */
    char places[200];    /* of the others, those with most runs first */
} rl_waiting;

/* Binds the target's three texts to the first parameters of a statement. `target` is NULL
 * for the SQLite file itself. */
rl_status rl_journal_target_bind(sqlite3_stmt *stmt, const rl_target *target,
                                 rl_err *err);

/* Finds the number of a target, or adds it; 0 if nothing is known of it. */
rl_status rl_journal_target_number(rl_sqlite_conn *conn, const rl_target *target,
                                   int64_t *number, rl_err *err);

/* Counts the runs in a journal. For `target` NULL, runs without a target are others. */
rl_status rl_journal_target_count(rl_sqlite_file *file, const rl_target *target,
                                  rl_waiting *waiting, rl_err *err);

#endif
