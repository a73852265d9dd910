/* Values of a binary result of PostgreSQL.
 *
 * Threads: any; pure functions. Ownership: texts are borrowed from the result.
 */
#ifndef RL_PG_VALUES_H
#define RL_PG_VALUES_H

#include "rollup/fold.h"

#include <libpq-fe.h>

int64_t rl_pg_book_number(const PGresult *rows, int row, int column);
int64_t rl_pg_book_time(const PGresult *rows, int row, int column);
rl_string rl_pg_book_text(const PGresult *rows, int row, int column);

/* A run of the columns RL_PG_ROLLUP_COLUMNS. */
void rl_pg_book_run(const PGresult *rows, int row, rl_fold_run *run);

#endif
