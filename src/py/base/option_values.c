/* The values of options. See option_values.h. */
#include "py/base/option_values.h"

#include "core/alloc.h"
#include "py/base/errors.h"
#include "py/base/imports.h"
#include "py/base/raised.h"

#define TIMEOUT_MIN 0.05 /* seconds */
#define TIMEOUT_MAX 3600.0

int rl_option_refuse(rl_state *state, const rl_option *option, const char *problem)
{
    PyErr_Format(state->config_error, "%s (%s) %s", option->keyword, option->variable,
                 problem);
    return -1;
}

/* Describes a wrong value for a message: a number as it is. Anything else may be a secret
 * that was given to the wrong option, so the message has its type, and a text's length. */
static PyObject *describe(PyObject *value)
{
    PyObject *text = NULL;

    if (PyLong_CheckExact(value) || PyFloat_CheckExact(value)) {
        text = PyObject_Repr(value);
        if (text == NULL) { /* a number of too many digits */
            PyErr_Clear();
        }
    } else if (PyUnicode_Check(value)) {
        const Py_ssize_t len = PyUnicode_GET_LENGTH(value);

        text = PyUnicode_FromFormat("a str of %zd character%s", len, len == 1 ? "" : "s");
        if (text == NULL) {
            return NULL;
        }
    }
    return text != NULL ? text : PyUnicode_FromString(rl_type_name(value));
}

int rl_option_refuse_value(rl_state *state, const rl_option *option, const char *expected,
                           PyObject *value)
{
    PyObject *described = describe(value);

    if (described != NULL) {
        PyErr_Format(state->config_error, "%s (%s) must be %s, not %U", option->keyword,
                     option->variable, expected, described);
        Py_DECREF(described);
    }
    return -1;
}

static int switch_of_text(const char *text)
{
    static const char *const names[2][4] = {{"0", "false", "no", "off"},
                                            {"1", "true", "yes", "on"}};

    for (int on = 0; on < 2; on++) {
        for (size_t i = 0; i < 4; i++) {
            if (PyOS_stricmp(text, names[on][i]) == 0) {
                return on;
            }
        }
    }
    return -1;
}

int rl_option_switch(PyObject *value)
{
    const char *text = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;
    long number = PyLong_Check(value) ? PyLong_AsLong(value) : -1;

    PyErr_Clear(); /* of what is no switch either */
    return text != NULL                 ? switch_of_text(text)
           : number == 0 || number == 1 ? (int)number
                                        : -1;
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
    PyObject *os = rl_import("os");
    PyObject *environment = os != NULL ? PyObject_GetAttrString(os, "environ") : NULL;
    int rc = environment != NULL ? 0 : -1;

    for (size_t i = 0; i < count && rc == 0; i++) {
        PyObject *given =
            kwargs != NULL ? PyDict_GetItemString(kwargs, options[i].keyword) : NULL;

        if (given != NULL && given != Py_None) {
            values[i] = Py_NewRef(given);
        } else {
            values[i] = PyObject_CallMethod(environment, "get", "s", options[i].variable);
            rc = values[i] != NULL ? 0 : -1;
            if (values[i] == Py_None ||
                (values[i] != NULL && PyUnicode_Check(values[i]) &&
                 PyUnicode_GET_LENGTH(values[i]) == 0)) {
                Py_CLEAR(values[i]);
            }
        }
    }
    Py_XDECREF(environment);
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

/* A whole number, given as one or as text; -1 when it is neither, or with an exception of
 * the program's set. */
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
    return rl_raised_is_own() ? whole : -1;
}

int rl_option_number(rl_state *state, const rl_option *option, PyObject *value,
                     const char *unit, long long low, long long high, long long *out)
{
    long long number = value != NULL ? read_whole(value) : *out;
    char expected[120];

    if (PyErr_Occurred()) {
        return -1;
    }
    if (number < low || number > high) {
        PyOS_snprintf(expected, sizeof expected, "a number of %s from %lld to %lld", unit,
                      low, high);
        return rl_option_refuse_value(state, option, expected, value);
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
        if (!rl_raised_is_own()) {
            return -1;
        }
    }
    if (!(seconds >= TIMEOUT_MIN && seconds <= TIMEOUT_MAX)) { /* also false for NaN */
        return rl_option_refuse_value(state, option,
                                      "a number of seconds from 0.05 to 3600", value);
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
