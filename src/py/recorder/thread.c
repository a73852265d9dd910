/* The runs of a thread. See thread.h. */
#include "py/recorder/thread.h"

#include "py/base/arguments.h"
#include "py/base/errors.h"
#include "py/recorder/filters.h"
#include "py/recorder/parts.h"
#include "py/recorder/query.h"

#define LIMIT_MAX 1000

/* A conversion for rl_query_each: a row with its large texts. `ctx`: json.loads. */
static PyObject *row_to_run(rl_state *state, const rl_rows *rows, size_t first, void *ctx)
{
    const size_t at = rl_shape_index(RL_SHAPE_THREAD, RL_PARTS);
    PyObject *run = NULL;
    rl_run_parts parts;

    if (rl_run_parts_read(&parts, ctx, rows, rl_rows_cell(rows, first + at)) == 0) {
        run = rl_query_row_by(state, parts.loads, rows, first, RL_SHAPE_THREAD);
    }
    rl_run_parts_clear(&parts);
    return run;
}

static PyObject *rows_to_runs(rl_state *state, const rl_rows *rows)
{
    PyObject *loads = rl_query_loads(state);

    return loads == NULL
               ? NULL
               : rl_query_each(state, rows, RL_SHAPE_THREAD, SIZE_MAX, row_to_run, loads);
}

PyObject *rl_thread_get_runs(rl_state *state, rl_recorder *core, PyObject *args,
                             PyObject *kwargs)
{
    static char *names[] = {"thread_id", "wpk_id", "limit", NULL};
    PyObject *thread_id, *wpk_id, *limit, *runs = NULL;
    rl_filters filters;
    rl_query query;
    rl_rows rows;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:get_thread", names, &thread_id,
                                     &wpk_id, &limit)) {
        return NULL;
    }
    if (thread_id == Py_None) {
        rl_errors_invalid(state, "thread_id", "must be text", thread_id);
        return NULL;
    }
    rl_filters_init(&filters);
    rl_rows_init(&rows);
    rl_query_init(&query, RL_SHAPE_THREAD);
    if (rl_filters_thread_id(&filters, state, thread_id, &query.texts[RL_THREAD_ID]) ==
            0 &&
        rl_read_text(state, "wpk_id", wpk_id, &query.texts[RL_WPK_ID]) == 0 &&
        rl_read_int(state, "limit", "must be a whole number from 1 to 1000", limit, 1,
                    LIMIT_MAX, &query.limit) == 0) {
        query.limit++;
        if (rl_query_run(state, core, &query, &rows) == 0) {
            runs = rows_to_runs(state, &rows);
        }
    }
    rl_rows_free(&rows);
    rl_filters_clear(&filters);
    return runs;
}
