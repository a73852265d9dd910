/* The counters of a recorder, as Recorder.stats() returns them. */
#ifndef RL_PY_STATS_H
#define RL_PY_STATS_H

#include "py/recorder/recorder.h"

/* A new dict, or NULL with an error set. Gives up the GIL while it asks the journal. */
PyObject *rl_stats_get(rl_state *state, rl_py_recorder *self);

#endif
