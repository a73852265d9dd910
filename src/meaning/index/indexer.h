/* The indexer works the outbox off in two threads, one for the embedding server and one
 * for Milvus. So neither a caller nor the journal waits for a server, nor one server for
 * the other.
 *
 * A row goes pending → embedded → done. The indexer records each step before it starts
 * the next, and repeating a step changes nothing. When a process dies in between, the
 * lease of its rows ends, and another process claims them. The indexer asks an
 * unavailable server again as a breaker (core/breaker.h) allows. It logs once that a
 * server refuses every request (the key, the model, a collection that does not fit), and
 * asks again every five minutes. A server that refuses a single row stops only this row.
 *
 * Threads: any. Ownership: borrows its parts.
 */
#ifndef RL_INDEXER_H
#define RL_INDEXER_H

#include "meaning/index/index_round.h"

typedef struct rl_indexer {
    rl_index_parts parts;
    rl_index_stage openai, milvus;
    rl_index_progress progress;
} rl_indexer;

/* Copies the parts; starts no thread. */
void rl_indexer_init(rl_indexer *indexer, const rl_index_parts *parts);
void rl_indexer_destroy(rl_indexer *indexer); /* its threads have ended */

/* There may be something to do. Does not wait. */
void rl_indexer_notify(rl_indexer *indexer);

/* Waits until nothing is left that can be done now. RL_TIMEOUT when the monotonic clock
 * shows `end` nanoseconds, and with `patient` false as soon as something fails; RL_STORE
 * when the database fails. */
rl_status rl_indexer_drain(rl_indexer *indexer, uint64_t end, bool patient, rl_err *err);

/* Ends the threads; see rl_worker_stop. */
bool rl_indexer_stop(rl_indexer *indexer, uint64_t end);

/* Copies the error of a server that is unavailable or refuses; "" while there is none. */
void rl_indexer_error(rl_indexer *indexer, char *text, size_t size);

/* Around a fork. The child starts its own threads at first need. */
void rl_indexer_before_fork(rl_indexer *indexer);
void rl_indexer_after_fork(rl_indexer *indexer, bool in_child);

#endif
