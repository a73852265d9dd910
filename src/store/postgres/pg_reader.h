/* Where reads go: to the primary, or with a read DSN to a replica of it.
 *
 * The replica answers, unless it lacks what this process has written (rl_pg_own). Before
 * a read that follows a write the primary is asked how far its WAL goes, and the replica
 * gets 0.1 s to replay that; else the primary answers. So a write costs nothing, and a
 * process that only reads never waits. Whatever the replica can't answer, the primary is
 * asked once, but for a read that took too long.
 * If the primary does not answer, the replica does, however far it has got. Each of the
 * two that does not answer is left alone for a while (core/breaker.h).
 * Once a second, a read also asks both for their positions: that is how far the replica
 * is behind.
 *
 * Threads: any. Ownership: copies the DSN, borrows the rest.
 */
#ifndef RL_PG_READER_H
#define RL_PG_READER_H

#include "store/postgres/pg_replica.h"

/* A reader is the replica, or without a read DSN only the pool of the primary. */
typedef rl_pg_replica rl_pg_reader;

rl_status rl_pg_reader_init(rl_pg_reader *reader, const rl_pg_replica_options *options,
                            rl_err *err);
void rl_pg_reader_free(rl_pg_reader *reader); /* not the struct */

/* Runs `work`, which only reads, as rl_pg_pool_run does: here or there, or both.
 * RL_CONFIG: the read DSN leads to a server that is no replica of the primary. */
rl_status rl_pg_reader_run(rl_pg_reader *reader, rl_pg_own own, rl_pg_pool_work work,
                           void *ctx, rl_err *err);

/* Runs one statement that reads as rl_pg_conn_exec does, with binary results. */
rl_status rl_pg_reader_read(rl_pg_reader *reader, rl_pg_own own, const char *sql,
                            int count, const char *const *values, PGresult **result,
                            rl_err *err);

/* The same of runs at the primary, and at the replica only if the primary does not
 * answer. */
rl_status rl_pg_reader_read_primary(rl_pg_reader *reader, const char *sql, int count,
                                    const char *const *values, PGresult **result,
                                    rl_err *err);

/* The primary's database is known now. */
void rl_pg_reader_set_target(rl_pg_reader *reader, const rl_target *target);

/* A call of the primary has failed so. True if reads go on at the replica. */
bool rl_pg_reader_lose_primary(rl_pg_reader *reader, const rl_err *err);

/* Whether there is a replica, and the primary is left alone just now. Does not wait. */
bool rl_pg_reader_avoids_primary(rl_pg_reader *reader);

void rl_pg_reader_get_stats(rl_pg_reader *reader, rl_replica_stats *stats);

/* Around a fork: takes the locks; releases them. The child gives up the connections. */
void rl_pg_reader_before_fork(rl_pg_reader *reader);
void rl_pg_reader_after_fork(rl_pg_reader *reader, bool in_child);

#endif
