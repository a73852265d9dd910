/* Puts the parts of a run, which are stored beside its row, back into its payloads.
 * Threads: with the GIL. Ownership: rl_run_parts owns its objects.
 */
#ifndef RL_PY_PARTS_H
#define RL_PY_PARTS_H

#include "py/base/state.h"
#include "store/query.h"

typedef struct rl_run_parts {
    PyObject *loads; /* decodes JSON, with each value in place of its marks */
    PyObject *logs;  /* the node logs of a run that has none in its row; NULL: none */
} rl_run_parts;

/* Reads the cell of RL_PARTS. Overwrites a byte of the rows' text. A part that is not
 * runlog's JSON counts as missing, and its marks stay. 0, or -1 with an error set. */
int rl_run_parts_read(rl_run_parts *parts, PyObject *loads, rl_rows *rows,
                      const rl_cell *cell);
void rl_run_parts_clear(rl_run_parts *parts);

#endif
