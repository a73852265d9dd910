/* The fields of a run, as log_run takes them. See fields.h. */
#include "py/recorder/fields.h"

#include "core/source.h"
#include "py/base/errors.h"
#include "py/base/raised.h"
#include "py/base/times.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The type of a field, by which it is read. */
typedef enum field_kind {
    NAME,
    TEXT,
    ID,
    DURATION,
    TIME,
    PAYLOAD,
    NODES,
    METADATA
} field_kind;

static const struct {
    rl_column column;
    field_kind kind;
} fields[] = {
    {RL_WPK_ID, NAME},          {RL_RUN_ID, NAME},       {RL_STATUS, NAME},
    {RL_DURATION_MS, DURATION}, {RL_STARTED_AT, TIME},   {RL_CREATED_AT, TIME},
    {RL_THREAD_ID, ID},         {RL_ERROR_TYPE, TEXT},   {RL_ERROR_TEXT, TEXT},
    {RL_ERROR_TRACEBACK, TEXT}, {RL_INPUTS, PAYLOAD},    {RL_OUTPUTS, PAYLOAD},
    {RL_NODE_LOGS, NODES},      {RL_METADATA, METADATA},
};

#define FIELDS (sizeof fields / sizeof *fields)

/* Refuses an id of `len` bytes where that is too long for the indexes of a database. */
static int check_length(rl_state *state, rl_column column, PyObject *value, size_t len)
{
    char problem[160];

    if (len <= RL_PLAIN_NAME) {
        return 0;
    }
    snprintf(problem, sizeof problem,
             "must be at most %zu bytes of UTF-8, not a %.50s of %zd characters",
             RL_PLAIN_NAME, rl_type_name(value),
             PyUnicode_Check(value) ? PyUnicode_GET_LENGTH(value) : (Py_ssize_t)len);
    return rl_errors_invalid(state, rl_columns[column].name, problem, NULL);
}

/* A name of the run: it is refused, not altered, where it can't be stored as it is. */
static int read_name(rl_state *state, PyObject *value, rl_run *run, rl_column column)
{
    const char *field = rl_columns[column].name;
    Py_ssize_t len = 0;
    const char *text;
    size_t at;

    if (value == NULL) {
        return rl_errors_invalid(state, field, "is missing: it must be non-empty text",
                                 NULL);
    }
    if (!PyUnicode_Check(value)) {
        return rl_errors_invalid(state, field, "must be non-empty text", value);
    }
    text = PyUnicode_AsUTF8AndSize(value, &len);
    if (text == NULL) {
        PyErr_Clear();
        return rl_errors_invalid(state, field, "must be text without lone surrogates",
                                 value);
    }
    if (len == 0) {
        return rl_errors_invalid(state, field, "must be non-empty text", value);
    }
    if (memchr(text, '\0', (size_t)len) != NULL) {
        return rl_errors_invalid(state, field, "must be text without NUL characters",
                                 value);
    }
    if (column != RL_STATUS && check_length(state, column, value, (size_t)len) < 0) {
        return -1;
    }
    at = rl_run_begin(run);
    if (column == RL_STATUS) {
        rl_source_plain(
            &run->arena,
            &(rl_source){.data = text, .count = (size_t)len, .units = RL_UTF8},
            RL_PLAIN_NAME);
        rl_run_end(run, column, at);
    } else {
        rl_run_set(run, column, text, (size_t)len);
    }
    return 0;
}

/* What can't be read as the program was interrupted is missing, and the run is kept. */
static int read_duration(const rl_encode_options *options, PyObject *value, rl_run *run)
{
    static const char wanted[] =
        "must be a whole number of milliseconds, 0 to 2147483647";
    PyObject *number = PyBool_Check(value) ? NULL : PyNumber_Index(value);
    long long duration = number != NULL ? PyLong_AsLongLong(number) : -1;

    Py_XDECREF(number);
    if (PyErr_Occurred() && !rl_raised_is_own()) {
        rl_raised_absorb(options->raised);
        return 0;
    }
    if (duration < 0 || duration > INT32_MAX) {
        return rl_errors_invalid(options->state, rl_columns[RL_DURATION_MS].name, wanted,
                                 value);
    }
    run->duration_ms = duration;
    return 0;
}

/* The same of a time stamp. */
static int read_time(const rl_encode_options *options, rl_column column, PyObject *value,
                     int64_t *stamp)
{
    rl_state *state = options->state;
    int rc = rl_time_from(state, rl_columns[column].name, value, true, stamp);

    if (rc < 0 && !PyErr_ExceptionMatches(state->validation_error) &&
        !rl_raised_is_own()) {
        rl_raised_absorb(options->raised);
        rc = 0;
    }
    return rc;
}

/* The large texts of a run's payloads. */
typedef struct large_texts {
    rl_buf list;  /* of rl_value *, owned */
    size_t bytes; /* of those of one payload */
} large_texts;

/* An optional id, of any type: refused where it is too long. */
static int read_id(const rl_encode_options *options, PyObject *value, rl_run *run,
                   rl_column column)
{
    const size_t at = rl_run_begin(run);

    rl_encode_plain(options, value, RL_PLAIN_ERROR, &run->arena);
    if (!run->arena.failed &&
        check_length(options->state, column, value, run->arena.len - at) < 0) {
        return -1;
    }
    rl_run_end(run, column, at);
    return 0;
}

/* The most bytes of a text that is no name of the run. */
static size_t room_of(rl_column column)
{
    return column == RL_ERROR_TEXT        ? RL_PLAIN_ERROR
           : column == RL_ERROR_TRACEBACK ? RL_PLAIN_TRACEBACK
                                          : RL_PLAIN_NAME;
}

/* One field that was given; None only for a payload, where it is a value. Large texts of
 * payloads go to `texts`. */
static int read_field(const rl_encode_options *options, PyObject *value, rl_run *run,
                      rl_column column, field_kind kind, large_texts *texts)
{
    rl_encode_options large = *options;
    size_t at = rl_run_begin(run);
    int64_t *stamp = column == RL_STARTED_AT ? &run->started_at : &run->created_at;

    texts->bytes = 0;
    large.value_bytes = &texts->bytes;
    large.values = &texts->list;
    switch (kind) {
    case ID:
        return read_id(options, value, run, column);
    case DURATION:
        return read_duration(options, value, run);
    case TIME:
        return read_time(options, column, value, stamp);
    case TEXT:
        rl_encode_plain(options, value, room_of(column), &run->arena);
        break;
    case NODES:
        rl_encode_logs(&large, value, &run->arena, &run->wide_numbers);
        break;
    case PAYLOAD:
        rl_encode(&large, value, &run->arena, &run->wide_numbers);
        break;
    default:
        rl_encode(options, value, &run->arena, &run->wide_numbers);
        break;
    }
    rl_run_end(run, column, at);
    return 0;
}

static bool is_field(rl_state *state, PyObject *key)
{
    for (size_t i = 0; i < FIELDS; i++) {
        PyObject *name = state->column_names[fields[i].column];

        if (key == name || (PyUnicode_Check(key) && PyUnicode_Compare(key, name) == 0)) {
            return true;
        }
    }
    return false;
}

/* Whether a value is of a class; an exception of its own __class__ is absorbed. */
static bool is_instance(const rl_encode_options *options, PyObject *value, PyObject *type)
{
    int is = PyObject_IsInstance(value, type);

    if (is < 0) {
        rl_raised_absorb(options->raised);
    }
    return is == 1;
}

/* Adds every key of the run that is not a field. A key's __hash__ may change the run. */
static int add_others(rl_state *state, PyObject *run, PyObject *all)
{
    Py_ssize_t at = 0, left = PyDict_GET_SIZE(run);
    PyObject *key, *value;
    int rc = 0;

    while (rc == 0 && left-- > 0 && PyDict_Next(run, &at, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        if (!is_field(state, key)) {
            rc = PyDict_SetItem(all, key, value);
        }
        Py_DECREF(value);
        Py_DECREF(key);
    }
    return rc;
}

/* The metadata given, and every key of the run that is not a field (`more`: there are
 * some). New reference; NULL without an error when there is nothing. */
static PyObject *gather_metadata(const rl_encode_options *options, PyObject *run,
                                 PyObject *given, bool more)
{
    rl_state *state = options->state;
    bool is_mapping = given != NULL && is_instance(options, given, state->mapping);
    PyObject *all = NULL;
    int rc;

    if (is_mapping && !more) {
        return Py_NewRef(given); /* one that makes its values is not read as a whole */
    }
    all = PyDict_New();
    rc = all != NULL ? 0 : -1;
    if (rc == 0 && given != NULL && given != Py_None) {
        rc = is_mapping || PyDict_Check(given)
                 ? PyDict_Update(all, given)
                 : PyDict_SetItem(all, state->column_names[RL_METADATA], given);
        if (rc < 0) { /* the mapping raised: it is encoded as a marker */
            rl_raised_absorb(options->raised);
            PyDict_Clear(all);
            rc = PyDict_SetItem(all, state->column_names[RL_METADATA], given);
        }
    }
    if (rc == 0) {
        rc = add_others(state, run, all);
    }
    if (rc < 0 || (PyDict_GET_SIZE(all) == 0 && (given == NULL || given == Py_None))) {
        Py_CLEAR(all);
    }
    return all;
}

static int read_fields(const rl_encode_options *options, PyObject *dict, rl_run *run,
                       large_texts *texts)
{
    rl_state *state = options->state;
    Py_ssize_t known = 0;
    PyObject *metadata = NULL;
    int rc = 0;

    for (size_t i = 0; i < FIELDS && rc == 0; i++) {
        const rl_column column = fields[i].column;
        const field_kind kind = fields[i].kind;
        PyObject *value = PyDict_GetItemWithError(dict, state->column_names[column]);

        Py_XINCREF(value); /* conversions may run code that changes the dict */
        known += value != NULL;
        if (value == NULL && PyErr_Occurred()) {
            rc = -1;
        } else if (kind == NAME) {
            rc = read_name(state, value, run, column);
        } else if (value != NULL && kind != METADATA &&
                   (value != Py_None || kind == PAYLOAD || kind == NODES)) {
            rc = read_field(options, value, run, column, kind, texts);
        } else if (kind == METADATA && (PyDict_GET_SIZE(dict) != known ||
                                        (value != NULL && value != Py_None))) {
            metadata =
                gather_metadata(options, dict, value, PyDict_GET_SIZE(dict) != known);
            rc = metadata == NULL && PyErr_Occurred() ? -1 : 0;
        }
        Py_XDECREF(value);
    }
    if (rc == 0 && metadata != NULL) {
        rc = read_field(options, metadata, run, RL_METADATA, METADATA, texts);
    }
    Py_XDECREF(metadata);
    return rc;
}

static int compare_names(const void *left, const void *right)
{
    const rl_value *a = *(rl_value *const *)left, *b = *(rl_value *const *)right;

    return strcmp(a->name, b->name);
}

/* Makes the large texts parts of the run, each once, and releases them. */
static void take_texts(large_texts *texts, rl_run *run)
{
    rl_value **list = (rl_value **)(void *)texts->list.data;
    size_t count = texts->list.len / sizeof *list, at = rl_run_begin(run);

    if (count > 0) {
        qsort(list, count, sizeof *list, compare_names);
        for (size_t i = 0; i < count; i++) {
            if (i == 0 || strcmp(list[i]->name, list[i - 1]->name) != 0) {
                rl_buf_printf(&run->arena, "%c\"%s\":", i == 0 ? '{' : ',',
                              list[i]->name);
                rl_buf_add(&run->arena, list[i]->json, list[i]->len);
            }
        }
        rl_buf_add_char(&run->arena, '}');
        rl_run_end_parts(run, at, RL_PARTS_ADD);
    }
    for (size_t i = 0; i < count; i++) {
        rl_value_unref(list[i]);
    }
    rl_buf_free(&texts->list);
}

/* The run as an exact dict: itself, or a copy of another mapping. New reference. */
static PyObject *as_dict(rl_state *state, PyObject *run)
{
    PyObject *copy = NULL;

    if (PyDict_CheckExact(run)) {
        return Py_NewRef(run);
    }
    if (PyObject_IsInstance(run, state->mapping) != 1) {
        if (rl_raised_is_own()) {
            PyErr_Format(PyExc_TypeError, "run must be a mapping, not %s",
                         Py_TYPE(run)->tp_name);
        }
        return NULL;
    }
    copy = PyDict_New();
    if (copy != NULL && PyDict_Update(copy, run) < 0) {
        Py_CLEAR(copy);
    }
    return copy;
}

int rl_fields_read(const rl_encode_options *options, PyObject *mapping, rl_run *run,
                   PyObject **wpk_id, PyObject **run_id)
{
    rl_state *state = options->state;
    PyObject *dict = as_dict(state, mapping);
    large_texts texts = {.bytes = 0};
    rl_err err;
    int rc = -1;

    *wpk_id = NULL;
    *run_id = NULL;
    rl_run_reset(run);
    if (dict == NULL) {
        return -1;
    }
    *wpk_id = Py_XNewRef(PyDict_GetItemWithError(dict, state->column_names[RL_WPK_ID]));
    *run_id = Py_XNewRef(PyDict_GetItemWithError(dict, state->column_names[RL_RUN_ID]));
    rl_buf_init(&texts.list, RL_BUF_MAX);
    rc = PyErr_Occurred() ? -1 : read_fields(options, dict, run, &texts);
    take_texts(&texts, run);
    if (rc == 0) {
        rc = -1;
        if (rl_run_seal(run, &err) == RL_OK) {
            rc = 0;
        } else {
            rl_errors_raise(state, &err);
        }
    }
    if (rc < 0) {
        Py_CLEAR(*wpk_id);
        Py_CLEAR(*run_id);
    }
    Py_DECREF(dict);
    return rc;
}
