/* An attempt to connect to a server, in a thread of its own: libpq looks up names without
 * a time limit, and the caller may hold a lock that others need.
 *
 * Threads: one thread at a time uses an attempt. The attempt's own thread never takes the
 * GIL, and goes on for as long as the lookup takes, also after the attempt was dropped.
 * Ownership: the attempt copies the DSN, and owns the PGconn until it is taken.
 */
#ifndef RL_PG_ATTEMPT_H
#define RL_PG_ATTEMPT_H

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct rl_pg_attempt rl_pg_attempt;

/* Begins to connect. libpq gives up on each host after `timeout_ns`, in whole seconds, or
 * after the DSN's connect_timeout. NULL without memory. */
rl_pg_attempt *rl_pg_attempt_new(const char *dsn, uint64_t timeout_ns);

/* Waits for its end, until `until` (monotonic nanoseconds) or *stop, which may be NULL.
 * True when it has ended: *pg gets the connection, whatever its status, or NULL without
 * memory; *ended_ns gets the time; and the attempt is freed. */
bool rl_pg_attempt_take(rl_pg_attempt *attempt, uint64_t until, const atomic_bool *stop,
                        PGconn **pg, uint64_t *ended_ns);

/* Gives the attempt up: its thread closes the connection. May be NULL. */
void rl_pg_attempt_drop(rl_pg_attempt *attempt);

/* In the child of a fork, where the attempt has no thread: gives the connection if the
 * attempt has ended, as rl_pg_attempt_take does. Else NULL, and leaks the attempt, which
 * the thread may have been changing. */
PGconn *rl_pg_attempt_abandon(rl_pg_attempt *attempt);

#endif
