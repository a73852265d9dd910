/* Deltas of inputs. See expand.h.
 *
 * What is expanded was made by json a moment ago, of types of its own, and nobody else has
 * a reference to it: what is borrowed here can't go away.
 */
#include "py/recorder/expand.h"

#include "py/base/imports.h"
#include "py/base/raised.h"

#include <stdbool.h>
#include <string.h>

/* A run of more deltas is kept as text, and so is one whose inputs together would take
 * more references. */
#define EAGER_DELTAS 1000
#define EAGER_SIZE 2000000

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

/* What a state takes that `delta` has made: a copied dict, and lists that have grown. In
 * references; an entry of a dict takes eight times as much. */
static Py_ssize_t size_of(PyObject *state, PyObject *delta)
{
    PyObject *tails = member(delta, "append"), *key, *tail;
    Py_ssize_t at = 0, size = 8 * PyDict_GET_SIZE(state);

    while (tails != NULL && PyDict_Next(tails, &at, &key, &tail)) {
        PyObject *list = PyDict_GetItemWithError(state, key);

        size += list != NULL && PyList_Check(list) ? PyList_GET_SIZE(list) : 0;
    }
    PyErr_Clear();
    return size;
}

/* Expands one log, if it has a delta; adds what that takes to *size. 0, or -1 with an
 * error set. */
static int expand_log(PyObject *logs, Py_ssize_t index, PyObject *inputs,
                      Py_ssize_t *size)
{
    PyObject *log = PyList_GET_ITEM(logs, index), *delta = NULL, *base = NULL;
    PyObject *state, *fresh;
    int rc = 0;

    if (PyDict_Check(log)) {
        delta = member(log, "inputs_delta");
    }
    if (delta != NULL && PyDict_Check(delta)) {
        base = base_of(delta, logs, index, inputs);
    }
    if (base != NULL && applies(base, delta)) {
        state = apply(base, delta);
        fresh = state != NULL ? replace(log, delta, state) : NULL;
        *size += fresh != NULL ? size_of(state, delta) : 0;
        rc = fresh != NULL ? PyList_SetItem(logs, index, fresh) : -1;
        Py_XDECREF(state);
    }
    return rc;
}

/* Whether the text has so many deltas that it is not worth decoding it as a whole. */
static bool has_many_deltas(const char *json, size_t len)
{
    static const char key[] = "\"inputs_delta\"";
    const char *at = json, *end = json + len;
    int found = 0;

    while (at != NULL && found < EAGER_DELTAS) {
        at = memmem(at, (size_t)(end - at), key, sizeof key - 1);
        if (at != NULL) {
            at += sizeof key - 1;
            found++;
        }
    }
    return found == EAGER_DELTAS;
}

/* Expands each log in place. *whole: false if that ended early, as it takes too much. 0,
 * or -1 with an error set. */
static int expand_all(PyObject *logs, PyObject *inputs, bool *whole)
{
    Py_ssize_t count = PyList_CheckExact(logs) ? PyList_GET_SIZE(logs) : 0, size = 0,
               i = 0;
    int rc = 0;

    for (; rc == 0 && i < count && size < EAGER_SIZE; i++) {
        rc = expand_log(logs, i, inputs, &size);
    }
    *whole = i == count;
    return rc;
}

static bool has_calls(const char *json, size_t len)
{
    static const char key[] = "\"calls\"";

    return memmem(json, len, key, sizeof key - 1) != NULL;
}

/* Gives the nodes their calls (runlog/_calls.py). `logs` is stolen, or NULL with an error
 * set; so is the result. */
static PyObject *restore_calls(PyObject *logs)
{
    PyObject *module, *restored = NULL;

    if (logs == NULL) {
        return NULL;
    }
    module = rl_import("runlog._calls");
    if (module != NULL) {
        restored = PyObject_CallMethod(module, "restore", "O", logs);
    }
    Py_XDECREF(module);
    Py_DECREF(logs);
    return restored;
}

/* The logs as a list that decodes each when it is asked for. */
static PyObject *load_lazily(const rl_run_parts *parts, PyObject *text, PyObject *inputs)
{
    PyObject *module = rl_import("runlog._logs"), *logs = NULL;

    if (module != NULL) {
        logs = PyObject_CallMethod(module, "load", "OOO", text, parts->hook, inputs);
    }
    Py_XDECREF(module);
    return logs;
}

PyObject *rl_expand_node_logs(const rl_run_parts *parts, const char *json, size_t len,
                              rl_buf *spent, PyObject *inputs)
{
    const bool is_long = has_many_deltas(json, len), with_calls = has_calls(json, len);
    PyObject *text = PyUnicode_DecodeUTF8(json, (Py_ssize_t)len, "replace");
    PyObject *logs = NULL;
    bool whole = false;

    if (spent != NULL) {
        rl_buf_free(spent);
    }
    if (text != NULL && !is_long) {
        logs = PyObject_CallOneArg(parts->loads, text);
        logs = with_calls ? restore_calls(logs) : logs;
        if (logs != NULL && expand_all(logs, inputs, &whole) < 0) {
            Py_CLEAR(logs);
        }
    }
    if (text != NULL && !whole && !PyErr_Occurred()) {
        Py_XSETREF(logs, NULL);
        logs = load_lazily(parts, text, inputs);
    }
    if (logs == NULL && text != NULL && rl_raised_is_no_json()) {
        logs = Py_NewRef(text); /* not JSON, so not runlog's: it is returned as text */
    }
    Py_XDECREF(text);
    return logs;
}
