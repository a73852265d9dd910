/* The type RunLogHandler, which records the callbacks of LangGraph. Threads: with the
 * GIL. */
#ifndef RL_PY_HANDLER_H
#define RL_PY_HANDLER_H

#include "py/base/state.h"

/* make_handler_type(base, parent_command, graph_interrupt, bubble_up, command, cancelled,
 * default_recorder, log), see _runlog.pyi. */
PyObject *rl_handler_make_type(PyObject *module, PyObject *args);

#endif
