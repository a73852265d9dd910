/* Filters whose text has to be made. See filters.h. */
#include "py/recorder/filters.h"

#include "py/base/arguments.h"
#include "py/base/errors.h"
#include "py/base/imports.h"
#include "py/base/raised.h"
#include "py/encode/encode.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define METADATA_MAX ((size_t)1 << 20) /* bytes of JSON */

void rl_filters_init(rl_filters *filters)
{
    filters->count = 0;
    filters->statuses = NULL;
    rl_buf_init(&filters->metadata, RL_BUF_MAX);
}

void rl_filters_clear(rl_filters *filters)
{
    for (size_t i = 0; i < filters->count; i++) {
        Py_DECREF(filters->ids[i]);
    }
    filters->count = 0;
    Py_CLEAR(filters->statuses);
    rl_buf_free(&filters->metadata);
}

/* Whether a value is a uuid.UUID. */
static bool is_uuid(PyObject *value)
{
    PyObject *module = rl_import("uuid");
    PyObject *type = module != NULL ? PyObject_GetAttrString(module, "UUID") : NULL;
    bool is = type != NULL && PyType_Check(type) &&
              PyObject_TypeCheck(value, (PyTypeObject *)type);

    Py_XDECREF(type);
    Py_XDECREF(module);
    PyErr_Clear();
    return is;
}

static bool is_text_or_none(PyObject *value)
{
    return value == NULL || value == Py_None || PyUnicode_Check(value);
}

/* Reads the text of an id that is no text itself. */
static int read_made(rl_filters *filters, rl_state *state, const char *field,
                     PyObject *value, const char **out)
{
    PyObject *text = PyObject_Str(value); /* not of an int of more than 4,300 digits */

    if (text == NULL) {
        return rl_raised_is_own()
                   ? rl_errors_invalid(state, field, "must be text of up to 4 KiB", value)
                   : -1;
    }
    filters->ids[filters->count++] = text;
    return rl_read_text(state, field, text, out);
}

int rl_filters_run_id(rl_filters *filters, rl_state *state, PyObject *value,
                      const char **out)
{
    if (is_text_or_none(value)) {
        return rl_read_text(state, "run_id", value, out);
    }
    return is_uuid(value)
               ? read_made(filters, state, "run_id", value, out)
               : rl_errors_invalid(state, "run_id", "must be text or a uuid.UUID", value);
}

int rl_filters_thread_id(rl_filters *filters, rl_state *state, PyObject *value,
                         const char **out)
{
    if (is_text_or_none(value)) {
        return rl_read_text(state, "thread_id", value, out);
    }
    return (PyLong_Check(value) && !PyBool_Check(value)) || is_uuid(value)
               ? read_made(filters, state, "thread_id", value, out)
               : rl_errors_invalid(state, "thread_id",
                                   "must be text, an int or a uuid.UUID", value);
}

/* A key and a value that the filter can compare on both databases. */
static int check_member(rl_state *state, PyObject *key, PyObject *value)
{
    if (!PyUnicode_Check(key)) {
        return rl_errors_invalid(state, "metadata", "must have keys of text", key);
    }
    if (PyDict_Check(value) || PyList_Check(value) || PyTuple_Check(value) ||
        PyAnySet_Check(value)) {
        return rl_errors_invalid(state, "metadata",
                                 "must have values of text, number, bool or None", value);
    }
    return 0;
}

int rl_filters_metadata(rl_filters *filters, rl_state *state, PyObject *value,
                        const char **out)
{
    static const rl_redact none = {.rules = 0};
    rl_raised raised = {NULL};
    const rl_encode_options options = {.state = state,
                                       .raised = &raised,
                                       .redact = &none,
                                       .cap = METADATA_MAX,
                                       .max_value = METADATA_MAX};
    PyObject *copy, *key, *member;
    Py_ssize_t at = 0;
    bool wide = false;
    int rc = 0;

    *out = NULL;
    if (value == NULL || value == Py_None) {
        return 0;
    }
    if (!PyDict_Check(value)) {
        return rl_errors_invalid(state, "metadata", "must be a dict", value);
    }
    copy = PyDict_Copy(value); /* encoding may run code that changes the user's */
    while (copy != NULL && rc == 0 && PyDict_Next(copy, &at, &key, &member)) {
        rc = check_member(state, key, member);
    }
    if (copy != NULL && rc == 0 && PyDict_GET_SIZE(copy) > 0) {
        rl_encode(&options, copy, &filters->metadata, &wide);
        *out = filters->metadata.data;
    }
    Py_XDECREF(copy);
    if (copy == NULL || filters->metadata.failed) {
        PyErr_NoMemory();
        rc = -1;
    }
    if (rl_raised_any(&raised)) {
        rl_raised_finish(&raised, NULL);
        rc = -1;
    }
    return rc;
}

/* Adds a status unless it is there already. */
static int add_status(rl_state *state, PyObject *value, const char **out, size_t room,
                      size_t *count)
{
    const char *text = NULL;
    size_t at = 0;

    if (!PyUnicode_Check(value)) {
        return rl_errors_invalid(state, "status", "must be text or a list of texts",
                                 value);
    }
    if (rl_read_text(state, "status", value, &text) < 0) {
        return -1;
    }
    while (at < *count && strcmp(out[at], text) != 0) {
        at++;
    }
    if (at == room) {
        char problem[64];

        snprintf(problem, sizeof problem, "must be at most %zu different statuses", room);
        return rl_errors_invalid(state, "status", problem, NULL);
    }
    if (at == *count) {
        out[(*count)++] = text;
    }
    return 0;
}

int rl_filters_statuses(rl_filters *filters, rl_state *state, PyObject *value,
                        const char **out, size_t room, size_t *count)
{
    int rc = 0;

    *count = 0;
    if (value == NULL || value == Py_None) {
        return 0;
    }
    if (!PyList_Check(value) && !PyTuple_Check(value) && !PyAnySet_Check(value)) {
        return add_status(state, value, out, room, count);
    }
    filters->statuses = PySequence_Tuple(value); /* a list may change meanwhile */
    if (filters->statuses == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(filters->statuses); i++) {
        rc = add_status(state, PyTuple_GET_ITEM(filters->statuses, i), out, room, count);
    }
    if (rc == 0 && *count == 0) {
        rc = rl_errors_invalid(
            state, "status", "must name at least one status, or be None for any", value);
    }
    return rc;
}

int rl_filters_search(rl_state *state, const char *field, PyObject *value,
                      const char **out)
{
    if (rl_read_text(state, field, value, out) < 0) {
        return -1;
    }
    if (*out != NULL && **out == '\0') {
        return rl_errors_invalid(state, field, "must be non-empty text, or None for any",
                                 value);
    }
    return 0;
}
