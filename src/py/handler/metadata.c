/* The metadata of a graph's run. See metadata.h. */
#include "py/handler/metadata.h"

#include "py/encode/encode.h"
#include "py/handler/event.h"
#include "py/handler/nodes.h"
#include "py/handler/run_config.h"

#include <string.h>

static bool begins_with(rl_text text, const char *prefix)
{
    size_t len = strlen(prefix);

    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

/* Whether LangGraph, LangChain or runlog have added a key for themselves. Their keys are
 * named one by one: a key that only resembles them is the user's. */
static bool is_added(PyObject *key)
{
    static const char *const names[] = {
        "thread_id",      "checkpoint_ns",      "checkpoint_id",
        "checkpoint_map", "langgraph_step",     "langgraph_node",
        "langgraph_path", "langgraph_triggers", "langgraph_checkpoint_ns",
        "ls_integration", "lc_agent_name",      "lc_versions",
        "runlog_run",
    };

    return rl_event_is_one_of(key, names, sizeof names / sizeof *names) ||
           begins_with(rl_event_text(key), "__pregel_");
}

/* Whether LangChain has added a key for the call of a model or a retriever. */
static bool is_of_call(PyObject *key)
{
    static const char *const names[] = {
        "ls_provider",        "ls_model_name",
        "ls_model_type",      "ls_temperature",
        "ls_max_tokens",      "ls_stop",
        "ls_method",          "ls_structured_output_format",
        "ls_retriever_name",  "ls_vector_store_provider",
        "ls_embedding_model", "ls_embedding_provider",
        "ls_agent_type",
    };

    return rl_event_is_one_of(key, names, sizeof names / sizeof *names);
}

/* Whether runlog itself stores something under this key of a run's metadata. */
static bool is_taken(PyObject *key)
{
    static const char *const names[] = {
        "tags",   "interrupts", "resumed", "llm_calls",    "tool_calls",
        "tokens", "models",     "context", "configurable", "totals",
    };

    return rl_event_is_one_of(key, names, sizeof names / sizeof *names);
}

static int add_member(PyObject *key, PyObject *value, PyObject *own)
{
    PyObject *name =
        is_taken(key) ? PyUnicode_FromFormat("user_%U", key) : Py_NewRef(key);
    int rc = name != NULL ? PyDict_SetItem(own, name, value) : -1;

    Py_XDECREF(name);
    return rc;
}

/* Adds the user's metadata. A key's __hash__ may change it meanwhile. */
static int add_members(PyObject *metadata, bool named, bool is_call, PyObject *own)
{
    static const char *const workflow[] = {"wpk_id"};
    PyObject *key, *value;
    Py_ssize_t at = 0, left = PyDict_GET_SIZE(metadata);
    int rc = 0;

    while (rc == 0 && left-- > 0 && PyDict_Next(metadata, &at, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        if (!is_added(key) && !(is_call && is_of_call(key)) &&
            (named || !rl_event_is_one_of(key, workflow, 1))) {
            rc = add_member(key, value, own);
        }
        Py_DECREF(value);
        Py_DECREF(key);
    }
    return rc;
}

/* Whether a list has this very object, or a text that is equal. */
static bool has_item(PyObject *list, PyObject *item)
{
    bool found = false;

    for (Py_ssize_t i = 0;
         list != NULL && PyList_Check(list) && i < PyList_GET_SIZE(list) && !found; i++) {
        PyObject *other = PyList_GET_ITEM(list, i);

        found =
            other == item || (PyUnicode_CheckExact(other) && PyUnicode_CheckExact(item) &&
                              PyUnicode_Compare(other, item) == 0);
    }
    return found;
}

/* Adds the user's tags, without LangChain's own, which name the step of a part, and without
 * those of `inherited`, which may be NULL. */
static int add_tags(const rl_encode_options *options, PyObject *tags, PyObject *inherited,
                    PyObject *to)
{
    static const char *const own[] = {
        "seq:step:", "graph:step:", "map:key:", "retry:attempt:", "langsmith:"};
    PyObject *list = PyList_New(0);
    int rc = list != NULL ? 0 : -1;

    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(tags); i++) {
        PyObject *tag = Py_NewRef(PyList_GET_ITEM(tags, i)), *name;
        bool users = !has_item(inherited, tag);

        for (size_t j = 0; j < sizeof own / sizeof *own; j++) {
            users = users && !begins_with(rl_event_text(tag), own[j]);
        }
        name = users ? rl_encode_short(options->redact, tag, RL_PLAIN_NAME) : NULL;
        rc = name != NULL ? PyList_Append(list, name) : 0;
        Py_XDECREF(name);
        Py_DECREF(tag);
    }
    if (rc == 0 && PyList_GET_SIZE(list) > 0) {
        rc = PyDict_SetItem(to, options->state->handler.names[RL_NAME_tags], list);
    }
    Py_XDECREF(list);
    return rc;
}

/* Adds a value (stolen) of the config, if there is one. */
static int add_value(PyObject *to, const char *name, PyObject *value)
{
    int rc = value != NULL ? PyDict_SetItemString(to, name, value) : 0;

    Py_XDECREF(value);
    return rc;
}

PyObject *rl_metadata_of(const rl_encode_options *options, PyObject *kwargs, bool named,
                         bool is_call)
{
    const rl_state *state = options->state;
    rl_raised *raised = options->raised;
    PyObject *metadata = rl_event_get(state, raised, kwargs, RL_NAME_metadata);
    PyObject *tags = rl_event_get(state, raised, kwargs, RL_NAME_tags);
    PyObject *own = PyDict_New();
    int rc = own != NULL ? 0 : -1;
    rl_run_config config;

    if (rc == 0 && metadata != NULL && PyDict_Check(metadata)) {
        rc = add_members(metadata, named, is_call, own);
    }
    if (rc == 0 && tags != NULL && PyList_Check(tags)) {
        rc = add_tags(options, tags, NULL, own);
    }
    if (rc == 0) {
        config = rl_run_config_read(options);
        rc = add_value(own, "configurable", config.configurable);
        rc |= add_value(own, "context", config.context);
    }
    if (own != NULL && (rc < 0 || PyDict_GET_SIZE(own) == 0)) {
        Py_CLEAR(own);
    }
    Py_XDECREF(tags);
    Py_XDECREF(metadata);
    return own;
}

/* Adds a member unless `inherited`, which may be NULL, has the very same, or LangChain has
 * added it. Most are inherited, and the names take longer to compare. */
static int add_own_member(PyObject *key, PyObject *value, PyObject *inherited,
                          PyObject *own)
{
    PyObject *known = inherited != NULL ? PyDict_GetItemWithError(inherited, key) : NULL;

    if (known == NULL && PyErr_Occurred()) {
        return -1;
    }
    return known == value || is_added(key) || is_of_call(key)
               ? 0
               : PyDict_SetItem(own, key, value);
}

/* Adds the metadata of a call that are its own. A key's __eq__ may change them meanwhile. */
static int add_own_members(const rl_state *state, PyObject *metadata, PyObject *inherited,
                           PyObject *to)
{
    PyObject *own = PyDict_New(), *key, *value;
    Py_ssize_t at = 0;
    int rc = own != NULL ? 0 : -1;

    while (rc == 0 && PyDict_Next(metadata, &at, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        if (PyUnicode_CheckExact(key)) {
            rc = add_own_member(key, value, inherited, own);
        }
        Py_DECREF(value);
        Py_DECREF(key);
    }
    if (rc == 0 && PyDict_GET_SIZE(own) > 0) {
        rc = PyDict_SetItem(to, state->handler.names[RL_NAME_metadata], own);
    }
    Py_XDECREF(own);
    return rc;
}

int rl_metadata_of_call(const rl_encode_options *options, const rl_handler *self,
                        PyObject *kwargs, PyObject *to)
{
    const rl_state *state = options->state;
    rl_raised *raised = options->raised;
    PyObject *metadata = rl_event_get(state, raised, kwargs, RL_NAME_metadata);
    PyObject *tags = rl_event_get(state, raised, kwargs, RL_NAME_tags);
    PyObject *ns = rl_event_get(state, raised, metadata, RL_NAME_langgraph_checkpoint_ns);
    PyObject *inherited, *known_tags;
    int rc = 0;

    rl_nodes_inherited(self, raised, ns, &inherited, &known_tags);
    if (metadata != NULL && PyDict_Check(metadata)) {
        bool is_dict = inherited != NULL && PyDict_Check(inherited);

        rc = add_own_members(state, metadata, is_dict ? inherited : NULL, to);
    }
    if (rc == 0 && tags != NULL && PyList_Check(tags)) {
        rc = add_tags(options, tags, known_tags, to);
    }
    Py_XDECREF(known_tags);
    Py_XDECREF(inherited);
    Py_XDECREF(ns);
    Py_XDECREF(tags);
    Py_XDECREF(metadata);
    return rc;
}
