/* A run as the parameters of the statement that inserts it, in the form that libpq
 * takes. */
#ifndef RL_PG_ROW_H
#define RL_PG_ROW_H

#include "core/run.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* The columns, whether the id is its own, and the flag of a hook. */
#define RL_PG_PARAMETERS (RL_COLUMNS + 2)

typedef struct rl_pg_insert {
    const char *sql, *name; /* the name that it is prepared by */
    int parameters;
} rl_pg_insert;

/* A part of the program that writes rows of its own in the transaction of each run. Its
 * statement stands in the place of RL_PG_INSERT, contains it (one round trip for both),
 * and affects a row if the run was changed. It has one parameter more, a flag. */
typedef struct rl_pg_hook {
    rl_pg_insert insert;
    bool (*flag)(void *ctx, const rl_run *run);
    void *ctx; /* borrowed */
} rl_pg_hook;

/* The hook's statement, or that of a run alone (NULL). */
const rl_pg_insert *rl_pg_insert_by(const rl_pg_hook *hook);

typedef struct rl_pg_row {
    const char
        *values[RL_PG_PARAMETERS]; /* borrowed from the run, or from what follows */
    int lengths[RL_PG_PARAMETERS]; /* of the binary values */
    char numbers[RL_PG_PARAMETERS][8];
} rl_pg_row;

extern const Oid rl_pg_types[RL_PG_PARAMETERS];
extern const int rl_pg_formats[RL_PG_PARAMETERS];

/* Fills a row for rl_pg_insert_by(hook). `now` is the updated_at of a run that has none;
 * payloads whose numbers jsonb would change are rewritten into `wide`, which the row
 * borrows. */
rl_status rl_pg_row_fill(rl_pg_row *row, const rl_run *run, int64_t now,
                         const rl_pg_hook *hook, rl_buf *wide, rl_err *err);

#endif
