/* Lets another part of the program count the runs that runlog deletes, in the same
 * transaction.
 *
 * Threads: those that delete; the calls for SQLite one at a time, as they have its lock.
 * Ownership: the owner of the hook owns `ctx`; connections and results are borrowed.
 */
#ifndef RL_REMOVAL_HOOK_H
#define RL_REMOVAL_HOOK_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>

struct rl_sqlite_conn;
struct rl_pg_conn;
struct pg_result;

typedef struct rl_removal_hook {
    void *ctx;

    /* SQLite. At the start of a batch; *wanted: the others are to be called. Then, for each
     * run, before it is deleted and after it was (or, if `deleted` is false, was not). At
     * the end, before the commit. An error rolls the batch back. */
    rl_status (*sqlite_begin)(void *ctx, struct rl_sqlite_conn *conn, bool *wanted,
                              rl_err *err);
    rl_status (*sqlite_before)(void *ctx, struct rl_sqlite_conn *conn, const char *id,
                               rl_err *err);
    rl_status (*sqlite_after)(void *ctx, bool deleted, rl_err *err);
    rl_status (*sqlite_end)(void *ctx, struct rl_sqlite_conn *conn, rl_err *err);

    /* PostgreSQL. As above; `returning` is SQL that ends the statement which deletes, and
     * whose rows `pg_deleted` gets, in binary. */
    const char *returning;
    rl_status (*pg_begin)(void *ctx, struct rl_pg_conn *conn, bool *wanted, rl_err *err);
    rl_status (*pg_deleted)(void *ctx, struct rl_pg_conn *conn,
                            const struct pg_result *rows, rl_err *err);
} rl_removal_hook;

#endif
