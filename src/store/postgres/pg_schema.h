/* The schema in which a PostgreSQL store has its tables, and what may be in their way.
 *
 * All tables are in the first schema of search_path that exists (current_schema), so that
 * one database can hold several histories. Those of other schemas are never looked at.
 *
 * Threads and ownership: as for the connection.
 */
#ifndef RL_PG_SCHEMA_H
#define RL_PG_SCHEMA_H

#include "store/postgres/pg_conn.h"

#define RL_PG_NAME_MAX 136 /* a quoted identifier of 63 bytes with the NUL */

typedef struct rl_pg_schema {
    char name[RL_PG_NAME_MAX];  /* quoted */
    char other[RL_PG_NAME_MAX]; /* a later one that has tables of runlog, or "" */
    char database[64];
    char encoding[32];
    bool unbound; /* there are trigger functions to bind to the schema */
} rl_pg_schema;

/* Reads that, over an open connection. RL_STORE also when search_path has no schema, or
 * when the table of the migrations is somebody else's. */
rl_status rl_pg_schema_read(rl_pg_conn *conn, rl_pg_schema *schema, rl_err *err);

/* Checks the tables when `applied` migrations are. RL_STORE with err->unusable when one
 * of them is missing, or is not runlog's, or for a database without runlog's tables when
 * its encoding can't hold every text. Says once what is odd, but works. */
rl_status rl_pg_schema_check(rl_pg_conn *conn, const rl_pg_schema *schema, size_t applied,
                             rl_err *err);

#endif
