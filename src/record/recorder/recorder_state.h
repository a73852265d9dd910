/* Inside a recorder, for the files that make it up: recorder.c and close.c (flush and
 * close).
 */
#ifndef RL_RECORDER_STATE_H
#define RL_RECORDER_STATE_H

#include "core/fork.h"
#include "record/commit/pipeline.h"
#include "record/graph/live.h"
#include "record/recorder/beat.h"
#include "record/recorder/gate.h"
#include "record/recorder/recorder.h"
#include "record/worker.h"

struct rl_recorder {
    rl_config config;
    rl_metrics metrics;
    rl_notices notices;
    const char *store_name;
    rl_gate gate;
    rl_pipeline pipeline;
    rl_worker worker;
    rl_live live;                 /* the open runs of graphs */
    rl_beats beats;               /* of this process, while it has some */
    rl_companion *companions;     /* owned: the first of a list, or NULL */
    atomic_bool no_worker_logged; /* the notice that no thread could be started */
    bool abandoned; /* a thread or a call outlived the close: nothing is freed */
    rl_fork_member member;
};

/* Called by a thread inside the gate, by the one that closes it, or by the worker. */

/* Opens the database: the first use of it. */
rl_status rl_recorder_open_store(rl_recorder *recorder, rl_err *err);

/* Writes the open runs of graphs that have changed. */
void rl_recorder_write_live(rl_recorder *recorder);

/* Wakes the worker. False, which is logged once, when no thread could be started. */
bool rl_recorder_wake_worker(rl_recorder *recorder);

#endif
