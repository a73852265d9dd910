/* The Python types Recorder and PreparedRun. */
#ifndef RL_PY_RECORDER_TYPE_H
#define RL_PY_RECORDER_TYPE_H

#include "py/base/state.h"

/* Makes the types and adds them to the module. 0, or -1 with an error set. */
int rl_recorder_type_add(PyObject *module, rl_state *state);

/* Adds the methods of a wing, ended by an empty one, to the type Recorder. 0, or -1 with
 * an error set. */
int rl_recorder_type_extend(rl_state *state, PyMethodDef *methods);

#endif
