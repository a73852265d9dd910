/* Expands node logs whose inputs are stored as deltas. Threads: with the GIL. */
#ifndef RL_PY_EXPAND_H
#define RL_PY_EXPAND_H

#include "py/recorder/parts.h"

/* Decodes a run's node logs, with the values of its parts in place of marks, and replaces
 * each "inputs_delta" by "inputs" (core/delta.h has the form). `inputs` are the run's
 * own. Logs share the values that did not change. If all inputs together were large, each
 * log is a NodeLog (runlog/_logs.py), which is decoded when it is asked for. A log that
 * is not of the handler's form stays as it is; a text that is not JSON is returned as
 * text. `spent` is the buffer that has the text, and is freed as soon as it is not needed:
 * a long run's text would take memory twice; NULL keeps it. New reference, or NULL with an
 * error set. */
PyObject *rl_expand_node_logs(const rl_run_parts *parts, const char *json, size_t len,
                              rl_buf *spent, PyObject *inputs);

#endif
