/* RunLogHandler. See handler.h and docs/architecture.md.
 *
 * A heap type over LangGraph's GraphCallbackHandler. An instance is an instance of that
 * class with the struct of handler_data.h behind it. events.c records an event; this file
 * makes sure that no exception of the recording reaches the program. No context variable
 * is set. Garbage: the type inherits its base's traverse; `recorder` can't lead back to
 * the handler.
 */
#include "py/handler/handler.h"

#include "py/base/errors.h"
#include "py/handler/event.h"
#include "py/handler/events.h"
#include "py/handler/graph_runs.h"
#include "py/handler/handler_data.h"

#include <math.h>

#define LIVE_NS UINT64_C(1000000000) /* between two writes of an open run, by default */
#define LONGEST 1e9                  /* seconds: the most between two writes */

static rl_handler *data_of(const rl_state *state, PyObject *self)
{
    return (rl_handler *)(void *)((char *)self + state->handler.offset);
}

/* How a callback is handled. */
typedef enum callback_action {
    START_CHAIN, /* a graph, a node, or a part of one */
    START_TOOL,
    START_LLM,
    START_OTHER, /* anything else that may have a child */
    END,
    END_LLM,
    FAIL,
    INTERRUPT,
    RESUME,
    IGNORE
} callback_action;

/* LangGraph's and LangChain's callbacks. A streamed token is ignored, as the end of the
 * call has the whole answer; it is in the table because the base's own method, which is
 * Python, would run for each of thousands. */
#define CALLBACKS(X)                   \
    X(on_chain_start, START_CHAIN)     \
    X(on_chain_end, END)               \
    X(on_chain_error, FAIL)            \
    X(on_tool_start, START_TOOL)       \
    X(on_tool_end, END)                \
    X(on_tool_error, FAIL)             \
    X(on_llm_start, START_LLM)         \
    X(on_chat_model_start, START_LLM)  \
    X(on_llm_new_token, IGNORE)        \
    X(on_llm_end, END_LLM)             \
    X(on_llm_error, FAIL)              \
    X(on_retriever_start, START_OTHER) \
    X(on_retriever_end, END)           \
    X(on_retriever_error, FAIL)        \
    X(on_interrupt, INTERRUPT)         \
    X(on_resume, RESUME)

static PyObject *argument(PyObject *args, Py_ssize_t index)
{
    return PyTuple_GET_SIZE(args) > index ? PyTuple_GET_ITEM(args, index) : Py_None;
}

/* Records an event. Only a chain's inputs are recorded: the other starts are there
 * because a tool may invoke a graph, whose parent is then the tool's run. */
static void record_event(rl_state *state, rl_handler *handler, callback_action action,
                         PyObject *args, PyObject *kwargs)
{
    switch (action) {
    case START_CHAIN:
        rl_events_start(state, handler, RL_CALL_NONE, argument(args, 1), kwargs);
        break;
    case START_TOOL:
        rl_events_start(state, handler, RL_CALL_TOOL, NULL, kwargs);
        break;
    case START_LLM:
        rl_events_start(state, handler, RL_CALL_LLM, NULL, kwargs);
        break;
    case START_OTHER:
        rl_events_start(state, handler, RL_CALL_NONE, NULL, kwargs);
        break;
    case END:
        rl_events_end(state, handler, argument(args, 0), NULL, kwargs);
        break;
    case END_LLM:
        rl_events_end_llm(state, handler, argument(args, 0), kwargs);
        break;
    case FAIL:
        rl_events_end(state, handler, NULL, argument(args, 0), kwargs);
        break;
    case INTERRUPT:
        rl_events_interrupt(state, handler, argument(args, 0));
        break;
    case RESUME:
        rl_events_resume(state, handler, argument(args, 0));
        break;
    case IGNORE:
        break;
    }
}

/* Every callback comes here. Whatever happens inside, the program sees no exception. */
static PyObject *handle_callback(PyObject *self, callback_action action, PyObject *args,
                                 PyObject *kwargs)
{
    rl_state *state = action != IGNORE ? rl_state_of_type(Py_TYPE(self)) : NULL;
    rl_handler *handler = state != NULL ? data_of(state, self) : NULL;

    if (handler != NULL && handler->graphs != NULL) {
        if (rl_graphs_is_inherited(handler->graphs)) {
            rl_graph_runs_after_fork(handler);
        }
        record_event(state, handler, action, args, kwargs);
    }
    if (PyErr_Occurred()) {
        rl_errors_swallow();
    }
    Py_RETURN_NONE;
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
static PyMethodDef handler_methods[] = {CALLBACKS(METHOD){NULL, NULL, 0, NULL}};
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
        data = data_of(state, self);
        rl_buf_init(&data->scratch, RL_BUF_MAX);
        rl_buf_init(&data->members, RL_BUF_MAX);
        data->interval_ns = LIVE_NS;
        data->graphs = rl_graphs_shared();
        if (data->graphs == NULL) {
            Py_CLEAR(self);
            PyErr_NoMemory();
        }
    }
    return self;
}

/* The arguments of RunLogHandler(), borrowed. */
typedef struct settings {
    PyObject *wpk_id, *recorder;
    rl_node_inputs node_inputs;
    uint64_t interval_ns;
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

static int read_node_inputs(rl_state *state, PyObject *value, settings *to)
{
    static const char *const names[] = {[RL_INPUTS_DELTA] = "delta",
                                        [RL_INPUTS_FULL] = "full",
                                        [RL_INPUTS_NONE] = "none"};

    for (int i = 0; i <= RL_INPUTS_NONE; i++) {
        if (PyUnicode_Check(value) &&
            PyUnicode_CompareWithASCIIString(value, names[i]) == 0) {
            to->node_inputs = (rl_node_inputs)i;
            return 0;
        }
    }
    return rl_errors_invalid(state, "node_inputs",
                             "must be \"delta\", \"full\" or \"none\"", value);
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
                "node_inputs and checkpoint_interval",
                name);
            rc = -1;
        }
    }
    return rc;
}

static int handler_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state = rl_state_of_type(Py_TYPE(self));
    settings given = {NULL, NULL, RL_INPUTS_DELTA, LIVE_NS};
    rl_handler *data;

    if (state == NULL || read_settings(state, args, kwargs, &given) < 0) {
        return -1;
    }
    data = data_of(state, self);
    Py_XSETREF(data->wpk_id, Py_XNewRef(given.wpk_id));
    Py_XSETREF(data->recorder, Py_XNewRef(given.recorder));
    Py_XSETREF(data->last, Py_XNewRef(given.recorder));
    data->node_inputs = given.node_inputs;
    data->interval_ns = given.interval_ns;
    return 0;
}

/* Frees the members of the struct, which the dealloc of the base class does not know. */
static void handler_finalize(PyObject *self)
{
    PyObject *type, *value, *traceback;
    rl_state *state;

    PyErr_Fetch(&type, &value, &traceback);
    state = rl_state_of_type(Py_TYPE(self));
    if (state != NULL) {
        rl_handler *data = data_of(state, self);

        rl_buf_free(&data->scratch);
        rl_buf_free(&data->members);
        rl_text_cache_clear(&data->cache);
        Py_CLEAR(data->wpk_id);
        Py_CLEAR(data->recorder);
        Py_CLEAR(data->last);
    }
    PyErr_Restore(type, value, traceback);
}

static PyType_Slot handler_slots[] = {
    {Py_tp_doc,
     "RunLogHandler(wpk_id=None, *, recorder=None, node_inputs=\"delta\",\n"
     "              checkpoint_interval=1.0)\n--\n\n"
     "Records every run of the graphs that have it in their callbacks.\n\n"
     "wpk_id names the workflow, by default metadata[\"wpk_id\"], else the graph's "
     "name.\nrecorder stores the runs, by default the module's own."},
    {Py_tp_new, handler_new},
    {Py_tp_init, handler_init},
    {Py_tp_finalize, handler_finalize},
    {Py_tp_methods, handler_methods},
    {0, NULL},
};

/* Class attributes that langchain-core reads at each event: as plain values they cost
 * half of what the base's properties do. With run_inline LangChain calls the handler in
 * the event loop's own thread, which saves 490 us an event; without raise_error it
 * swallows a handler's exception. */
static int set_attributes(PyObject *type)
{
    static const struct {
        const char *name;
        bool value;
    } attributes[] = {
        {"run_inline", true},          {"raise_error", false},
        {"ignore_chain", false},       {"ignore_agent", false},
        {"ignore_llm", false},         {"ignore_chat_model", false},
        {"ignore_retriever", false},   {"ignore_retry", true},
        {"ignore_custom_event", true},
    };

    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        if (PyObject_SetAttrString(type, attributes[i].name,
                                   attributes[i].value ? Py_True : Py_False) < 0) {
            return -1;
        }
    }
    return 0;
}

PyObject *rl_handler_make_type(PyObject *module, PyObject *args)
{
    rl_state *state = PyModule_GetState(module);
    PyObject *base, *parent_command, *interrupt, *bubble_up, *command, *cancelled;
    PyObject *recorder, *log, *type;
    PyType_Spec spec = {
        .name = "runlog.hooks.RunLogHandler",
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = handler_slots,
    };

    if (!PyArg_ParseTuple(args, "O!OOOOO!OO:make_handler_type", &PyType_Type, &base,
                          &parent_command, &interrupt, &bubble_up, &command,
                          &PyTuple_Type, &cancelled, &recorder, &log)) {
        return NULL;
    }
    if (state->handler.type != NULL) { /* runlog.hooks was reloaded */
        return Py_NewRef(state->handler.type);
    }
    state->handler.offset = ((PyTypeObject *)base)->tp_basicsize;
    spec.basicsize = (int)(state->handler.offset + (Py_ssize_t)sizeof(rl_handler));
    type = PyType_FromModuleAndSpec(module, &spec, base);
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
    return type;
}
