/* LangChain's callbacks, read. See event.h. The rules are those that LangGraph 1.2 follows:
 * a graph's run has "ls_integration" in its metadata and no checkpoint namespace, a node's
 * has a namespace of its own.
 */
#include "py/event.h"

#include "py/errors.h"

#include <string.h>

bool rl_event_key(PyObject *uuid, rl_key *key)
{
    PyObject *number = NULL;
    unsigned char bytes[16];
    bool known = false;

    if (uuid != NULL && uuid != Py_None) {
        number = PyObject_GetAttrString(uuid, "int");
    }
    if (number != NULL && PyLong_Check(number)) {
#if PY_VERSION_HEX >= 0x030D0000
        known = PyLong_AsNativeBytes(number, bytes, 16,
                                     Py_ASNATIVEBYTES_BIG_ENDIAN |
                                         Py_ASNATIVEBYTES_UNSIGNED_BUFFER) <= 17;
#else
        known = _PyLong_AsByteArray((PyLongObject *)number, bytes, 16, 0, 0) == 0;
#endif
    }
    if (known) {
        key->high = 0;
        key->low = 0;
        for (int i = 0; i < 8; i++) {
            key->high = key->high << 8 | bytes[i];
            key->low = key->low << 8 | bytes[8 + i];
        }
    }
    Py_XDECREF(number);
    PyErr_Clear();
    return known;
}

rl_text rl_event_text(PyObject *text)
{
    rl_text result = {NULL, 0};
    Py_ssize_t len = 0;

    if (text != NULL && PyUnicode_Check(text)) {
        result.data = PyUnicode_AsUTF8AndSize(text, &len);
        result.len = (size_t)len;
        if (result.data == NULL) { /* a lone surrogate */
            PyErr_Clear();
            result.len = 0;
        }
    }
    return result;
}

PyObject *rl_event_get(PyObject *dict, const char *name)
{
    PyObject *value = NULL;

    if (dict != NULL && PyDict_Check(dict)) {
        value = PyDict_GetItemString(dict, name);
    }
    return value != Py_None ? value : NULL;
}

static bool has_hidden_tag(PyObject *tags)
{
    bool hidden = false;

    if (tags != NULL && PyList_Check(tags)) {
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(tags) && !hidden; i++) {
            PyObject *tag = PyList_GET_ITEM(tags, i);

            hidden = PyUnicode_Check(tag) &&
                     PyUnicode_CompareWithASCIIString(tag, "langsmith:hidden") == 0;
        }
    }
    return hidden;
}

void rl_event_clear(rl_event_texts *texts)
{
    Py_CLEAR(texts->ns);
    Py_CLEAR(texts->name);
}

bool rl_event_start(PyObject *kwargs, rl_span_start *start, rl_event_texts *texts)
{
    PyObject *metadata = rl_event_get(kwargs, "metadata");
    PyObject *step = rl_event_get(metadata, "langgraph_step");

    memset(start, 0, sizeof *start);
    texts->ns = Py_XNewRef(rl_event_get(metadata, "langgraph_checkpoint_ns"));
    texts->name = Py_XNewRef(rl_event_get(kwargs, "name"));
    if (!rl_event_key(rl_event_get(kwargs, "run_id"), &start->key)) {
        return false;
    }
    start->has_parent =
        rl_event_key(rl_event_get(kwargs, "parent_run_id"), &start->parent);
    start->hidden = has_hidden_tag(rl_event_get(kwargs, "tags"));
    start->is_graph = rl_event_get(metadata, "ls_integration") != NULL;
    start->ns = rl_event_text(texts->ns);
    start->name = rl_event_text(texts->name);
    if (step != NULL && PyLong_Check(step)) {
        start->step = PyLong_AsLongLong(step);
        PyErr_Clear();
    }
    return true;
}

rl_outcome rl_event_outcome(const rl_state *state, PyObject *error)
{
    const struct {
        PyObject *type;
        rl_outcome outcome;
    } rules[] = {
        {state->handler.parent_command, RL_COMPLETED}, /* Command(graph=PARENT) */
        {state->handler.bubble_up, RL_INTERRUPTED},
        {state->handler.cancelled, RL_CANCELLED},
    };

    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (rules[i].type != Py_None && PyObject_IsInstance(error, rules[i].type) == 1) {
            return rules[i].outcome;
        }
    }
    PyErr_Clear();
    return RL_FAILED;
}

/* Keys that LangGraph, LangChain and LangSmith put beside the user's. */
static bool is_users_key(PyObject *key)
{
    static const char *const prefixes[] = {"langgraph_", "ls_", "lc_", "__"};
    static const char *const names[] = {"thread_id", "wpk_id",           "checkpoint_ns",
                                        "run_id",    "checkpoint_id",    "revision_id",
                                        "versions",  "LANGSMITH_PROJECT"};
    rl_text text = rl_event_text(key);

    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t len = strlen(prefixes[i]);

        if (text.len >= len && memcmp(text.data, prefixes[i], len) == 0) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (text.data != NULL && strcmp(text.data, names[i]) == 0) {
            return false;
        }
    }
    return true;
}

PyObject *rl_event_metadata(PyObject *kwargs)
{
    PyObject *metadata = rl_event_get(kwargs, "metadata");
    PyObject *tags = rl_event_get(kwargs, "tags");
    PyObject *own = PyDict_New(), *key, *value;
    Py_ssize_t at = 0;
    int rc = own != NULL ? 0 : -1;

    while (rc == 0 && metadata != NULL && PyDict_Check(metadata) &&
           PyDict_Next(metadata, &at, &key, &value)) {
        if (is_users_key(key)) {
            rc = PyDict_SetItem(own, key, value);
        }
    }
    if (rc == 0 && tags != NULL && PyList_Check(tags) && PyList_GET_SIZE(tags) > 0) {
        rc = PyDict_SetItemString(own, "tags", tags);
    }
    if (rc < 0 || PyDict_GET_SIZE(own) == 0) {
        Py_CLEAR(own);
    }
    return own;
}
