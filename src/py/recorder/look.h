/* Looking at a database without a recorder: functions of the module, see _runlog.pyi. */
#ifndef RL_PY_LOOK_H
#define RL_PY_LOOK_H

#include "py/base/state.h"

PyObject *rl_look_describe_dsn(PyObject *module, PyObject *dsn);
PyObject *rl_look_at_postgres(PyObject *module, PyObject *args);

#endif
