/* Datetimes and time stamps. See times.h.
 *
 * The module datetime is imported at first use, not by `import runlog`. It is used
 * through its Python interface: its C API is shared by the whole process, and its
 * pointers dangle once the interpreter that imported datetime first has ended.
 */
#include "py/base/times.h"

#include "core/clock.h"
#include "py/base/errors.h"
#include "py/base/imports.h"
#include "py/base/raised.h"

#include <math.h>

#define WANTED "must be a datetime or ISO 8601 text"
#define WANTED_OR_NUMBER "must be a datetime, ISO 8601 text or seconds since 1970"

static int need_datetime(rl_state *state)
{
    PyObject *module, *zone;

    if (state->utc != NULL) {
        return 0;
    }
    module = rl_import("datetime");
    zone = module != NULL ? PyObject_GetAttrString(module, "timezone") : NULL;
    if (zone != NULL) {
        Py_XSETREF(state->datetime, PyObject_GetAttrString(module, "datetime"));
        state->utc = state->datetime != NULL ? PyObject_GetAttrString(zone, "utc") : NULL;
    }
    Py_XDECREF(zone);
    Py_XDECREF(module);
    return state->utc != NULL ? 0 : -1;
}

static PyObject *utc_datetime(rl_state *state, const int parts[7])
{
    return PyObject_CallFunction(state->datetime, "iiiiiiiO", parts[0], parts[1],
                                 parts[2], parts[3], parts[4], parts[5], parts[6],
                                 state->utc);
}

/* A whole number that is an attribute; -1 with an error set. */
static int64_t number_of(PyObject *object, const char *attribute)
{
    PyObject *value = PyObject_GetAttrString(object, attribute);
    int64_t number = value != NULL ? PyLong_AsLongLong(value) : -1;

    Py_XDECREF(value);
    return number;
}

/* The distance of an aware datetime from 1970, exact to the microsecond. */
static int from_aware(rl_state *state, PyObject *value, int64_t *stamp)
{
    static const int first[7] = {1970, 1, 1, 0, 0, 0, 0};
    PyObject *epoch = utc_datetime(state, first);
    PyObject *delta = epoch != NULL ? PyNumber_Subtract(value, epoch) : NULL;
    int rc = -1;

    if (delta != NULL) {
        int64_t days = number_of(delta, "days");
        int64_t seconds = number_of(delta, "seconds");
        int64_t micros = number_of(delta, "microseconds");

        if (!PyErr_Occurred()) {
            *stamp = (days * 86400 + seconds) * 1000000 + micros;
            rc = 0;
        }
    }
    Py_XDECREF(delta);
    Py_XDECREF(epoch);
    return rc;
}

/* A naive datetime with a zone: it is local time, by Python's own rule; UTC at an end of the
 * calendar, as datetime.min, where no local time is that of another one. */
static PyObject *with_zone(const rl_state *state, PyObject *value)
{
    PyObject *aware = PyObject_CallMethod(value, "astimezone", NULL), *method, *options;

    if (aware == NULL && rl_raised_is_own()) {
        method = PyObject_GetAttrString(value, "replace");
        options = Py_BuildValue("{sO}", "tzinfo", state->utc);
        if (method != NULL && options != NULL) {
            aware = PyObject_VectorcallDict(method, NULL, 0, options);
        }
        Py_XDECREF(options);
        Py_XDECREF(method);
    }
    return aware;
}

static int from_datetime(rl_state *state, PyObject *value, int64_t *stamp)
{
    PyObject *zone = PyObject_GetAttrString(value, "tzinfo"), *aware = NULL;
    int rc = -1;

    if (zone != NULL && zone != Py_None) {
        aware = Py_NewRef(value);
    } else if (zone != NULL) {
        aware = with_zone(state, value);
    }
    if (aware != NULL) {
        rc = from_aware(state, aware, stamp);
        Py_DECREF(aware);
    }
    Py_XDECREF(zone);
    return rc;
}

static int from_number(PyObject *value, int64_t *stamp)
{
    double seconds = PyFloat_AsDouble(value);

    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (!(seconds * 1e6 >= (double)RL_TIME_MIN && seconds * 1e6 <= (double)RL_TIME_MAX)) {
        return -1;
    }
    *stamp = llround(seconds * 1e6);
    return 0;
}

int rl_time_from(rl_state *state, const char *field, PyObject *value, bool numbers,
                 int64_t *stamp)
{
    PyObject *parsed = NULL;
    int rc = -1, is_datetime;

    if (need_datetime(state) < 0) {
        return -1;
    }
    is_datetime = PyObject_IsInstance(value, state->datetime);
    if (is_datetime < 0) {
        rc = -1;
    } else if (is_datetime == 1) {
        rc = from_datetime(state, value, stamp);
    } else if (PyUnicode_Check(value)) {
        parsed = PyObject_CallMethod(state->datetime, "fromisoformat", "O", value);
        rc = parsed != NULL ? from_datetime(state, parsed, stamp) : -1;
        Py_XDECREF(parsed);
    } else if (numbers && (PyLong_Check(value) || PyFloat_Check(value)) &&
               !PyBool_Check(value)) {
        rc = from_number(value, stamp);
    }
    if (rc < 0 && rl_raised_is_own()) {
        return rl_errors_invalid(state, field, numbers ? WANTED_OR_NUMBER : WANTED,
                                 value);
    }
    return rc;
}

PyObject *rl_time_to(rl_state *state, int64_t stamp)
{
    static const struct {
        int at, len;
    } places[7] = {{0, 4}, {5, 2}, {8, 2}, {11, 2}, {14, 2}, {17, 2}, {20, 6}};
    char text[RL_TIME_TEXT];
    int parts[7];

    if (need_datetime(state) < 0) {
        return NULL;
    }
    rl_time_format(stamp, text);
    for (int i = 0; i < 7; i++) {
        parts[i] = 0;
        for (int at = places[i].at; at < places[i].at + places[i].len; at++) {
            parts[i] = parts[i] * 10 + (text[at] - '0');
        }
    }
    return utc_datetime(state, parts);
}
