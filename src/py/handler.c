/* RunLogHandler. See handler.h and docs/architecture.md.
 *
 * A heap type over LangGraph's GraphCallbackHandler. An instance is a Python object with
 * the data of handler_data.h behind it. What becomes of an event is in events.c; here no
 * exception leaves one. No context variable is set.
 * Garbage: the type inherits its base's traverse; `recorder` can't lead back to the handler.
 */
#include "py/handler.h"

#include "py/errors.h"
#include "py/event.h"
#include "py/handler_data.h"

#include <math.h>

#define LIVE_NS UINT64_C(1000000000) /* how often open runs are written, by default */
#define LONGEST 1e9                  /* seconds between two writes: some decades */

static rl_handler *data_of(const rl_state *state, PyObject *self)
{
    return (rl_handler *)(void *)((char *)self + state->handler.offset);
}

/* The state and the data of a handler that an event came to; false when it can't serve. */
static bool enter_event(PyObject *self, rl_state **state, rl_handler **data)
{
    *state = rl_state_of_type(Py_TYPE(self));
    *data = *state != NULL ? data_of(*state, self) : NULL;
    PyErr_Clear();
    if (*data == NULL || (*data)->graphs == NULL) {
        return false;
    }
    if (rl_graphs_is_inherited((*data)->graphs)) {
        rl_events_after_fork(*data);
    }
    return true;
}

/* Whatever happened inside, the program sees nothing of it. */
static PyObject *leave_event(void)
{
    if (PyErr_Occurred()) {
        rl_errors_swallow();
    }
    Py_RETURN_NONE;
}

static PyObject *argument(PyObject *args, Py_ssize_t index)
{
    return PyTuple_GET_SIZE(args) > index ? PyTuple_GET_ITEM(args, index) : Py_None;
}

static PyObject *handler_chain_start(PyObject *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state;
    rl_handler *data;

    if (enter_event(self, &state, &data)) {
        rl_events_start(state, data, RL_CALL_NONE, argument(args, 1), kwargs);
    }
    return leave_event();
}

static PyObject *handler_chain_end(PyObject *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state;
    rl_handler *data;

    if (enter_event(self, &state, &data)) {
        rl_events_end(state, data, argument(args, 0), NULL, kwargs);
    }
    return leave_event();
}

static PyObject *handler_chain_error(PyObject *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state;
    rl_handler *data;

    if (enter_event(self, &state, &data)) {
        rl_events_end(state, data, NULL, argument(args, 0), kwargs);
    }
    return leave_event();
}

/* The start of what is no chain. A tool may invoke a graph, whose parent is then its run. */
static PyObject *start_call(PyObject *self, rl_call call, PyObject *kwargs)
{
    rl_state *state;
    rl_handler *data;

    if (enter_event(self, &state, &data)) {
        rl_events_start(state, data, call, NULL, kwargs);
    }
    return leave_event();
}

static PyObject *handler_tool_start(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)args;
    return start_call(self, RL_CALL_TOOL, kwargs);
}

static PyObject *handler_llm_start(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)args;
    return start_call(self, RL_CALL_LLM, kwargs);
}

static PyObject *handler_retriever_start(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)args;
    return start_call(self, RL_CALL_NONE, kwargs);
}

static PyObject *handler_llm_end(PyObject *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state;
    rl_handler *data;

    if (enter_event(self, &state, &data)) {
        rl_events_end_llm(state, data, argument(args, 0), kwargs);
    }
    return leave_event();
}

/* A token is part of what the call's end tells. In C, as there may be thousands. */
static PyObject *handler_new_token(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)self;
    (void)args;
    (void)kwargs;
    Py_RETURN_NONE;
}

/* LangGraph pauses a graph by an event of its own; the graph's run then ends well. */
static PyObject *handler_interrupt(PyObject *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state;
    rl_handler *data;

    (void)kwargs;
    if (enter_event(self, &state, &data)) {
        rl_events_interrupt(state, data, argument(args, 0));
    }
    return leave_event();
}

static PyObject *handler_resume(PyObject *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state;
    rl_handler *data;

    (void)kwargs;
    if (enter_event(self, &state, &data)) {
        rl_events_resume(state, data, argument(args, 0));
    }
    return leave_event();
}

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

/* What a handler is made with, borrowed from the arguments. */
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

/* What the instance holds is given back here: the base's own dealloc knows nothing of it. */
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

#define EVENT(name, function)                                                        \
    {                                                                                \
        name, (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS, \
            NULL                                                                     \
    }

static PyMethodDef handler_methods[] = {
    EVENT("on_chain_start", handler_chain_start),
    EVENT("on_chain_end", handler_chain_end),
    EVENT("on_chain_error", handler_chain_error),
    EVENT("on_tool_start", handler_tool_start),
    EVENT("on_tool_end", handler_chain_end),
    EVENT("on_tool_error", handler_chain_error),
    EVENT("on_llm_start", handler_llm_start),
    EVENT("on_chat_model_start", handler_llm_start),
    EVENT("on_llm_new_token", handler_new_token),
    EVENT("on_llm_end", handler_llm_end),
    EVENT("on_llm_error", handler_chain_error),
    EVENT("on_retriever_start", handler_retriever_start),
    EVENT("on_retriever_end", handler_chain_end),
    EVENT("on_retriever_error", handler_chain_error),
    EVENT("on_interrupt", handler_interrupt),
    EVENT("on_resume", handler_resume),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot handler_slots[] = {
    {Py_tp_doc,
     "RunLogHandler(wpk_id=None, *, recorder=None, node_inputs=\"delta\",\n"
     "              checkpoint_interval=1.0)\n--\n\n"
     "Records every run of the graphs whose callbacks it is in.\n\n"
     "wpk_id names the workflow; without it metadata[\"wpk_id\"] does, or the "
     "graph's name.\nrecorder is where runs are kept, by default the module's own."},
    {Py_tp_new, handler_new},
    {Py_tp_init, handler_init},
    {Py_tp_finalize, handler_finalize},
    {Py_tp_methods, handler_methods},
    {0, NULL},
};

/* Class attributes that langchain-core asks for at each event: as plain values they cost
 * half of what the base's properties do. run_inline: in the event loop's own thread, which
 * saves 490 us an event; raise_error: an exception of a handler stays its own. */
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

int rl_handler_traverse(rl_state *state, visitproc visit, void *arg)
{
    Py_VISIT(state->handler.type);
    Py_VISIT(state->handler.parent_command);
    Py_VISIT(state->handler.graph_interrupt);
    Py_VISIT(state->handler.bubble_up);
    Py_VISIT(state->handler.command);
    Py_VISIT(state->handler.uuid);
    Py_VISIT(state->handler.cancelled);
    Py_VISIT(state->handler.default_recorder);
    Py_VISIT(state->handler.log);
    for (size_t i = 0; i < RL_NAME_COUNT; i++) {
        Py_VISIT(state->handler.names[i]);
    }
    return 0;
}

void rl_handler_clear(rl_state *state)
{
    Py_CLEAR(state->handler.type);
    Py_CLEAR(state->handler.parent_command);
    Py_CLEAR(state->handler.graph_interrupt);
    Py_CLEAR(state->handler.bubble_up);
    Py_CLEAR(state->handler.command);
    Py_CLEAR(state->handler.uuid);
    Py_CLEAR(state->handler.cancelled);
    Py_CLEAR(state->handler.default_recorder);
    Py_CLEAR(state->handler.log);
    for (size_t i = 0; i < RL_NAME_COUNT; i++) {
        Py_CLEAR(state->handler.names[i]);
    }
}
