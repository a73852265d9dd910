/* The gate of a recorder. It counts the calls under way, so that a close can wait for
 * them and refuse later ones.
 *
 * Threads: every function from any thread. Ownership: the struct is the recorder's.
 */
#ifndef RL_GATE_H
#define RL_GATE_H

#include "core/err.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum rl_gate_phase {
    RL_GATE_OPEN,
    RL_GATE_CLOSING,
    RL_GATE_CLOSED
} rl_gate_phase;

typedef struct rl_gate {
    pthread_mutex_t lock;        /* guards the members below */
    pthread_cond_t changed;      /* the last call has left, or the gate is closed */
    unsigned inside;             /* calls under way */
    _Atomic rl_gate_phase phase; /* written under the lock */
} rl_gate;

void rl_gate_init(rl_gate *gate);
void rl_gate_destroy(rl_gate *gate);

/* RL_OK: the call is inside, and must leave again. RL_CLOSED: closing has begun. */
rl_status rl_gate_enter(rl_gate *gate, rl_err *err);
void rl_gate_leave(rl_gate *gate);

/* Refuses new calls and waits until those inside have left, or until `end` (nanoseconds,
 * monotonic clock). True: the caller must finish the closing; *empty tells whether all
 * calls have left. False: another thread has closed the gate; the function has waited for
 * that. */
bool rl_gate_begin_closing(rl_gate *gate, uint64_t end, bool *empty);
void rl_gate_finish_closing(rl_gate *gate);

/* Around a fork. The child's gate is empty, and open unless it was closed: the threads
 * that were inside, or closing it, are in the parent. */
void rl_gate_before_fork(rl_gate *gate);
void rl_gate_after_fork(rl_gate *gate, bool in_child);

#endif
