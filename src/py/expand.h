/* Node logs whose inputs are kept as deltas, as they are shown. Threads: with the GIL. */
#ifndef RL_PY_EXPAND_H
#define RL_PY_EXPAND_H

#include "py/state.h"

/* Puts "inputs" in the place of each "inputs_delta" of a run's node logs (any object; see
 * core/delta.h for the form). `inputs` are the run's own. Values that did not change are
 * shared between logs. What is not as the handler writes it stays as it is. 0, or -1 with an
 * error set. */
int rl_expand_node_logs(PyObject *logs, PyObject *inputs);

#endif
