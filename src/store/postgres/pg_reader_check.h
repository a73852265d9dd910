/* What a reader knows of the primary and of the replica: for pg_reader.c.
 *
 * Threads: any. Only rl_pg_reader_may_call does not wait for a server.
 */
#ifndef RL_PG_READER_CHECK_H
#define RL_PG_READER_CHECK_H

#include "store/postgres/pg_reader.h"

/* For a connection to a server that was away before. */
#define RL_PG_PROBE_NS UINT64_C(100000000)

/* Whether to call a server, as far as its breaker says. Of the threads that come when it
 * is time for a probe, one makes it. The reader's lock is held. */
bool rl_pg_reader_may_call(rl_breaker *breaker, uint64_t now);

/* If something was written that the read must see, or a second has passed: asks the
 * primary how far its WAL goes. */
void rl_pg_reader_ask_primary(rl_pg_reader *reader, rl_pg_own own);

/* Before a read on an open connection of the replica's pool: checks a new one, and that
 * the replica has replayed the LSN `needed`; unless `briefly`, waits a moment for that.
 * RL_TIMEOUT if it has not. RL_CONFIG: it is no replica of the primary. RL_STORE also if
 * it is one no more, or lacks tables. */
rl_status rl_pg_reader_check(rl_pg_reader *reader, rl_pg_conn *conn, uint64_t needed,
                             bool briefly, rl_err *err);

#endif
