/* What a graph was called with. See run_config.h. */
#include "py/handler/run_config.h"

#include "py/encode/convert.h"
#include "py/encode/encode.h"
#include "py/handler/caller.h"
#include "py/handler/event.h"

#include <string.h>

#define FRAMES_MAX 24 /* between LangGraph's frame and the event, at most */
#define DEPTH_MAX 8   /* containers within one another */
#define TEXT_MAX ((size_t)4096)
#define ITEMS_MAX 100    /* of one container */
#define MEMBERS_MAX 2000 /* of all containers together */

static PyFrameObject *find_frame(void)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());

    for (int i = 0; frame != NULL && !rl_caller_runs_graph(frame); i++) {
        PyFrameObject *back = i < FRAMES_MAX ? PyFrame_GetBack(frame) : NULL;

        Py_DECREF(frame);
        frame = back;
    }
    return frame;
}

static PyObject *copy_plain(const rl_encode_options *options, PyObject *value, int depth,
                            int *left);

/* Adds a copy of a member. What raises is left out, as what is not there. */
static int add_copy(const rl_encode_options *options, PyObject *to, PyObject *key,
                    PyObject *value, int depth, int *left)
{
    PyObject *copy = *left > 0 ? copy_plain(options, value, depth + 1, left) : NULL;
    int rc = 0;

    if (copy != NULL) {
        --*left;
        rc = key != NULL ? PyDict_SetItem(to, key, copy) : PyList_Append(to, copy);
        Py_DECREF(copy);
    } else if (PyErr_Occurred()) {
        rl_raised_absorb(options->raised);
    }
    return rc;
}

static PyObject *copy_dict(const rl_encode_options *options, PyObject *dict, int depth,
                           int *left)
{
    PyObject *members = PyDict_Copy(dict); /* the user's code runs meanwhile */
    PyObject *copy = members != NULL ? PyDict_New() : NULL, *key, *value;
    Py_ssize_t at = 0, rest;
    int rc = 0;

    while (copy != NULL && rc == 0 && PyDict_GET_SIZE(copy) < ITEMS_MAX &&
           PyDict_Next(members, &at, &key, &value)) {
        rc = add_copy(options, copy, key, value, depth, left);
    }
    rest = copy != NULL ? PyDict_GET_SIZE(members) - PyDict_GET_SIZE(copy) : 0;
    if (rc == 0 && rest > 0 && (*left <= 0 || PyDict_GET_SIZE(copy) >= ITEMS_MAX)) {
        PyObject *mark = PyUnicode_FromFormat("%zd members", rest);

        rc = mark != NULL ? PyDict_SetItemString(copy, "<cut>", mark) : -1;
        Py_XDECREF(mark);
    }
    Py_XDECREF(members);
    if (rc < 0) {
        Py_CLEAR(copy);
    }
    return copy;
}

static PyObject *copy_items(const rl_encode_options *options, PyObject *items, int depth,
                            int *left)
{
    PyObject *list = PySequence_List(items);
    PyObject *copy = list != NULL ? PyList_New(0) : NULL;
    Py_ssize_t count = copy != NULL ? PyList_GET_SIZE(list) : 0;
    int rc = 0;

    for (Py_ssize_t i = 0; rc == 0 && i < count; i++) {
        if (*left <= 0 || i >= ITEMS_MAX) {
            PyObject *mark = PyUnicode_FromFormat("<cut: %zd elements>", count - i);

            rc = mark != NULL ? PyList_Append(copy, mark) : -1;
            Py_XDECREF(mark);
            break;
        }
        rc = add_copy(options, copy, NULL, PyList_GET_ITEM(list, i), depth, left);
    }
    Py_XDECREF(list);
    if (rc < 0) {
        Py_CLEAR(copy);
    }
    return copy;
}

static PyObject *copy_fields(const rl_encode_options *options, PyObject *object,
                             PyObject *names, int depth, int *left)
{
    PyObject *copy = PyDict_New();
    int rc = 0;

    Py_INCREF(names);
    for (Py_ssize_t i = 0; copy != NULL && rc == 0 && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        PyObject *value = PyObject_GetAttr(object, name);

        if (value == NULL) {
            rl_raised_absorb(options->raised);
        } else {
            rc = add_copy(options, copy, name, value, depth, left);
            Py_DECREF(value);
        }
    }
    Py_DECREF(names);
    if (rc < 0) {
        Py_CLEAR(copy);
    }
    return copy;
}

/* A pydantic model as its dump has it; but a model that can be invoked is a client of a
 * model or a tool. */
static PyObject *copy_model(const rl_encode_options *options, PyObject *model,
                            rl_kind_of_value kind, int depth, int *left)
{
    PyObject *invoke = PyObject_GetAttrString((PyObject *)Py_TYPE(model), "invoke");
    PyObject *dump, *copy = NULL;

    if (invoke != NULL) {
        Py_DECREF(invoke);
        return rl_convert_name(options->raised, model, RL_AS_TYPE_NAME);
    }
    rl_raised_absorb(options->raised);
    dump = rl_convert_dump(model, kind);
    if (dump != NULL) {
        copy = copy_plain(options, dump, depth, left);
        Py_DECREF(dump);
    }
    return copy;
}

/* A copy of a value of this kind, with the names of its fields, if it has such. */
static PyObject *copy_kind(const rl_encode_options *options, PyObject *value,
                           rl_kind_of_value kind, PyObject *fields, int depth, int *left)
{
    if (PyDict_CheckExact(value)) {
        kind = RL_AS_DICT;
    } else if (PyList_CheckExact(value) || PyTuple_CheckExact(value)) {
        kind = RL_AS_LIST;
    }
    if (depth >= DEPTH_MAX) {
        kind = RL_AS_TYPE_NAME;
    }
    switch (kind) {
    case RL_AS_STR:
    case RL_AS_INT:
    case RL_AS_FLOAT:
    case RL_AS_ISO:
    case RL_AS_SECONDS:
    case RL_AS_TEXT:
    case RL_AS_PATTERN:
    case RL_AS_ITEM:
        return Py_NewRef(value);
    case RL_AS_DICT:
        return copy_dict(options, value, depth, left);
    case RL_AS_LIST:
    case RL_AS_TUPLE:
    case RL_AS_SNAPSHOT:
        return copy_items(options, value, depth, left);
    case RL_AS_FIELDS:
        return copy_fields(options, value, fields, depth, left);
    case RL_AS_VARS:
    case RL_AS_DUMP:
    case RL_AS_OWN_DUMP:
    case RL_AS_OLD_DUMP:
        return copy_model(options, value, kind, depth, left);
    case RL_AS_VALUE: {
        PyObject *of = PyObject_GetAttrString(value, "value"), *copy = NULL;

        copy = of != NULL ? copy_plain(options, of, depth + 1, left) : NULL;
        Py_XDECREF(of);
        return copy;
    }
    case RL_AS_NAME:
        return rl_convert_name(options->raised, value, RL_AS_NAME);
    default:
        return rl_convert_name(options->raised, value, RL_AS_TYPE_NAME);
    }
}

/* A copy of what is plain; a new reference, NULL with an error set. */
static PyObject *copy_plain(const rl_encode_options *options, PyObject *value, int depth,
                            int *left)
{
    PyObject *fields = NULL, *copy;
    rl_kind_of_value kind;

    if (PyUnicode_CheckExact(value)) {
        return rl_encode_short(options->redact, value, TEXT_MAX);
    }
    if (value == Py_None || PyBool_Check(value) || PyLong_CheckExact(value) ||
        PyFloat_CheckExact(value)) {
        return Py_NewRef(value);
    }
    kind = rl_convert_kind(options->state, options->raised, Py_TYPE(value), &fields);
    copy = copy_kind(options, value, kind, fields, depth, left);
    Py_XDECREF(fields);
    return copy;
}

/* Whether a key of configurable is LangGraph's own, or has a column. */
static bool is_coordinate(PyObject *key)
{
    static const char *const names[] = {"thread_id", "checkpoint_ns", "checkpoint_id",
                                        "checkpoint_map"};
    rl_text text = rl_event_text(key);

    return (text.len >= 2 && memcmp(text.data, "__", 2) == 0) ||
           rl_event_is_one_of(key, names, sizeof names / sizeof *names);
}

/* The dict under "configurable", as a copy: comparing its keys may run the user's code.
 * New reference; NULL if there is none, maybe with an error set. */
static PyObject *configurable_of(PyObject *config)
{
    PyObject *given =
        PyDict_Check(config) ? PyDict_GetItemString(config, "configurable") : NULL;
    PyObject *members;

    Py_XINCREF(given);
    members = given != NULL && PyDict_Check(given) ? PyDict_Copy(given) : NULL;
    Py_XDECREF(given);
    return members;
}

static PyObject *copy_configurable(const rl_encode_options *options, PyObject *config,
                                   int *left)
{
    PyObject *members = configurable_of(config);
    PyObject *users = PyDict_New(), *copy = NULL, *key, *value;
    Py_ssize_t at = 0;
    int rc = users != NULL ? 0 : -1;

    while (rc == 0 && members != NULL && PyDict_Next(members, &at, &key, &value)) {
        if (!is_coordinate(key)) {
            rc = PyDict_SetItem(users, key, value);
        }
    }
    if (rc == 0 && PyDict_GET_SIZE(users) > 0) {
        copy = copy_dict(options, users, 0, left);
    }
    Py_XDECREF(users);
    Py_XDECREF(members);
    return copy;
}

rl_run_config rl_run_config_read(const rl_encode_options *options)
{
    rl_run_config result = {NULL, NULL};
    PyFrameObject *frame = find_frame();
    PyObject *config = frame != NULL ? rl_caller_local(frame, "config") : NULL;
    PyObject *context = frame != NULL ? rl_caller_local(frame, "context") : NULL;
    int left = MEMBERS_MAX;

    if (config != NULL) {
        result.configurable = copy_configurable(options, config, &left);
    }
    if (context != NULL && context != Py_None) {
        left = MEMBERS_MAX;
        result.context = copy_plain(options, context, 0, &left);
    }
    if (PyErr_Occurred()) {
        rl_raised_absorb(options->raised);
    }
    Py_XDECREF(context);
    Py_XDECREF(config);
    Py_XDECREF(frame);
    return result;
}
