/* The arguments of LangChain's callbacks. See event.h. By the rules of LangGraph 1.2 a
 * graph's run has "ls_integration" in its metadata and no checkpoint namespace; a node's
 * run has a namespace of its own.
 */
#include "py/handler/event.h"

#include "core/uuid.h"
#include "py/base/errors.h"
#include "py/encode/encode.h"

#include <string.h>
#include <structmember.h>

#define RL_NAME_TEXT(name) #name,
static const char *const name_texts[RL_NAME_COUNT] = {RL_NAMES(RL_NAME_TEXT)};
#undef RL_NAME_TEXT

/* The offset of an attribute that is a slot, or 0. uuid.UUID has its int in one: reading
 * it from there takes a tenth of the time of an attribute lookup. */
static Py_ssize_t slot_of(PyObject *type, const char *name)
{
    PyObject *descriptor = PyObject_GetAttrString(type, name);
    Py_ssize_t offset = 0;

    if (descriptor != NULL && Py_IS_TYPE(descriptor, &PyMemberDescr_Type)) {
        offset = ((PyMemberDescrObject *)descriptor)->d_member->offset;
    }
    Py_XDECREF(descriptor);
    PyErr_Clear();
    return offset;
}

int rl_event_prepare(rl_state *state)
{
    rl_handler_state *handler = &state->handler;
    PyObject *module = PyImport_ImportModule("uuid");
    PyObject *type = module != NULL ? PyObject_GetAttrString(module, "UUID") : NULL;
    int rc = type != NULL && PyType_Check(type) ? 0 : -1;

    for (size_t i = 0; i < RL_NAME_COUNT && rc == 0; i++) {
        Py_XSETREF(handler->names[i], PyUnicode_InternFromString(name_texts[i]));
        rc = handler->names[i] != NULL ? 0 : -1;
    }
    if (rc == 0) {
        handler->uuid_int = slot_of(type, "int");
        Py_XSETREF(handler->uuid, (PyTypeObject *)Py_NewRef(type));
    }
    Py_XDECREF(type);
    Py_XDECREF(module);
    return rc;
}

/* The int of a UUID; a new reference, NULL for other values. */
static PyObject *int_of(const rl_state *state, PyObject *uuid)
{
    const rl_handler_state *handler = &state->handler;
    PyObject *number = NULL;

    if (uuid == NULL || uuid == Py_None) {
        return NULL;
    }
    if (Py_IS_TYPE(uuid, handler->uuid) && handler->uuid_int != 0) {
        PyObject *const *slot =
            (PyObject *const *)(const void *)((const char *)uuid + handler->uuid_int);

        number = Py_XNewRef(*slot);
    } else {
        number = PyObject_GetAttrString(uuid, "int");
    }
    if (number != NULL && !PyLong_Check(number)) {
        Py_CLEAR(number);
    }
    PyErr_Clear();
    return number;
}

bool rl_event_key(const rl_state *state, PyObject *uuid, rl_key *key)
{
    PyObject *number = NULL;
    unsigned char bytes[16];
    bool known = false;

    if (uuid != NULL &&
        PyUnicode_Check(uuid)) { /* a program that calls the handler may give text */
        rl_text text = rl_event_text(uuid);

        known = text.len == RL_UUID_TEXT - 1 && rl_uuid_parse(text.data, bytes);
    } else {
        number = int_of(state, uuid);
    }
    if (number != NULL) {
#if PY_VERSION_HEX >= 0x030D0000
        known = PyLong_AsNativeBytes(number, bytes, 16,
                                     Py_ASNATIVEBYTES_BIG_ENDIAN |
                                         Py_ASNATIVEBYTES_UNSIGNED_BUFFER) <= 17;
#else
        known = _PyLong_AsByteArray((PyLongObject *)number, bytes, 16, 0, 0) == 0;
#endif
        if (!known) {
            PyErr_Clear();
        }
        Py_DECREF(number);
    }
    if (known) {
        key->high = 0;
        key->low = 0;
        for (int i = 0; i < 8; i++) {
            key->high = key->high << 8 | bytes[i];
            key->low = key->low << 8 | bytes[8 + i];
        }
    }
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

PyObject *rl_event_get(const rl_state *state, PyObject *dict, rl_name name)
{
    PyObject *value = NULL;

    if (dict != NULL && PyDict_Check(dict)) {
        value = PyDict_GetItemWithError(dict, state->handler.names[name]);
        if (value == NULL) {
            PyErr_Clear();
        }
    }
    return value != Py_None ? value : NULL;
}

PyObject *rl_event_attribute(const rl_state *state, PyObject *object, rl_name name)
{
    PyObject *value = PyObject_GetAttr(object, state->handler.names[name]);

    if (value == NULL) {
        rl_errors_swallow();
    } else if (value == Py_None) {
        Py_CLEAR(value);
    }
    return value;
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

/* Whether a Send started the node: its path then begins with "__pregel_push". */
static bool was_pushed(PyObject *path)
{
    PyObject *kind = path != NULL && PyTuple_Check(path) && PyTuple_GET_SIZE(path) > 0
                         ? PyTuple_GET_ITEM(path, 0)
                         : NULL;

    return kind != NULL && PyUnicode_Check(kind) &&
           PyUnicode_CompareWithASCIIString(kind, "__pregel_push") == 0;
}

/* The model that an LLM call names, borrowed; NULL when it names none. */
static PyObject *model_of(const rl_state *state, PyObject *kwargs, PyObject *metadata)
{
    PyObject *given = rl_event_get(state, kwargs, RL_NAME_invocation_params);
    PyObject *model = rl_event_get(state, metadata, RL_NAME_ls_model_name);

    if (model == NULL) {
        model = rl_event_get(state, given, RL_NAME_model_name);
    }
    return model != NULL ? model : rl_event_get(state, given, RL_NAME_model);
}

/* Whether this is the run of a graph within a node: its config has the node's namespace
 * too. */
static bool is_root_of(const rl_state *state, PyObject *metadata, PyObject *ns)
{
    PyObject *own = rl_event_get(state, metadata, RL_NAME_checkpoint_ns);

    return own != NULL && ns != NULL && PyUnicode_Check(own) && PyUnicode_Check(ns) &&
           PyUnicode_Compare(own, ns) == 0;
}

bool rl_event_start(const rl_state *state, PyObject *kwargs, rl_call call,
                    rl_span_start *start, rl_event_texts *texts)
{
    PyObject *metadata = rl_event_get(state, kwargs, RL_NAME_metadata);
    PyObject *step = rl_event_get(state, metadata, RL_NAME_langgraph_step);

    memset(start, 0, sizeof *start);
    texts->ns =
        Py_XNewRef(rl_event_get(state, metadata, RL_NAME_langgraph_checkpoint_ns));
    texts->name =
        rl_encode_name(call == RL_CALL_LLM ? model_of(state, kwargs, metadata)
                                           : rl_event_get(state, kwargs, RL_NAME_name));
    if (!rl_event_key(state, rl_event_get(state, kwargs, RL_NAME_run_id), &start->key)) {
        return false;
    }
    start->has_parent = rl_event_key(
        state, rl_event_get(state, kwargs, RL_NAME_parent_run_id), &start->parent);
    start->call = call;
    start->hidden = has_hidden_tag(rl_event_get(state, kwargs, RL_NAME_tags));
    start->is_graph = rl_event_get(state, metadata, RL_NAME_ls_integration) != NULL;
    start->is_root = is_root_of(state, metadata, texts->ns);
    start->pushed = was_pushed(rl_event_get(state, metadata, RL_NAME_langgraph_path));
    start->ns = rl_event_text(texts->ns);
    start->name = rl_event_text(texts->name);
    if (step != NULL && PyLong_Check(step)) {
        start->step = PyLong_AsLongLong(step);
        PyErr_Clear();
    }
    return true;
}

/* Whether an exception is of a class; false for None, where LangGraph has no such
 * class. */
static bool is_of(PyObject *error, PyObject *type)
{
    int is = type != Py_None ? PyObject_IsInstance(error, type) : 0;

    if (is < 0) {
        rl_errors_swallow();
    }
    return is == 1;
}

rl_outcome rl_event_outcome(const rl_state *state, PyObject *error)
{
    const rl_handler_state *handler = &state->handler;
    const struct {
        PyObject *type;
        rl_outcome outcome;
    } rules[] = {
        {handler->parent_command, RL_COMPLETED}, /* Command(graph=PARENT) */
        {handler->graph_interrupt, RL_INTERRUPTED},
        {handler->bubble_up,
         RL_INTERRUPTED}, /* GraphDrained, and classes that later versions add */
        {handler->cancelled, RL_CANCELLED},
    };

    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (is_of(error, rules[i].type)) {
            return rules[i].outcome;
        }
    }
    return RL_FAILED;
}

/* The first argument of an exception of that class, borrowed; NULL for other
 * exceptions. */
static PyObject *first_argument(PyObject *error, PyObject *type)
{
    PyObject *args;

    if (!PyExceptionInstance_Check(error) || !is_of(error, type)) {
        return NULL;
    }
    args = ((PyBaseExceptionObject *)error)->args;
    return args != NULL && PyTuple_Check(args) && PyTuple_GET_SIZE(args) > 0
               ? PyTuple_GET_ITEM(args, 0)
               : NULL;
}

PyObject *rl_event_command(const rl_state *state, PyObject *error)
{
    return first_argument(error, state->handler.parent_command);
}

PyObject *rl_event_interrupts(const rl_state *state, PyObject *error)
{
    return first_argument(error, state->handler.graph_interrupt);
}

/* Copies an attribute into a dict: 1; 0 when it is absent or None; or -1 with an error
 * set. */
static int copy_attribute(const rl_state *state, PyObject *from, rl_name name,
                          PyObject *to)
{
    PyObject *value = rl_event_attribute(state, from, name);
    int rc = 0;

    if (value != NULL) {
        rc = PyDict_SetItem(to, state->handler.names[name], value) < 0 ? -1 : 1;
        Py_DECREF(value);
    }
    return rc;
}

/* One interrupt; a new reference, NULL with an error set. */
static PyObject *interrupt_to_dict(const rl_state *state, PyObject *interrupt)
{
    PyObject *dict = PyDict_New();
    int rc = dict != NULL ? copy_attribute(state, interrupt, RL_NAME_id, dict) : -1;

    if (rc == 0) { /* not an Interrupt of LangGraph's */
        Py_DECREF(dict);
        return Py_NewRef(interrupt);
    }
    if (rc > 0) {
        rc = copy_attribute(state, interrupt, RL_NAME_value, dict);
    }
    if (rc == 0) {
        rc = PyDict_SetItem(dict, state->handler.names[RL_NAME_value], Py_None);
    }
    if (rc >= 0) {
        rc = copy_attribute(state, interrupt, RL_NAME_response_schema, dict);
    }
    if (rc < 0) {
        Py_CLEAR(dict);
    }
    return dict;
}

PyObject *rl_event_list_interrupts(const rl_state *state, PyObject *interrupts)
{
    PyObject *list = PySequence_List(interrupts);

    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *one = interrupt_to_dict(state, PyList_GET_ITEM(list, i));

        if (one == NULL || PyList_SetItem(list, i, one) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

bool rl_event_resumes(const rl_state *state, PyObject *inputs)
{
    PyObject *resume = NULL;

    if (inputs != Py_None && is_of(inputs, state->handler.command)) {
        resume = rl_event_attribute(state, inputs, RL_NAME_resume);
        Py_XDECREF(resume);
    }
    return inputs == Py_None || resume != NULL;
}

static bool begins_with(rl_text text, const char *prefix)
{
    size_t len = strlen(prefix);

    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

/* Whether a key is the user's, not one that LangGraph, LangChain or LangSmith add. */
static bool is_users_key(PyObject *key)
{
    static const char *const prefixes[] = {"langgraph_", "ls_", "lc_", "__"};
    static const char *const names[] = {"thread_id", "wpk_id",           "checkpoint_ns",
                                        "run_id",    "checkpoint_id",    "revision_id",
                                        "versions",  "LANGSMITH_PROJECT"};
    rl_text text = rl_event_text(key);

    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (begins_with(text, prefixes[i])) {
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

/* Whether runlog itself stores something under this key of a run's metadata. */
static bool is_taken_key(PyObject *key)
{
    static const char *const names[] = {
        "tags", "interrupts", "resumed", "llm_calls", "tool_calls", "tokens", "models"};
    rl_text text = rl_event_text(key);
    bool taken = false;

    for (size_t i = 0; i < sizeof names / sizeof *names && text.data != NULL; i++) {
        taken = taken || strcmp(text.data, names[i]) == 0;
    }
    return taken;
}

static int add_metadata(PyObject *own, PyObject *key, PyObject *value)
{
    PyObject *name =
        is_taken_key(key) ? PyUnicode_FromFormat("user_%U", key) : Py_NewRef(key);
    int rc = name != NULL ? PyDict_SetItem(own, name, value) : -1;

    Py_XDECREF(name);
    return rc;
}

/* Adds the user's tags, without LangChain's own, which name the step of a part. */
static int add_tags(const rl_state *state, PyObject *tags, PyObject *to)
{
    static const char *const own[] = {
        "seq:step:", "graph:step:", "map:key:", "langsmith:"};
    PyObject *list = PyList_New(0);
    int rc = list != NULL ? 0 : -1;

    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(tags); i++) {
        PyObject *tag = PyList_GET_ITEM(tags, i), *name;
        bool users = true;

        for (size_t j = 0; j < sizeof own / sizeof *own; j++) {
            users = users && !begins_with(rl_event_text(tag), own[j]);
        }
        name = users ? rl_encode_name(tag) : NULL;
        rc = name != NULL ? PyList_Append(list, name) : 0;
        Py_XDECREF(name);
    }
    if (rc == 0 && PyList_GET_SIZE(list) > 0) {
        rc = PyDict_SetItem(to, state->handler.names[RL_NAME_tags], list);
    }
    Py_XDECREF(list);
    return rc;
}

PyObject *rl_event_metadata(const rl_state *state, PyObject *kwargs)
{
    PyObject *metadata = rl_event_get(state, kwargs, RL_NAME_metadata);
    PyObject *tags = rl_event_get(state, kwargs, RL_NAME_tags);
    PyObject *own = PyDict_New(), *key, *value;
    Py_ssize_t at = 0;
    int rc = own != NULL ? 0 : -1;

    while (rc == 0 && metadata != NULL && PyDict_Check(metadata) &&
           PyDict_Next(metadata, &at, &key, &value)) {
        if (is_users_key(key)) {
            rc = add_metadata(own, key, value);
        }
    }
    if (rc == 0 && tags != NULL && PyList_Check(tags)) {
        rc = add_tags(state, tags, own);
    }
    if (rc < 0 || PyDict_GET_SIZE(own) == 0) {
        Py_CLEAR(own);
    }
    return own;
}
