/* The nodes that have begun. See nodes.h. */
#include "py/handler/nodes.h"

#include "py/handler/event.h"

#include <string.h>

#define NODES_MAX 1000

/* What is kept of a node: a tuple in this order, with None for what it has not. */
enum {
    RUN_ID,
    METADATA,
    TAGS,
    ROOT /* the bytes of a key */
};

static PyObject *or_none(PyObject *value)
{
    return value != NULL ? value : Py_NewRef(Py_None);
}

/* Forgets the oldest node. */
static void drop_first(PyObject *nodes)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;

    if (PyDict_Next(nodes, &at, &key, &value)) {
        Py_INCREF(key);
        (void)PyDict_DelItem(nodes, key);
        Py_DECREF(key);
    }
}

void rl_nodes_add(rl_state *state, rl_handler *self, rl_raised *raised, PyObject *ns,
                  rl_key root, PyObject *kwargs)
{
    PyObject *node;

    if (ns == NULL || !PyUnicode_CheckExact(ns)) {
        return;
    }
    if (self->nodes == NULL) {
        self->nodes = PyDict_New();
    }
    node = Py_BuildValue("(NNNy#)",
                         or_none(rl_event_get(state, raised, kwargs, RL_NAME_run_id)),
                         or_none(rl_event_get(state, raised, kwargs, RL_NAME_metadata)),
                         or_none(rl_event_get(state, raised, kwargs, RL_NAME_tags)),
                         (const char *)&root, (Py_ssize_t)sizeof root);
    if (self->nodes != NULL && node != NULL) {
        if (PyDict_GET_SIZE(self->nodes) >= NODES_MAX) {
            drop_first(self->nodes);
        }
        (void)PyDict_SetItem(self->nodes, ns, node);
    }
    Py_XDECREF(node);
    rl_raised_absorb(raised);
}

/* The tuple of a node; a new reference, or NULL. */
static PyObject *find(const rl_handler *self, rl_raised *raised, PyObject *ns)
{
    PyObject *node = NULL;

    if (self->nodes != NULL && ns != NULL && PyUnicode_CheckExact(ns)) {
        node = Py_XNewRef(PyDict_GetItemWithError(self->nodes, ns));
        rl_raised_absorb(raised);
    }
    return node;
}

bool rl_nodes_find(const rl_state *state, const rl_handler *self, rl_raised *raised,
                   PyObject *ns, rl_key *key, rl_key *root)
{
    PyObject *node = find(self, raised, ns);
    bool found =
        node != NULL && rl_event_key(state, raised, PyTuple_GET_ITEM(node, RUN_ID), key);

    if (found) {
        memcpy(root, PyBytes_AS_STRING(PyTuple_GET_ITEM(node, ROOT)), sizeof *root);
    }
    Py_XDECREF(node);
    key->handler = self->identity;
    return found;
}

bool rl_nodes_find_around(const rl_state *state, const rl_handler *self,
                          rl_raised *raised, rl_text ns, rl_key *key, rl_key *root,
                          rl_text *around)
{
    size_t len = ns.len;
    PyObject *text = NULL;
    bool found = false;

    while (len > 0 && ns.data[len - 1] != '|') {
        len--;
    }
    if (len > 0) {
        *around = (rl_text){ns.data, len - 1};
        text = PyUnicode_FromStringAndSize(around->data, (Py_ssize_t)around->len);
        rl_raised_absorb(raised);
    }
    found = text != NULL && rl_nodes_find(state, self, raised, text, key, root);
    Py_XDECREF(text);
    return found;
}

void rl_nodes_inherited(const rl_handler *self, rl_raised *raised, PyObject *ns,
                        PyObject **metadata, PyObject **tags)
{
    PyObject *node = find(self, raised, ns);

    *metadata = node != NULL ? Py_NewRef(PyTuple_GET_ITEM(node, METADATA)) : NULL;
    *tags = node != NULL ? Py_NewRef(PyTuple_GET_ITEM(node, TAGS)) : NULL;
    Py_XDECREF(node);
}
