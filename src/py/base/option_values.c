/* The values of options. See option_values.h. */
#include "py/base/option_values.h"

#include "core/alloc.h"

#define TIMEOUT_MIN 0.05 /* seconds */
#define TIMEOUT_MAX 3600.0

int rl_option_refuse(rl_state *state, const rl_option *option, const char *problem)
{
    PyErr_Format(state->config_error, "%s (%s) %s", option->keyword, option->variable,
                 problem);
    return -1;
}

/* Whether `keyword` is one of the options of a table. */
static bool is_option(PyObject *keyword, const rl_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (PyUnicode_CompareWithASCIIString(keyword, options[i].keyword) == 0) {
            return true;
        }
    }
    return false;
}

int rl_option_check_keywords(PyObject *kwargs, const rl_option *options, size_t count,
                             const rl_option *more, size_t more_count)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;

    while (kwargs != NULL && PyDict_Next(kwargs, &at, &key, &value)) {
        if (!is_option(key, options, count) && !is_option(key, more, more_count)) {
            PyErr_Format(PyExc_TypeError,
                         "Recorder() got an unexpected keyword argument %R", key);
            return -1;
        }
    }
    return 0;
}

int rl_option_collect(PyObject *kwargs, const rl_option *options, size_t count,
                      PyObject **values)
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *environ = os != NULL ? PyObject_GetAttrString(os, "environ") : NULL;
    int rc = environ != NULL ? 0 : -1;

    for (size_t i = 0; i < count && rc == 0; i++) {
        PyObject *given =
            kwargs != NULL ? PyDict_GetItemString(kwargs, options[i].keyword) : NULL;

        if (given != NULL && given != Py_None) {
            values[i] = Py_NewRef(given);
        } else {
            values[i] = PyObject_CallMethod(environ, "get", "s", options[i].variable);
            rc = values[i] != NULL ? 0 : -1;
            if (values[i] == Py_None ||
                (values[i] != NULL && PyUnicode_GET_LENGTH(values[i]) == 0)) {
                Py_CLEAR(values[i]);
            }
        }
    }
    Py_XDECREF(environ);
    Py_XDECREF(os);
    return rc;
}

int rl_option_copy(rl_state *state, const rl_option *option, PyObject *value, char **out)
{
    const char *text = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;

    if (text == NULL || strlen(text) != (size_t)PyUnicode_GetLength(value)) {
        Py_ssize_t size = 0;

        PyErr_Clear();
        text = PyUnicode_Check(value) ? PyUnicode_AsUTF8AndSize(value, &size) : NULL;
        if (text == NULL || strlen(text) != (size_t)size) {
            PyErr_Clear();
            return rl_option_refuse(state, option, "must be text without NUL characters");
        }
    }
    *out = rl_strdup(text);
    if (*out == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* A whole number, given as one or as text; -1 when it is neither. */
static long long read_whole(PyObject *value)
{
    PyObject *number = NULL;
    long long whole;

    if (PyUnicode_Check(value)) {
        number = PyLong_FromUnicodeObject(value, 10);
    } else if (!PyBool_Check(value)) {
        number = PyNumber_Index(value);
    }
    whole = number != NULL ? PyLong_AsLongLong(number) : -1;
    Py_XDECREF(number);
    PyErr_Clear();
    return whole;
}

int rl_option_number(rl_state *state, const rl_option *option, PyObject *value,
                     const char *unit, long long low, long long high, long long *out)
{
    long long number = value != NULL ? read_whole(value) : *out;

    if (number < low || number > high) {
        PyErr_Format(state->config_error,
                     "%s (%s) must be a number of %s from %lld to %lld, not %R",
                     option->keyword, option->variable, unit, low, high, value);
        return -1;
    }
    *out = number;
    return 0;
}

int rl_option_seconds(rl_state *state, const rl_option *option, PyObject *value,
                      double seconds, uint64_t *ns)
{
    PyObject *number = NULL;

    if (value != NULL) {
        if (PyUnicode_Check(value)) {
            number = PyFloat_FromString(value);
        } else if (!PyBool_Check(value)) {
            number = PyNumber_Float(value);
        }
        seconds = number != NULL ? PyFloat_AS_DOUBLE(number) : -1.0;
        Py_XDECREF(number);
        PyErr_Clear();
    }
    if (!(seconds >= TIMEOUT_MIN && seconds <= TIMEOUT_MAX)) { /* also false for NaN */
        PyErr_Format(state->config_error,
                     "%s (%s) must be seconds, from 0.05 to 3600, not %R",
                     option->keyword, option->variable, value);
        return -1;
    }
    *ns = (uint64_t)(seconds * 1e9);
    return 0;
}

int rl_option_text(rl_state *state, const rl_option *option, PyObject *value,
                   const char *fallback, char **out)
{
    if (value != NULL) {
        return rl_option_copy(state, option, value, out);
    }
    *out = fallback != NULL ? rl_strdup(fallback) : NULL;
    if (fallback != NULL && *out == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}
