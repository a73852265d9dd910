/* The index of words for Python. See words.h. */
#include "py/words/words.h"

#include "py/base/arguments.h"
#include "py/base/errors.h"
#include "py/base/option_values.h"
#include "py/base/times.h"
#include "py/recorder/query.h"
#include "py/recorder/recorder.h"
#include "py/recorder/recorder_type.h"
#include "words/words.h"

/* Reads the arguments of a search; the texts are borrowed from them. */
static int read_query(rl_state *state, PyObject *args, PyObject *kwargs,
                      rl_words_query *query)
{
    static char *names[] = {"text", "wpk_id", "status", "since", "limit", NULL};
    PyObject *text, *wpk_id = NULL, *status = NULL, *since = NULL, *limit = NULL;
    int64_t most = 10;

    query->since = RL_TIME_NONE;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOOO:search_runs", names, &text,
                                     &wpk_id, &status, &since, &limit)) {
        return -1;
    }
    if (text == Py_None) {
        return rl_errors_invalid(state, "text", "must be text", text);
    }
    if (rl_read_text(state, "text", text, &query->text) < 0 ||
        rl_read_text(state, "wpk_id", wpk_id, &query->wpk_id) < 0 ||
        rl_read_text(state, "status", status, &query->status) < 0 ||
        rl_read_time(state, "since", since, &query->since) < 0 ||
        rl_read_int(state, "limit", "must be a whole number from 1 to 1000", limit, 1,
                    RL_WORDS_LIMIT_MAX, &most) < 0) {
        return -1;
    }
    query->limit = (size_t)most;
    return 0;
}

static PyObject *rows_to_python(rl_state *state, const rl_rows *rows)
{
    size_t width, count;
    PyObject *list;

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    count = rl_rows_cells(rows) / width;
    list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; i < count && list != NULL; i++) {
        PyObject *run = rl_query_row(state, rows, i * width, RL_SHAPE_SUMMARY);

        if (run == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, run);
        }
    }
    return list;
}

/* _search_words(text, ...): the runs, and how many are not indexed yet. */
static PyObject *search(rl_state *state, rl_words *words, PyObject *args,
                        PyObject *kwargs)
{
    rl_words_query query = {.text = NULL};
    PyObject *result = NULL, *runs;
    int64_t waiting = 0;
    rl_status status;
    rl_rows rows;
    rl_err err;

    if (read_query(state, args, kwargs, &query) < 0) {
        return NULL;
    }
    rl_rows_init(&rows);
    Py_BEGIN_ALLOW_THREADS
    status = rl_words_search(words, &query, &rows, &waiting, &err);
    Py_END_ALLOW_THREADS
    if (status != RL_OK) {
        rl_errors_raise(state, &err);
    } else if ((runs = rows_to_python(state, &rows)) != NULL) {
        result = Py_BuildValue("(NL)", runs, (long long)waiting);
    }
    rl_rows_free(&rows);
    return result;
}

static PyObject *method_search(rl_py_recorder *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state = rl_py_recorder_state(self);
    rl_raised raised = {NULL};

    return state != NULL ? rl_py_recorder_finish(
                               self, &raised,
                               search(state, rl_words_of(self->companions[RL_WING_WORDS]),
                                      args, kwargs))
                         : NULL;
}

static const rl_option options[] = {{"words", "RUNLOG_WORDS"}};

/* A switch, or "trigram". */
static int read_mode(rl_state *state, PyObject *value, rl_words_mode *mode)
{
    const int on = value != NULL ? rl_option_switch(value) : 1;

    if (on >= 0) {
        *mode = on != 0 ? RL_WORDS_ON : RL_WORDS_OFF;
    } else if (PyUnicode_Check(value) &&
               PyUnicode_CompareWithASCIIString(value, "trigram") == 0) {
        *mode = RL_WORDS_BY_TRIGRAM;
    } else {
        return rl_option_refuse_value(
            state, options,
            "a switch (1, true, yes or on; 0, false, no or off) "
            "or 'trigram'",
            value);
    }
    return 0;
}

/* _reset_words(mode): mode is that of the option, or None for what the index was. */
static PyObject *method_reset(rl_py_recorder *self, PyObject *value)
{
    rl_state *state = rl_py_recorder_state(self);
    rl_words_mode mode = RL_WORDS_OFF;
    rl_raised raised = {NULL};
    PyObject *result = NULL;
    rl_status status;
    rl_err err;

    if (state == NULL || (value != Py_None && read_mode(state, value, &mode) < 0)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = rl_words_reset(rl_words_of(self->companions[RL_WING_WORDS]), mode, &err);
    Py_END_ALLOW_THREADS
    result = status == RL_OK ? Py_NewRef(Py_None) : rl_errors_raise(state, &err);
    return rl_py_recorder_finish(self, &raised, result);
}

/* _words_waiting(): how many runs are not indexed, at most. */
static PyObject *method_waiting(rl_py_recorder *self, PyObject *args)
{
    rl_state *state = rl_py_recorder_state(self);
    rl_raised raised = {NULL};
    PyObject *result;
    int64_t waiting = 0;
    rl_status status;
    rl_err err;

    (void)args;
    if (state == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status =
        rl_words_waiting(rl_words_of(self->companions[RL_WING_WORDS]), &waiting, &err);
    Py_END_ALLOW_THREADS
    result = status == RL_OK ? PyLong_FromLongLong((long long)waiting)
                             : rl_errors_raise(state, &err);
    return rl_py_recorder_finish(self, &raised, result);
}

/* _fill_words(): whether nothing is left to index. */
static PyObject *method_fill(rl_py_recorder *self, PyObject *args)
{
    rl_state *state = rl_py_recorder_state(self);
    rl_raised raised = {NULL};
    PyObject *result;
    bool done = false;
    rl_status status;
    rl_err err;

    (void)args;
    if (state == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = rl_words_fill(rl_words_of(self->companions[RL_WING_WORDS]), &done, &err);
    Py_END_ALLOW_THREADS
    result = status == RL_OK ? PyBool_FromLong(done) : rl_errors_raise(state, &err);
    return rl_py_recorder_finish(self, &raised, result);
}

static int make_companion(rl_state *state, PyObject *const *values, bool postgres,
                          rl_companion **companion)
{
    rl_words_mode mode = RL_WORDS_ON;
    rl_words *words;
    rl_err err;

    (void)postgres;
    if (read_mode(state, values[0], &mode) < 0) {
        return -1;
    }
    if (rl_words_new(mode, &words, &err) != RL_OK) {
        rl_errors_raise(state, &err);
        return -1;
    }
    *companion = rl_words_companion(words);
    return 0;
}

static int add_stats(rl_companion *companion, PyObject *stats)
{
    rl_words_stats counts;
    PyObject *error;
    int rc = -1;

    rl_words_get_stats(rl_words_of(companion), &counts);
    error = Py_BuildValue("z", counts.error[0] != '\0' ? counts.error : NULL);
    if (error != NULL) {
        rc = PyDict_SetItemString(stats, "words_error", error);
        Py_DECREF(error);
    }
    return rc;
}

static PyMethodDef methods[] = {
    {"_search_words", (PyCFunction)(void (*)(void))method_search,
     METH_VARARGS | METH_KEYWORDS,
     "_search_words(text, *, wpk_id=None, status=None, since=None, limit=10)\n--\n\n"
     "The runs that have the words of a text, and how many runs are not indexed yet."},
    {"_reset_words", (PyCFunction)(void (*)(void))method_reset, METH_O,
     "_reset_words(mode)\n--\n\nEmpty the index of words, which is then filled anew."},
    {"_fill_words", (PyCFunction)(void (*)(void))method_fill, METH_NOARGS,
     "_fill_words()\n--\n\nIndex runs for up to a second; return whether all are."},
    {"_words_waiting", (PyCFunction)(void (*)(void))method_waiting, METH_NOARGS,
     "_words_waiting()\n--\n\nHow many runs are not indexed as they are, at most."},
    {NULL, NULL, 0, NULL},
};

static const rl_wing wing = {options, 1, make_companion, add_stats};

int rl_words_add_to_recorder(rl_state *state)
{
    state->wings[RL_WING_WORDS] = &wing;
    return rl_recorder_type_extend(state, methods);
}
