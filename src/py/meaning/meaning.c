/* Embeddings, Milvus and search for Python. See meaning.h. */
#include "py/meaning/meaning.h"

#include "core/alloc.h"
#include "core/clock.h"
#include "py/base/arguments.h"
#include "py/base/errors.h"
#include "py/base/raised.h"
#include "py/base/times.h"
#include "py/meaning/meaning_options.h"
#include "py/recorder/query.h"
#include "py/recorder/recorder.h"
#include "py/recorder/recorder_type.h"

#include <math.h>

#define CALL_NS UINT64_C(60000000000) /* time limit of a call, with its retries */

static rl_meaning *meaning_of(const rl_py_recorder *self)
{
    return rl_meaning_of(self->companions[RL_WING_MEANING]);
}

static uint64_t call_end(void)
{
    return rl_monotonic_ns() + CALL_NS;
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n\f\v")] == '\0';
}

/* Reads an argument of text that is not blank; *out borrows from it. */
static int read_filled(rl_state *state, const char *field, PyObject *value,
                       const char **out)
{
    if (value == Py_None) {
        return rl_errors_invalid(state, field, "must be text", value);
    }
    if (rl_read_text(state, field, value, out) < 0) {
        return -1;
    }
    return is_blank(*out) ? rl_errors_invalid(state, field, "must not be empty", value)
                          : 0;
}

/* Reads the filters that both searches have; NULL: not given. */
static int read_filters(rl_state *state, PyObject *wpk_id, const char *wpk_field,
                        PyObject *status, PyObject *since, PyObject *limit,
                        rl_search *search)
{
    int64_t most = 10;

    search->since = RL_TIME_NONE;
    if (rl_read_text(state, wpk_field, wpk_id, &search->wpk_id) < 0 ||
        rl_read_text(state, "status", status, &search->status) < 0 ||
        rl_read_time(state, "since", since, &search->since) < 0 ||
        rl_read_int(state, "limit", "must be a whole number from 1 to 1000", limit, 1,
                    RL_SEARCH_LIMIT_MAX, &most) < 0) {
        return -1;
    }
    search->limit = (size_t)most;
    return 0;
}

/* A run as a dict: its score, then its columns. A new reference. */
static PyObject *hit_to_python(rl_state *state, const rl_rows *rows, size_t first,
                               float score)
{
    PyObject *hit = PyDict_New(), *number = PyFloat_FromDouble((double)score);
    PyObject *run = rl_query_row(state, rows, first, RL_SHAPE_SUMMARY);

    if (hit == NULL || number == NULL || run == NULL ||
        PyDict_SetItemString(hit, "score", number) < 0 || PyDict_Update(hit, run) < 0) {
        Py_CLEAR(hit);
    }
    Py_XDECREF(number);
    Py_XDECREF(run);
    return hit;
}

static PyObject *hits_to_python(rl_state *state, const rl_rows *rows,
                                const rl_buf *scores)
{
    const float *numbers = (const float *)(const void *)scores->data;
    size_t count = scores->len / sizeof *numbers, width;
    PyObject *list = PyList_New((Py_ssize_t)count);

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    for (size_t i = 0; i < count && list != NULL; i++) {
        PyObject *hit = hit_to_python(state, rows, i * width, numbers[i]);

        if (hit == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, hit);
        }
    }
    return list;
}

static PyObject *run_search(rl_state *state, rl_meaning *meaning, const rl_search *search)
{
    PyObject *list = NULL;
    rl_status status;
    rl_buf scores;
    rl_rows rows;
    rl_err err;

    rl_rows_init(&rows);
    rl_buf_init(&scores, RL_BUF_MAX);
    Py_BEGIN_ALLOW_THREADS
    status = rl_meaning_search(meaning, search, call_end(), &rows, &scores, &err);
    Py_END_ALLOW_THREADS
    if (status == RL_OK) {
        list = hits_to_python(state, &rows, &scores);
    } else {
        rl_errors_raise(state, &err);
    }
    rl_buf_free(&scores);
    rl_rows_free(&rows);
    return list;
}

/* Whether there is an embedding server. */
static PyObject *has_meaning(rl_state *state, rl_meaning *meaning, PyObject *args,
                             PyObject *kwargs)
{
    (void)state;
    (void)args;
    (void)kwargs;
    return PyBool_FromLong(rl_meaning_config_of(meaning)->openai_key != NULL);
}

static PyObject *search_runs(rl_state *state, rl_meaning *meaning, PyObject *args,
                             PyObject *kwargs)
{
    static char *names[] = {"text", "wpk_id", "status", "since", "limit", NULL};
    PyObject *text, *wpk_id = NULL, *status = NULL, *since = NULL, *limit = NULL;
    rl_search search = {.text = NULL};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOOO:search_runs", names, &text,
                                     &wpk_id, &status, &since, &limit) ||
        read_filled(state, "text", text, &search.text) < 0 ||
        read_filters(state, wpk_id, "wpk_id", status, since, limit, &search) < 0) {
        return NULL;
    }
    search.len = strlen(search.text);
    return run_search(state, meaning, &search);
}

static PyObject *find_similar(rl_state *state, rl_meaning *meaning, PyObject *args,
                              PyObject *kwargs)
{
    static char *names[] = {"run_id", "wpk_id", "within", "status",
                            "since",  "limit",  NULL};
    PyObject *run_id, *wpk_id = NULL, *within = NULL, *status = NULL, *since = NULL,
                      *limit = NULL;
    rl_search search = {.text = NULL};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$OOOO:find_similar", names,
                                     &run_id, &wpk_id, &within, &status, &since,
                                     &limit) ||
        read_filled(state, "run_id", run_id, &search.like_run_id) < 0 ||
        rl_read_text(state, "wpk_id", wpk_id, &search.like_wpk_id) < 0 ||
        read_filters(state, within, "within", status, since, limit, &search) < 0) {
        return NULL;
    }
    return run_search(state, meaning, &search);
}

static PyObject *vector_to_python(const rl_embeddings *vector)
{
    PyObject *list = PyList_New((Py_ssize_t)vector->dim);

    for (uint32_t i = 0; i < vector->dim && list != NULL; i++) {
        PyObject *number = PyFloat_FromDouble((double)vector->values[i]);

        if (number == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, number);
        }
    }
    return list;
}

static PyObject *generate_embedding(rl_state *state, rl_meaning *meaning, PyObject *args,
                                    PyObject *kwargs)
{
    static char *names[] = {"text", NULL};
    rl_embeddings vector = {.values = NULL};
    PyObject *value, *list = NULL;
    const char *text;
    rl_status status;
    rl_err err;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:generate_embedding", names,
                                     &value) ||
        read_filled(state, "text", value, &text) < 0) {
        return NULL;
    }
    if (rl_meaning_config_of(meaning)->openai_key == NULL) {
        Py_RETURN_NONE;
    }
    Py_BEGIN_ALLOW_THREADS
    status = rl_meaning_embed(meaning, text, strlen(text), call_end(), &vector, &err);
    Py_END_ALLOW_THREADS
    if (status == RL_OK) {
        list = vector_to_python(&vector);
    } else {
        rl_errors_raise(state, &err);
    }
    rl_embeddings_free(&vector);
    return list;
}

/* The numbers of an embedding, owned by the caller (rl_free). NULL with an exception
 * set. */
static float *read_vector(rl_state *state, PyObject *value, uint32_t *dim)
{
    bool is_text = PyUnicode_Check(value) || PyBytes_Check(value);
    /* a copy, as a number's own __float__ could change the sequence */
    PyObject *list = PySequence_Check(value) && !is_text ? PySequence_Tuple(value) : NULL;
    Py_ssize_t count = list != NULL ? PyTuple_GET_SIZE(list) : 0;
    float *numbers = NULL;
    bool fine = rl_raised_is_own() && count > 0 && count <= RL_EMBEDDING_DIM_MAX;

    if (fine) {
        numbers = rl_calloc((size_t)count, sizeof *numbers);
        if (numbers == NULL) {
            PyErr_NoMemory();
        }
    } else if (!PyErr_Occurred()) {
        rl_errors_invalid(state, "embedding", "must be a sequence of 1 to 32768 numbers",
                          value);
    }
    for (Py_ssize_t i = 0; numbers != NULL && fine && i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(list, i);
        double number = PyFloat_AsDouble(item);

        numbers[i] = (float)number;
        fine = !PyErr_Occurred() && isfinite(numbers[i]);
        if (!fine && rl_raised_is_own()) {
            rl_errors_invalid(state, "embedding", "must hold finite numbers of float32",
                              item);
        }
    }
    if (!fine) {
        rl_free(numbers);
        numbers = NULL;
    }
    Py_XDECREF(list);
    *dim = (uint32_t)count;
    return numbers;
}

/* Reads a text of metadata, "" if it is missing or None. *out borrows from *owned, a new
 * reference. */
static int read_metadata(rl_state *state, PyObject *metadata, const char *key,
                         PyObject **owned, const char **out)
{
    char field[32];

    *out = "";
    *owned = PyMapping_GetItemString(metadata, key);
    if (*owned == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_KeyError)) {
            return -1;
        }
        return rl_raised_is_own() ? 0 : -1;
    }
    snprintf(field, sizeof field, "metadata[\"%s\"]", key);
    if (*owned == Py_None) {
        return 0;
    }
    return rl_read_text(state, field, *owned, out);
}

static PyObject *upsert_row(rl_state *state, rl_meaning *meaning,
                            const rl_milvus_row *row, uint32_t dim)
{
    rl_status status;
    rl_err err;

    Py_BEGIN_ALLOW_THREADS
    status = rl_meaning_upsert(meaning, row, dim, call_end(), &err);
    Py_END_ALLOW_THREADS
    return status == RL_OK ? Py_NewRef(Py_True) : rl_errors_raise(state, &err);
}

static PyObject *upsert_to_milvus(rl_state *state, rl_meaning *meaning, PyObject *args,
                                  PyObject *kwargs)
{
    static char *names[] = {"run_id", "embedding", "metadata", NULL};
    PyObject *run_id, *embedding, *metadata, *wpk_id = NULL, *run_status = NULL;
    PyObject *result = NULL;
    rl_milvus_row row = {.created_at = rl_time_now()};
    float *vector = NULL;
    uint32_t dim = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:upsert_to_milvus", names, &run_id,
                                     &embedding, &metadata) ||
        read_filled(state, "run_id", run_id, &row.run_id) < 0) {
        return NULL;
    }
    if (PyObject_IsInstance(metadata, state->mapping) != 1) {
        if (rl_raised_is_own()) {
            rl_errors_invalid(state, "metadata", "must be a mapping", metadata);
        }
        return NULL;
    }
    vector = read_vector(state, embedding, &dim);
    if (vector != NULL &&
        read_metadata(state, metadata, "wpk_id", &wpk_id, &row.wpk_id) == 0 &&
        read_metadata(state, metadata, "status", &run_status, &row.status) == 0) {
        row.vector = vector;
        result = rl_meaning_config_of(meaning)->milvus_endpoint == NULL
                     ? Py_NewRef(Py_False)
                     : upsert_row(state, meaning, &row, dim);
    }
    rl_free(vector);
    Py_XDECREF(wpk_id);
    Py_XDECREF(run_status);
    return result;
}

#define SIGNALS_NS UINT64_C(100000000) /* after which Ctrl-C is handled */

/* _queue_meaning(): how many runs it has queued. */
static PyObject *queue_meaning(rl_state *state, rl_meaning *meaning, PyObject *args,
                               PyObject *kwargs)
{
    static char *names[] = {NULL};
    rl_outbox_walk walk = {.more = true};
    rl_status status = RL_OK;
    rl_err err;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":_queue_meaning", names)) {
        return NULL;
    }
    while (status == RL_OK && walk.more) {
        Py_BEGIN_ALLOW_THREADS
        status = rl_meaning_queue(meaning, &walk, rl_monotonic_ns() + SIGNALS_NS, &err);
        Py_END_ALLOW_THREADS
        if (status == RL_OK && PyErr_CheckSignals() < 0) {
            return NULL;
        }
    }
    return status == RL_OK ? PyLong_FromLongLong((long long)walk.queued)
                           : rl_errors_raise(state, &err);
}

/* Makes the companion of a recorder from the values of its options. */
static int make_companion(rl_state *state, PyObject *const *values, bool postgres,
                          rl_companion **companion)
{
    rl_meaning_config config = {.openai_key = NULL};
    rl_meaning *meaning = NULL;
    rl_err err;

    if (rl_meaning_read_options(state, values, postgres, &config) < 0) {
        rl_meaning_config_free(&config);
        return -1;
    }
    if (rl_meaning_new(&config, &meaning, &err) != RL_OK) {
        rl_errors_raise(state, &err);
        return -1;
    }
    *companion = rl_meaning_companion(meaning);
    return 0;
}

/* Adds the counters of embeddings to a recorder's stats. */
static int add_stats(rl_companion *companion, PyObject *stats)
{
    rl_meaning_stats counts;
    PyObject *more;
    int rc = -1;

    Py_BEGIN_ALLOW_THREADS
    rl_meaning_get_stats(rl_meaning_of(companion), &counts);
    Py_END_ALLOW_THREADS
    more = Py_BuildValue(
        "{s:K, s:K, s:L, s:L, s:z}", "embedded", (unsigned long long)counts.embedded,
        "upserted", (unsigned long long)counts.upserted, "embeddings_waiting",
        (long long)counts.waiting, "embeddings_failed", (long long)counts.failed,
        "embedding_error", counts.error[0] != '\0' ? counts.error : NULL);
    if (more != NULL) {
        rc = PyDict_Update(stats, more);
        Py_DECREF(more);
    }
    return rc;
}

/* Methods of Recorder: each calls a function above with the recorder's companion, and
 * then logs the notices. */
#define METHOD(function)                                                                 \
    static PyObject *method_##function(rl_py_recorder *self, PyObject *args,             \
                                       PyObject *kwargs)                                 \
    {                                                                                    \
        rl_state *state = rl_py_recorder_state(self);                                    \
        rl_raised raised = {NULL};                                                       \
                                                                                         \
        return state != NULL                                                             \
                   ? rl_py_recorder_finish(                                              \
                         self, &raised, function(state, meaning_of(self), args, kwargs)) \
                   : NULL;                                                               \
    }
METHOD(has_meaning)
METHOD(search_runs)
METHOD(find_similar)
METHOD(generate_embedding)
METHOD(upsert_to_milvus)
METHOD(queue_meaning)
#undef METHOD

static PyMethodDef methods[] = {
    {"_has_meaning", (PyCFunction)(void (*)(void))method_has_meaning,
     METH_VARARGS | METH_KEYWORDS, "_has_meaning()\n--\n\nWhether OPENAI_KEY is set."},
    {"_search_meaning", (PyCFunction)(void (*)(void))method_search_runs,
     METH_VARARGS | METH_KEYWORDS,
     "_search_meaning(text, *, wpk_id=None, status=None, since=None, limit=10)\n--\n\n"
     "The runs whose texts are nearest to a text, nearest first."},
    {"find_similar", (PyCFunction)(void (*)(void))method_find_similar,
     METH_VARARGS | METH_KEYWORDS,
     "find_similar(run_id, wpk_id=None, *, within=None, status=None, since=None, "
     "limit=10)\n--\n\nThe runs whose texts are nearest to that of a run."},
    {"generate_embedding", (PyCFunction)(void (*)(void))method_generate_embedding,
     METH_VARARGS | METH_KEYWORDS,
     "generate_embedding(text)\n--\n\n"
     "The embedding of a text, or None where OPENAI_KEY is not set."},
    {"upsert_to_milvus", (PyCFunction)(void (*)(void))method_upsert_to_milvus,
     METH_VARARGS | METH_KEYWORDS,
     "upsert_to_milvus(run_id, embedding, metadata)\n--\n\n"
     "Put a run's embedding into Milvus; False where MILVUS_ENDPOINT is not set."},
    {"_queue_meaning", (PyCFunction)(void (*)(void))method_queue_meaning,
     METH_VARARGS | METH_KEYWORDS,
     "_queue_meaning()\n--\n\nQueue the runs without a vector; return how many."},
    {NULL, NULL, 0, NULL},
};

static const rl_wing wing = {rl_meaning_options, RL_MEANING_OPTIONS, make_companion,
                             add_stats};

int rl_meaning_add_to_recorder(rl_state *state)
{
    state->wings[RL_WING_MEANING] = &wing;
    return rl_recorder_type_extend(state, methods);
}
