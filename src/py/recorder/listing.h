/* Recorder.list_runs and _count_runs, and the type Page; see _runlog.pyi.
 * Threads: with the GIL, which the functions give up while they wait.
 */
#ifndef RL_PY_LISTING_H
#define RL_PY_LISTING_H

#include "py/base/state.h"
#include "record/recorder/recorder.h"

PyObject *rl_listing_list_runs(rl_state *state, rl_recorder *core, PyObject *args,
                               PyObject *kwargs);

PyObject *rl_listing_count_runs(rl_state *state, rl_recorder *core, PyObject *args,
                                PyObject *kwargs);

/* Makes the type Page. 0, or -1 with an error set. */
int rl_listing_add_types(PyObject *module, rl_state *state);

#endif
