/* Recorder._gauges; see _runlog.pyi. Threads: with the GIL, which it gives up while it
 * waits. */
#ifndef RL_PY_GAUGES_H
#define RL_PY_GAUGES_H

#include "py/base/state.h"
#include "record/recorder/recorder.h"

/* New reference, or NULL with an error set. */
PyObject *rl_gauges_get(rl_state *state, rl_recorder *core, PyObject *args,
                        PyObject *kwargs);

#endif
