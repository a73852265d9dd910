/* The methods of Recorder that give free space back, and build indexes.
 * Threads: with the GIL, which the functions give up while they wait.
 */
#ifndef RL_PY_SPACE_H
#define RL_PY_SPACE_H

#include "py/base/state.h"
#include "record/recorder/recorder.h"

/* _reclaim(seconds): (bytes given back, bytes left free, whether these can be). */
PyObject *rl_space_reclaim(rl_state *state, rl_recorder *core, PyObject *args,
                           PyObject *kwargs);
/* _rewrite(): None. */
PyObject *rl_space_rewrite(rl_state *state, rl_recorder *core, PyObject *args,
                           PyObject *kwargs);
/* _build_indexes(): None. */
PyObject *rl_space_build_indexes(rl_state *state, rl_recorder *core, PyObject *args,
                                 PyObject *kwargs);

#endif
