/* Whose an exception is. See raised.h. */
#include "py/base/raised.h"
#include "py/base/imports.h"

#include <string.h>

#define CHAIN_MAX 64   /* exceptions of a chain that are looked at */
#define WRAPPERS_MAX 8 /* of a signal handler: methods, partials */
#define SIGNALS_MAX 64

/* How an exception was come by. */
typedef enum origin {
    RAISED,  /* it is the one that was raised */
    CAUSE,   /* raise ... from it */
    CONTEXT, /* it was being handled */
} origin;

/* The exception that is set, which is cleared. New reference. */
static PyObject *take_error(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value != NULL && traceback != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* Raises an exception (stolen). */
static void set_error(PyObject *error)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(error);
#else
    PyErr_Restore(Py_NewRef(Py_TYPE(error)), error, PyException_GetTraceback(error));
#endif
}

static bool is_partial(const PyTypeObject *type)
{
    while (type != NULL && strcmp(type->tp_name, "functools.partial") != 0) {
        type = type->tp_base;
    }
    return type != NULL;
}

/* What a wrapper of a callable calls; NULL without an error for a callable that wraps
 * nothing. New reference. */
static PyObject *unwrap(PyObject *callable)
{
    PyObject *inner = NULL;

    if (PyMethod_Check(callable)) {
        inner = Py_NewRef(PyMethod_GET_FUNCTION(callable));
    } else if (is_partial(Py_TYPE(callable))) {
        inner = PyObject_GetAttrString(callable, "func");
    } else if (!PyCFunction_Check(callable)) { /* an instance with __call__ */
        inner = PyObject_GetAttrString((PyObject *)Py_TYPE(callable), "__call__");
    }
    PyErr_Clear();
    return inner;
}

/* Whether a signal handler runs this code. */
static bool runs_code(PyObject *handler, const PyObject *code)
{
    PyObject *at = Py_NewRef(handler);
    bool same = false;

    for (int i = 0; i < WRAPPERS_MAX && at != NULL && !PyFunction_Check(at); i++) {
        Py_SETREF(at, unwrap(at));
    }
    if (at != NULL && PyFunction_Check(at)) {
        same = PyFunction_GET_CODE(at) == code;
    }
    Py_XDECREF(at);
    return same;
}

/* Whether a handler of signal.signal runs this code. */
static bool is_signal_handler(const PyObject *code)
{
    PyObject *module = rl_import("_signal");
    bool found = false;

    for (int number = 1; number <= SIGNALS_MAX && module != NULL && !found; number++) {
        PyObject *handler = PyObject_CallMethod(module, "getsignal", "i", number);

        PyErr_Clear(); /* there may be fewer signals */
        if (handler != NULL && PyCallable_Check(handler)) {
            found = runs_code(handler, code);
        }
        Py_XDECREF(handler);
    }
    PyErr_Clear();
    Py_XDECREF(module);
    return found;
}

/* Whether code takes a signal handler's two arguments; most conversions take one. */
static bool takes_two(PyObject *code)
{
    const PyCodeObject *object = (const PyCodeObject *)code;

    return object->co_argcount >= 2 || (object->co_flags & CO_VARARGS) != 0;
}

bool rl_raised_by_signal(PyObject *error)
{
    PyObject *at = PyException_GetTraceback(error);
    bool found = false;

    while (at != NULL && !found) {
        const PyTracebackObject *traceback = (const PyTracebackObject *)at;
        PyCodeObject *code = PyFrame_GetCode(traceback->tb_frame);

        found = takes_two((PyObject *)code) && is_signal_handler((PyObject *)code);
        Py_DECREF(code);
        Py_SETREF(at, Py_XNewRef((PyObject *)traceback->tb_next));
    }
    Py_XDECREF(at);
    return found;
}

/* Whether an exception of a chain belongs to the program. `outer`: what it was found by.
 * Timeouts are raised from a CancelledError that has done its work. */
static bool belongs(PyObject *error, origin by, PyObject *outer)
{
    if (PyObject_TypeCheck(error, (PyTypeObject *)PyExc_Exception)) {
        return rl_raised_by_signal(error);
    }
    if (by == RAISED || PyObject_TypeCheck(error, (PyTypeObject *)PyExc_SystemExit) ||
        PyObject_TypeCheck(error, (PyTypeObject *)PyExc_KeyboardInterrupt)) {
        return true;
    }
    return by == CAUSE && !PyObject_TypeCheck(outer, (PyTypeObject *)PyExc_TimeoutError);
}

/* The first exception of a chain that belongs to the program, or NULL. `handled` is not
 * among them: it was there before. New reference. */
static PyObject *find(PyObject *error, origin by, PyObject *outer, PyObject *handled,
                      int *left)
{
    PyObject *cause, *context, *found = NULL;

    if (error == NULL || (by != RAISED && error == handled) || --*left < 0) {
        return NULL;
    }
    if (belongs(error, by, outer)) {
        return Py_NewRef(error);
    }
    cause = PyException_GetCause(error);
    context = PyException_GetContext(error);
    found = find(cause, CAUSE, error, handled, left);
    if (found == NULL && context != cause) {
        found = find(context, CONTEXT, error, handled, left);
    }
    Py_XDECREF(cause);
    Py_XDECREF(context);
    return found;
}

/* Takes the exception that is set. What of it belongs to the program, or NULL. New
 * reference. */
static PyObject *take_programs(void)
{
    PyObject *error = PyErr_Occurred() ? take_error() : NULL, *handled, *found = NULL;
    int left = CHAIN_MAX;

    if (error != NULL) {
        handled = PyErr_GetHandledException();
        found = find(error, RAISED, NULL, handled, &left);
        Py_XDECREF(handled);
        Py_DECREF(error); /* its traceback may run the user's code */
    }
    return found;
}

void rl_raised_absorb(rl_raised *self)
{
    PyObject *error = take_programs();

    if (self->error == NULL) {
        self->error = error;
    } else {
        Py_XDECREF(error);
    }
}

PyObject *rl_raised_finish(rl_raised *self, PyObject *result)
{
    PyObject *error = self->error;

    self->error = NULL;
    if (error != NULL) {
        PyErr_Clear();
        Py_CLEAR(result);
        set_error(error);
    }
    return result;
}

bool rl_raised_is_no_json(void)
{
    return (PyErr_ExceptionMatches(PyExc_ValueError) ||
            PyErr_ExceptionMatches(PyExc_RecursionError)) &&
           rl_raised_is_own();
}

bool rl_raised_is_own(void)
{
    PyObject *error = take_programs();

    if (error != NULL) {
        set_error(error);
    }
    return error == NULL;
}
