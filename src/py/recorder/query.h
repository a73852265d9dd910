/* The methods of Recorder that read and delete runs: arguments to queries, rows to
 * objects.
 * Threads: with the GIL, which the functions give up while they wait.
 */
#ifndef RL_PY_QUERY_H
#define RL_PY_QUERY_H

#include "py/base/state.h"
#include "record/recorder/recorder.h"

/* The methods of Recorder of the same names; see _runlog.pyi. */
PyObject *rl_query_get_runs(rl_state *state, rl_recorder *core, PyObject *args,
                            PyObject *kwargs);
PyObject *rl_query_get_run(rl_state *state, rl_recorder *core, PyObject *args,
                           PyObject *kwargs);
PyObject *rl_query_delete_runs(rl_state *state, rl_recorder *core, PyObject *args,
                               PyObject *kwargs);
/* _prune(progress, **filters): delete_runs, which calls progress(runs so far), and gives
 * space back; (runs, bytes). */
PyObject *rl_query_prune(rl_state *state, rl_recorder *core, PyObject *args,
                         PyObject *kwargs);
PyObject *rl_query_whole_runs(rl_state *state, rl_recorder *core, PyObject *args,
                              PyObject *kwargs);

/* The row that begins with the cell `first` as a dict, or (brief) a tuple. New reference,
 * or NULL with an error set. */
PyObject *rl_query_row(rl_state *state, const rl_rows *rows, size_t first,
                       rl_shape shape);

/* The same, where `loads` decodes JSON. */
PyObject *rl_query_row_by(rl_state *state, PyObject *loads, const rl_rows *rows,
                          size_t first, rl_shape shape);

/* json.loads, which is fetched at the first read only. Borrowed; NULL with an error set. */
PyObject *rl_query_loads(rl_state *state);

/* Runs a query without the GIL. 0, or -1 with an error set. */
int rl_query_run(rl_state *state, rl_recorder *core, const rl_query *query,
                 rl_rows *rows);

/* Makes an object of the row that begins with the cell `first`. New reference, or NULL with
 * an error set. */
typedef PyObject *rl_query_convert(rl_state *state, const rl_rows *rows, size_t first,
                                   void *ctx);

/* What `convert` makes of each of the first `most` rows, as a list. New reference, or NULL with an error set. */
PyObject *rl_query_each(rl_state *state, const rl_rows *rows, rl_shape shape, size_t most,
                        rl_query_convert *convert, void *ctx);

/* The first `most` rows as a list. New reference, or NULL with an error set. */
PyObject *rl_query_rows(rl_state *state, const rl_rows *rows, rl_shape shape,
                        size_t most);

/* Reads the argument `limit`. 0, or -1 with a ValidationError. */
int rl_query_read_limit(rl_state *state, PyObject *value, rl_query *query);

/* Whether a text begins with the id of a run. */
bool rl_query_is_uuid(const char *text);

#endif
