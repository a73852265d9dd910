/* The module runlog._runlog: its initialisation in phases, and its functions. */
#include "py/base/errors.h"
#include "py/base/option_values.h"
#include "py/base/raised.h"
#include "py/base/state.h"
#include "py/encode/encode.h"
#include "py/handler/handler.h"
#include "py/meaning/meaning.h"
#include "py/recorder/distribute.h"
#include "py/recorder/listing.h"
#include "py/recorder/look.h"
#include "py/recorder/options.h"
#include "py/recorder/query.h"
#include "py/recorder/recorder_type.h"
#include "py/rollup/rollup.h"
#include "py/words/words.h"

/* The keyword arguments of encode_json, without the values: 0, or -1 with an error set.
 */
static int encode_keywords(rl_state *state, PyObject *const *values, PyObject *names,
                           rl_redact *keys, rl_encode_options *options, PyObject **large)
{
    int rc = 0;

    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names) && rc == 0; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        PyObject *value = values[i] != Py_None ? values[i] : NULL;

        if (PyUnicode_CompareWithASCIIString(name, "redact") == 0) {
            if (value != NULL) {
                options->redact = keys;
                rc = rl_options_redact(state, value, keys);
            }
        } else if (PyUnicode_CompareWithASCIIString(name, "max_payload") == 0) {
            rc = rl_options_max_payload(state, value, &options->cap);
        } else if (PyUnicode_CompareWithASCIIString(name, "max_value") == 0) {
            rc = rl_options_max_value(state, value, &options->max_value);
        } else if (PyUnicode_CompareWithASCIIString(name, "values") == 0 &&
                   (value == NULL || PyDict_Check(value))) {
            *large = value;
        } else {
            PyErr_Format(PyExc_TypeError,
                         "encode_json() got an unexpected keyword argument %R", name);
            rc = -1;
        }
    }
    return rc;
}

/* Hands the values over to the dict of the caller's, by name. NULL: drops them. */
static int give_values(rl_buf *values, PyObject *to)
{
    int rc = 0;

    for (size_t at = 0; at < values->len; at += sizeof(rl_value *)) {
        PyObject *json = NULL;
        rl_value *value;

        memcpy(&value, values->data + at, sizeof value);
        if (to != NULL && rc == 0) {
            json = PyBytes_FromStringAndSize(value->json, (Py_ssize_t)value->len);
            rc = json != NULL ? PyDict_SetItemString(to, value->name, json) : -1;
        }
        Py_XDECREF(json);
        rl_value_unref(value);
    }
    rl_buf_free(values);
    return rc;
}

static PyObject *encode_json(PyObject *module, PyObject *const *args, Py_ssize_t count,
                             PyObject *names)
{
    rl_state *state = PyModule_GetState(module);
    rl_redact keys = {.rules = 0};
    size_t value_bytes = 0;
    rl_raised raised = {NULL};
    rl_buf values;
    rl_encode_options options = {.state = state,
                                 .raised = &raised,
                                 .redact = &state->redact,
                                 .cap = RL_MAX_PAYLOAD,
                                 .max_value = RL_MAX_VALUE,
                                 .value_bytes = &value_bytes};
    PyObject *result = NULL, *large = NULL;
    rl_run *run = NULL;

    if (count != 1) {
        PyErr_SetString(PyExc_TypeError, "encode_json() takes one positional argument");
        return NULL;
    }
    rl_buf_init(&values, RL_BUF_MAX);
    if (names == NULL ||
        encode_keywords(state, args + 1, names, &keys, &options, &large) == 0) {
        run = rl_state_take_run(state); /* for its arena */
    }
    if (run != NULL) {
        options.values = large != NULL ? &values : NULL;
        rl_encode(&options, args[0], &run->arena, &run->wide_numbers);
        result =
            run->arena.failed
                ? PyErr_NoMemory()
                : PyBytes_FromStringAndSize(run->arena.data, (Py_ssize_t)run->arena.len);
        rl_state_give_run(state, run);
    }
    if (give_values(&values, result != NULL ? large : NULL) < 0) {
        Py_CLEAR(result);
    }
    rl_redact_free(&keys);
    return rl_raised_finish(&raised, result);
}

/* The context by which context variables are read now: contextvars has only copies. */
static PyObject *current_context(PyObject *module, PyObject *none)
{
    PyObject *context = PyThreadState_Get()->context;

    (void)module;
    (void)none;
    return Py_NewRef(context != NULL ? context : Py_None);
}

static PyObject *read_switch(PyObject *module, PyObject *value)
{
    const int on = rl_option_switch(value);

    (void)module;
    return on < 0 ? Py_NewRef(Py_None) : PyBool_FromLong(on);
}

static PyMethodDef module_methods[] = {
    {"describe_dsn", rl_look_describe_dsn, METH_O,
     "describe_dsn(dsn)\n--\n\n"
     "Where a DSN leads, without credentials."},
    {"look_at_postgres", rl_look_at_postgres, METH_VARARGS,
     "look_at_postgres(dsn, seconds)\n--\n\n"
     "What a PostgreSQL database is, as JSON; changes nothing."},
    {"distribute_postgres", rl_distribute_postgres, METH_VARARGS,
     "distribute_postgres(dsn, seconds)\n--\n\n"
     "Lay runlog's tables out over the servers of a Citus cluster."},
    {"dsn_has_secrets", rl_options_dsn_has_secrets, METH_O,
     "dsn_has_secrets(dsn)\n--\n\n"
     "Whether a DSN holds a password, or can't be parsed."},
    {"current_context", current_context, METH_NOARGS,
     "current_context()\n--\n\n"
     "The current contextvars.Context itself, or None before one is used."},
    {"read_switch", read_switch, METH_O,
     "read_switch(value)\n--\n\n"
     "What a switch is set to, or None for what is no value of one."},
    {"encode_json", (PyCFunction)(void (*)(void))encode_json,
     METH_FASTCALL | METH_KEYWORDS,
     "encode_json(value, *, redact=None, max_payload=None, max_value=None, "
     "values=None)\n--\n\n"
     "The JSON text (UTF-8) that runlog stores for a value."},
    {"make_handler_type", rl_handler_make_type, METH_VARARGS,
     "make_handler_type(base, parent_command, graph_interrupt, bubble_up, command, "
     "cancelled, default_recorder, log, state_when_left, /)\n--\n\n"
     "Create the type RunLogHandler as a subclass of LangGraph's handler."},
    {NULL, NULL, 0, NULL},
};

static int prepare_state(rl_state *state)
{
    /* collections.abc takes it from there; every interpreter has loaded that module */
    PyObject *abc = PyImport_ImportModule("_collections_abc");
    rl_err err;

    if (rl_redact_add(&state->redact, RL_REDACT_DEFAULT, &err) != RL_OK) {
        PyErr_NoMemory();
        Py_XDECREF(abc);
        return -1;
    }
    state->mapping = abc != NULL ? PyObject_GetAttrString(abc, "Mapping") : NULL;
    Py_XDECREF(abc);
    state->vars = PyUnicode_InternFromString("__dict__");
    state->extra = PyUnicode_InternFromString("__pydantic_extra__");
    for (int i = 0; i < RL_ALL_COLUMNS; i++) {
        state->column_names[i] = PyUnicode_InternFromString(rl_columns[i].name);
        if (state->column_names[i] == NULL) {
            return -1;
        }
    }
    return state->mapping != NULL && state->vars != NULL && state->extra != NULL ? 0 : -1;
}

static int module_exec(PyObject *module)
{
    rl_state *state = PyModule_GetState(module);

    if (prepare_state(state) < 0 || rl_errors_init(module, state) < 0 ||
        rl_listing_add_types(module, state) < 0 ||
        rl_recorder_type_add(module, state) < 0 ||
        rl_meaning_add_to_recorder(state) < 0 || rl_words_add_to_recorder(state) < 0 ||
        rl_rollup_add_to_recorder(state) < 0) {
        return -1;
    }
    return PyModule_AddStringConstant(module, "__version__", RUNLOG_VERSION);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    /* pydantic-core, and with it LangGraph, refuses a sub-interpreter with its own GIL */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_SUPPORTED},
#endif
    /* no Py_mod_gil: the encoder walks dicts and lists under the GIL's protection */
    {0, NULL},
};

PyMODINIT_FUNC PyInit__runlog(void)
{
    rl_module.m_methods = module_methods;
    rl_module.m_slots = module_slots;
    return PyModuleDef_Init(&rl_module);
}
