/* Heartbeats. While a recorder has open runs in the database, its worker writes there
 * a heartbeat of their owner (owner.h) every RL_BEAT_NS: one small statement, whatever the
 * number of runs. Readers elsewhere take a long silence, by the clock of the database, for
 * the owner's end (lost.h). A process that comes back sends heartbeats again.
 *
 * Threads: rl_beats_want from any, the others alone. Ownership: the struct is its
 * recorder's.
 */
#ifndef RL_BEAT_H
#define RL_BEAT_H

#include "record/commit/pipeline.h"
#include "record/graph/live.h"

#define RL_BEAT_NS UINT64_C(10000000000)

typedef struct rl_beats {
    atomic_bool wanted; /* an open run was written, and the owner not announced since */
    atomic_bool announced; /* the database has the owner */
    bool failure_logged;
    uint64_t next, end_at; /* when it may write that the owner is there, and no more */
} rl_beats;

void rl_beats_init(rl_beats *beats); /* also in the child of a fork */

/* A run was written. True when the caller should wake the worker, as it is open and its
 * owner has yet to be announced. Does not wait. */
bool rl_beats_want(rl_beats *beats, const rl_run *run);

/* For the worker: writes a heartbeat if one is due. Returns when the next one is
 * (nanoseconds, monotonic clock). */
uint64_t rl_beats_work(rl_beats *beats, rl_live *live, const void *recorder,
                       rl_pipeline *pipeline, rl_notices *notices);

#endif
