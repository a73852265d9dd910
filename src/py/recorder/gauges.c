/* Recorder._gauges. See gauges.h. */
#include "py/recorder/gauges.h"

#include "py/base/errors.h"
#include "py/base/times.h"

/* Adds the time of a workflow's newest run to a dict; those without a run are left out. */
static int add_newest(rl_state *state, PyObject *newest, const rl_rows *rows, size_t at)
{
    const rl_cell *name = rl_rows_cell(rows, at), *time = rl_rows_cell(rows, at + 1);
    PyObject *key, *value;
    int rc = -1;

    if (name->null || time->null) {
        return 0;
    }
    key = PyUnicode_DecodeUTF8(rows->arena.data + name->at, (Py_ssize_t)name->len,
                               "replace");
    value = key != NULL ? rl_time_to(state, time->number) : NULL;
    if (value != NULL) {
        rc = PyDict_SetItem(newest, key, value);
    }
    Py_XDECREF(key);
    Py_XDECREF(value);
    return rc;
}

static PyObject *to_python(rl_state *state, const rl_gauges *gauges)
{
    PyObject *newest = PyDict_New();

    for (size_t at = 0; newest != NULL && at < rl_rows_cells(&gauges->newest); at += 2) {
        if (add_newest(state, newest, &gauges->newest, at) < 0) {
            Py_CLEAR(newest);
        }
    }
    return newest != NULL ? Py_BuildValue("(LLN)", (long long)gauges->open,
                                          (long long)gauges->lost, newest)
                          : NULL;
}

PyObject *rl_gauges_get(rl_state *state, rl_recorder *core, PyObject *args,
                        PyObject *kwargs)
{
    static char *names[] = {"workflows", NULL};
    const char *workflows;
    PyObject *found;
    rl_gauges gauges;
    rl_status status;
    rl_err err;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s:_gauges", names, &workflows)) {
        return NULL;
    }
    rl_gauges_init(&gauges, workflows);
    Py_BEGIN_ALLOW_THREADS
    status = rl_recorder_read_gauges(core, &gauges, &err);
    Py_END_ALLOW_THREADS
    found = status == RL_OK ? to_python(state, &gauges) : rl_errors_raise(state, &err);
    rl_gauges_free(&gauges);
    return found;
}
