/* The parts of a run as Python objects. See parts.h. */
#include "py/recorder/parts.h"

#include "core/delta.h"
#include "py/base/imports.h"
#include "py/base/raised.h"

#include <stdbool.h>

#define MARK_MEMBERS 3 /* "$value", "bytes" and "head", see core/value.h */

/* Gives the value for a mark, and any other dict as it is. `self`: the values by name,
 * and the key of a mark. */
static PyObject *restore(PyObject *self, PyObject *dict)
{
    PyObject *values = PyTuple_GET_ITEM(self, 0), *key = PyTuple_GET_ITEM(self, 1);
    PyObject *name = NULL, *value = NULL;

    if (PyDict_Check(dict) && PyDict_GET_SIZE(dict) == MARK_MEMBERS) {
        name = PyDict_GetItemWithError(dict, key);
    }
    if (name != NULL && PyUnicode_Check(name)) {
        value = PyDict_GetItemWithError(values, name);
    }
    if (value == NULL && PyErr_Occurred()) {
        return NULL;
    }
    return Py_NewRef(value != NULL ? value : dict);
}

/* Makes the hook and the function that decodes with it. 0, or -1 with an error set. */
static int use_values(rl_run_parts *parts, PyObject *values)
{
    static PyMethodDef method = {"restore", restore, METH_O, NULL};
    PyObject *self = Py_BuildValue("(Os)", values, "$value");
    PyObject *hook = self != NULL ? PyCFunction_New(&method, self) : NULL;
    PyObject *json = hook != NULL ? rl_import("json") : NULL;
    PyObject *type = json != NULL ? PyObject_GetAttrString(json, "JSONDecoder") : NULL;
    PyObject *none = type != NULL ? PyTuple_New(0) : NULL;
    PyObject *options = none != NULL ? Py_BuildValue("{s:O}", "object_hook", hook) : NULL;
    PyObject *decoder = options != NULL ? PyObject_Call(type, none, options) : NULL;
    PyObject *decode = decoder != NULL ? PyObject_GetAttrString(decoder, "decode") : NULL;

    if (decode != NULL) {
        Py_SETREF(parts->hook, Py_NewRef(hook));
        Py_SETREF(parts->loads, Py_NewRef(decode));
    }
    Py_XDECREF(decode);
    Py_XDECREF(decoder);
    Py_XDECREF(options);
    Py_XDECREF(none);
    Py_XDECREF(type);
    Py_XDECREF(json);
    Py_XDECREF(hook);
    Py_XDECREF(self);
    return PyErr_Occurred() ? -1 : 0;
}

/* Decodes a JSON text; *out is NULL for a text that is not JSON. 0, or -1 with an error
 * set. */
static int decode(PyObject *loads, const char *json, size_t len, PyObject **out)
{
    PyObject *text = PyUnicode_DecodeUTF8(json, (Py_ssize_t)len, "replace");

    *out = text != NULL ? PyObject_CallOneArg(loads, text) : NULL;
    Py_XDECREF(text);
    if (*out == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        return rl_raised_is_own() ? 0 : -1;
    }
    return *out == NULL ? -1 : 0;
}

/* Decodes the first `count` parts, which are values, into a dict by name. */
static PyObject *decode_values(PyObject *loads, const char *text, const rl_member *list,
                               size_t count)
{
    PyObject *values = PyDict_New();

    for (size_t i = 0; i < count && values != NULL; i++) {
        PyObject *value = NULL, *name = NULL;
        int rc = decode(loads, text + list[i].value_at, list[i].value_len, &value);

        if (value != NULL) {
            name = PyUnicode_DecodeUTF8(text + list[i].key_at + 1,
                                        (Py_ssize_t)list[i].key_len - 2, "replace");
            rc = name != NULL ? PyDict_SetItem(values, name, value) : -1;
        }
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (rc < 0) {
            Py_CLEAR(values);
        }
    }
    return values;
}

/* Appends the parts from `first` on, which are node logs, as an array. */
static void join_logs(rl_run_parts *parts, const char *text, const rl_member *list,
                      size_t first, size_t count)
{
    for (size_t i = first; i < count; i++) {
        rl_buf_add_char(&parts->node_logs, i == first ? '[' : ',');
        rl_buf_add(&parts->node_logs, text + list[i].value_at, list[i].value_len);
    }
    if (first < count) {
        rl_buf_add_char(&parts->node_logs, ']');
    }
}

int rl_run_parts_read(rl_run_parts *parts, PyObject *loads, const rl_rows *rows,
                      const rl_cell *cell)
{
    const char *text = cell->null ? NULL : rows->arena.data + cell->at;
    const rl_member *list;
    size_t count = 0, values = 0;
    rl_buf members;
    int rc = 0;

    *parts = (rl_run_parts){.hook = Py_NewRef(Py_None), .loads = Py_NewRef(loads)};
    rl_buf_init(&parts->node_logs, RL_BUF_MAX);
    rl_buf_init(&members, RL_BUF_MAX);
    if (text != NULL && rl_object_split(text, cell->len, &members)) {
        count = members.len / sizeof *list;
    }
    list = (const rl_member *)(const void *)members.data;
    while (values < count && text[list[values].key_at + 1] < 'n') {
        values++;
    }
    join_logs(parts, text, list, values, count);
    if (values > 0) {
        PyObject *by_name = decode_values(loads, text, list, values);

        rc = by_name != NULL ? use_values(parts, by_name) : -1;
        Py_XDECREF(by_name);
    }
    if (members.failed || parts->node_logs.failed) {
        PyErr_NoMemory();
        rc = -1;
    }
    rl_buf_free(&members);
    return rc;
}

void rl_run_parts_clear(rl_run_parts *parts)
{
    Py_CLEAR(parts->hook);
    Py_CLEAR(parts->loads);
    rl_buf_free(&parts->node_logs);
}
