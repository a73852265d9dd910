/* The events of a handler. See events.h.
 *
 * An event is classified first, then its payloads are encoded (which may run the user's
 * Python code, switch threads and come back in here), then it is appended under the lock
 * of the table of open graphs. No lock is held during the encoding, so a graph that was
 * found before it is looked up again after it.
 */
#include "py/handler/events.h"

#include "py/base/errors.h"
#include "py/encode/encode.h"
#include "py/handler/event.h"
#include "py/handler/graph_runs.h"
#include "py/handler/payloads.h"
#include "py/handler/usage.h"

static const rl_text no_text = {NULL, 0};

/* A value's text as a name; NULL without an error when there is none, or it is empty. */
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

/* Opens a graph with its payloads. The graph owns a reference to the recorder. */
static void open_graph(rl_state *state, rl_handler *self, const rl_span_start *start,
                       const rl_graph_start *given)
{
    rl_py_recorder *recorder = given->owner;
    rl_found found = {recorder, false, start->key, self->node_inputs, true};

    if (rl_graphs_start(self->graphs, RL_SPAN_GRAPH, start, given) != RL_OK) {
        rl_graph_runs_count_error(self);
        return;
    }
    rl_metric_add(&recorder->open_runs, 1);
    Py_INCREF(recorder);
    self->open++;
    if (given->interval_ns == 0) {
        rl_graph_runs_write(state, self, &found);
    } else if (given->interval_ns != RL_LIVE_NEVER) {
        rl_recorder_watch(recorder->core, self->graphs, given->interval_ns);
    }
    rl_graph_runs_relieve(self, recorder);
}

/* The values of a graph's start, owned. */
typedef struct graph_values {
    PyObject *recorder, *wpk_id, *run_id, *metadata;
    PyObject *thread; /* borrowed */
} graph_values;

static void encode_graph(rl_state *state, rl_handler *self, PyObject *inputs,
                         const graph_values *values, rl_span_start *start)
{
    rl_py_recorder *recorder = (rl_py_recorder *)values->recorder;
    rl_node_inputs node_inputs =
        self->node_inputs == RL_INPUTS_DELTA ? RL_INPUTS_DELTA : RL_INPUTS_FULL;
    rl_graph_start given = {.recorder = recorder->core, .owner = recorder};
    rl_piece wpk_id, inputs_at, metadata = {0, 0, false}, thread = {0, 0, false};
    rl_payloads texts;

    rl_payloads_begin(state, self, values->recorder, &texts);
    given.resumed = rl_event_resumes(state, inputs);
    wpk_id = rl_payloads_add_plain(&texts, values->wpk_id, RL_PLAIN_NAME);
    inputs_at = rl_payloads_add_inputs(&texts, inputs, node_inputs);
    if (values->metadata != NULL) {
        metadata = rl_payloads_add_json(&texts, values->metadata);
    }
    if (values->thread != NULL) {
        thread = rl_payloads_add_plain(&texts, values->thread, RL_PLAIN_NAME);
    }
    given.wpk_id = rl_payloads_text(&texts, wpk_id);
    given.run_id = rl_event_text(values->run_id);
    given.metadata =
        values->metadata != NULL ? rl_payloads_text(&texts, metadata) : no_text;
    given.thread_id = values->thread != NULL ? rl_payloads_text(&texts, thread) : no_text;
    given.node_inputs = self->node_inputs;
    given.interval_ns = self->interval_ns;
    given.memory = rl_recorder_memory(recorder->core);
    start->inputs = rl_payloads_object(&texts, inputs_at);
    start->values = rl_payloads_values(&texts);
    start->wide_numbers = texts.wide;
    if (texts.buf.failed) {
        rl_graph_runs_count_error(self);
    } else {
        open_graph(state, self, start, &given);
    }
    rl_payloads_end(self, &texts);
}

static void start_graph(rl_state *state, rl_handler *self, PyObject *inputs,
                        PyObject *kwargs, rl_span_start *start)
{
    PyObject *metadata = rl_event_get(state, kwargs, RL_NAME_metadata);
    graph_values values = {.recorder = rl_graph_runs_recorder(state, self)};

    if (values.recorder != NULL) {
        values.wpk_id = workflow_of(state, self, kwargs);
        values.run_id = PyObject_Str(rl_event_get(state, kwargs, RL_NAME_run_id));
        values.metadata = rl_event_metadata(state, kwargs);
        values.thread = rl_event_get(state, metadata, RL_NAME_thread_id);
    }
    if (values.wpk_id == NULL || values.run_id == NULL || PyErr_Occurred()) {
        rl_graph_runs_report(state, self);
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
    rl_payloads texts;
    rl_piece at;

    rl_payloads_begin(state, self, found->owner, &texts);
    at = rl_payloads_add_inputs(&texts, inputs, found->node_inputs);
    start->inputs = rl_payloads_object(&texts, at);
    start->values = rl_payloads_values(&texts);
    start->wide_numbers = texts.wide;
    if (texts.buf.failed ||
        rl_graphs_start(self->graphs, RL_SPAN_NODE, start, NULL) != RL_OK) {
        rl_graph_runs_count_error(self);
    }
    rl_graph_runs_relieve(self, (rl_py_recorder *)texts.recorder);
    rl_payloads_end(self, &texts);
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
            rl_graph_runs_count_error(self);
        }
        break;
    case RL_SPAN_NONE:
        if (!found.other) {
            rl_graph_runs_count_ignored(self);
        }
        break;
    }
    if (found.at_once && kind != RL_SPAN_GRAPH && kind != RL_SPAN_NONE) {
        rl_graph_runs_write(state, self, &found);
    }
    Py_XDECREF(owner);
    rl_event_clear(&texts);
}

/* Interrupts as JSON; no text where they are not as LangGraph makes them. */
static rl_text add_interrupts(const rl_state *state, rl_payloads *texts,
                              PyObject *interrupts)
{
    PyObject *list = rl_event_list_interrupts(state, interrupts);
    rl_text text = no_text;

    if (list != NULL) {
        text = rl_payloads_text(texts, rl_payloads_add_json(texts, list));
        Py_DECREF(list);
    } else {
        rl_errors_swallow();
    }
    return texts->buf.failed ? no_text : text;
}

/* Fills in the end of a graph or node: its outputs, its interrupts or its error. */
static void encode_end(const rl_state *state, rl_payloads *texts, PyObject *outputs,
                       PyObject *error, rl_span_end *end)
{
    PyObject *interrupts = NULL;
    rl_piece type, message;

    if (error != NULL) {
        end->outcome = rl_event_outcome(state, error);
        interrupts = rl_event_interrupts(state, error);
        outputs = rl_event_command(state, error);
    }
    if (outputs != NULL) {
        end->outputs = rl_payloads_text(texts, rl_payloads_add_outputs(texts, outputs));
        end->values = rl_payloads_values(texts);
    } else if (interrupts != NULL) { /* a pause, not an error */
        end->interrupts = add_interrupts(state, texts, interrupts);
    } else if (error != NULL) {
        /* copied: the class may be renamed while the GIL is given up */
        type = (rl_piece){.at = texts->buf.len};
        rl_buf_add_text(&texts->buf, rl_type_name(error));
        type.end = texts->buf.len;
        message = rl_payloads_add_plain(texts, error, RL_PLAIN_ERROR);
        end->error_type = rl_payloads_text(texts, type);
        end->error_text = rl_payloads_text(texts, message);
    }
    if (texts->buf.failed) { /* the end is recorded without its texts */
        end->outputs = no_text;
        end->error_type = no_text;
        end->error_text = no_text;
        end->interrupts = no_text;
    }
    end->wide_numbers = texts->wide;
}

/* Drops the cached texts when the last graph has ended. */
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
    rl_payloads texts;

    rl_payloads_begin(state, self, found->owner, &texts);
    encode_end(state, &texts, outputs, error, end);
    if (texts.buf.failed) {
        rl_graph_runs_count_error(self);
    }
    if (!is_root) {
        (void)rl_graphs_end(self->graphs, key, end);
        rl_graph_runs_relieve(self, (rl_py_recorder *)texts.recorder);
    } else {
        graph = rl_graphs_take(self->graphs, key);
        if (graph != NULL) {
            rl_graph_runs_finish(state, self, graph, end);
            forget_texts(self);
        }
    }
    rl_payloads_end(self, &texts);
}

/* Finds the span that an event ends; counts the event as ignored when there is none. */
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
        rl_graph_runs_count_ignored(self);
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
        rl_graph_runs_write(state, self, &found);
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

/* Finds the graph that a pause or resume is about; false where it is not recorded. */
static bool read_subject(const rl_state *state, const rl_handler *self, PyObject *event,
                         rl_key *key, rl_found *found)
{
    PyObject *run_id = rl_event_attribute(state, event, RL_NAME_run_id);
    bool known = rl_event_key(state, run_id, key);

    key->handler = self;
    found->other = false;
    known = known && rl_graphs_find(self->graphs, *key, found) != RL_SPAN_NONE;
    if (!known && !found->other) {
        rl_graph_runs_count_ignored(self);
    }
    Py_XDECREF(run_id);
    return known;
}

void rl_events_interrupt(rl_state *state, rl_handler *self, PyObject *event)
{
    PyObject *interrupts;
    rl_found found;
    rl_payloads texts;
    rl_key key;

    if (!read_subject(state, self, event, &key, &found)) {
        return;
    }
    interrupts = rl_event_attribute(state, event, RL_NAME_interrupts);
    rl_payloads_begin(state, self, found.owner, &texts);
    rl_graphs_interrupt(self->graphs, key,
                        interrupts != NULL ? add_interrupts(state, &texts, interrupts)
                                           : no_text);
    rl_payloads_end(self, &texts);
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
