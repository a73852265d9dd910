/* Deltas of inputs. See expand.h. */
#include "py/recorder/expand.h"

#include <stdbool.h>

/* A member of a dict, borrowed; NULL without an error when there is none. */
static PyObject *member(PyObject *dict, const char *name)
{
    return PyDict_GetItemString(dict, name);
}

/* The base of a delta, borrowed: the run's inputs, or those of an earlier log. NULL when
 * there is no such base. */
static PyObject *base_of(PyObject *delta, PyObject *logs, Py_ssize_t index,
                         PyObject *inputs)
{
    PyObject *since = member(delta, "since"), *base = NULL;
    Py_ssize_t number;

    if (since == Py_None) {
        base = inputs;
    } else if (since != NULL && PyLong_Check(since)) {
        number = PyLong_AsSsize_t(since);
        PyErr_Clear();
        if (number >= 0 && number < index) {
            PyObject *log = PyList_GET_ITEM(logs, number);

            base = PyDict_Check(log) ? member(log, "inputs") : NULL;
        }
    }
    return base != NULL && PyDict_Check(base) ? base : NULL;
}

/* Whether a member of a delta is absent, or of the type that the handler gives it. */
static bool is_part(PyObject *part, PyTypeObject *type)
{
    return part == NULL || Py_IS_TYPE(part, type);
}

/* Whether each tail, a list, has a list of the base to be appended to. */
static bool fits(PyObject *base, PyObject *tails)
{
    PyObject *key, *tail, *before;
    Py_ssize_t at = 0;
    bool all = true;

    while (all && tails != NULL && PyDict_Next(tails, &at, &key, &tail)) {
        before = PyDict_GetItemWithError(base, key);
        all = before != NULL && PyList_Check(before) && PyList_Check(tail);
    }
    PyErr_Clear();
    return all;
}

/* Whether the base has all of the keys. */
static bool has_all(PyObject *base, PyObject *keys)
{
    bool all = true;

    for (Py_ssize_t i = 0; all && keys != NULL && i < PyList_GET_SIZE(keys); i++) {
        all = PyUnicode_Check(PyList_GET_ITEM(keys, i)) &&
              PyDict_Contains(base, PyList_GET_ITEM(keys, i)) == 1;
    }
    PyErr_Clear();
    return all;
}

/* Whether a delta can be applied: a program may log a dict that only looks like one. */
static bool applies(PyObject *base, PyObject *delta)
{
    PyObject *tails = member(delta, "append"), *unset = member(delta, "unset");

    return is_part(member(delta, "set"), &PyDict_Type) && is_part(tails, &PyDict_Type) &&
           is_part(unset, &PyList_Type) && fits(base, tails) && has_all(base, unset);
}

/* Appends the tails to the lists of the state. */
static int append_all(PyObject *state, PyObject *tails)
{
    PyObject *key, *tail, *whole;
    Py_ssize_t at = 0;
    int rc = 0;

    while (rc == 0 && tails != NULL && PyDict_Next(tails, &at, &key, &tail)) {
        whole = PySequence_Concat(PyDict_GetItemWithError(state, key), tail);
        rc = whole != NULL ? PyDict_SetItem(state, key, whole) : -1;
        Py_XDECREF(whole);
    }
    return rc;
}

static int unset_all(PyObject *state, PyObject *keys)
{
    int rc = 0;

    for (Py_ssize_t i = 0; rc == 0 && keys != NULL && i < PyList_GET_SIZE(keys); i++) {
        rc = PyDict_DelItem(state, PyList_GET_ITEM(keys, i));
    }
    return rc;
}

/* A new dict, or NULL with an error set. */
static PyObject *apply(PyObject *base, PyObject *delta)
{
    PyObject *state = PyDict_Copy(base), *set = member(delta, "set");
    int rc = state != NULL ? 0 : -1;

    if (rc == 0) {
        rc = append_all(state, member(delta, "append"));
    }
    if (rc == 0) {
        rc = unset_all(state, member(delta, "unset"));
    }
    if (rc == 0 && set != NULL) {
        rc = PyDict_Update(state, set);
    }
    if (rc < 0) {
        Py_CLEAR(state);
    }
    return state;
}

/* The log with its inputs in place of the delta: a new dict, or NULL with an error
 * set. */
static PyObject *replace(PyObject *log, PyObject *delta, PyObject *inputs)
{
    PyObject *fresh = PyDict_New(), *key, *value;
    Py_ssize_t at = 0;
    int rc = fresh != NULL ? 0 : -1;

    while (rc == 0 && PyDict_Next(log, &at, &key, &value)) {
        rc = value == delta ? PyDict_SetItemString(fresh, "inputs", inputs)
                            : PyDict_SetItem(fresh, key, value);
    }
    if (rc < 0) {
        Py_CLEAR(fresh);
    }
    return fresh;
}

int rl_expand_node_logs(PyObject *logs, PyObject *inputs)
{
    int rc = 0;

    for (Py_ssize_t i = 0;
         rc == 0 && PyList_CheckExact(logs) && i < PyList_GET_SIZE(logs); i++) {
        PyObject *log = PyList_GET_ITEM(logs, i), *delta = NULL, *base = NULL;
        PyObject *state = NULL, *fresh = NULL;

        if (PyDict_Check(log)) {
            delta = member(log, "inputs_delta");
        }
        if (delta != NULL && PyDict_Check(delta)) {
            base = base_of(delta, logs, i, inputs);
        }
        if (base != NULL && applies(base, delta)) {
            state = apply(base, delta);
            fresh = state != NULL ? replace(log, delta, state) : NULL;
            rc = fresh != NULL ? PyList_SetItem(logs, i, fresh) : -1;
            Py_XDECREF(state);
        }
    }
    return rc;
}
