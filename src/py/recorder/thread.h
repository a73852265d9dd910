/* The runs of a thread, for get_thread: see runlog/_threads.py.
 * Threads: with the GIL, which the function gives up while it waits.
 */
#ifndef RL_PY_THREAD_H
#define RL_PY_THREAD_H

#include "py/base/state.h"
#include "record/recorder/recorder.h"

/* Recorder._thread_runs(thread_id, wpk_id, limit): a list of dicts, newest first, and one
 * more than `limit` if there are as many. New reference, or NULL with an error set. */
PyObject *rl_thread_get_runs(rl_state *state, rl_recorder *core, PyObject *args,
                             PyObject *kwargs);

#endif
