/* Runs that are open at once under one id. See same_id.h. */
#include "py/handler/same_id.h"

#include "core/clock.h"
#include "py/handler/caller.h"
#include "py/handler/event.h"
#include "py/handler/graph_runs.h"

#define TOKENS_MAX 64 /* of which those of ended runs are dropped */

static rl_span_kind find(const rl_handler *self, rl_key key)
{
    rl_found found;

    return rl_graphs_find(self->graphs, key, &found);
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

/* What stands for this handler's identity in the keys of the run whose token metadata have:
 * borrowed from self->identity; None if that run has ended, NULL if it has no token. */
static PyObject *stand_in(const rl_state *state, const rl_handler *self,
                          rl_raised *raised, PyObject *metadata)
{
    PyObject *token = rl_event_get(state, raised, metadata, RL_NAME_runlog_run);
    PyObject *found = NULL;

    if (token != NULL && PyLong_CheckExact(token)) {
        found = PyDict_GetItemWithError(self->identity, token);
    }
    rl_raised_absorb(raised);
    Py_XDECREF(token);
    return found;
}

/* Forgets the tokens of ended runs when there are many. */
static void drop_ended(const rl_handler *self)
{
    PyObject *tokens = PyDict_GET_SIZE(self->identity) >= TOKENS_MAX
                           ? PyDict_Keys(self->identity)
                           : NULL;

    for (Py_ssize_t i = 0; tokens != NULL && i < PyList_GET_SIZE(tokens); i++) {
        PyObject *token = PyList_GET_ITEM(tokens, i);

        if (PyDict_GetItemWithError(self->identity, token) == Py_None) {
            (void)PyDict_DelItem(self->identity, token);
        }
    }
    Py_XDECREF(tokens);
}

/* The token of the run that begins: the one that another handler has given it, or a new one
 * in its metadata. New reference, NULL with an error set. */
static PyObject *token_for(const rl_state *state, const rl_handler *self,
                           rl_raised *raised, PyObject *metadata)
{
    PyObject *token = rl_event_get(state, raised, metadata, RL_NAME_runlog_run);
    int known = token != NULL ? PyDict_Contains(self->identity, token) : 1;

    rl_raised_absorb(raised); /* it was the program's, and can't be hashed */
    if (known != 0) {         /* that of a run around it */
        Py_XSETREF(token, PyLong_FromUnsignedLongLong(rl_monotonic_ns()));
        if (token != NULL &&
            PyDict_SetItem(metadata, state->handler.names[RL_NAME_runlog_run], token) <
                0) {
            Py_CLEAR(token);
        }
    }
    return token;
}

/* Gives the run that begins a token and its stand-in; borrowed, NULL with an error set. */
static PyObject *add_stand_in(const rl_state *state, const rl_handler *self,
                              rl_raised *raised, PyObject *metadata)
{
    PyObject *token = token_for(state, self, raised, metadata);
    PyObject *made =
        token != NULL ? PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type) : NULL;

    drop_ended(self);
    if (made != NULL && PyDict_SetItem(self->identity, token, made) < 0) {
        Py_CLEAR(made);
    }
    Py_XDECREF(made); /* self->identity has it */
    Py_XDECREF(token);
    return made;
}

bool rl_same_id_begin(rl_state *state, rl_handler *self, rl_raised *raised,
                      rl_span_start *start)
{
    PyObject *metadata = handed_down(state, raised), *own = NULL;
    rl_found found = {.again = true};

    if (metadata != NULL && PyDict_Check(metadata)) {
        own = stand_in(state, self, raised, metadata);
        if (own != NULL) { /* of a run around it; or a copy of the handler has begun it */
            start->key.handler = own;
            (void)rl_graphs_classify(self->graphs, start, &found);
        }
        if (found.again || own == Py_None) {
            own = add_stand_in(state, self, raised, metadata);
        }
    } else {
        PyErr_SetString(PyExc_RuntimeError,
                        "another open run has the same run_id, and LangChain calls the "
                        "handler in a thread where their events can't be told apart: "
                        "give each run a run_id of its own, or leave run_inline True");
    }
    if (own != NULL) {
        start->key.handler = own;
    } else {
        rl_graph_runs_report(state, self, raised);
    }
    Py_XDECREF(metadata);
    return own != NULL;
}

/* Whether a key may be that of several runs; not if it is that of a span within one, whose
 * id is LangChain's. */
static bool is_shared(const rl_handler *self, rl_key key)
{
    rl_span_kind kind =
        PyDict_GET_SIZE(self->identity) > 0 ? find(self, key) : RL_SPAN_INNER;

    return kind == RL_SPAN_NONE || kind == RL_SPAN_GRAPH;
}

/* Makes *key that of the run whose token the metadata have, if they have one. */
static void use_token(const rl_state *state, const rl_handler *self, rl_raised *raised,
                      PyObject *metadata, rl_key *key)
{
    PyObject *own = stand_in(state, self, raised, metadata);

    if (own != NULL) {
        key->handler = own;
    }
}

void rl_same_id_parent(const rl_state *state, const rl_handler *self, rl_raised *raised,
                       PyObject *kwargs, rl_span_start *start)
{
    PyObject *metadata;

    if (start->has_parent && is_shared(self, start->parent)) {
        metadata = rl_event_get(state, raised, kwargs, RL_NAME_metadata);
        use_token(state, self, raised, metadata, &start->parent);
        Py_XDECREF(metadata);
    }
}

/* Whether a run with a token has that id and is open. */
static bool has_others(const rl_handler *self, rl_key key)
{
    PyObject *token, *own;
    Py_ssize_t at = 0;
    bool has = false;

    while (!has && PyDict_Next(self->identity, &at, &token, &own)) {
        key.handler = own;
        has = find(self, key) != RL_SPAN_NONE;
    }
    return has;
}

bool rl_same_id_find(const rl_state *state, const rl_handler *self, rl_raised *raised,
                     rl_key *key)
{
    bool known = true;
    PyObject *metadata;

    if (is_shared(self, *key)) {
        metadata = handed_down(state, raised);
        known = metadata != NULL || !has_others(self, *key);
        use_token(state, self, raised, metadata, key);
        Py_XDECREF(metadata);
    }
    return known;
}

void rl_same_id_end(const rl_handler *self, rl_raised *raised, rl_key key)
{
    PyObject *token, *own;
    Py_ssize_t at = 0;

    while (key.handler != self->identity &&
           PyDict_Next(self->identity, &at, &token, &own)) {
        if (own == key.handler) { /* a handler that is listed twice gets its end twice */
            (void)PyDict_SetItem(self->identity, token, Py_None);
            break;
        }
    }
    rl_raised_absorb(raised);
}
