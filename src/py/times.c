/* Datetimes and time stamps. See times.h.
 *
 * datetime's C API is a capsule that this file keeps; it is fetched at first use, so that
 * `import runlog` need not import datetime.
 */
#include "py/times.h"

#include "core/clock.h"
#include "py/errors.h"

#include <datetime.h>
#include <math.h>

#define WANTED "must be a datetime, ISO 8601 text or seconds since 1970"

static int need_datetime(void)
{
    if (PyDateTimeAPI == NULL) {
        PyDateTime_IMPORT;
    }
    return PyDateTimeAPI != NULL ? 0 : -1;
}

static PyObject *utc_datetime(int year, int month, int day, int hour, int minute,
                              int second, int micros)
{
    return PyDateTimeAPI->DateTime_FromDateAndTime(year, month, day, hour, minute, second,
                                                   micros, PyDateTime_TimeZone_UTC,
                                                   PyDateTimeAPI->DateTimeType);
}

/* The distance of an aware datetime from 1970, exact to the microsecond. */
static int from_aware(PyObject *value, int64_t *stamp)
{
    PyObject *epoch = utc_datetime(1970, 1, 1, 0, 0, 0, 0);
    PyObject *delta = epoch != NULL ? PyNumber_Subtract(value, epoch) : NULL;
    int rc = -1;

    if (delta != NULL && PyDelta_Check(delta)) {
        *stamp = ((int64_t)PyDateTime_DELTA_GET_DAYS(delta) * 86400 +
                  PyDateTime_DELTA_GET_SECONDS(delta)) *
                     1000000 +
                 PyDateTime_DELTA_GET_MICROSECONDS(delta);
        rc = 0;
    }
    Py_XDECREF(delta);
    Py_XDECREF(epoch);
    return rc;
}

static int from_datetime(PyObject *value, int64_t *stamp)
{
    PyObject *aware = NULL;
    int rc = -1;

    if (PyDateTime_DATE_GET_TZINFO(value) != Py_None) {
        aware = Py_NewRef(value);
    } else { /* Python's own rule: a naive datetime is local time */
        aware = PyObject_CallMethod(value, "astimezone", NULL);
    }
    if (aware != NULL) {
        rc = from_aware(aware, stamp);
        Py_DECREF(aware);
    }
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

int rl_time_from(rl_state *state, const char *field, PyObject *value, int64_t *stamp)
{
    PyObject *parsed = NULL;
    int rc = -1;

    if (need_datetime() < 0) {
        return -1;
    }
    if (PyDateTime_Check(value)) {
        rc = from_datetime(value, stamp);
    } else if (PyUnicode_Check(value)) {
        parsed = PyObject_CallMethod((PyObject *)PyDateTimeAPI->DateTimeType,
                                     "fromisoformat", "O", value);
        rc = parsed != NULL ? from_datetime(parsed, stamp) : -1;
        Py_XDECREF(parsed);
    } else if ((PyLong_Check(value) || PyFloat_Check(value)) && !PyBool_Check(value)) {
        rc = from_number(value, stamp);
    }
    if (rc < 0) {
        PyErr_Clear();
        return rl_errors_invalid(state, field, WANTED, value);
    }
    return 0;
}

PyObject *rl_time_to(int64_t stamp)
{
    char text[RL_TIME_TEXT];
    int parts[7];
    static const struct {
        int at, len;
    } places[7] = {{0, 4}, {5, 2}, {8, 2}, {11, 2}, {14, 2}, {17, 2}, {20, 6}};

    if (need_datetime() < 0) {
        return NULL;
    }
    rl_time_format(stamp, text);
    for (int i = 0; i < 7; i++) {
        parts[i] = 0;
        for (int at = places[i].at; at < places[i].at + places[i].len; at++) {
            parts[i] = parts[i] * 10 + (text[at] - '0');
        }
    }
    return utc_datetime(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5],
                        parts[6]);
}
