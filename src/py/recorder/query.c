/* Reading: arguments into queries, rows into Python objects. See query.h. */
#include "py/recorder/query.h"

#include "core/clock.h"
#include "core/uuid.h"
#include "py/base/arguments.h"
#include "py/base/errors.h"
#include "py/base/imports.h"
#include "py/base/raised.h"
#include "py/base/times.h"
#include "py/recorder/expand.h"
#include "py/recorder/filters.h"
#include "py/recorder/parts.h"

#include <string.h>

#define LIMIT_MAX 10000
#define SIGNALS_NS UINT64_C(100000000) /* after which a deletion handles signals */

int rl_query_read_limit(rl_state *state, PyObject *value, rl_query *query)
{
    return rl_read_int(state, "limit", "must be a whole number from 1 to 10000", value, 1,
                       LIMIT_MAX, &query->limit);
}

bool rl_query_is_uuid(const char *text)
{
    for (int i = 0; i < RL_UUID_TEXT - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? text[i] != '-' : strchr("0123456789abcdef", text[i]) == NULL) {
            return false;
        }
    }
    return true;
}

PyObject *rl_query_loads(rl_state *state)
{
    if (state->loads == NULL) {
        PyObject *json = rl_import("json");

        Py_XSETREF(state->loads,
                   json != NULL ? PyObject_GetAttrString(json, "loads") : NULL);
        Py_XDECREF(json);
    }
    return state->loads;
}

static PyObject *cell_to_python(rl_state *state, PyObject *loads, const rl_rows *rows,
                                const rl_cell *cell, rl_column column)
{
    const rl_kind kind = rl_columns[column].kind;
    PyObject *text, *value;

    if (cell->null || column == RL_NODE_LOGS) { /* see read_logs */
        return Py_NewRef(Py_None);
    }
    if (kind == RL_KIND_INT) {
        return PyLong_FromLongLong(cell->number);
    }
    if (kind == RL_KIND_TIME) {
        return rl_time_to(state, cell->number);
    }
    text = PyUnicode_DecodeUTF8(rows->arena.data + cell->at, (Py_ssize_t)cell->len,
                                "replace");
    if (kind != RL_KIND_JSON || text == NULL) {
        return text;
    }
    value = PyObject_CallOneArg(loads, text);
    if (value == NULL && rl_raised_is_no_json()) {
        return text; /* not JSON, so not runlog's: it is returned as text */
    }
    Py_DECREF(text);
    return value;
}

PyObject *rl_query_row_by(rl_state *state, PyObject *loads, const rl_rows *rows,
                          size_t first, rl_shape shape)
{
    size_t count;
    const rl_column *columns = rl_shape_columns(shape, &count);
    bool as_tuple = shape == RL_SHAPE_BRIEF;
    PyObject *row;

    count--; /* users don't see the last one: the owner, or in a whole run the parts */
    row = as_tuple ? PyTuple_New((Py_ssize_t)count) : PyDict_New();
    for (size_t i = 0; i < count && row != NULL; i++) {
        PyObject *value =
            cell_to_python(state, loads, rows, rl_rows_cell(rows, first + i), columns[i]);

        if (value == NULL) {
            Py_CLEAR(row);
        } else if (as_tuple) {
            PyTuple_SET_ITEM(row, (Py_ssize_t)i, value);
        } else {
            if (PyDict_SetItem(row, state->column_names[columns[i]], value) < 0) {
                Py_CLEAR(row);
            }
            Py_DECREF(value);
        }
    }
    return row;
}

PyObject *rl_query_row(rl_state *state, const rl_rows *rows, size_t first, rl_shape shape)
{
    PyObject *loads = rl_query_loads(state);

    return loads != NULL ? rl_query_row_by(state, loads, rows, first, shape) : NULL;
}

/* The node logs of the row whose first cell is `first`, or of its parts. A graph's run,
 * which has an owner, always has a list. `spent`: see rl_expand_node_logs. New reference,
 * or NULL with an error set. */
static PyObject *read_logs(rl_state *state, const rl_rows *rows, size_t first,
                           PyObject *run, rl_run_parts *parts, rl_buf *spent)
{
    const rl_cell *cell =
        rl_rows_cell(rows, first + rl_shape_index(RL_SHAPE_WHOLE, RL_NODE_LOGS));
    PyObject *inputs = PyDict_GetItemWithError(run, state->column_names[RL_INPUTS]);
    PyObject *owner = PyDict_GetItemWithError(run, state->column_names[RL_OWNER]);
    rl_buf *joined = &parts->node_logs;

    if (inputs == NULL || owner == NULL) {
        return NULL;
    }
    if (!cell->null) {
        return rl_expand_node_logs(parts, rows->arena.data + cell->at, cell->len, spent,
                                   inputs);
    }
    if (spent != NULL) {
        rl_buf_free(spent);
    }
    if (joined->len > 0) {
        return rl_expand_node_logs(parts, joined->data, joined->len, joined, inputs);
    }
    return owner != Py_None ? PyList_New(0) : Py_NewRef(Py_None);
}

/* The whole run whose first cell is `first`. Its parts are put back, and each node log
 * gets its whole inputs. `spent` is the arena of rows that nothing else is read of: it is
 * freed on the way. Otherwise NULL. */
static PyObject *whole_to_python(rl_state *state, const rl_rows *rows, size_t first,
                                 rl_buf *spent)
{
    const rl_cell *cell =
        rl_rows_cell(rows, first + rl_shape_index(RL_SHAPE_WHOLE, RL_PARTS));
    PyObject *loads = rl_query_loads(state), *run = NULL, *logs;
    rl_run_parts parts;

    if (loads == NULL) {
        return NULL;
    }
    if (rl_run_parts_read(&parts, loads, rows, cell) == 0) {
        run = rl_query_row_by(state, parts.loads, rows, first, RL_SHAPE_WHOLE);
    }
    if (run != NULL) {
        logs = read_logs(state, rows, first, run, &parts, spent);
        if (logs == NULL ||
            PyDict_SetItem(run, state->column_names[RL_NODE_LOGS], logs) < 0) {
            Py_CLEAR(run);
        }
        Py_XDECREF(logs);
    }
    rl_run_parts_clear(&parts);
    return run;
}

PyObject *rl_query_each(rl_state *state, const rl_rows *rows, rl_shape shape, size_t most,
                        rl_query_convert *convert, void *ctx)
{
    size_t width, count;
    PyObject *list;

    (void)rl_shape_columns(shape, &width);
    count = rl_rows_cells(rows) / width;
    count = count < most ? count : most;
    list = PyList_New(0);
    for (size_t i = 0; i < count && list != NULL; i++) {
        PyObject *row = convert(state, rows, i * width, ctx);

        if (row == NULL || PyList_Append(list, row) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(row);
    }
    return list;
}

static PyObject *each_plain(rl_state *state, const rl_rows *rows, size_t first, void *ctx)
{
    const rl_shape *shape = ctx;

    return rl_query_row(state, rows, first, *shape);
}

PyObject *rl_query_rows(rl_state *state, const rl_rows *rows, rl_shape shape, size_t most)
{
    return rl_query_each(state, rows, shape, most, each_plain, &shape);
}

int rl_query_run(rl_state *state, rl_recorder *core, const rl_query *query, rl_rows *rows)
{
    rl_err err;
    rl_status status;

    Py_BEGIN_ALLOW_THREADS
    status = rl_recorder_query(core, query, rows, &err);
    Py_END_ALLOW_THREADS
    if (status != RL_OK) {
        rl_errors_raise(state, &err);
        return -1;
    }
    return 0;
}

PyObject *rl_query_get_runs(rl_state *state, rl_recorder *core, PyObject *args,
                            PyObject *kwargs)
{
    static char *names[] = {"wpk_id", "limit", "offset", NULL};
    PyObject *wpk_id, *limit = NULL, *offset = NULL, *list = NULL;
    rl_query query;
    rl_rows rows;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:get_runs_by_wpk_id", names,
                                     &wpk_id, &limit, &offset)) {
        return NULL;
    }
    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.limit = 20;
    if (wpk_id == Py_None) {
        rl_errors_invalid(state, "wpk_id", "must be text", wpk_id);
        return NULL;
    }
    if (rl_read_text(state, "wpk_id", wpk_id, &query.texts[RL_WPK_ID]) < 0 ||
        rl_query_read_limit(state, limit, &query) < 0 ||
        rl_read_int(state, "offset", "must be a whole number, 0 or more", offset, 0,
                    INT64_MAX, &query.offset) < 0) {
        return NULL;
    }
    rl_rows_init(&rows);
    if (rl_query_run(state, core, &query, &rows) == 0) {
        list = rl_query_rows(state, &rows, query.shape, SIZE_MAX);
    }
    rl_rows_free(&rows);
    return list;
}

PyObject *rl_query_get_run(rl_state *state, rl_recorder *core, PyObject *args,
                           PyObject *kwargs)
{
    static char *names[] = {"run_id", "wpk_id", NULL};
    PyObject *run_id, *wpk_id = NULL, *found = NULL;
    rl_filters filters;
    rl_query query;
    rl_rows rows;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:get_run", names, &run_id,
                                     &wpk_id)) {
        return NULL;
    }
    rl_query_init(&query, RL_SHAPE_WHOLE);
    query.limit = 1;
    if (run_id == Py_None) {
        rl_errors_invalid(state, "run_id", "must be text", run_id);
        return NULL;
    }
    rl_filters_init(&filters);
    rl_rows_init(&rows);
    if (rl_filters_run_id(&filters, state, run_id, &query.texts[RL_RUN_ID]) == 0 &&
        rl_read_text(state, "wpk_id", wpk_id, &query.texts[RL_WPK_ID]) == 0 &&
        rl_query_run(state, core, &query, &rows) == 0) {
        found = rl_rows_cells(&rows) > 0 ? whole_to_python(state, &rows, 0, &rows.arena)
                                         : Py_NewRef(Py_None);
    }
    rl_rows_free(&rows);
    rl_filters_clear(&filters);
    return found;
}

/* Appends the ids of a list, with commas between them and a NUL. 0, or -1 with an error
 * set. */
static int join_ids(PyObject *list, rl_buf *ids)
{
    Py_ssize_t count = PyList_GET_SIZE(list);

    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *id = PyList_GET_ITEM(list, i);
        Py_ssize_t len = 0;
        const char *text = PyUnicode_Check(id) ? PyUnicode_AsUTF8AndSize(id, &len) : NULL;

        if (text == NULL || len != RL_UUID_TEXT - 1 || !rl_query_is_uuid(text)) {
            PyErr_Clear();
            PyErr_SetString(PyExc_TypeError, "ids must be those of runs");
            return -1;
        }
        if (i > 0) {
            rl_buf_add_char(ids, ',');
        }
        rl_buf_add(ids, text, (size_t)len);
    }
    rl_buf_add_char(ids, '\0');
    if (ids->failed) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* A conversion for rl_query_each. */
static PyObject *each_whole(rl_state *state, const rl_rows *rows, size_t first, void *ctx)
{
    (void)ctx;
    return whole_to_python(state, rows, first, NULL);
}

PyObject *rl_query_whole_runs(rl_state *state, rl_recorder *core, PyObject *args,
                              PyObject *kwargs)
{
    static char *names[] = {"ids", NULL};
    PyObject *list, *runs = NULL, *found = NULL;
    rl_query query;
    rl_rows rows;
    rl_buf ids;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!:_whole_runs", names, &PyList_Type,
                                     &list)) {
        return NULL;
    }
    rl_query_init(&query, RL_SHAPE_WHOLE);
    query.limit = PyList_GET_SIZE(list);
    rl_buf_init(&ids, RL_BUF_MAX);
    rl_rows_init(&rows);
    if (join_ids(list, &ids) == 0) {
        query.ids = ids.data;
        if (rl_query_run(state, core, &query, &rows) == 0) {
            runs = rl_query_each(state, &rows, query.shape, SIZE_MAX, each_whole, NULL);
        }
    }
    if (runs != NULL) {
        found = Py_BuildValue("(Nn)", runs, (Py_ssize_t)rows.arena.len);
    }
    rl_rows_free(&rows);
    rl_buf_free(&ids);
    return found;
}

/* Whether a deletion has to end: by a signal, or because `progress` (or NULL) raised. */
static bool is_interrupted(PyObject *progress, int64_t deleted)
{
    PyObject *result;

    if (PyErr_CheckSignals() < 0 || progress == NULL) {
        return PyErr_Occurred() != NULL;
    }
    result = PyObject_CallFunction(progress, "L", (long long)deleted);
    Py_XDECREF(result);
    return result == NULL;
}

/* Deletes what the query selects, and gives the number of runs; with `progress`, which is
 * called on the way, also how many bytes it has given back. Signals are handled, so that
 * Ctrl-C ends a long deletion. */
static PyObject *remove_all(rl_state *state, rl_recorder *core, const rl_query *query,
                            PyObject *progress)
{
    PyObject *count = NULL;
    rl_deletion deletion;
    bool interrupted = false;
    rl_status rc = RL_OK;
    rl_err err;

    rl_deletion_begin(&deletion, query);
    deletion.reclaims = progress != NULL;
    while (rc == RL_OK && deletion.more && !interrupted) {
        Py_BEGIN_ALLOW_THREADS
        rc = rl_recorder_remove(core, &deletion, rl_monotonic_ns() + SIGNALS_NS, &err);
        Py_END_ALLOW_THREADS
        interrupted = rc == RL_OK && deletion.more &&
                      is_interrupted(progress, deletion.removal.deleted);
    }
    if (rc != RL_OK) {
        (void)rl_errors_raise(state, &err);
    } else if (!interrupted) {
        count = progress == NULL
                    ? PyLong_FromLongLong(deletion.removal.deleted)
                    : Py_BuildValue("(LL)", (long long)deletion.removal.deleted,
                                    (long long)deletion.reclaim.returned);
    }
    rl_deletion_end(&deletion);
    return count;
}

static PyObject *delete_runs(rl_state *state, rl_recorder *core, PyObject *args,
                             PyObject *kwargs, PyObject *progress)
{
    static char *names[] = {"wpk_id", "run_id",   "status", "thread_id",
                            "tag",    "metadata", "before", NULL};
    PyObject *wpk_id = NULL, *run_id = NULL, *status = NULL, *thread_id = NULL,
             *tag = NULL, *metadata = NULL, *before = NULL, *count = NULL;
    rl_filters filters;
    rl_query query;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOOOOO:delete_runs", names,
                                     &wpk_id, &run_id, &status, &thread_id, &tag,
                                     &metadata, &before)) {
        return NULL;
    }
    rl_filters_init(&filters);
    rl_query_init(&query, RL_SHAPE_BRIEF);
    if (rl_read_text(state, "wpk_id", wpk_id, &query.texts[RL_WPK_ID]) == 0 &&
        rl_filters_run_id(&filters, state, run_id, &query.texts[RL_RUN_ID]) == 0 &&
        rl_read_text(state, "status", status, &query.texts[RL_STATUS]) == 0 &&
        rl_filters_thread_id(&filters, state, thread_id, &query.texts[RL_THREAD_ID]) ==
            0 &&
        rl_read_text(state, "tag", tag, &query.tag) == 0 &&
        rl_filters_metadata(&filters, state, metadata, &query.metadata) == 0 &&
        rl_read_time(state, "before", before, &query.until) == 0) {
        if (rl_query_has_filter(&query)) {
            count = remove_all(state, core, &query, progress);
        } else {
            rl_errors_invalid(state, "delete_runs",
                              "needs a filter: wpk_id, run_id, status, thread_id, tag, "
                              "metadata or before",
                              NULL);
        }
    }
    rl_filters_clear(&filters);
    return count;
}

PyObject *rl_query_delete_runs(rl_state *state, rl_recorder *core, PyObject *args,
                               PyObject *kwargs)
{
    return delete_runs(state, core, args, kwargs, NULL);
}

PyObject *rl_query_prune(rl_state *state, rl_recorder *core, PyObject *args,
                         PyObject *kwargs)
{
    PyObject *progress, *none, *count = NULL;

    if (!PyArg_ParseTuple(args, "O:_prune", &progress)) {
        return NULL;
    }
    none = PyTuple_New(0);
    if (none != NULL) {
        count = delete_runs(state, core, none, kwargs, progress);
        Py_DECREF(none);
    }
    return count;
}
