/* RunLogHandler. See handler.h and docs/architecture.md.
 *
 * A heap type over LangGraph's GraphCallbackHandler. An instance is an instance of that
 * class with the struct of handler_data.h behind it. starts.c, ends.c and events.c record
 * the events; this file makes sure that of all exceptions only the program's own reach it
 * (see raised.h). No context variable is set. Garbage: the objects of the struct are slots
 * to the type, which its base's traverse, clear and dealloc, those of a Python class, know
 * (make_type).
 */
#include "py/handler/handler.h"

#include "core/fork.h"
#include "py/base/errors.h"
#include "py/base/raised.h"
#include "py/handler/ends.h"
#include "py/handler/event.h"
#include "py/handler/events.h"
#include "py/handler/graph_runs.h"
#include "py/handler/handler_data.h"
#include "py/handler/starts.h"
#include "py/handler/streams.h"
#include "py/handler/unrecognised.h"

#include <math.h>
#include <structmember.h>

#define LIVE_NS UINT64_C(1000000000) /* between two writes of an open run, by default */
#define LONGEST 1e9                  /* seconds: the most between two writes */

/* How a callback is handled. */
typedef enum callback_action {
    START_CHAIN, /* a graph, a node, or a part of one */
    START_TOOL,
    START_LLM,
    START_CHAT_MODEL,
    START_RETRIEVER,
    END,
    FAIL,
    TOKEN,
    CUSTOM,
    INTERRUPT,
    RESUME
} callback_action;

/* LangGraph's and LangChain's callbacks. */
#define CALLBACKS(X)                         \
    X(on_chain_start, START_CHAIN)           \
    X(on_chain_end, END)                     \
    X(on_chain_error, FAIL)                  \
    X(on_tool_start, START_TOOL)             \
    X(on_tool_end, END)                      \
    X(on_tool_error, FAIL)                   \
    X(on_llm_start, START_LLM)               \
    X(on_chat_model_start, START_CHAT_MODEL) \
    X(on_llm_new_token, TOKEN)               \
    X(on_llm_end, END)                       \
    X(on_llm_error, FAIL)                    \
    X(on_retriever_start, START_RETRIEVER)   \
    X(on_retriever_end, END)                 \
    X(on_retriever_error, FAIL)              \
    X(on_custom_event, CUSTOM)               \
    X(on_interrupt, INTERRUPT)               \
    X(on_resume, RESUME)

/* What each callback is given by position, at either place: a subclass, or a program, may
 * name it. */
#define NAMES_MAX 4
static const char *const names[][2][NAMES_MAX] = {
    [START_CHAIN] = {{"serialized"}, {"inputs"}},
    [START_TOOL] = {{"serialized"}, {"input_str"}},
    [START_LLM] = {{"serialized"}, {"prompts"}},
    [START_CHAT_MODEL] = {{"serialized"}, {"messages"}},
    [START_RETRIEVER] = {{"serialized"}, {"query"}},
    [END] = {{"outputs", "output", "response", "documents"}},
    [FAIL] = {{"error"}},
    [TOKEN] = {{"token"}},
    [CUSTOM] = {{"name"}, {"data"}},
    [INTERRUPT] = {{"event"}},
    [RESUME] = {{"event"}},
};

/* An argument by its place, else by one of its names; None if it is missing. New
 * reference. */
static PyObject *argument(callback_action action, int place, PyObject *args,
                          PyObject *kwargs)
{
    const char *const *name = names[action][place];
    PyObject *value =
        PyTuple_GET_SIZE(args) > place ? PyTuple_GET_ITEM(args, place) : NULL;

    for (int i = 0; value == NULL && kwargs != NULL && i < NAMES_MAX && name[i] != NULL;
         i++) {
        value = PyDict_GetItemString(kwargs, name[i]);
    }
    return Py_NewRef(value != NULL ? value : Py_None);
}

/* What a start begins. */
static rl_call call_of(callback_action action)
{
    switch (action) {
    case START_TOOL:
        return RL_CALL_TOOL;
    case START_LLM:
    case START_CHAT_MODEL:
        return RL_CALL_LLM;
    case START_RETRIEVER:
        return RL_CALL_RETRIEVER;
    default:
        return RL_CALL_NONE;
    }
}

static void record_event(rl_state *state, rl_handler *handler, rl_raised *raised,
                         callback_action action, PyObject *args, PyObject *kwargs)
{
    PyObject *first = argument(action, 0, args, kwargs);
    PyObject *second = argument(action, 1, args, kwargs);
    rl_call_given given = {.call = call_of(action),
                           .is_text = action == START_LLM,
                           .subject = second,
                           .described = first,
                           .kwargs = kwargs};

    switch (action) {
    case START_CHAIN:
    case START_TOOL:
    case START_LLM:
    case START_CHAT_MODEL:
    case START_RETRIEVER:
        rl_starts_record(state, handler, raised, &given);
        break;
    case END:
        rl_ends_record(state, handler, raised, first, NULL, kwargs);
        break;
    case FAIL:
        rl_ends_record(state, handler, raised, NULL, first, kwargs);
        break;
    case TOKEN:
        rl_streams_add(state, handler, raised, first, kwargs);
        break;
    case CUSTOM:
        rl_events_custom(state, handler, raised, first, second, kwargs);
        break;
    case INTERRUPT:
        rl_events_interrupt(state, handler, raised, first);
        break;
    case RESUME:
        rl_events_resume(state, handler, raised, first);
        break;
    }
    Py_DECREF(second);
    Py_DECREF(first);
}

/* The process is a child of the one that used the handler: what is open is recorded
 * there. */
static void forget_parent(rl_handler *handler)
{
    handler->generation = rl_fork_generation();
    handler->open = 0;
    Py_CLEAR(handler->nodes);
    Py_CLEAR(handler->watched);
    PyDict_Clear(handler->identity);
    rl_streams_clear(handler);
    rl_text_cache_clear(&handler->cache);
    rl_unrecognised_clear(handler);
    if (rl_graphs_is_inherited(handler->graphs)) {
        rl_graph_runs_after_fork(handler);
    }
}

/* Every callback comes here. Whatever happens inside, the program sees no exception but
 * its own. */
static PyObject *handle_callback(PyObject *self, callback_action action, PyObject *args,
                                 PyObject *kwargs)
{
    rl_state *state = rl_state_of_type(Py_TYPE(self));
    rl_handler *handler = state != NULL ? rl_handler_data(state, self) : NULL;
    rl_raised raised = {NULL};

    if (handler != NULL && handler->graphs != NULL) {
        if (handler->generation != rl_fork_generation()) {
            forget_parent(handler);
        }
        record_event(state, handler, &raised, action, args, kwargs);
    }
    if (PyErr_Occurred()) {
        rl_raised_absorb(&raised);
    }
    return rl_raised_finish(&raised, Py_NewRef(Py_None));
}

/* A method table has no room for the action, so each callback is a function of one line.
 * They take a tuple and a dict (not METH_FASTCALL), because LangChain calls them with
 * *args and **kwargs: CPython then hands these very objects over, without unpacking
 * them. */
#define CALLBACK(name, action)                                                        \
    static PyObject *handler_##name(PyObject *self, PyObject *args, PyObject *kwargs) \
    {                                                                                 \
        return handle_callback(self, action, args, kwargs);                           \
    }
CALLBACKS(CALLBACK)
#undef CALLBACK

#define METHOD(name, action)                                                             \
    {#name, (PyCFunction)(void (*)(void))(handler_##name), METH_VARARGS | METH_KEYWORDS, \
     NULL},

static const char *const node_inputs_texts[] = {
    [RL_INPUTS_DELTA] = "delta", [RL_INPUTS_FULL] = "full", [RL_INPUTS_NONE] = "none"};
static const char *const calls_texts[] = {[RL_CALLS_DELTA] = "delta",
                                          [RL_CALLS_FULL] = "full",
                                          [RL_CALLS_SUMMARY] = "summary",
                                          [RL_CALLS_NONE] = "none"};
static const char *const roots_texts[] = {"graphs", "all"};

/* The arguments that make such a handler. */
static PyObject *handler_arguments(PyObject *self, PyObject *none)
{
    rl_state *state = rl_state_of_type(Py_TYPE(self));
    const rl_handler *data = state != NULL ? rl_handler_data(state, self) : NULL;
    PyObject *interval;

    (void)none;
    if (data == NULL) {
        return NULL;
    }
    interval = data->interval_ns == RL_LIVE_NEVER
                   ? Py_NewRef(Py_None)
                   : PyFloat_FromDouble((double)data->interval_ns / 1e9);
    return Py_BuildValue("OOsNss", data->wpk_id != NULL ? data->wpk_id : Py_None,
                         data->recorder != NULL ? data->recorder : Py_None,
                         node_inputs_texts[data->node_inputs], interval,
                         calls_texts[data->calls], roots_texts[data->all_roots]);
}

/* Makes a new handler a copy of another one: LangChain may send the events of one run
 * partly to the one and partly to the other. */
static PyObject *handler_become(PyObject *self, PyObject *original)
{
    rl_state *state = rl_state_of_type(Py_TYPE(self));
    rl_handler *data;
    const rl_handler *from;

    if (state == NULL || !PyObject_TypeCheck(original, state->handler.type)) {
        PyErr_SetString(PyExc_TypeError, "a handler can only become a RunLogHandler");
        return NULL;
    }
    data = rl_handler_data(state, self);
    from = rl_handler_data(state, original);
    Py_XSETREF(data->identity, Py_XNewRef(from->identity));
    Py_XSETREF(data->wpk_id, Py_XNewRef(from->wpk_id));
    Py_XSETREF(data->recorder, Py_XNewRef(from->recorder));
    Py_XSETREF(data->last, Py_XNewRef(from->last));
    data->node_inputs = from->node_inputs;
    data->interval_ns = from->interval_ns;
    data->calls = from->calls;
    data->all_roots = from->all_roots;
    Py_RETURN_NONE;
}

static PyMethodDef handler_methods[] = {
    CALLBACKS(METHOD){"_arguments", handler_arguments, METH_NOARGS, NULL},
    {"_become", handler_become, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
#undef METHOD

static PyObject *handler_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    rl_state *state = rl_state_of_type(type);
    PyObject *self = NULL;
    rl_handler *data;

    (void)args;
    (void)kwargs;
    if (state != NULL) {
        self = type->tp_alloc(type, 0);
    }
    if (self != NULL) {
        data = rl_handler_data(state, self);
        rl_buf_init(&data->scratch, RL_BUF_MAX);
        rl_buf_init(&data->members, RL_BUF_MAX);
        data->interval_ns = LIVE_NS;
        data->all_roots = true;
        data->graphs = rl_graphs_shared();
        data->generation = rl_fork_generation();
        data->identity = PyDict_New();
        if (data->graphs == NULL) {
            PyErr_NoMemory();
        }
        if (data->graphs == NULL || data->identity == NULL) {
            Py_CLEAR(self);
        }
    }
    return self;
}

/* The arguments of RunLogHandler(), borrowed. */
typedef struct settings {
    PyObject *wpk_id, *recorder;
    rl_node_inputs node_inputs;
    uint64_t interval_ns;
    rl_calls calls;
    bool all_roots;
} settings;

static int read_wpk_id(rl_state *state, PyObject *value, settings *to)
{
    rl_text text = rl_event_text(value);

    if (value != Py_None && (text.len == 0 || strlen(text.data) != text.len)) {
        return rl_errors_invalid(state, "wpk_id",
                                 "must be None or non-empty text without NUL", value);
    }
    to->wpk_id = value != Py_None ? value : NULL;
    return 0;
}

static int read_recorder(rl_state *state, PyObject *value, settings *to)
{
    if (value != Py_None && !PyObject_TypeCheck(value, state->recorder_type)) {
        PyErr_Format(PyExc_TypeError, "recorder must be None or a Recorder, not %s",
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    to->recorder = value != Py_None ? value : NULL;
    return 0;
}

/* The index of a text in a table, or -1. */
static int choose(PyObject *value, const char *const *texts, int count)
{
    for (int i = 0; i < count; i++) {
        if (PyUnicode_Check(value) &&
            PyUnicode_CompareWithASCIIString(value, texts[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static int read_node_inputs(rl_state *state, PyObject *value, settings *to)
{
    int index = choose(value, node_inputs_texts, RL_INPUTS_NONE + 1);

    to->node_inputs = index >= 0 ? (rl_node_inputs)index : RL_INPUTS_DELTA;
    return index >= 0
               ? 0
               : rl_errors_invalid(state, "node_inputs",
                                   "must be \"delta\", \"full\" or \"none\"", value);
}

static int read_calls(rl_state *state, PyObject *value, settings *to)
{
    int index = choose(value, calls_texts, RL_CALLS_NONE + 1);

    to->calls = index >= 0 ? (rl_calls)index : RL_CALLS_DELTA;
    return index >= 0
               ? 0
               : rl_errors_invalid(state, "calls",
                                   "must be \"delta\", \"full\", \"summary\" or \"none\"",
                                   value);
}

static int read_roots(rl_state *state, PyObject *value, settings *to)
{
    int index = choose(value, roots_texts, 2);

    to->all_roots = index == 1;
    return index >= 0 ? 0
                      : rl_errors_invalid(state, "roots", "must be \"graphs\" or \"all\"",
                                          value);
}

static int read_interval(rl_state *state, PyObject *value, settings *to)
{
    double seconds = -1;

    if (value == Py_None) {
        to->interval_ns = RL_LIVE_NEVER;
        return 0;
    }
    if (!PyBool_Check(value) && (PyFloat_Check(value) || PyLong_Check(value))) {
        seconds = PyFloat_AsDouble(value);
        PyErr_Clear(); /* an int too large for a double gives -1 */
    }
    if (!isfinite(seconds) || seconds < 0) {
        return rl_errors_invalid(state, "checkpoint_interval",
                                 "must be None or a number of seconds, 0 or more", value);
    }
    seconds = seconds < LONGEST ? seconds : LONGEST;
    to->interval_ns = (uint64_t)(seconds * 1e9);
    return 0;
}

static int read_settings(rl_state *state, PyObject *args, PyObject *kwargs, settings *to)
{
    static const struct {
        const char *name;
        int (*read)(rl_state *state, PyObject *value, settings *to);
    } options[] = {
        {"wpk_id", read_wpk_id},
        {"recorder", read_recorder},
        {"node_inputs", read_node_inputs},
        {"checkpoint_interval", read_interval},
        {"calls", read_calls},
        {"roots", read_roots},
    };
    const size_t size = sizeof options / sizeof *options;
    PyObject *name, *value;
    Py_ssize_t at = 0;
    int rc = 0;

    if (PyTuple_GET_SIZE(args) > 1) {
        PyErr_SetString(PyExc_TypeError,
                        "RunLogHandler() takes wpk_id and keyword arguments");
        return -1;
    }
    if (PyTuple_GET_SIZE(args) == 1) {
        rc = read_wpk_id(state, PyTuple_GET_ITEM(args, 0), to);
    }
    while (rc == 0 && kwargs != NULL && PyDict_Next(kwargs, &at, &name, &value)) {
        size_t i = 0;

        while (i < size && PyUnicode_CompareWithASCIIString(name, options[i].name) != 0) {
            i++;
        }
        if (i < size) {
            rc = options[i].read(state, value, to);
        } else {
            PyErr_Format(
                state->validation_error,
                "%U is no option of RunLogHandler, which takes wpk_id, recorder, "
                "node_inputs, checkpoint_interval, calls and roots",
                name);
            rc = -1;
        }
    }
    return rc;
}

static int handler_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state = rl_state_of_type(Py_TYPE(self));
    settings given = {.interval_ns = LIVE_NS, .all_roots = true};
    rl_handler *data;

    if (state == NULL || read_settings(state, args, kwargs, &given) < 0) {
        return -1;
    }
    data = rl_handler_data(state, self);
    Py_XSETREF(data->wpk_id, Py_XNewRef(given.wpk_id));
    Py_XSETREF(data->recorder, Py_XNewRef(given.recorder));
    Py_XSETREF(data->last, Py_XNewRef(given.recorder));
    data->node_inputs = given.node_inputs;
    data->interval_ns = given.interval_ns;
    data->calls = given.calls;
    data->all_roots = given.all_roots;
    return 0;
}

/* Frees the memory of the struct, which the dealloc of the base class does not know. The
 * handler may still be used, if somebody gets hold of it again. */
static void handler_finalize(PyObject *self)
{
    PyObject *type, *value, *traceback;
    rl_state *state;

    PyErr_Fetch(&type, &value, &traceback);
    state = rl_state_of_type(Py_TYPE(self));
    if (state != NULL) {
        rl_handler *data = rl_handler_data(state, self);

        rl_buf_free(&data->scratch);
        rl_buf_free(&data->members);
        rl_text_cache_clear(&data->cache);
        rl_error_texts_clear(&data->errors);
        rl_unrecognised_clear(data);
    }
    PyErr_Restore(type, value, traceback);
}

/* LangChain logs an Exception of a handler, and asks for this attribute whether it should
 * let it through as well. It should if the program raised it, in a signal handler. */
static PyObject *get_raise_error(PyObject *self, void *closure)
{
    rl_state *state = rl_state_of_type(Py_TYPE(self));
    PyObject *handled;
    bool raises;

    (void)closure;
    if (state == NULL) {
        return NULL;
    }
    raises = rl_handler_data(state, self)->raise_error;
    handled = PyErr_GetHandledException();
    if (handled != NULL) {
        raises = raises || rl_raised_by_signal(handled);
        Py_DECREF(handled);
    }
    return PyBool_FromLong(raises);
}

static int set_raise_error(PyObject *self, PyObject *value, void *closure)
{
    rl_state *state = rl_state_of_type(Py_TYPE(self));
    int raises = value != NULL ? PyObject_IsTrue(value) : 0;

    (void)closure;
    if (state == NULL || raises < 0) {
        return -1;
    }
    rl_handler_data(state, self)->raise_error = raises;
    return 0;
}

static PyGetSetDef handler_attributes[] = {
    {"raise_error", get_raise_error, set_raise_error,
     "Whether LangChain lets an Exception of the handler through.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* The places of the objects in an instance: make_type completes the offsets. */
#define OBJECT(name)                                                       \
    {                                                                      \
        "_runlog_" #name, T_OBJECT_EX, offsetof(rl_handler, name), 0, NULL \
    }
static const PyMemberDef handler_objects[] = {
    OBJECT(identity), OBJECT(wpk_id),        OBJECT(recorder),  OBJECT(last),
    OBJECT(nodes),    OBJECT(streams),       OBJECT(streaming), OBJECT(chunks),
    OBJECT(watched),  {NULL, 0, 0, 0, NULL},
};
#undef OBJECT

#define OBJECTS (sizeof handler_objects / sizeof *handler_objects)

static PyType_Slot handler_slots[] = {
    {Py_tp_members, NULL}, /* see make_type */
    {Py_tp_doc,
     "RunLogHandler(wpk_id=None, *, recorder=None, node_inputs=\"delta\",\n"
     "              checkpoint_interval=1.0, calls=\"delta\", roots=\"all\")\n--\n\n"
     "Records every run of the graphs that have it in their callbacks.\n\n"
     "wpk_id names the workflow, by default metadata[\"wpk_id\"], else the graph's "
     "name.\nrecorder stores the runs, by default the default recorder of runlog.\n"
     "node_inputs is how the inputs of nodes are stored: \"delta\", as changes; "
     "\"full\",\nwhole; \"none\", not at all.\n"
     "checkpoint_interval is the number of seconds between two writes of an open run: "
     "0\ncommits each event, None writes a run at its end only.\n"
     "calls is how much to keep of the calls of models, tools and retrievers: \"delta\" "
     "or\n\"full\", everything; \"summary\", all but texts, arguments and outputs; "
     "\"none\", counts.\n"
     "roots=\"all\" also records chains, models, tools and retrievers outside of "
     "graphs;\n\"graphs\" does not."},
    {Py_tp_new, handler_new},
    {Py_tp_init, handler_init},
    {Py_tp_finalize, handler_finalize},
    {Py_tp_methods, handler_methods},
    {Py_tp_getset, handler_attributes},
    {0, NULL},
};

/* Class attributes that langchain-core reads at each event: as plain values they cost
 * half of what the base's properties do. With run_inline LangChain calls the handler in
 * the event loop's own thread, which saves 490 us an event. */
static int set_attributes(PyObject *type)
{
    static const struct {
        const char *name;
        bool value;
    } attributes[] = {
        {"run_inline", true},         {"ignore_chain", false},
        {"ignore_agent", false},      {"ignore_llm", false},
        {"ignore_chat_model", false}, {"ignore_retriever", false},
        {"ignore_retry", true},       {"ignore_custom_event", false},
    };

    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        if (PyObject_SetAttrString(type, attributes[i].name,
                                   attributes[i].value ? Py_True : Py_False) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Makes the type. Its objects are slots, as those of __slots__ in Python, but without the
 * attributes by which a program could set them. */
static PyObject *make_type(PyObject *module, PyObject *base, Py_ssize_t offset)
{
    PyMemberDef objects[OBJECTS];
    PyType_Slot slots[sizeof handler_slots / sizeof *handler_slots];
    PyType_Spec spec = {
        .name = "runlog.hooks.RunLogHandler",
        .basicsize = (int)(offset + (Py_ssize_t)sizeof(rl_handler)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = slots,
    };
    PyObject *type;

    memcpy(objects, handler_objects, sizeof objects);
    memcpy(slots, handler_slots, sizeof slots);
    for (size_t i = 0; i + 1 < OBJECTS; i++) {
        objects[i].offset += offset;
    }
    slots[0].pfunc = objects; /* which are copied */
    type = PyType_FromModuleAndSpec(module, &spec, base);
    for (size_t i = 0; i + 1 < OBJECTS && type != NULL; i++) {
        if (PyObject_SetAttrString(type, objects[i].name, NULL) < 0) {
            Py_CLEAR(type);
        }
    }
    return type;
}

PyObject *rl_handler_make_type(PyObject *module, PyObject *args)
{
    rl_state *state = PyModule_GetState(module);
    PyObject *base, *parent_command, *interrupt, *bubble_up, *command, *cancelled;
    PyObject *recorder, *log, *left, *type;

    if (!PyArg_ParseTuple(args, "O!OOOOO!OOO:make_handler_type", &PyType_Type, &base,
                          &parent_command, &interrupt, &bubble_up, &command,
                          &PyTuple_Type, &cancelled, &recorder, &log, &left)) {
        return NULL;
    }
    if (state->handler.type != NULL) { /* runlog.hooks was reloaded */
        return Py_NewRef(state->handler.type);
    }
    state->handler.offset = ((PyTypeObject *)base)->tp_basicsize;
    type = make_type(module, base, state->handler.offset);
    if (type == NULL || set_attributes(type) < 0 || rl_event_prepare(state) < 0) {
        Py_XDECREF(type);
        return NULL;
    }
    state->handler.type = (PyTypeObject *)Py_NewRef(type);
    state->handler.parent_command = Py_NewRef(parent_command);
    state->handler.graph_interrupt = Py_NewRef(interrupt);
    state->handler.bubble_up = Py_NewRef(bubble_up);
    state->handler.command = Py_NewRef(command);
    state->handler.cancelled = Py_NewRef(cancelled);
    state->handler.default_recorder = Py_NewRef(recorder);
    state->handler.log = Py_NewRef(log);
    state->handler.state_when_left = Py_NewRef(left);
    return type;
}
