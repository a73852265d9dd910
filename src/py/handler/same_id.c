/* Runs that are open at once under one id. See same_id.h. */
#include "py/handler/same_id.h"

#include "core/clock.h"
#include "py/handler/caller.h"
#include "py/handler/event.h"
#include "py/handler/graph_runs.h"

static bool is_open(const rl_handler *self, rl_key key)
{
    rl_found found;

    return rl_graphs_find(self->graphs, key, &found) != RL_SPAN_NONE;
}

/* The token that metadata have, borrowed from self->identity; NULL if they have none. */
static PyObject *token_in(const rl_state *state, const rl_handler *self,
                          rl_raised *raised, PyObject *metadata)
{
    PyObject *given = rl_event_get(state, raised, metadata, RL_NAME_runlog_run);
    PyObject *token = NULL;

    if (given != NULL && PyLong_CheckExact(given)) {
        token = PyDict_GetItemWithError(self->identity, given);
    }
    rl_raised_absorb(raised);
    Py_XDECREF(given);
    return token;
}

/* The metadata that the callback manager which calls now hands down; a new reference, or
 * NULL. */
static PyObject *handed_down(const rl_state *state, rl_raised *raised)
{
    PyObject *manager = rl_caller_manager(), *metadata = NULL;

    if (manager != NULL) {
        metadata =
            rl_event_attribute(state, raised, manager, RL_NAME_inheritable_metadata);
        Py_DECREF(manager);
    }
    return metadata;
}

/* A new token, which is known to the handler and in the metadata; borrowed, NULL with an
 * error set. */
static PyObject *add_token(const rl_state *state, const rl_handler *self,
                           PyObject *metadata)
{
    PyObject *token = PyLong_FromUnsignedLongLong(rl_monotonic_ns());
    PyObject *name = state->handler.names[RL_NAME_runlog_run];

    if (token != NULL && (PyDict_SetItem(metadata, name, token) < 0 ||
                          PyDict_SetItem(self->identity, token, token) < 0)) {
        Py_CLEAR(token);
    }
    Py_XDECREF(token); /* self->identity has it */
    return token;
}

bool rl_same_id_begin(rl_state *state, rl_handler *self, rl_raised *raised,
                      rl_span_start *start)
{
    PyObject *metadata = handed_down(state, raised), *token = NULL;
    rl_found found = {.again = true};

    if (metadata != NULL && PyDict_Check(metadata)) {
        token = token_in(state, self, raised, metadata);
        if (token != NULL) { /* that of a run around it; or a copy of the handler has it */
            start->key.handler = token;
            (void)rl_graphs_classify(self->graphs, start, &found);
        }
        token = found.again ? add_token(state, self, metadata) : token;
    } else {
        PyErr_SetString(PyExc_RuntimeError,
                        "another open run has the same run_id, and LangChain calls the "
                        "handler in a thread where their events can't be told apart: "
                        "give each run a run_id of its own, or leave run_inline True");
    }
    if (token != NULL) {
        start->key.handler = token;
    } else {
        rl_graph_runs_report(state, self, raised);
    }
    Py_XDECREF(metadata);
    return token != NULL;
}

/* Makes *key that of a token, if a span is open under it. */
static void use_token(const rl_handler *self, const PyObject *token, rl_key *key)
{
    rl_key own = *key;

    own.handler = token;
    if (token != NULL && is_open(self, own)) {
        *key = own;
    }
}

void rl_same_id_parent(const rl_state *state, const rl_handler *self, rl_raised *raised,
                       PyObject *kwargs, rl_span_start *start)
{
    PyObject *metadata;

    if (PyDict_GET_SIZE(self->identity) > 0 && start->has_parent) {
        metadata = rl_event_get(state, raised, kwargs, RL_NAME_metadata);
        use_token(self, token_in(state, self, raised, metadata), &start->parent);
        Py_XDECREF(metadata);
    }
}

/* Whether another run than the first has that id. */
static bool has_others(const rl_handler *self, rl_key key)
{
    PyObject *token, *value;
    Py_ssize_t at = 0;
    bool has = false;

    while (!has && PyDict_Next(self->identity, &at, &token, &value)) {
        key.handler = value;
        has = is_open(self, key);
    }
    return has;
}

bool rl_same_id_find(const rl_state *state, const rl_handler *self, rl_raised *raised,
                     rl_key *key)
{
    bool told = PyDict_GET_SIZE(self->identity) == 0 || !has_others(self, *key);
    PyObject *metadata;

    if (!told) {
        metadata = handed_down(state, raised);
        told = metadata != NULL;
        use_token(self, token_in(state, self, raised, metadata), key);
        Py_XDECREF(metadata);
    }
    return told;
}

void rl_same_id_end(const rl_handler *self, rl_raised *raised, rl_key key)
{
    if (key.handler != self->identity) {
        (void)PyDict_DelItem(self->identity, (PyObject *)key.handler);
        rl_raised_absorb(raised);
    }
}
