/* What the handler makes of each event. See handler_data.h.
 *
 * Events are classified first, then encoded (which may run the user's Python code, switch
 * threads and come back in here), then appended under the lock of the table: nothing is held
 * across the encoding, and what was looked up before it is looked up again after it.
 */
#include "py/encode.h"
#include "py/errors.h"
#include "py/event.h"
#include "py/handler_data.h"
#include "py/usage.h"

static const rl_text no_text = {NULL, 0};

static void count(const rl_handler *self, bool error)
{
    if (self->last != NULL) {
        rl_py_recorder *recorder = (rl_py_recorder *)self->last;

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
static void report_exception(rl_state *state, rl_handler *self)
{
    PyObject *type, *value, *traceback, *text;
    const char *reason;

    PyErr_Fetch(&type, &value, &traceback);
    text = value != NULL ? PyObject_Str(value) : NULL;
    reason = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    PyErr_Clear();
    count(self, true);
    if (!state->handler.failing) {
        state->handler.failing = true;
        log_failure(state, reason != NULL ? reason : "a graph can't be recorded");
    }
    PyErr_Restore(type, value, traceback);
    rl_errors_swallow();
    Py_XDECREF(text);
}

/* The recorder that a new graph goes to. New reference; NULL with an error set. */
static PyObject *choose_recorder(rl_state *state, const rl_handler *self)
{
    PyObject *recorder = self->recorder != NULL
                             ? Py_NewRef(self->recorder)
                             : PyObject_CallNoArgs(state->handler.default_recorder);

    if (recorder != NULL && (!PyObject_TypeCheck(recorder, state->recorder_type) ||
                             ((rl_py_recorder *)recorder)->core == NULL)) {
        PyErr_SetString(PyExc_TypeError, "recorder must be a Recorder");
        Py_CLEAR(recorder);
    }
    return recorder;
}

/* A value's text; NULL without an error when there is none, or it is empty. */
static PyObject *name_from(PyObject *value)
{
    PyObject *text = value != NULL ? PyObject_Str(value) : NULL;

    if (text != NULL && PyUnicode_GET_LENGTH(text) == 0) {
        Py_CLEAR(text);
    }
    if (PyErr_Occurred()) {
        rl_errors_swallow();
    }
    return text;
}

/* The workflow's name: the handler's, else the graph's metadata, else its own name. */
static PyObject *workflow_of(const rl_state *state, const rl_handler *self,
                             PyObject *kwargs)
{
    PyObject *metadata = rl_event_get(state, kwargs, RL_NAME_metadata);
    PyObject *text = self->wpk_id != NULL
                         ? Py_NewRef(self->wpk_id)
                         : name_from(rl_event_get(state, metadata, RL_NAME_wpk_id));

    if (text == NULL) {
        text = name_from(rl_event_get(state, kwargs, RL_NAME_name));
    }
    return text != NULL ? text : PyUnicode_FromString("LangGraph");
}

/* Payloads on their way into the table: their JSON, and what has to live meanwhile. */
typedef struct encoded {
    rl_buf buf, members;
    PyObject *recorder; /* owned: its options must live while the user's code runs */
    rl_encode_options options;
    bool wide;
} encoded;

static void begin_encoding(rl_state *state, rl_handler *self, PyObject *recorder,
                           encoded *to)
{
    to->buf = self->scratch;
    to->members = self->members;
    rl_buf_init(&self->scratch, RL_BUF_MAX);
    rl_buf_init(&self->members, RL_BUF_MAX);
    to->recorder = Py_NewRef(recorder);
    to->options = rl_recorder_encoding(state, (rl_py_recorder *)recorder);
    to->options.cache = &self->cache;
    to->wide = false;
}

static void give_back(rl_buf *to, rl_buf *buf)
{
    rl_buf_free(to); /* another event may have given one back meanwhile */
    rl_buf_reset(buf, (size_t)256 * 1024);
    *to = *buf;
}

static void end_encoding(rl_handler *self, encoded *texts)
{
    give_back(&self->scratch, &texts->buf);
    give_back(&self->members, &texts->members);
    Py_DECREF(texts->recorder);
}

/* Where a piece of the buffer begins and ends: it may move while it grows. */
typedef struct piece {
    size_t at, end;
    bool is_object; /* whose members are told apart */
} piece;

static piece add_json(encoded *to, PyObject *value)
{
    piece result = {to->buf.len, 0, false};

    rl_encode(&to->options, value, &to->buf, &to->wide);
    result.end = to->buf.len;
    return result;
}

static piece add_plain(encoded *to, PyObject *value)
{
    piece result = {to->buf.len, 0, false};

    rl_encode_plain(&to->options, value, &to->buf);
    result.end = to->buf.len;
    return result;
}

static piece add_inputs(encoded *to, PyObject *value, rl_node_inputs kept)
{
    piece result = {to->buf.len, 0, false};

    if (kept == RL_INPUTS_DELTA) {
        result.is_object =
            rl_encode_members(&to->options, value, &to->buf, &to->members, &to->wide);
    } else if (kept == RL_INPUTS_FULL) {
        rl_encode(&to->options, value, &to->buf, &to->wide);
    }
    result.end = to->buf.len;
    return result;
}

static rl_text text_of(const encoded *from, piece where)
{
    rl_text text = {where.end > where.at ? from->buf.data + where.at : "",
                    where.end - where.at};

    return text;
}

static rl_object object_of(const encoded *from, piece where)
{
    static const rl_member none;
    rl_object object = {NULL, 0, NULL, 0};

    if (where.end > where.at) {
        object.text = from->buf.data + where.at;
        object.len = where.end - where.at;
    }
    if (where.is_object) {
        object.count = from->members.len / sizeof(rl_member);
        object.members = object.count > 0
                             ? (const rl_member *)(const void *)from->members.data
                             : &none;
    }
    return object;
}

static void release_owner(void *owner)
{
    rl_py_recorder *recorder = owner;

    atomic_fetch_sub(&recorder->open_runs, 1);
    Py_DECREF(recorder);
}

void rl_events_after_fork(rl_handler *self)
{
    rl_graphs_disinherit(self->graphs, release_owner);
}

/* As the recorder's handlers commit. */
static rl_status commit_to(rl_py_recorder *recorder, rl_run *run, rl_err *err)
{
    rl_durability durability = rl_recorder_config(recorder->core)->graph_runs;

    return rl_recorder_commit(recorder, run, durability, err);
}

/* Commits a graph's run. RL_CLOSED from the default recorder means that the program has
 * closed it since the graph began: its successor takes the run. */
static rl_status commit_run(rl_state *state, const rl_handler *self,
                            rl_py_recorder *recorder, rl_run *run, rl_err *err)
{
    rl_status status = rl_run_seal(run, err);
    PyObject *successor;

    if (status == RL_OK) {
        status = commit_to(recorder, run, err);
    }
    if (status == RL_CLOSED && self->recorder == NULL) {
        successor = choose_recorder(state, self);
        if (successor != NULL) {
            status = commit_to((rl_py_recorder *)successor, run, err);
            Py_DECREF(successor);
        } else {
            rl_errors_swallow();
        }
    }
    return status;
}

/* The same, with its failure counted, and told once until one can be kept again. */
static void keep_run(rl_state *state, const rl_handler *self, rl_py_recorder *recorder,
                     rl_run *run)
{
    rl_err err;

    if (commit_run(state, self, recorder, run, &err) == RL_OK) {
        recorder->failing = false;
        return;
    }
    rl_metric_add(&recorder->handler_errors, 1);
    if (!recorder->failing) {
        recorder->failing = true;
        log_failure(state, err.text);
    }
}

/* Writes a graph that was taken out of the table, and frees it: with its end, or as it
 * stands (NULL). */
static void finish_graph(rl_state *state, const rl_handler *self, rl_graph *graph,
                         const rl_span_end *end)
{
    rl_py_recorder *recorder = rl_graph_owner(graph);
    rl_run *run = rl_state_take_run(state);

    if (run == NULL) {
        rl_errors_swallow();
        count(self, true);
    } else {
        rl_graph_write(graph, end, run);
        keep_run(state, self, recorder, run);
        rl_state_give_run(state, run);
    }
    rl_graph_free(graph);
    release_owner(recorder);
}

/* A run that is to be written at every event. */
static void write_at_once(rl_state *state, const rl_handler *self, const rl_found *found)
{
    rl_run *run = rl_state_take_run(state);
    PyObject *recorder = Py_NewRef(found->owner);

    if (run == NULL) {
        rl_errors_swallow();
        count(self, true);
    } else if (rl_graphs_write_one(self->graphs, found->root, run)) {
        keep_run(state, self, (rl_py_recorder *)recorder, run);
    }
    rl_state_give_run(state, run);
    Py_DECREF(recorder);
}

/* Opens a graph with what was encoded. It gets a reference to the recorder of its own. */
static void open_graph(rl_state *state, rl_handler *self, const rl_span_start *start,
                       const rl_graph_start *given)
{
    rl_py_recorder *recorder = given->owner;
    rl_found found = {recorder, false, start->key, self->node_inputs, true};
    rl_graph *excess;

    if (rl_graphs_start(self->graphs, RL_SPAN_GRAPH, start, given) != RL_OK) {
        count(self, true);
        return;
    }
    rl_metric_add(&recorder->open_runs, 1);
    Py_INCREF(recorder);
    self->open++;
    if (given->interval_ns == 0) {
        write_at_once(state, self, &found);
    } else if (given->interval_ns != RL_LIVE_NEVER) {
        rl_recorder_watch(recorder->core, self->graphs, given->interval_ns);
    }
    while ((excess = rl_graphs_take_excess(self->graphs)) != NULL) {
        rl_metric_add(&((rl_py_recorder *)rl_graph_owner(excess))->handler_evicted, 1);
        finish_graph(state, self, excess, NULL);
    }
}

/* What a graph's start is encoded from, owned. */
typedef struct graph_values {
    PyObject *recorder, *wpk_id, *run_id, *metadata;
    PyObject *thread; /* borrowed */
} graph_values;

static void encode_graph(rl_state *state, rl_handler *self, PyObject *inputs,
                         const graph_values *values, rl_span_start *start)
{
    rl_py_recorder *recorder = (rl_py_recorder *)values->recorder;
    rl_node_inputs kept =
        self->node_inputs == RL_INPUTS_DELTA ? RL_INPUTS_DELTA : RL_INPUTS_FULL;
    rl_graph_start given = {.recorder = recorder->core, .owner = recorder};
    piece wpk_id, inputs_at, metadata = {0, 0, false}, thread = {0, 0, false};
    encoded texts;

    begin_encoding(state, self, values->recorder, &texts);
    given.resumed = rl_event_resumes(state, inputs);
    wpk_id = add_plain(&texts, values->wpk_id);
    inputs_at = add_inputs(&texts, inputs, kept);
    if (values->metadata != NULL) {
        metadata = add_json(&texts, values->metadata);
    }
    if (values->thread != NULL) {
        thread = add_plain(&texts, values->thread);
    }
    given.wpk_id = text_of(&texts, wpk_id);
    given.run_id = rl_event_text(values->run_id);
    given.metadata = values->metadata != NULL ? text_of(&texts, metadata) : no_text;
    given.thread_id = values->thread != NULL ? text_of(&texts, thread) : no_text;
    given.node_inputs = self->node_inputs;
    given.interval_ns = self->interval_ns;
    start->inputs = object_of(&texts, inputs_at);
    start->wide_numbers = texts.wide;
    if (texts.buf.failed) {
        count(self, true);
    } else {
        open_graph(state, self, start, &given);
    }
    end_encoding(self, &texts);
}

static void start_graph(rl_state *state, rl_handler *self, PyObject *inputs,
                        PyObject *kwargs, rl_span_start *start)
{
    PyObject *metadata = rl_event_get(state, kwargs, RL_NAME_metadata);
    graph_values values = {.recorder = choose_recorder(state, self)};

    if (values.recorder != NULL) {
        values.wpk_id = workflow_of(state, self, kwargs);
        values.run_id = PyObject_Str(rl_event_get(state, kwargs, RL_NAME_run_id));
        values.metadata = rl_event_metadata(state, kwargs);
        values.thread = rl_event_get(state, metadata, RL_NAME_thread_id);
    }
    if (values.wpk_id == NULL || values.run_id == NULL || PyErr_Occurred()) {
        report_exception(state, self);
    } else {
        state->handler.failing = false;
        Py_XSETREF(self->last, Py_NewRef(values.recorder));
        encode_graph(state, self, inputs, &values, start);
    }
    Py_XDECREF(values.metadata);
    Py_XDECREF(values.run_id);
    Py_XDECREF(values.wpk_id);
    Py_XDECREF(values.recorder);
}

static void start_node(rl_state *state, rl_handler *self, PyObject *inputs,
                       const rl_found *found, rl_span_start *start)
{
    encoded texts;
    piece at;

    begin_encoding(state, self, found->owner, &texts);
    at = add_inputs(&texts, inputs, found->node_inputs);
    start->inputs = object_of(&texts, at);
    start->wide_numbers = texts.wide;
    if (texts.buf.failed ||
        rl_graphs_start(self->graphs, RL_SPAN_NODE, start, NULL) != RL_OK) {
        count(self, true);
    }
    end_encoding(self, &texts);
}

void rl_events_start(rl_state *state, rl_handler *self, rl_call call, PyObject *inputs,
                     PyObject *kwargs)
{
    rl_span_kind kind = RL_SPAN_NONE;
    rl_found found = {.owner = NULL};
    rl_event_texts texts;
    rl_span_start start;
    PyObject *owner;

    if (rl_event_start(state, kwargs, call, &start, &texts)) {
        start.key.handler = self;
        start.parent.handler = self;
        start.sink = self->recorder;
        start.object = inputs;
        kind = rl_graphs_classify(self->graphs, &start, &found);
    }
    if (inputs == NULL && kind != RL_SPAN_NONE) {
        kind = found.owner != NULL ? RL_SPAN_INNER : RL_SPAN_NONE;
    }
    owner = Py_XNewRef(found.owner); /* while the user's code runs */
    switch (kind) {
    case RL_SPAN_GRAPH:
        start_graph(state, self, inputs, kwargs, &start);
        break;
    case RL_SPAN_NODE:
        start_node(state, self, inputs, &found, &start);
        break;
    case RL_SPAN_INNER:
        if (rl_graphs_start(self->graphs, RL_SPAN_INNER, &start, NULL) != RL_OK) {
            count(self, true);
        }
        break;
    case RL_SPAN_NONE:
        if (!found.other) {
            count(self, false);
        }
        break;
    }
    if (found.at_once && kind != RL_SPAN_GRAPH && kind != RL_SPAN_NONE) {
        write_at_once(state, self, &found);
    }
    Py_XDECREF(owner);
    rl_event_clear(&texts);
}

/* Interrupts as JSON; none where they are not as LangGraph makes them. */
static rl_text add_interrupts(const rl_state *state, encoded *texts, PyObject *interrupts)
{
    PyObject *list = rl_event_list_interrupts(state, interrupts);
    rl_text text = no_text;

    if (list != NULL) {
        text = text_of(texts, add_json(texts, list));
        Py_DECREF(list);
    } else {
        rl_errors_swallow();
    }
    return texts->buf.failed ? no_text : text;
}

/* What is known of the end of a graph or node: its outputs, or its error. */
static void encode_end(const rl_state *state, encoded *texts, PyObject *outputs,
                       PyObject *error, rl_span_end *end)
{
    PyObject *interrupts = NULL;
    const char *type;

    if (error != NULL) {
        end->outcome = rl_event_outcome(state, error);
        interrupts = rl_event_interrupts(state, error);
        outputs = rl_event_command(state, error);
    }
    if (outputs != NULL) {
        end->outputs = text_of(texts, add_json(texts, outputs));
    } else if (interrupts != NULL) { /* which are no error */
        end->interrupts = add_interrupts(state, texts, interrupts);
    } else if (error != NULL) {
        type = rl_type_name(error);
        end->error_type = (rl_text){type, strlen(type)};
        end->error_text = text_of(texts, add_plain(texts, error));
    }
    if (texts->buf.failed) { /* it ends all the same, with less said of it */
        end->outputs = no_text;
        end->error_text = no_text;
        end->interrupts = no_text;
    }
    end->wide_numbers = texts->wide;
}

/* With the last graph the texts of its state are needed no more. */
static void forget_texts(rl_handler *self)
{
    self->open -= self->open > 0;
    if (self->open == 0) {
        rl_text_cache_clear(&self->cache);
    }
}

/* Ends a graph or a node. */
static void end_payload(rl_state *state, rl_handler *self, PyObject *outputs,
                        PyObject *error, rl_key key, const rl_found *found,
                        rl_span_end *end)
{
    bool is_root = found->root.low == key.low && found->root.high == key.high;
    rl_graph *graph;
    encoded texts;

    begin_encoding(state, self, found->owner, &texts);
    encode_end(state, &texts, outputs, error, end);
    if (texts.buf.failed) {
        count(self, true);
    }
    if (!is_root) {
        (void)rl_graphs_end(self->graphs, key, end);
    } else {
        graph = rl_graphs_take(self->graphs, key);
        if (graph != NULL) {
            finish_graph(state, self, graph, end);
            forget_texts(self);
        }
    }
    end_encoding(self, &texts);
}

/* Finds what an event ends; counts it when that is nothing. */
static rl_span_kind find_ending(const rl_state *state, const rl_handler *self,
                                PyObject *kwargs, rl_key *key, rl_found *found)
{
    rl_span_kind kind = RL_SPAN_NONE;

    found->owner = NULL;
    found->other = false;
    if (rl_event_key(state, rl_event_get(state, kwargs, RL_NAME_run_id), key)) {
        key->handler = self;
        kind = rl_graphs_find(self->graphs, *key, found);
    }
    if (kind == RL_SPAN_NONE && !found->other) {
        count(self, false);
    }
    return kind;
}

void rl_events_end(rl_state *state, rl_handler *self, PyObject *outputs, PyObject *error,
                   PyObject *kwargs)
{
    rl_span_end end = {.outcome = RL_COMPLETED, .ended_ns = rl_monotonic_ns()};
    rl_found found;
    rl_key key;
    rl_span_kind kind = find_ending(state, self, kwargs, &key, &found);
    PyObject *owner = Py_XNewRef(found.owner);

    if (kind == RL_SPAN_INNER) {
        (void)rl_graphs_end(self->graphs, key, &end);
    } else if (kind != RL_SPAN_NONE) {
        end_payload(state, self, outputs, error, key, &found, &end);
    }
    if (kind == RL_SPAN_NODE && found.at_once) {
        write_at_once(state, self, &found);
    }
    Py_XDECREF(owner);
}

void rl_events_end_llm(rl_state *state, rl_handler *self, PyObject *result,
                       PyObject *kwargs)
{
    rl_span_end end = {.outcome = RL_COMPLETED, .ended_ns = rl_monotonic_ns()};
    PyObject *model = NULL;
    rl_found found;
    rl_key key;

    if (find_ending(state, self, kwargs, &key, &found) == RL_SPAN_INNER) {
        rl_usage_read(state, result, &end, &model);
        (void)rl_graphs_end(self->graphs, key, &end);
        Py_XDECREF(model);
    }
}

/* The graph that one of LangGraph's own events is about. */
static bool read_subject(const rl_state *state, const rl_handler *self, PyObject *event,
                         rl_key *key, rl_found *found)
{
    PyObject *run_id = rl_event_attribute(state, event, RL_NAME_run_id);
    bool known = rl_event_key(state, run_id, key);

    key->handler = self;
    found->other = false;
    known = known && rl_graphs_find(self->graphs, *key, found) != RL_SPAN_NONE;
    if (!known && !found->other) {
        count(self, false);
    }
    Py_XDECREF(run_id);
    return known;
}

void rl_events_interrupt(rl_state *state, rl_handler *self, PyObject *event)
{
    PyObject *interrupts;
    rl_found found;
    encoded texts;
    rl_key key;

    if (!read_subject(state, self, event, &key, &found)) {
        return;
    }
    interrupts = rl_event_attribute(state, event, RL_NAME_interrupts);
    begin_encoding(state, self, found.owner, &texts);
    rl_graphs_interrupt(self->graphs, key,
                        interrupts != NULL ? add_interrupts(state, &texts, interrupts)
                                           : no_text);
    end_encoding(self, &texts);
    Py_XDECREF(interrupts);
}

void rl_events_resume(rl_state *state, rl_handler *self, PyObject *event)
{
    rl_found found;
    rl_key key;

    if (read_subject(state, self, event, &key, &found)) {
        rl_graphs_resume(self->graphs, key);
    }
}
