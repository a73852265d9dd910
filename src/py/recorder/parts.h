/* Puts the parts of a run, which are stored beside its row, back into its payloads.
 * Threads: with the GIL. Ownership: rl_run_parts owns its objects.
 */
#ifndef RL_PY_PARTS_H
#define RL_PY_PARTS_H

#include "py/base/state.h"
#include "store/query.h"

typedef struct rl_run_parts {
    PyObject *hook;   /* json's object_hook that replaces marks by values, or None */
    PyObject *loads;  /* json.loads, or with the hook */
    rl_buf node_logs; /* a JSON array of the node parts; empty if there are none */
} rl_run_parts;

/* Reads the cell of RL_PARTS; `loads` is json.loads. A value that is not JSON counts as
 * missing, and its marks stay. 0, or -1 with an error set; either way the caller clears
 * the parts. */
int rl_run_parts_read(rl_run_parts *parts, PyObject *loads, const rl_rows *rows,
                      const rl_cell *cell);
void rl_run_parts_clear(rl_run_parts *parts);

#endif
