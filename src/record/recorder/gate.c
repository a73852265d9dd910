/* The gate of a recorder. See gate.h. */
#include "record/recorder/gate.h"

#include "core/lock.h"

void rl_gate_init(rl_gate *gate)
{
    pthread_mutex_init(&gate->lock, NULL);
    rl_cond_init(&gate->changed);
    gate->inside = 0;
    atomic_init(&gate->phase, RL_GATE_OPEN);
}

void rl_gate_destroy(rl_gate *gate)
{
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->lock);
}

/* No function locks a closed gate: its recorder takes no part in forks any more, so the
 * lock may stay locked in a child. */
static bool is_closed(rl_gate *gate)
{
    return atomic_load(&gate->phase) == RL_GATE_CLOSED;
}

rl_status rl_gate_enter(rl_gate *gate, rl_err *err)
{
    bool open = false;

    if (!is_closed(gate)) {
        pthread_mutex_lock(&gate->lock);
        open = atomic_load(&gate->phase) == RL_GATE_OPEN;
        gate->inside += open;
        pthread_mutex_unlock(&gate->lock);
    }
    return open ? RL_OK : rl_err_set(err, RL_CLOSED, "the recorder is closed");
}

void rl_gate_leave(rl_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->inside--;
    if (gate->inside == 0 && atomic_load(&gate->phase) == RL_GATE_CLOSING) {
        pthread_cond_broadcast(&gate->changed);
    }
    pthread_mutex_unlock(&gate->lock);
}

bool rl_gate_begin_closing(rl_gate *gate, uint64_t end, bool *empty)
{
    const struct timespec until = rl_timespec(end);
    bool first = false;
    int rc = 0;

    if (is_closed(gate)) {
        return false;
    }
    pthread_mutex_lock(&gate->lock);
    first = atomic_load(&gate->phase) == RL_GATE_OPEN;
    if (first) {
        atomic_store(&gate->phase, RL_GATE_CLOSING);
        while (gate->inside > 0 && rc == 0) {
            rc = rl_cond_timedwait(&gate->changed, &gate->lock, &until);
        }
        *empty = gate->inside == 0;
    } else {
        while (atomic_load(&gate->phase) == RL_GATE_CLOSING) {
            pthread_cond_wait(&gate->changed, &gate->lock);
        }
    }
    pthread_mutex_unlock(&gate->lock);
    return first;
}

void rl_gate_finish_closing(rl_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    atomic_store(&gate->phase, RL_GATE_CLOSED);
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

void rl_gate_before_fork(rl_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
}

void rl_gate_after_fork(rl_gate *gate, bool in_child)
{
    if (in_child) {
        gate->inside = 0;
        if (atomic_load(&gate->phase) == RL_GATE_CLOSING) {
            atomic_store(&gate->phase, RL_GATE_OPEN);
        }
        rl_cond_init(&gate->changed);
    }
    pthread_mutex_unlock(&gate->lock);
}
