/* RunLogHandler: LangGraph's callbacks, recorded. Threads: with the GIL. */
#ifndef RL_PY_HANDLER_H
#define RL_PY_HANDLER_H

#include "py/state.h"

/* make_handler_type(base, parent_command, graph_interrupt, bubble_up, command, cancelled,
 * default_recorder, log), see _runlog.pyi. */
PyObject *rl_handler_make_type(PyObject *module, PyObject *args);

/* The module's traverse and clear, for the handler's part of the state. */
int rl_handler_traverse(rl_state *state, visitproc visit, void *arg);
void rl_handler_clear(rl_state *state);

#endif
