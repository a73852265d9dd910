/* Answers that are being streamed. See streams.h. */
#include "py/handler/streams.h"

#include "py/handler/event.h"

#define STREAMS_MAX 10000 /* calls: of some LangChain tells no end */

/* The list of a call's chunks, made for a call that is recorded with its texts. New
 * reference; NULL, maybe with an error set, for any other. */
static PyObject *list_of(rl_state *state, rl_handler *self, rl_raised *raised,
                         PyObject *run_id)
{
    PyObject *chunks;
    rl_found found;
    rl_key key;

    if (self->streams == NULL) {
        self->streams = PyDict_New();
    }
    chunks = self->streams != NULL
                 ? Py_XNewRef(PyDict_GetItemWithError(self->streams, run_id))
                 : NULL;
    if (chunks != NULL || PyErr_Occurred() ||
        !rl_event_key(state, raised, run_id, &key)) {
        return chunks;
    }
    key.handler = self->identity;
    if (rl_graphs_find(self->graphs, key, &found) != RL_SPAN_NONE &&
        found.call == RL_CALL_LLM && found.calls < RL_CALLS_SUMMARY) {
        if (PyDict_GET_SIZE(self->streams) >= STREAMS_MAX) {
            PyDict_Clear(self->streams);
        }
        chunks = PyList_New(0);
    }
    if (chunks != NULL && PyDict_SetItem(self->streams, run_id, chunks) < 0) {
        Py_CLEAR(chunks);
    }
    return chunks;
}

/* Makes a call the one whose tokens come now. */
static void change_to(rl_state *state, rl_handler *self, rl_raised *raised,
                      PyObject *run_id)
{
    PyObject *chunks = list_of(state, self, raised, run_id);

    rl_raised_absorb(raised);
    Py_XSETREF(self->chunks, chunks);
    Py_XSETREF(self->streaming, Py_NewRef(run_id));
    self->has_token = false;
}

static bool is_filled(PyObject *token)
{
    return token != NULL &&
           ((PyUnicode_Check(token) && PyUnicode_GET_LENGTH(token) > 0) ||
            (PyList_Check(token) && PyList_GET_SIZE(token) > 0));
}

/* Whether a token is the first that the model wrote: LangChain also gives empty ones. */
static bool is_token(const rl_state *state, rl_raised *raised, PyObject *token,
                     PyObject *kwargs)
{
    PyObject *chunk, *message = NULL, *parts = NULL;
    bool is = is_filled(token);

    if (!is) { /* a tool's call has no text */
        chunk = rl_event_get(state, raised, kwargs, RL_NAME_chunk);
        if (chunk != NULL) {
            message = rl_event_attribute(state, raised, chunk, RL_NAME_message);
        }
        if (message != NULL) {
            parts = rl_event_attribute(state, raised, message, RL_NAME_tool_call_chunks);
        }
        is = parts != NULL && PyList_Check(parts) && PyList_GET_SIZE(parts) > 0;
        Py_XDECREF(parts);
        Py_XDECREF(message);
        Py_XDECREF(chunk);
    }
    return is;
}

void rl_streams_add(rl_state *state, rl_handler *self, rl_raised *raised, PyObject *token,
                    PyObject *kwargs)
{
    PyObject *run_id = rl_event_get(state, raised, kwargs, RL_NAME_run_id);
    PyObject *chunk = rl_event_get(state, raised, kwargs, RL_NAME_chunk);
    rl_key key;

    if (run_id != NULL && run_id != self->streaming) { /* one object for all its tokens */
        change_to(state, self, raised, run_id);
    }
    if (run_id != NULL && !self->has_token && is_token(state, raised, token, kwargs)) {
        self->has_token = run_id == self->streaming; /* another's tokens may have come */
        if (rl_event_key(state, raised, run_id, &key)) {
            key.handler = self->identity;
            rl_graphs_stream(self->graphs, key);
        }
    }
    if (self->chunks != NULL && chunk != NULL && run_id == self->streaming &&
        PyList_Append(self->chunks, chunk) < 0) {
        rl_raised_absorb(raised);
    }
    Py_XDECREF(chunk);
    Py_XDECREF(run_id);
}

/* All chunks as one: a chunk can be added to, and all others at once. */
static PyObject *merge(PyObject *chunks)
{
    PyObject *first = Py_NewRef(PyList_GET_ITEM(chunks, 0));
    PyObject *rest = PyList_GetSlice(chunks, 1, PyList_GET_SIZE(chunks)), *all = NULL;

    if (rest != NULL && PyList_GET_SIZE(rest) == 0) {
        all = Py_NewRef(first);
    } else if (rest != NULL) {
        all = PyNumber_Add(first, rest);
    }
    Py_XDECREF(rest);
    Py_DECREF(first);
    return all;
}

PyObject *rl_streams_take(rl_state *state, rl_handler *self, rl_raised *raised,
                          PyObject *kwargs, bool wanted)
{
    PyObject *run_id, *chunks = NULL, *all = NULL;

    if (self->streams == NULL || PyDict_GET_SIZE(self->streams) == 0) {
        return NULL;
    }
    run_id = rl_event_get(state, raised, kwargs, RL_NAME_run_id);
    if (run_id != NULL) {
        chunks = Py_XNewRef(PyDict_GetItemWithError(self->streams, run_id));
    }
    if (chunks != NULL && PyDict_DelItem(self->streams, run_id) == 0 && wanted &&
        PyList_GET_SIZE(chunks) > 0) {
        all = merge(chunks);
    }
    if (run_id == self->streaming) {
        Py_CLEAR(self->streaming);
        Py_CLEAR(self->chunks);
    }
    rl_raised_absorb(raised);
    Py_XDECREF(chunks);
    Py_XDECREF(run_id);
    return all;
}

PyObject *rl_streams_left(rl_state *state, rl_handler *self, rl_raised *raised,
                          rl_key key)
{
    PyObject *ids = NULL;
    rl_key call;

    if (self->streams != NULL && PyDict_GET_SIZE(self->streams) > 0 &&
        rl_graphs_has_call(self->graphs, key, NULL)) {
        ids = PyDict_Keys(self->streams);
    }
    for (Py_ssize_t i = ids != NULL ? PyList_GET_SIZE(ids) : 0; i-- > 0;) {
        bool known = rl_event_key(state, raised, PyList_GET_ITEM(ids, i), &call);

        call.handler = self->identity;
        if (!known || !rl_graphs_has_call(self->graphs, key, &call)) {
            (void)PyList_SetSlice(ids, i, i + 1, NULL);
        }
    }
    rl_raised_absorb(raised);
    return ids;
}

void rl_streams_clear(rl_handler *self)
{
    Py_CLEAR(self->streams);
    Py_CLEAR(self->streaming);
    Py_CLEAR(self->chunks);
}
