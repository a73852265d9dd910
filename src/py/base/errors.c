/* The exceptions. See errors.h. */
#include "py/base/errors.h"

#include "py/base/raised.h"

#define SHOWN 40 /* characters of a wrong value that a message shows */

static int add_exception(PyObject *module, PyObject **slot, const char *name,
                         const char *full_name, const char *doc, PyObject *bases)
{
    *slot = PyErr_NewExceptionWithDoc(full_name, doc, bases, NULL);
    return *slot != NULL ? PyModule_AddObjectRef(module, name, *slot) : -1;
}

/* An exception that is a RunlogError and a ValueError. */
static int add_value_error(PyObject *module, rl_state *state, PyObject **slot,
                           const char *name, const char *full_name, const char *doc)
{
    PyObject *bases = PyTuple_Pack(2, state->runlog_error, PyExc_ValueError);
    int rc =
        bases != NULL ? add_exception(module, slot, name, full_name, doc, bases) : -1;

    Py_XDECREF(bases);
    return rc;
}

int rl_errors_init(PyObject *module, rl_state *state)
{
    if (add_exception(module, &state->runlog_error, "RunlogError", "runlog.RunlogError",
                      "Base class of everything runlog raises.", NULL) < 0 ||
        add_value_error(module, state, &state->validation_error, "ValidationError",
                        "runlog.ValidationError",
                        "An argument is missing or wrong; the message names the field.") <
            0 ||
        add_value_error(module, state, &state->config_error, "ConfigError",
                        "runlog.ConfigError",
                        "An option or an environment variable is wrong.") < 0 ||
        add_exception(module, &state->closed_error, "ClosedError", "runlog.ClosedError",
                      "The recorder was closed before the call.",
                      state->runlog_error) < 0 ||
        add_exception(module, &state->store_error, "StoreError", "runlog.StoreError",
                      "The database refused, or could not be reached.",
                      state->runlog_error) < 0 ||
        add_exception(module, &state->service_error, "ServiceError",
                      "runlog.ServiceError",
                      "The embedding server or Milvus refused, or was not reached.",
                      state->runlog_error) < 0) {
        return -1;
    }
    return PyObject_SetAttrString(state->store_error, "sqlstate", Py_None) < 0 ||
                   PyObject_SetAttrString(state->store_error, "retryable", Py_False) <
                       0 ||
                   PyObject_SetAttrString(state->service_error, "retryable", Py_False) < 0
               ? -1
               : 0;
}

/* A StoreError or ServiceError. */
static PyObject *raise_remote_error(PyObject *type, const rl_err *err)
{
    PyObject *text =
        PyUnicode_DecodeUTF8(err->text, (Py_ssize_t)strlen(err->text), "replace");
    PyObject *error = text != NULL ? PyObject_CallOneArg(type, text) : NULL;
    PyObject *code = NULL;

    if (error != NULL && err->sqlstate[0] != '\0') {
        code = PyUnicode_DecodeASCII(err->sqlstate, (Py_ssize_t)strlen(err->sqlstate),
                                     "replace");
        if (code == NULL || PyObject_SetAttrString(error, "sqlstate", code) < 0) {
            Py_CLEAR(error);
        }
    }
    if (error != NULL &&
        PyObject_SetAttrString(error, "retryable", err->retryable ? Py_True : Py_False) ==
            0) {
        PyErr_SetObject(type, error);
    }
    Py_XDECREF(code);
    Py_XDECREF(error);
    Py_XDECREF(text);
    return NULL;
}

PyObject *rl_errors_raise(rl_state *state, const rl_err *err)
{
    switch (err->code) {
    case RL_NOMEM:
        return PyErr_NoMemory();
    case RL_CONFIG:
        PyErr_SetString(state->config_error, err->text);
        return NULL;
    case RL_CLOSED:
        PyErr_SetString(state->closed_error, err->text);
        return NULL;
    case RL_INVALID:
        PyErr_SetString(state->validation_error, err->text);
        return NULL;
    case RL_SERVICE:
        return raise_remote_error(state->service_error, err);
    default:
        return raise_remote_error(state->store_error, err);
    }
}

/* The type of a wrong value, and its text where that is short. Containers and long texts
 * may hold secrets, which must not get into a log. */
static PyObject *describe(PyObject *got)
{
    PyObject *shown = NULL;

    if (PyLong_Check(got) || PyFloat_Check(got)) {
        shown = PyObject_Repr(got);
    } else if (PyUnicode_Check(got) && PyUnicode_GET_LENGTH(got) <= SHOWN) {
        shown = PyObject_ASCII(got);
    }
    if (shown != NULL && PyUnicode_GET_LENGTH(shown) <= 2 * SHOWN) {
        PyObject *text = PyUnicode_FromFormat("%s %U", Py_TYPE(got)->tp_name, shown);

        Py_DECREF(shown);
        return text;
    }
    Py_XDECREF(shown);
    return rl_raised_is_own() ? PyUnicode_FromString(Py_TYPE(got)->tp_name) : NULL;
}

int rl_errors_invalid(rl_state *state, const char *field, const char *problem,
                      PyObject *got)
{
    PyObject *value = got != NULL ? describe(got) : NULL;

    if (got == NULL) {
        PyErr_Format(state->validation_error, "%s %s", field, problem);
    } else if (value != NULL) {
        PyErr_Format(state->validation_error, "%s %s, not %U", field, problem, value);
    }
    Py_XDECREF(value);
    return -1;
}

const char *rl_type_name(PyObject *value)
{
    const char *name = strrchr(Py_TYPE(value)->tp_name, '.');

    return name != NULL ? name + 1 : Py_TYPE(value)->tp_name;
}
