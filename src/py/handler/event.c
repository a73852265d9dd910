/* The arguments of LangChain's callbacks. See event.h. Since LangGraph 1.1.4 a graph's run
 * has "ls_integration" in its metadata and no checkpoint namespace (see caller.h for older
 * versions); in every version a node's run has a namespace of its own.
 */
#include "py/handler/event.h"

#include "core/uuid.h"
#include "core/value.h"
#include "py/base/errors.h"
#include "py/base/imports.h"
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
    PyObject *module = rl_import("uuid");
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
static PyObject *int_of(const rl_state *state, rl_raised *raised, PyObject *uuid)
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
    rl_raised_absorb(raised);
    return number;
}

/* The bytes that stand for a run_id that is no UUID: LangChain takes any value for one, such
 * as the name of a job. False for a text that can't be stored as a name. */
static bool hash_name(PyObject *name, unsigned char bytes[16])
{
    rl_text text = rl_event_text(name);
    bool is_name = text.len > 0 && strlen(text.data) == text.len;
    uint64_t hash[2];

    if (is_name) {
        rl_value_hash(text.data, text.len, hash);
        memcpy(bytes, hash, sizeof hash);
    }
    return is_name;
}

bool rl_event_key(const rl_state *state, rl_raised *raised, PyObject *uuid, rl_key *key)
{
    PyObject *number = NULL, *name = NULL;
    unsigned char bytes[16];
    bool known = false;

    key->high = 0;
    key->low = 0;
    if (uuid != NULL && PyUnicode_Check(uuid)) {
        rl_text text = rl_event_text(uuid);

        known = (text.len == RL_UUID_TEXT - 1 && rl_uuid_parse(text.data, bytes)) ||
                hash_name(uuid, bytes);
    } else if (uuid != NULL && PyLong_Check(uuid)) {
        name = PyObject_Str(uuid);
        known = name != NULL && hash_name(name, bytes);
        rl_raised_absorb(raised);
        Py_XDECREF(name);
    } else {
        number = int_of(state, raised, uuid);
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

bool rl_event_is_one_of(PyObject *value, const char *const *names, size_t count)
{
    rl_text text = rl_event_text(value);
    bool found = false;

    for (size_t i = 0; i < count && text.data != NULL && !found; i++) {
        found = text.data[0] == names[i][0] && strcmp(text.data, names[i]) == 0;
    }
    return found;
}

PyObject *rl_event_get(const rl_state *state, rl_raised *raised, PyObject *dict,
                       rl_name name)
{
    PyObject *value = NULL;

    if (dict != NULL && PyDict_Check(dict)) {
        value = Py_XNewRef(PyDict_GetItemWithError(dict, state->handler.names[name]));
        if (value == NULL && PyErr_Occurred()) {
            rl_raised_absorb(raised);
        }
    }
    if (value == Py_None) {
        Py_CLEAR(value);
    }
    return value;
}

int rl_event_put(const rl_state *state, PyObject *dict, rl_name name, PyObject *value)
{
    int rc = value != NULL ? PyDict_SetItem(dict, state->handler.names[name], value) : 0;

    Py_XDECREF(value);
    return rc;
}

PyObject *rl_event_attribute(const rl_state *state, rl_raised *raised, PyObject *object,
                             rl_name name)
{
    PyObject *value = PyObject_GetAttr(object, state->handler.names[name]);

    if (value == NULL) {
        rl_raised_absorb(raised);
    } else if (value == Py_None) {
        Py_CLEAR(value);
    }
    return value;
}

bool rl_event_run(const rl_state *state, rl_raised *raised, PyObject *kwargs, rl_key *key)
{
    PyObject *run_id = rl_event_get(state, raised, kwargs, RL_NAME_run_id);
    bool known = rl_event_key(state, raised, run_id, key);

    Py_XDECREF(run_id);
    return known;
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

PyObject *rl_event_model(const rl_state *state, rl_raised *raised, PyObject *kwargs,
                         PyObject *metadata)
{
    PyObject *given = rl_event_get(state, raised, kwargs, RL_NAME_invocation_params);
    PyObject *model = rl_event_get(state, raised, metadata, RL_NAME_ls_model_name);

    if (model == NULL) {
        model = rl_event_get(state, raised, given, RL_NAME_model_name);
    }
    if (model == NULL) {
        model = rl_event_get(state, raised, given, RL_NAME_model);
    }
    Py_XDECREF(given);
    return model;
}

/* Reads the metadata of a start. */
static void read_metadata(const rl_state *state, rl_raised *raised, PyObject *metadata,
                          rl_span_start *start, rl_event_texts *texts)
{
    PyObject *own = rl_event_get(state, raised, metadata, RL_NAME_checkpoint_ns);
    PyObject *path = rl_event_get(state, raised, metadata, RL_NAME_langgraph_path);
    PyObject *step = rl_event_get(state, raised, metadata, RL_NAME_langgraph_step);
    PyObject *integration = rl_event_get(state, raised, metadata, RL_NAME_ls_integration);
    PyObject *ns = rl_event_get(state, raised, metadata, RL_NAME_langgraph_checkpoint_ns);

    texts->ns = ns;
    start->is_graph = integration != NULL;
    /* the config of a graph within a node has the node's namespace too */
    start->is_root = own != NULL && ns != NULL && PyUnicode_Check(own) &&
                     PyUnicode_Check(ns) && PyUnicode_Compare(own, ns) == 0;
    start->pushed = was_pushed(path);
    if (step != NULL && PyLong_Check(step)) {
        start->step = PyLong_AsLongLong(step);
        PyErr_Clear(); /* it is too large */
    }
    Py_XDECREF(integration);
    Py_XDECREF(step);
    Py_XDECREF(path);
    Py_XDECREF(own);
}

bool rl_event_start(const rl_state *state, rl_raised *raised, PyObject *kwargs,
                    rl_call call, rl_span_start *start, rl_event_texts *texts)
{
    PyObject *metadata = rl_event_get(state, raised, kwargs, RL_NAME_metadata);
    PyObject *tags = rl_event_get(state, raised, kwargs, RL_NAME_tags);
    PyObject *parent = rl_event_get(state, raised, kwargs, RL_NAME_parent_run_id);
    PyObject *name = call == RL_CALL_LLM
                         ? rl_event_model(state, raised, kwargs, metadata)
                         : rl_event_get(state, raised, kwargs, RL_NAME_name);
    bool known;

    memset(start, 0, sizeof *start);
    texts->name = rl_encode_name(name);
    read_metadata(state, raised, metadata, start, texts);
    start->call = call;
    start->has_parent = rl_event_key(state, raised, parent, &start->parent);
    start->hidden = has_hidden_tag(tags);
    start->object = tags;
    known = rl_event_run(state, raised, kwargs, &start->key);
    start->ns = rl_event_text(texts->ns);
    start->name = rl_event_text(texts->name);
    Py_XDECREF(name);
    Py_XDECREF(parent);
    Py_XDECREF(tags);
    Py_XDECREF(metadata);
    return known;
}

/* Whether an exception is of a class; false for None, where LangGraph has no such
 * class. */
static bool is_of(rl_raised *raised, PyObject *error, PyObject *type)
{
    int is = type != Py_None ? PyObject_IsInstance(error, type) : 0;

    if (is < 0) {
        rl_raised_absorb(raised);
    }
    return is == 1;
}

rl_outcome rl_event_outcome(const rl_state *state, rl_raised *raised, PyObject *error)
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
        if (is_of(raised, error, rules[i].type)) {
            return rules[i].outcome;
        }
    }
    return RL_FAILED;
}

PyObject *rl_event_left(const rl_state *state, rl_raised *raised, PyObject *error,
                        bool whole, bool interrupted, rl_outcome *outcome)
{
    PyObject *found = PyObject_CallFunctionObjArgs(
        state->handler.state_when_left, error, whole ? Py_True : Py_False,
        interrupted ? Py_True : Py_False, NULL);
    PyObject *outputs = NULL;

    if (found == NULL) {
        rl_raised_absorb(raised);
    } else if (PyTuple_Check(found) && PyTuple_GET_SIZE(found) == 2) {
        *outcome = PyTuple_GET_ITEM(found, 0) == Py_True ? RL_INTERRUPTED : RL_COMPLETED;
        outputs = Py_NewRef(PyTuple_GET_ITEM(found, 1));
    }
    Py_XDECREF(found);
    return outputs;
}

/* The first argument of an exception of that class; NULL for other exceptions. New
 * reference. */
static PyObject *first_argument(rl_raised *raised, PyObject *error, PyObject *type)
{
    PyObject *args;

    if (!PyExceptionInstance_Check(error) || !is_of(raised, error, type)) {
        return NULL;
    }
    args = ((PyBaseExceptionObject *)error)->args;
    return args != NULL && PyTuple_Check(args) && PyTuple_GET_SIZE(args) > 0
               ? Py_NewRef(PyTuple_GET_ITEM(args, 0))
               : NULL;
}

PyObject *rl_event_command(const rl_state *state, rl_raised *raised, PyObject *error)
{
    return first_argument(raised, error, state->handler.parent_command);
}

PyObject *rl_event_interrupts(const rl_state *state, rl_raised *raised, PyObject *error)
{
    return first_argument(raised, error, state->handler.graph_interrupt);
}

/* Copies an attribute into a dict: 1; 0 when it is absent or None; or -1 with an error
 * set. */
static int copy_attribute(const rl_state *state, rl_raised *raised, PyObject *from,
                          rl_name name, PyObject *to)
{
    PyObject *value = rl_event_attribute(state, raised, from, name);
    int rc = 0;

    if (value != NULL) {
        rc = PyDict_SetItem(to, state->handler.names[name], value) < 0 ? -1 : 1;
        Py_DECREF(value);
    }
    return rc;
}

/* One interrupt; a new reference, NULL with an error set. */
static PyObject *interrupt_to_dict(const rl_state *state, rl_raised *raised,
                                   PyObject *interrupt)
{
    PyObject *dict = PyDict_New();
    int rc =
        dict != NULL ? copy_attribute(state, raised, interrupt, RL_NAME_id, dict) : -1;

    if (rc == 0) { /* not an Interrupt of LangGraph's */
        Py_DECREF(dict);
        return Py_NewRef(interrupt);
    }
    if (rc > 0) {
        rc = copy_attribute(state, raised, interrupt, RL_NAME_value, dict);
    }
    if (rc == 0) {
        rc = PyDict_SetItem(dict, state->handler.names[RL_NAME_value], Py_None);
    }
    if (rc >= 0) {
        rc = copy_attribute(state, raised, interrupt, RL_NAME_response_schema, dict);
    }
    if (rc < 0) {
        Py_CLEAR(dict);
    }
    return dict;
}

PyObject *rl_event_list_interrupts(const rl_state *state, rl_raised *raised,
                                   PyObject *interrupts)
{
    PyObject *list = PySequence_List(interrupts);

    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *one = interrupt_to_dict(state, raised, PyList_GET_ITEM(list, i));

        if (one == NULL || PyList_SetItem(list, i, one) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

bool rl_event_resumes(const rl_state *state, rl_raised *raised, PyObject *inputs)
{
    PyObject *resume = NULL;

    if (inputs != Py_None && is_of(raised, inputs, state->handler.command)) {
        resume = rl_event_attribute(state, raised, inputs, RL_NAME_resume);
        Py_XDECREF(resume);
    }
    return inputs == Py_None || resume != NULL;
}
