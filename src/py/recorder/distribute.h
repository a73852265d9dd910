/* Laying a database out over a cluster: a function of the module, see _runlog.pyi. */
#ifndef RL_PY_DISTRIBUTE_H
#define RL_PY_DISTRIBUTE_H

#include "py/base/state.h"

PyObject *rl_distribute_postgres(PyObject *module, PyObject *args);

#endif
