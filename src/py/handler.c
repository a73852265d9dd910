/* RunLogHandler. See handler.h and docs/architecture.md.
 *
 * A heap type over LangGraph's GraphCallbackHandler. An instance is a Python object with
 * the data below behind it. Events are classified first, then encoded (which may run the
 * user's Python code, switch threads and come back in here), then appended under the lock
 * of the table: nothing is held across the encoding, and what was looked up before it is
 * looked up again after it. No exception leaves an event, and no context variable is set.
 * Garbage: the type inherits its base's traverse; `recorder` can't lead back to the handler.
 */
#include "py/handler.h"

#include "core/alloc.h"
#include "core/fork.h"
#include "core/uuid.h"
#include "py/encode.h"
#include "py/errors.h"
#include "py/event.h"
#include "py/recorder.h"
#include "record/graph.h"

#include <stdbool.h>

typedef struct handler_data {
    PyObject *wpk_id;    /* owned, or NULL */
    PyObject *recorder;  /* owned, or NULL: the default one */
    PyObject *last;      /* owned: the recorder of the last graph, for counting */
    rl_graphs *graphs;   /* owned */
    unsigned generation; /* of forks, in which the graphs were begun */
    rl_buf scratch;      /* lent to one event at a time, so that it need not grow anew */
} handler_data;

static const rl_text no_text = {NULL, 0};

static handler_data *data_of(const rl_state *state, PyObject *self)
{
    return (handler_data *)(void *)((char *)self + state->handler.offset);
}

static rl_buf borrow_scratch(handler_data *data)
{
    rl_buf buf = data->scratch;

    rl_buf_init(&data->scratch, RL_BUF_MAX);
    return buf;
}

static void return_scratch(handler_data *data, rl_buf *buf)
{
    rl_buf_free(&data->scratch); /* another event may have given one back meanwhile */
    rl_buf_reset(buf, (size_t)256 * 1024);
    data->scratch = *buf;
}

/* The recorder that a new graph goes to. New reference; NULL with an error set. */
static PyObject *choose_recorder(rl_state *state, const handler_data *data)
{
    PyObject *recorder = data->recorder != NULL
                             ? Py_NewRef(data->recorder)
                             : PyObject_CallNoArgs(state->handler.default_recorder);

    if (recorder != NULL && (!PyObject_TypeCheck(recorder, state->recorder_type) ||
                             ((rl_py_recorder *)recorder)->core == NULL)) {
        PyErr_SetString(PyExc_TypeError, "recorder must be a Recorder");
        Py_CLEAR(recorder);
    }
    return recorder;
}

static void count(const handler_data *data, bool error)
{
    if (data->last != NULL) {
        rl_py_recorder *recorder = (rl_py_recorder *)data->last;

        rl_metric_add(error ? &recorder->handler_errors : &recorder->handler_ignored, 1);
    }
}

static void log_failure(rl_state *state, const char *reason)
{
    PyObject *result = PyObject_CallFunction(state->handler.log, "s", reason);

    Py_XDECREF(result);
    if (result == NULL) {
        rl_errors_swallow();
    }
}

/* There is no recorder for a graph: counted each time, logged once until there is. */
static void report_exception(rl_state *state, handler_data *data)
{
    PyObject *type, *value, *traceback, *text;
    const char *reason;

    PyErr_Fetch(&type, &value, &traceback);
    text = value != NULL ? PyObject_Str(value) : NULL;
    reason = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    PyErr_Clear();
    count(data, true);
    if (!state->handler.failing) {
        state->handler.failing = true;
        log_failure(state, reason != NULL ? reason : "a graph can't be recorded");
    }
    PyErr_Restore(type, value, traceback);
    rl_errors_swallow();
    Py_XDECREF(text);
}

/* The workflow's name: the handler's, else the graph's metadata, else its own name. */
static PyObject *workflow_of(const handler_data *data, PyObject *kwargs)
{
    PyObject *from_metadata = rl_event_get(rl_event_get(kwargs, "metadata"), "wpk_id");
    PyObject *text = NULL;

    if (data->wpk_id != NULL) {
        return Py_NewRef(data->wpk_id);
    }
    if (from_metadata != NULL) {
        text = PyObject_Str(from_metadata);
    } else if (rl_event_get(kwargs, "name") != NULL) {
        text = PyObject_Str(rl_event_get(kwargs, "name"));
    }
    if (text == NULL || PyUnicode_GET_LENGTH(text) == 0) {
        rl_errors_swallow();
        Py_XDECREF(text);
        text = PyUnicode_FromString("LangGraph");
    }
    return text;
}

/* A value's JSON, or what a graph's start needs besides, in one buffer. */
typedef struct encoded {
    rl_buf buf;
    PyObject *recorder; /* owned: its options must live while the user's code runs */
    bool wide;
} encoded;

static encoded begin_encoding(handler_data *data, PyObject *recorder)
{
    encoded result = {borrow_scratch(data), Py_XNewRef(recorder), false};

    return result;
}

static void end_encoding(handler_data *data, encoded *result)
{
    return_scratch(data, &result->buf);
    Py_XDECREF(result->recorder);
}

/* Where a piece of the buffer begins and ends: it may move while it grows. */
typedef struct piece {
    size_t at, end;
} piece;

static piece add_json(rl_state *state, encoded *to, PyObject *value)
{
    rl_encode_options options =
        rl_recorder_encoding(state, (rl_py_recorder *)to->recorder);
    piece result = {to->buf.len, 0};

    rl_encode(&options, value, &to->buf, &to->wide);
    result.end = to->buf.len;
    return result;
}

static piece add_plain(rl_state *state, encoded *to, PyObject *value)
{
    rl_encode_options options =
        rl_recorder_encoding(state, (rl_py_recorder *)to->recorder);
    piece result = {to->buf.len, 0};

    rl_encode_plain(&options, value, &to->buf);
    result.end = to->buf.len;
    return result;
}

static rl_text text_of(const encoded *from, piece where)
{
    rl_text text = {where.end > where.at ? from->buf.data + where.at : "",
                    where.end - where.at};

    return text;
}

/* Opens a graph with what was encoded. It gets a reference to the recorder of its own. */
static void open_graph(handler_data *data, const rl_span_start *start, bool wide)
{
    rl_py_recorder *recorder = start->owner;

    if (rl_graphs_start(data->graphs, RL_SPAN_GRAPH, start, wide) == RL_OK) {
        rl_metric_add(&recorder->open_runs, 1);
        Py_INCREF(recorder);
    } else {
        count(data, true);
    }
}

static void start_graph(rl_state *state, handler_data *data, PyObject *inputs,
                        PyObject *kwargs, rl_span_start *start)
{
    PyObject *recorder = choose_recorder(state, data);
    PyObject *wpk_id = recorder != NULL ? workflow_of(data, kwargs) : NULL;
    PyObject *run_id =
        wpk_id != NULL ? PyObject_Str(rl_event_get(kwargs, "run_id")) : NULL;
    PyObject *metadata = run_id != NULL ? rl_event_metadata(kwargs) : NULL;
    PyObject *thread = rl_event_get(rl_event_get(kwargs, "metadata"), "thread_id");
    encoded texts = begin_encoding(data, recorder);
    piece wpk_id_at, inputs_at, metadata_at = {0, 0}, thread_at = {0, 0};

    if (run_id == NULL || PyErr_Occurred()) {
        report_exception(state, data);
    } else {
        state->handler.failing = false;
        Py_XSETREF(data->last, Py_NewRef(recorder));
        wpk_id_at = add_plain(state, &texts, wpk_id);
        inputs_at = add_json(state, &texts, inputs);
        if (metadata != NULL) {
            metadata_at = add_json(state, &texts, metadata);
        }
        if (thread != NULL) {
            thread_at = add_plain(state, &texts, thread);
        }
        start->owner = recorder;
        start->wpk_id = text_of(&texts, wpk_id_at);
        start->run_id = rl_event_text(run_id);
        start->inputs = text_of(&texts, inputs_at);
        start->metadata = metadata != NULL ? text_of(&texts, metadata_at) : no_text;
        start->thread_id = thread != NULL ? text_of(&texts, thread_at) : no_text;
        if (texts.buf.failed) {
            count(data, true);
        } else {
            open_graph(data, start, texts.wide);
        }
    }
    end_encoding(data, &texts);
    Py_XDECREF(metadata);
    Py_XDECREF(run_id);
    Py_XDECREF(wpk_id);
    Py_XDECREF(recorder);
}

static void start_node(rl_state *state, handler_data *data, PyObject *inputs,
                       rl_span_start *start)
{
    encoded texts = begin_encoding(data, data->last);
    piece inputs_at = add_json(state, &texts, inputs);

    start->inputs = text_of(&texts, inputs_at);
    if (texts.buf.failed ||
        rl_graphs_start(data->graphs, RL_SPAN_NODE, start, texts.wide) != RL_OK) {
        count(data, true);
    }
    end_encoding(data, &texts);
}

/* A start of any kind; `inputs` is NULL for what can only be the parent of others. */
static void on_start(rl_state *state, handler_data *data, PyObject *inputs,
                     PyObject *kwargs)
{
    rl_span_kind kind = RL_SPAN_NONE;
    rl_event_texts texts;
    rl_span_start start;

    if (rl_event_start(kwargs, &start, &texts)) {
        kind = rl_graphs_classify(data->graphs, &start);
    }
    if (inputs == NULL && kind != RL_SPAN_NONE) {
        kind = RL_SPAN_INNER;
    }
    switch (kind) {
    case RL_SPAN_GRAPH:
        start_graph(state, data, inputs, kwargs, &start);
        break;
    case RL_SPAN_NODE:
        start_node(state, data, inputs, &start);
        break;
    case RL_SPAN_INNER:
        if (rl_graphs_start(data->graphs, RL_SPAN_INNER, &start, false) != RL_OK) {
            count(data, true);
        }
        break;
    case RL_SPAN_NONE:
        count(data, false);
        break;
    }
    rl_event_clear(&texts);
}

/* Commits a graph's run. RL_CLOSED from the default recorder means that the program has
 * closed it since the graph began: its successor takes the run. */
static rl_status commit_run(rl_state *state, handler_data *data, rl_py_recorder *recorder,
                            rl_run *run, rl_err *err)
{
    rl_durability durability = rl_recorder_config(recorder->core)->graph_runs;
    rl_status status = rl_run_seal(run, err);
    PyObject *successor;

    if (status == RL_OK) {
        status = rl_recorder_commit(recorder, run, durability, err);
    }
    if (status == RL_CLOSED && data->recorder == NULL) {
        successor = choose_recorder(state, data);
        if (successor != NULL) {
            recorder = (rl_py_recorder *)successor;
            durability = rl_recorder_config(recorder->core)->graph_runs;
            status = rl_recorder_commit(recorder, run, durability, err);
            Py_DECREF(successor);
        } else {
            rl_errors_swallow();
        }
    }
    return status;
}

static void finish_graph(rl_state *state, handler_data *data, rl_key key,
                         const rl_span_end *end)
{
    rl_graph *graph = rl_graphs_take(data->graphs, key);
    rl_py_recorder *recorder;
    rl_run *run;
    rl_err err;

    if (graph == NULL) {
        return;
    }
    recorder = rl_graph_owner(graph);
    run = rl_state_take_run(state);
    if (run == NULL) {
        rl_errors_swallow();
        count(data, true);
    } else {
        rl_graph_finish(graph, end, run);
        if (commit_run(state, data, recorder, run, &err) == RL_OK) {
            recorder->failing = false;
        } else {
            rl_metric_add(&recorder->handler_errors, 1);
            if (!recorder->failing) { /* told once, until one can be kept again */
                recorder->failing = true;
                log_failure(state, err.text);
            }
        }
        rl_state_give_run(state, run);
    }
    rl_graph_free(graph);
    atomic_fetch_sub(&recorder->open_runs, 1);
    Py_DECREF(recorder);
}

/* What is known of the end of a graph or node: its outputs, or its error. */
static void encode_end(rl_state *state, encoded *texts, PyObject *outputs,
                       PyObject *error, rl_span_end *end)
{
    const char *type = NULL;
    piece where;

    if (error == NULL) {
        where = add_json(state, texts, outputs);
        end->outputs = text_of(texts, where);
    } else {
        end->outcome = rl_event_outcome(state, error);
        if (end->outcome != RL_COMPLETED) {
            type = rl_type_name(error);
            where = add_plain(state, texts, error);
            end->error_type = (rl_text){type, strlen(type)};
            end->error_text = text_of(texts, where);
        }
    }
    if (texts->buf.failed) { /* it ends all the same, with less said of it */
        end->outputs = no_text;
        end->error_text = no_text;
    }
    end->wide_numbers = texts->wide;
}

/* The end of a span: with outputs, or with an error. */
static void on_end(rl_state *state, handler_data *data, PyObject *outputs,
                   PyObject *error, PyObject *kwargs)
{
    rl_span_end end = {.outcome = RL_COMPLETED, .ended_ns = rl_monotonic_ns()};
    rl_span_kind kind = RL_SPAN_NONE;
    encoded texts;
    rl_key key;

    if (rl_event_key(rl_event_get(kwargs, "run_id"), &key)) {
        kind = rl_graphs_find(data->graphs, key);
    }
    if (kind == RL_SPAN_NONE) {
        count(data, false);
    } else if (kind == RL_SPAN_INNER) {
        (void)rl_graphs_end(data->graphs, key, &end);
    } else {
        texts = begin_encoding(data, data->last);
        encode_end(state, &texts, outputs, error, &end);
        if (texts.buf.failed) {
            count(data, true);
        }
        if (kind == RL_SPAN_GRAPH) {
            finish_graph(state, data, key, &end);
        } else {
            (void)rl_graphs_end(data->graphs, key, &end);
        }
        end_encoding(data, &texts);
    }
}

static void release_owner(void *owner)
{
    rl_py_recorder *recorder = owner;

    atomic_fetch_sub(&recorder->open_runs, 1);
    Py_DECREF(recorder);
}

/* A run that was begun before a fork ends in the parent: the child forgets it. */
static void forget_parent(handler_data *data)
{
    rl_graphs *before = data->graphs, *fresh = rl_graphs_new();

    if (fresh != NULL) {
        data->graphs = fresh;
        data->generation = rl_fork_generation();
        rl_graphs_after_fork(before);
        rl_graphs_free(before, release_owner);
    }
}

/* The state and the data of a handler that an event came to; false when it can't serve. */
static bool enter_event(PyObject *self, rl_state **state, handler_data **data)
{
    *state = rl_state_of_type(Py_TYPE(self));
    *data = *state != NULL ? data_of(*state, self) : NULL;
    PyErr_Clear();
    if (*data != NULL && (*data)->graphs != NULL &&
        (*data)->generation != rl_fork_generation()) {
        forget_parent(*data);
    }
    return *data != NULL && (*data)->graphs != NULL &&
           (*data)->generation == rl_fork_generation();
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
    handler_data *data;

    if (enter_event(self, &state, &data)) {
        on_start(state, data, argument(args, 1), kwargs);
    }
    return leave_event();
}

static PyObject *handler_chain_end(PyObject *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state;
    handler_data *data;

    if (enter_event(self, &state, &data)) {
        on_end(state, data, argument(args, 0), NULL, kwargs);
    }
    return leave_event();
}

static PyObject *handler_chain_error(PyObject *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state;
    handler_data *data;

    if (enter_event(self, &state, &data)) {
        on_end(state, data, NULL, argument(args, 0), kwargs);
    }
    return leave_event();
}

/* A tool may invoke a graph, whose parent is then the tool's run. */
static PyObject *handler_tool_start(PyObject *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state;
    handler_data *data;

    (void)args;
    if (enter_event(self, &state, &data)) {
        on_start(state, data, NULL, kwargs);
    }
    return leave_event();
}

/* LangGraph pauses a graph by an event of its own; the graph's run then ends well. */
static PyObject *handler_interrupt(PyObject *self, PyObject *event)
{
    PyObject *run_id = PyObject_GetAttrString(event, "run_id");
    rl_state *state;
    handler_data *data;
    rl_key key;

    if (enter_event(self, &state, &data) && rl_event_key(run_id, &key)) {
        rl_graphs_interrupt(data->graphs, key);
    }
    Py_XDECREF(run_id);
    return leave_event();
}

static PyObject *handler_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    rl_state *state = rl_state_of_type(type);
    PyObject *self = NULL;
    handler_data *data;

    (void)args;
    (void)kwargs;
    if (state != NULL) {
        self = type->tp_alloc(type, 0);
    }
    if (self != NULL) {
        data = data_of(state, self);
        rl_buf_init(&data->scratch, RL_BUF_MAX);
        data->generation = rl_fork_generation();
        data->graphs = rl_graphs_new();
        if (data->graphs == NULL) {
            Py_CLEAR(self);
            PyErr_NoMemory();
        }
    }
    return self;
}

static int handler_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"wpk_id", "recorder", NULL};
    rl_state *state = rl_state_of_type(Py_TYPE(self));
    PyObject *wpk_id = Py_None, *recorder = Py_None;
    handler_data *data;

    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O:RunLogHandler",
                                                      names, &wpk_id, &recorder)) {
        return -1;
    }
    if (wpk_id != Py_None &&
        (rl_event_text(wpk_id).len == 0 ||
         strlen(rl_event_text(wpk_id).data) != rl_event_text(wpk_id).len)) {
        return rl_errors_invalid(state, "wpk_id",
                                 "must be None or non-empty text without NUL", wpk_id);
    }
    if (recorder != Py_None && !PyObject_TypeCheck(recorder, state->recorder_type)) {
        PyErr_Format(PyExc_TypeError, "recorder must be None or a Recorder, not %s",
                     Py_TYPE(recorder)->tp_name);
        return -1;
    }
    data = data_of(state, self);
    Py_XSETREF(data->wpk_id, wpk_id != Py_None ? Py_NewRef(wpk_id) : NULL);
    Py_XSETREF(data->recorder, recorder != Py_None ? Py_NewRef(recorder) : NULL);
    Py_XSETREF(data->last, Py_XNewRef(data->recorder));
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
        handler_data *data = data_of(state, self);

        rl_graphs_free(data->graphs, release_owner);
        data->graphs = NULL;
        rl_buf_free(&data->scratch);
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
    {"on_interrupt", handler_interrupt, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot handler_slots[] = {
    {Py_tp_doc,
     "RunLogHandler(wpk_id=None, *, recorder=None)\n--\n\n"
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
        {"run_inline", true},       {"raise_error", false}, {"ignore_chain", false},
        {"ignore_agent", false},    {"ignore_llm", true},   {"ignore_chat_model", true},
        {"ignore_retriever", true}, {"ignore_retry", true}, {"ignore_custom_event", true},
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
    PyObject *base, *parent_command, *bubble_up, *cancelled, *recorder, *log, *type;
    PyType_Spec spec = {
        .name = "runlog.hooks.RunLogHandler",
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = handler_slots,
    };

    if (!PyArg_ParseTuple(args, "O!OOO!OO:make_handler_type", &PyType_Type, &base,
                          &parent_command, &bubble_up, &PyTuple_Type, &cancelled,
                          &recorder, &log)) {
        return NULL;
    }
    if (state->handler.type != NULL) { /* runlog.hooks was reloaded */
        return Py_NewRef(state->handler.type);
    }
    state->handler.offset = ((PyTypeObject *)base)->tp_basicsize;
    spec.basicsize = (int)(state->handler.offset + (Py_ssize_t)sizeof(handler_data));
    type = PyType_FromModuleAndSpec(module, &spec, base);
    if (type == NULL || set_attributes(type) < 0) {
        Py_XDECREF(type);
        return NULL;
    }
    state->handler.type = (PyTypeObject *)Py_NewRef(type);
    state->handler.parent_command = Py_NewRef(parent_command);
    state->handler.bubble_up = Py_NewRef(bubble_up);
    state->handler.cancelled = Py_NewRef(cancelled);
    state->handler.default_recorder = Py_NewRef(recorder);
    state->handler.log = Py_NewRef(log);
    return type;
}

int rl_handler_traverse(rl_state *state, visitproc visit, void *arg)
{
    Py_VISIT(state->handler.type);
    Py_VISIT(state->handler.parent_command);
    Py_VISIT(state->handler.bubble_up);
    Py_VISIT(state->handler.cancelled);
    Py_VISIT(state->handler.default_recorder);
    Py_VISIT(state->handler.log);
    return 0;
}

void rl_handler_clear(rl_state *state)
{
    Py_CLEAR(state->handler.type);
    Py_CLEAR(state->handler.parent_command);
    Py_CLEAR(state->handler.bubble_up);
    Py_CLEAR(state->handler.cancelled);
    Py_CLEAR(state->handler.default_recorder);
    Py_CLEAR(state->handler.log);
}
