/* Expands node logs whose inputs are stored as deltas. Threads: with the GIL. */
#ifndef RL_PY_EXPAND_H
#define RL_PY_EXPAND_H

#include "py/base/state.h"

/* Replaces each "inputs_delta" of a run's node logs by "inputs" (core/delta.h has the
 * form). `logs` may be any object, `inputs` are the run's own. Logs share the values that
 * did not change. A log that is not of the handler's form stays as it is. 0, or -1 with
 * an error set. */
int rl_expand_node_logs(PyObject *logs, PyObject *inputs);

#endif
