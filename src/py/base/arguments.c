/* Arguments into C values. See arguments.h. */
#include "py/base/arguments.h"

#include "py/base/errors.h"
#include "py/base/raised.h"
#include "py/base/times.h"

int rl_read_text(rl_state *state, const char *field, PyObject *value, const char **out)
{
    Py_ssize_t len = 0;

    *out = NULL;
    if (value == NULL || value == Py_None) {
        return 0;
    }
    if (PyUnicode_Check(value)) {
        *out = PyUnicode_AsUTF8AndSize(value, &len);
    }
    if (*out == NULL || strlen(*out) != (size_t)len) {
        PyErr_Clear();
        return rl_errors_invalid(state, field,
                                 "must be text without NUL or lone surrogates", value);
    }
    return 0;
}

int rl_read_int(rl_state *state, const char *field, const char *wanted, PyObject *value,
                int64_t low, int64_t high, int64_t *out)
{
    PyObject *number;
    int overflow = 0;

    if (value == NULL) {
        return 0;
    }
    number = PyBool_Check(value) ? NULL : PyNumber_Index(value);
    if (number != NULL) {
        *out = PyLong_AsLongLongAndOverflow(number, &overflow);
    }
    if (number == NULL || overflow != 0 || *out < low || *out > high) {
        Py_XDECREF(number);
        return rl_raised_is_own() ? rl_errors_invalid(state, field, wanted, value) : -1;
    }
    Py_DECREF(number);
    return 0;
}

int rl_read_time(rl_state *state, const char *field, PyObject *value, int64_t *stamp)
{
    return value == NULL || value == Py_None
               ? 0
               : rl_time_from(state, field, value, false, stamp);
}
