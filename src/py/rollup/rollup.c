/* The roll-up for Python. See rollup.h. */
#include "py/rollup/rollup.h"

#include "core/clock.h"
#include "py/base/arguments.h"
#include "py/base/errors.h"
#include "py/base/option_values.h"
#include "py/recorder/recorder.h"
#include "py/recorder/recorder_type.h"
#include "py/rollup/blocks.h"
#include "rollup/form.h"
#include "rollup/rollup.h"

#include <math.h>

#define WAIT_MAX_S 3600.0

static rl_rollup *rollup_of(rl_py_recorder *self)
{
    return rl_rollup_of(self->companions[RL_WING_ROLLUP]);
}

/* What a call asks for. */
typedef struct asked {
    rl_rollup_query query;
    uint64_t wait_ns;
    rl_block_types types;
    bool totals; /* one block a workflow */
} asked;

static int read_wait(rl_state *state, PyObject *value, uint64_t *wait_ns)
{
    double seconds = 1;

    if (value != NULL) {
        seconds = PyFloat_AsDouble(value);
        if (seconds == -1 && PyErr_Occurred()) {
            PyErr_Clear();
            seconds = NAN;
        }
        if (!(seconds >= 0)) {
            return rl_errors_invalid(state, "wait",
                                     "must be a number of seconds, 0 or more", value);
        }
    }
    *wait_ns = (uint64_t)((seconds < WAIT_MAX_S ? seconds : WAIT_MAX_S) * 1e9);
    return 0;
}

/* Reads the arguments; the texts and classes are borrowed from them. */
static int read_asked(rl_state *state, PyObject *args, PyObject *kwargs, asked *out)
{
    static char *names[] = {"types", "totals", "wpk_id", "since", "until", "wait", NULL};
    PyObject *wpk_id = NULL, *since = NULL, *until = NULL, *wait = NULL;
    rl_block_types *types = &out->types;
    PyTypeObject *type = &PyType_Type;
    int totals;

    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "(O!O!O!O!O!O!O!)p|OOOO:rollup", names, type, &types->counter,
            type, &types->histogram, type, &types->figures, type, &types->model, type,
            &types->failure, type, &types->path, type, &types->block, &totals, &wpk_id,
            &since, &until, &wait)) {
        return -1;
    }
    out->totals = totals != 0;
    out->query = (rl_rollup_query){.since = RL_TIME_MIN,
                                   .until = RL_TIME_MAX,
                                   .level = totals ? RL_LEVEL_SPAN : RL_LEVEL_BLOCK};
    if (rl_read_text(state, "wpk_id", wpk_id, &out->query.wpk_id) < 0 ||
        rl_read_time(state, "since", since, &out->query.since) < 0 ||
        rl_read_time(state, "until", until, &out->query.until) < 0 ||
        read_wait(state, wait, &out->wait_ns) < 0) {
        return -1;
    }
    if (out->query.since > RL_TIME_MIN) { /* the block that has it */
        out->query.since = rl_floor_time(out->query.since, RL_BLOCK_US);
    }
    return 0;
}

/* Appends a block of the sums, and empties them. */
static int add_block(rl_state *state, const asked *wanted, const rl_rollup_row *row,
                     rl_sums *sums, PyObject *list)
{
    PyObject *block = sums->failed ? PyErr_NoMemory()
                                   : rl_block_to(state, &wanted->types, row->wpk_id,
                                                 row->number, row->from, sums);
    int rc = block != NULL ? PyList_Append(list, block) : -1;

    Py_XDECREF(block);
    rl_sums_free(sums);
    return rc;
}

/* The blocks of the rows: one of each, or of each workflow. What is damaged is left out,
 * and counted anew. */
static PyObject *make_blocks(rl_state *state, rl_rollup *rollup, const asked *wanted,
                             const rl_rollup_rows *rows)
{
    PyObject *list = PyList_New(0);
    rl_sums sums = {.run = {.retries = 0}};
    const rl_rollup_row *first = NULL;

    for (size_t i = 0; i < rows->count && list != NULL; i++) {
        const rl_rollup_row *row = &rows->list[i], *next = row + 1;

        if (!rl_form_read(&sums, row->data.data, row->data.len, false) && !sums.failed) {
            Py_BEGIN_ALLOW_THREADS
            rl_rollup_mark(rollup, wanted->query.level, row);
            Py_END_ALLOW_THREADS
        }
        first = first != NULL ? first : row;
        if (!wanted->totals || i + 1 == rows->count ||
            !rl_text_equals(row->wpk_id, next->wpk_id)) {
            if (add_block(state, wanted, first, &sums, list) < 0) {
                Py_CLEAR(list);
            }
            first = NULL;
        }
    }
    rl_sums_free(&sums);
    return list;
}

/* The same. The collector of cycles, which would look at all of them again and again, waits
 * meanwhile: there are none. */
static PyObject *rows_to(rl_state *state, rl_rollup *rollup, asked *wanted,
                         const rl_rollup_rows *rows)
{
    const bool collects = PyGC_Disable() != 0;
    PyObject *list = rl_block_types_begin(&wanted->types) == 0
                         ? make_blocks(state, rollup, wanted, rows)
                         : NULL;

    rl_block_types_end(&wanted->types);
    if (collects) {
        (void)PyGC_Enable();
    }
    return list;
}

/* _rollup(types, totals, ...): the blocks, and how many runs are not counted yet. */
static PyObject *method_rollup(rl_py_recorder *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state = rl_py_recorder_state(self);
    rl_raised raised = {NULL};
    PyObject *result = NULL, *blocks;
    rl_rollup_rows rows = {NULL, 0, 0, {NULL, NULL, 0}};
    int64_t waiting = 0;
    rl_status status;
    asked wanted;
    rl_err err;

    if (state == NULL || read_asked(state, args, kwargs, &wanted) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = rl_rollup_read(rollup_of(self), &wanted.query, wanted.wait_ns, &rows,
                            &waiting, &err);
    Py_END_ALLOW_THREADS
    if (status != RL_OK) {
        rl_errors_raise(state, &err);
    } else if ((blocks = rows_to(state, rollup_of(self), &wanted, &rows)) != NULL) {
        result = Py_BuildValue("(NL)", blocks, (long long)waiting);
    }
    rl_rollup_rows_free(&rows);
    return rl_py_recorder_finish(self, &raised, result);
}

/* What the roll-up is asked, without the GIL. */
typedef rl_status (*ask)(rl_rollup *rollup, int64_t numbers[3], rl_err *err);

/* Asks, and makes of the numbers what a format of Py_BuildValue says; NULL: a bool. */
static PyObject *answer(rl_py_recorder *self, ask call, const char *format)
{
    rl_state *state = rl_py_recorder_state(self);
    rl_raised raised = {NULL};
    int64_t numbers[3] = {0, 0, 0};
    PyObject *result;
    rl_status status;
    rl_err err;

    if (state == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = call(rollup_of(self), numbers, &err);
    Py_END_ALLOW_THREADS
    if (status != RL_OK) {
        result = rl_errors_raise(state, &err);
    } else if (format == NULL) {
        result = PyBool_FromLong(numbers[0] != 0);
    } else {
        result = Py_BuildValue(format, (long long)numbers[0], (long long)numbers[1],
                               (long long)numbers[2]);
    }
    return rl_py_recorder_finish(self, &raised, result);
}

static rl_status ask_reset(rl_rollup *rollup, int64_t numbers[3], rl_err *err)
{
    (void)numbers;
    return rl_rollup_reset(rollup, err);
}

static PyObject *method_reset(rl_py_recorder *self, PyObject *none)
{
    (void)none;
    return answer(self, ask_reset, "");
}

static rl_status ask_waiting(rl_rollup *rollup, int64_t numbers[3], rl_err *err)
{
    return rl_rollup_waiting(rollup, &numbers[0], err);
}

static PyObject *method_waiting(rl_py_recorder *self, PyObject *none)
{
    (void)none;
    return answer(self, ask_waiting, "L");
}

static rl_status ask_fill(rl_rollup *rollup, int64_t numbers[3], rl_err *err)
{
    bool done = false;
    rl_status status = rl_rollup_fill(rollup, &done, err);

    numbers[0] = done;
    return status;
}

static PyObject *method_fill(rl_py_recorder *self, PyObject *none)
{
    (void)none;
    return answer(self, ask_fill, NULL);
}

static rl_status ask_size(rl_rollup *rollup, int64_t numbers[3], rl_err *err)
{
    rl_rollup_size size = {0, 0, 0};
    rl_status status = rl_rollup_get_size(rollup, &size, err);

    numbers[0] = size.blocks;
    numbers[1] = size.runs;
    numbers[2] = size.bytes;
    return status;
}

/* _rollup_size(): blocks, runs and bytes. */
static PyObject *method_size(rl_py_recorder *self, PyObject *none)
{
    (void)none;
    return answer(self, ask_size, "(LLL)");
}

static int make_companion(rl_state *state, PyObject *const *values, bool postgres,
                          rl_companion **companion)
{
    rl_rollup *rollup;
    rl_err err;

    (void)values;
    (void)postgres;
    if (rl_rollup_new(&rollup, &err) != RL_OK) {
        rl_errors_raise(state, &err);
        return -1;
    }
    *companion = rl_rollup_companion(rollup);
    return 0;
}

static int add_stats(rl_companion *companion, PyObject *stats)
{
    rl_rollup_stats counts;
    PyObject *error;
    int rc = -1;

    rl_rollup_get_stats(rl_rollup_of(companion), &counts);
    error = Py_BuildValue("z", counts.error[0] != '\0' ? counts.error : NULL);
    if (error != NULL) {
        rc = PyDict_SetItemString(stats, "rollup_error", error);
        Py_DECREF(error);
    }
    return rc;
}

static PyMethodDef methods[] = {
    {"_rollup", (PyCFunction)(void (*)(void))method_rollup, METH_VARARGS | METH_KEYWORDS,
     "_rollup(types, totals, wpk_id=None, since=None, until=None, wait=1.0)\n--\n\n"
     "The blocks of the roll-up, and how many runs are not counted yet, at most."},
    {"_reset_rollup", (PyCFunction)(void (*)(void))method_reset, METH_NOARGS,
     "_reset_rollup()\n--\n\nHave the roll-up be counted anew."},
    {"_fill_rollup", (PyCFunction)(void (*)(void))method_fill, METH_NOARGS,
     "_fill_rollup()\n--\n\nCount runs for up to a second; return whether all are."},
    {"_rollup_waiting", (PyCFunction)(void (*)(void))method_waiting, METH_NOARGS,
     "_rollup_waiting()\n--\n\nHow many runs are not counted as they are, at most."},
    {"_rollup_size", (PyCFunction)(void (*)(void))method_size, METH_NOARGS,
     "_rollup_size()\n--\n\nHow many blocks, runs and bytes the roll-up has."},
    {NULL, NULL, 0, NULL},
};

static const rl_option no_options[] = {{NULL, NULL}};
static const rl_wing wing = {no_options, 0, make_companion, add_stats};

int rl_rollup_add_to_recorder(rl_state *state)
{
    state->wings[RL_WING_ROLLUP] = &wing;
    return rl_recorder_type_extend(state, methods);
}
