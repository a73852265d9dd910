/* The gate of a recorder: counts the calls under way, so that closing waits for them and lets
 * nobody in afterwards.
 *
 * Threads: any. Ownership: the struct is its owner's.
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
    pthread_mutex_t lock;        /* guards what follows */
    pthread_cond_t changed;      /* nobody is inside any more, or it is closed */
    unsigned inside;             /* calls under way */
    _Atomic rl_gate_phase phase; /* written under the lock */
} rl_gate;

void rl_gate_init(rl_gate *gate);
void rl_gate_destroy(rl_gate *gate);

/* RL_OK, to be followed by rl_gate_leave; RL_CLOSED once closing has begun. */
rl_status rl_gate_enter(rl_gate *gate, rl_err *err);
void rl_gate_leave(rl_gate *gate);

bool rl_gate_is_closed(rl_gate *gate);

/* Closes it and waits until nobody is inside, at most until the monotonic clock shows `end`
 * nanoseconds: *empty says which. False: another thread has closed it, and is done with that. */
bool rl_gate_begin_closing(rl_gate *gate, uint64_t end, bool *empty);
void rl_gate_finish_closing(rl_gate *gate);

/* Around a fork: takes the lock and gives it back. The threads that were inside, or closing
 * it, are in the parent only: the child's gate is open and empty, unless it was closed. */
void rl_gate_before_fork(rl_gate *gate);
void rl_gate_after_fork(rl_gate *gate, bool in_child);

#endif
