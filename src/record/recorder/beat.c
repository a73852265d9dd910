/* Heartbeats. See beat.h. */
#include "record/recorder/beat.h"

#include "core/clock.h"

#include <string.h>

#define RETRY_NS UINT64_C(1000000000) /* after a failure, or while the server is away */

void rl_beats_init(rl_beats *self)
{
    memset(self, 0, sizeof *self);
}

bool rl_beats_want(rl_beats *self, const rl_run *run)
{
    return rl_run_is_open(run) && !atomic_load(&self->announced) &&
           !atomic_exchange(&self->wanted, true);
}

static void log_failure(rl_beats *self, rl_notices *notices, const rl_err *err)
{
    if (!self->failure_logged) {
        self->failure_logged = true;
        rl_notices_add(notices, RL_NOTICE_WARNING,
                       "runlog can't write a heartbeat to runlog_owners, so if this "
                       "process dies, other hosts still show its open runs as running: "
                       "%s",
                       err->text);
    }
}

/* Writes that the owner is there, or, when no run is open, no more. */
static rl_status write_beat(rl_beats *self, rl_store *store, const char *owner,
                            bool is_open, rl_err *err)
{
    rl_status status = store->ops->prepare(store, err);
    rl_err ignored;

    if (status == RL_OK) {
        status = store->ops->beat(store, is_open ? RL_BEAT_NOW : RL_BEAT_END, owner, err);
    }
    if (status == RL_OK && is_open && !atomic_load(&self->announced)) {
        (void)store->ops->beat(store, RL_BEAT_TIDY, "", &ignored);
    }
    return status;
}

/* After a heartbeat, or the attempt. A failure that does not pass is logged, and waits for
 * the next heartbeat. */
static void schedule(rl_beats *self, bool is_open, rl_status status, const rl_err *err,
                     rl_notices *notices)
{
    const bool may_pass = status == RL_BUSY || err->retryable;
    const uint64_t now = rl_monotonic_ns();

    if (status == RL_OK) {
        atomic_store(&self->announced, is_open);
        self->next = is_open ? now + RL_BEAT_NS : 0;
        self->end_at = now + RL_BEAT_NS;
    } else {
        self->next = now + (may_pass ? RETRY_NS : RL_BEAT_NS);
        self->end_at = self->next;
        atomic_store(&self->wanted, true);
    }
    if (status != RL_OK && !may_pass) {
        log_failure(self, notices, err);
    }
}

/* Whether runs of the recorder are open, in the table that it watches or, if it watches
 * none, as each event is written by its thread, in that of the process; and their
 * owner. */
static bool has_open(rl_live *live, const void *recorder, char owner[RL_OWNER_TEXT])
{
    rl_graphs *graphs = atomic_load_explicit(&live->graphs, memory_order_acquire);

    graphs = graphs != NULL ? graphs : rl_graphs_shared();
    owner[0] = '\0';
    return graphs != NULL && rl_graphs_owner(graphs, recorder, owner);
}

uint64_t rl_beats_work(rl_beats *self, rl_live *live, const void *recorder,
                       rl_pipeline *pipeline, rl_notices *notices)
{
    const uint64_t now = rl_monotonic_ns();
    char owner[RL_OWNER_TEXT];
    rl_err err = {.code = RL_OK};
    rl_status status;
    uint64_t due;
    bool is_open;

    if (!atomic_load(&self->wanted) && !atomic_load(&self->announced)) {
        return RL_LIVE_NEVER;
    }
    is_open = has_open(live, recorder, owner);
    due = is_open ? self->next : self->end_at;
    if (due <= now && (owner[0] == '\0' || !rl_pipeline_is_available(pipeline))) {
        due = now + RETRY_NS;
    }
    if (now < due) {
        return due;
    }
    atomic_store(&self->wanted, false);
    status = write_beat(self, pipeline->store, owner, is_open, &err);
    schedule(self, is_open, status, &err, notices);
    return is_open || status != RL_OK ? self->next : RL_LIVE_NEVER;
}
