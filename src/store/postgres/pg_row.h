/* The parameters of the statement that inserts a run, in the form that libpq takes.
 * Threads: any. No state.
 */
#ifndef RL_PG_ROW_H
#define RL_PG_ROW_H

#include "core/run.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* The columns of rl_column, rl_run.is_own, and the flag of a hook. */
#define RL_PG_PARAMETERS (RL_COLUMNS + 2)

typedef struct rl_pg_statement {
    const char *sql, *name; /* name: of the prepared statement */
    int parameters;
} rl_pg_statement;

/* Lets another part of the program write its own rows in the transaction of each run. Its
 * statements replace RL_PG_INSERT and RL_PG_MERGE and contain them, so both take one round
 * trip, and must report a row as affected if the run's row changed. They have one more
 * parameter, a flag. */
typedef struct rl_pg_hook {
    rl_pg_statement insert, merge;
    bool (*flag)(void *ctx, const rl_run *run); /* the value of that parameter */
    void *ctx;                                  /* borrowed */
} rl_pg_hook;

/* The statements of a hook (borrowed from it), or if NULL RL_PG_INSERT and RL_PG_MERGE. */
const rl_pg_statement *rl_pg_insert_by(const rl_pg_hook *hook);
const rl_pg_statement *rl_pg_merge_by(const rl_pg_hook *hook);

typedef struct rl_pg_row {
    const char *values[RL_PG_PARAMETERS]; /* borrowed from the run, `wide` or `numbers` */
    int lengths[RL_PG_PARAMETERS];        /* of the binary values */
    char numbers[RL_PG_PARAMETERS][8];    /* binary, big-endian */
} rl_pg_row;

/* The types and formats (1: binary) of the parameters. */
extern const Oid rl_pg_types[RL_PG_PARAMETERS];
extern const int rl_pg_formats[RL_PG_PARAMETERS];

/* Fills a row for both statements. `now` (microseconds since 1970) is the
 * updated_at of a run that has none. Payloads with numbers that jsonb would change are
 * rewritten into `wide`. The row borrows from `wide` and the run. RL_NOMEM. */
rl_status rl_pg_row_fill(rl_pg_row *row, const rl_run *run, int64_t now,
                         const rl_pg_hook *hook, rl_buf *wide, rl_err *err);

#endif
