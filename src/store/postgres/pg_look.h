/* What a PostgreSQL database is, without a store: nothing is created or migrated.
 *
 * Threads: any; rl_pg_look waits for the server. No state.
 */
#ifndef RL_PG_LOOK_H
#define RL_PG_LOOK_H

#include "core/buf.h"
#include "core/err.h"

#include <stdint.h>

/* Appends where a DSN leads, with libpq's defaults and without credentials:
 * "postgresql://user@host:port/name". RL_STORE if it can't be parsed. */
rl_status rl_pg_look_place(const char *dsn, rl_buf *place, rl_err *err);

/* Connects, and appends a JSON object: version, clock (seconds since 1970), standby and
 * read_only (true if it takes no writes), may_create (whether the role may make tables),
 * missing (a text: rights that recording needs on the tables that exist), bytes (of the
 * tables, or null), migrations (null without tables, else a list of [number, checksum]).
 * RL_STORE if the server does not answer within so many nanoseconds, or refuses. */
rl_status rl_pg_look(const char *dsn, uint64_t timeout_ns, rl_buf *json, rl_err *err);

#endif
