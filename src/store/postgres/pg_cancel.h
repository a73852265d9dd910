/* Asking a server to cancel what a connection is waiting for.
 *
 * libpq's request goes over a connection of its own, and waits for as long as the network
 * does. So a thread of its own makes it, and the caller waits for that thread with a time
 * limit.
 * Threads: any. Ownership: the connection is borrowed for the call.
 */
#ifndef RL_PG_CANCEL_H
#define RL_PG_CANCEL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

/* Returns whether the server had received the request by `end` (monotonic nanoseconds).
 * What the server makes of it, its answer on the connection shows. */
bool rl_pg_cancel(PGconn *pg, uint64_t end);

#endif
