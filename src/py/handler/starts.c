/* The starts of a handler's events. See starts.h.
 *
 * A start is classified first, then its payloads are encoded (which may run the user's
 * Python code, switch threads and come back in here), then it is appended under the lock
 * of the table of open graphs. No lock is held during the encoding, so a graph that was
 * found before it is looked up again after it.
 */
#include "py/handler/starts.h"

#include "py/encode/encode.h"
#include "py/handler/caller.h"
#include "py/handler/ends.h"
#include "py/handler/event.h"
#include "py/handler/graph_runs.h"
#include "py/handler/left.h"
#include "py/handler/metadata.h"
#include "py/handler/nodes.h"
#include "py/handler/payloads.h"
#include "py/handler/same_id.h"
#include "py/handler/unrecognised.h"

static const rl_text no_text = {NULL, 0};

/* The text of a value (stolen) as a name; NULL without an error when it is NULL or empty. */
static PyObject *text_of(rl_raised *raised, PyObject *value)
{
    PyObject *text = value != NULL ? PyObject_Str(value) : NULL;

    if (text != NULL && PyUnicode_GET_LENGTH(text) == 0) {
        Py_CLEAR(text);
    }
    if (PyErr_Occurred()) {
        rl_raised_absorb(raised);
    }
    Py_XDECREF(value);
    return text;
}

/* The workflow's name: the handler's, else the graph's metadata, else its own name. */
static PyObject *workflow_of(const rl_state *state, const rl_handler *self,
                             rl_raised *raised, const rl_call_given *given,
                             PyObject *metadata)
{
    PyObject *name;
    PyObject *text =
        self->wpk_id != NULL
            ? Py_NewRef(self->wpk_id)
            : text_of(raised, rl_event_get(state, raised, metadata, RL_NAME_wpk_id));

    if (text == NULL) {
        name = rl_call_name(state, raised, given);
        text = name != NULL ? text_of(raised, name) : NULL;
    }
    return text != NULL ? text : PyUnicode_FromString("LangGraph");
}

/* Appends a graph. A run of the same id may have begun since it was classified. */
static rl_status append_graph(rl_state *state, rl_handler *self, rl_raised *raised,
                              rl_span_start *start, const rl_graph_start *given)
{
    rl_found found = {.again = false};
    rl_status status = rl_graphs_start(self->graphs, RL_SPAN_GRAPH, start, given);

    if (status != RL_OK) {
        (void)rl_graphs_classify(self->graphs, start, &found);
        if (found.again && rl_same_id_begin(state, self, raised, start)) {
            status = rl_graphs_start(self->graphs, RL_SPAN_GRAPH, start, given);
        }
    }
    return status;
}

/* Opens a graph with its payloads. The graph owns a reference to the recorder. */
static void open_graph(rl_state *state, rl_handler *self, rl_raised *raised,
                       rl_span_start *start, const rl_graph_start *given)
{
    rl_py_recorder *recorder = given->owner;
    rl_found found = {.owner = recorder, .at_once = true};

    if (append_graph(state, self, raised, start, given) != RL_OK) {
        rl_graph_runs_count_error(self);
        return;
    }
    found.root = start->key;
    rl_metric_add(&recorder->open_runs, 1);
    Py_INCREF(recorder);
    self->open++;
    if (given->interval_ns == 0) {
        rl_graph_runs_write(state, self, raised, &found);
    } else if (given->interval_ns != RL_LIVE_NEVER) {
        rl_recorder_watch(recorder->core, self->graphs, given->interval_ns);
    }
    rl_graph_runs_relieve(self, raised, recorder);
}

/* The values of a graph's start, owned. */
typedef struct graph_values {
    PyObject *recorder, *wpk_id, *run_id, *metadata, *thread;
} graph_values;

/* The inputs of a run; those of a call are recorded as those of other calls are. New
 * reference, NULL with an error set. */
static PyObject *inputs_of(const rl_state *state, const rl_handler *self,
                           rl_raised *raised, const rl_call_given *what)
{
    if (what->call == RL_CALL_NONE) {
        return Py_NewRef(what->subject);
    }
    return self->calls < RL_CALLS_SUMMARY ? rl_call_inputs(state, raised, what)
                                          : Py_NewRef(Py_None);
}

static void encode_graph(rl_state *state, rl_handler *self, rl_raised *raised,
                         const rl_call_given *what, PyObject *inputs,
                         const graph_values *values, rl_span_start *start)
{
    rl_call_start call;
    rl_py_recorder *recorder = (rl_py_recorder *)values->recorder;
    rl_node_inputs node_inputs =
        self->node_inputs == RL_INPUTS_DELTA ? RL_INPUTS_DELTA : RL_INPUTS_FULL;
    rl_graph_start given = {.recorder = recorder->core, .owner = recorder};
    rl_piece wpk_id, inputs_at, metadata = {0, 0, false}, thread = {0, 0, false};
    rl_payloads texts;

    rl_payloads_begin(state, self, raised, values->recorder, &texts);
    given.resumed = rl_event_resumes(state, raised, inputs);
    wpk_id = rl_payloads_add_plain(&texts, values->wpk_id, RL_PLAIN_NAME);
    inputs_at = rl_payloads_add_inputs(&texts, inputs, node_inputs);
    if (values->metadata != NULL) {
        metadata = rl_payloads_add_json(&texts, values->metadata);
    }
    if (values->thread != NULL) {
        thread = rl_payloads_add_plain(&texts, values->thread, RL_PLAIN_NAME);
    }
    if (what->call != RL_CALL_NONE) {
        rl_call_add_start(&texts, self, what, self->calls, &call);
    }
    given.wpk_id = rl_payloads_text(&texts, wpk_id);
    given.run_id = rl_event_text(values->run_id);
    given.metadata =
        values->metadata != NULL ? rl_payloads_text(&texts, metadata) : no_text;
    given.thread_id = values->thread != NULL ? rl_payloads_text(&texts, thread) : no_text;
    start->call_name = start->name.len > 0 ? start->name : given.wpk_id;
    if (what->call != RL_CALL_NONE) {
        rl_call_use(&texts, &call, start);
    }
    given.is_plain = start->is_plain;
    given.node_inputs = self->node_inputs;
    given.calls = self->calls;
    given.interval_ns = self->interval_ns;
    given.memory = rl_recorder_memory(recorder->core);
    start->inputs = rl_payloads_object(&texts, inputs_at);
    start->values = rl_payloads_values(&texts);
    start->wide_numbers = texts.wide;
    if (texts.buf.failed) {
        rl_graph_runs_count_error(self);
    } else {
        open_graph(state, self, raised, start, &given);
    }
    if (what->call != RL_CALL_NONE) {
        rl_call_clear(&call);
    }
    rl_payloads_end(self, &texts);
}

/* Reads the values, without those of the metadata that can't be read. An exception may be
 * left set: then the graph can't be recorded. */
static void read_graph(rl_state *state, rl_handler *self, rl_raised *raised,
                       const rl_call_given *given, graph_values *to)
{
    PyObject *kwargs = given->kwargs;
    PyObject *metadata = rl_event_get(state, raised, kwargs, RL_NAME_metadata);
    PyObject *run_id = rl_event_get(state, raised, kwargs, RL_NAME_run_id), *text;
    const rl_encode_options options =
        rl_py_recorder_encoding(state, (rl_py_recorder *)to->recorder, raised);

    to->thread = rl_event_get(state, raised, metadata, RL_NAME_thread_id);
    to->metadata = rl_metadata_of(&options, kwargs, self->wpk_id != NULL,
                                  given->call != RL_CALL_NONE);
    if (PyErr_Occurred()) { /* of a key of the user's */
        rl_raised_absorb(raised);
        rl_graph_runs_count_error(self);
    }
    to->wpk_id = workflow_of(state, self, raised, given, metadata);
    text = to->wpk_id != NULL ? PyObject_Str(run_id) : NULL;
    to->run_id = text != NULL ? rl_encode_name(text) : NULL;
    Py_XDECREF(text);
    Py_XDECREF(run_id);
    Py_XDECREF(metadata);
}

static void start_graph(rl_state *state, rl_handler *self, rl_raised *raised,
                        const rl_call_given *given, rl_span_start *start)
{
    graph_values values = {.recorder = rl_graph_runs_recorder(state, self)};
    PyObject *inputs = NULL;

    if (values.recorder != NULL) {
        state->handler.failing = false;
        Py_XSETREF(self->last, Py_NewRef(values.recorder));
        read_graph(state, self, raised, given, &values);
    }
    if (values.run_id != NULL) {
        inputs = inputs_of(state, self, raised, given);
    }
    if (inputs == NULL) {
        rl_graph_runs_report(state, self, raised);
    } else {
        encode_graph(state, self, raised, given, inputs, &values, start);
        if (given->call != RL_CALL_NONE) {
            rl_left_watch(state, self, raised, given->kwargs);
        }
    }
    Py_XDECREF(inputs);
    Py_XDECREF(values.thread);
    Py_XDECREF(values.metadata);
    Py_XDECREF(values.run_id);
    Py_XDECREF(values.wpk_id);
    Py_XDECREF(values.recorder);
}

static void start_node(rl_state *state, rl_handler *self, rl_raised *raised,
                       PyObject *inputs, const rl_found *found, rl_span_start *start)
{
    rl_payloads texts;
    rl_piece at;

    rl_payloads_begin(state, self, raised, found->owner, &texts);
    at = rl_payloads_add_inputs(&texts, inputs, found->node_inputs);
    start->inputs = rl_payloads_object(&texts, at);
    start->values = rl_payloads_values(&texts);
    start->wide_numbers = texts.wide;
    if (texts.buf.failed ||
        rl_graphs_start(self->graphs, RL_SPAN_NODE, start, NULL) != RL_OK) {
        rl_graph_runs_count_error(self);
    }
    rl_graph_runs_relieve(self, raised, (rl_py_recorder *)texts.recorder);
    rl_payloads_end(self, &texts);
}

/* A graph may begin: finds out which database would have it. */
static void find_place(rl_state *state, rl_handler *self, rl_raised *raised)
{
    PyObject *recorder = rl_graph_runs_recorder(state, self);

    memset(&self->place, 0, sizeof self->place);
    if (recorder != NULL) {
        self->place = *rl_py_recorder_place((rl_py_recorder *)recorder);
        Py_DECREF(recorder);
    } else {
        rl_raised_absorb(raised); /* reported if there is a graph to record */
    }
}

/* The start belongs to no run that this handler records. */
static void pass_by(rl_state *state, rl_handler *self, rl_raised *raised,
                    const rl_span_start *start, bool other)
{
    if (other) {
        self->graphs_seen++;
    } else {
        rl_unrecognised_start(state, self, raised, start);
        rl_graph_runs_count_ignored(self);
    }
}

/* Classifies a start in a node that has ended, by the graph's run if that is open: a task
 * that nobody waited for, or a call of one. */
static rl_span_kind classify_late(rl_handler *self, rl_key root, rl_text of, bool is_in,
                                  rl_span_kind kind, rl_span_start *start,
                                  rl_found *found)
{
    rl_found of_root;

    if (rl_graphs_find(self->graphs, root, &of_root) == RL_SPAN_NONE) {
        found->other = is_in && kind == RL_SPAN_NONE;
        return kind;
    }
    start->parent = root;
    start->has_parent = true;
    start->late = of;
    kind = rl_graphs_classify(self->graphs, start, found);
    return is_in && kind != RL_SPAN_NONE ? RL_SPAN_INNER : kind;
}

/* Classifies a start without a known parent by the node whose namespace it has, or that is
 * around it. A graph whose node has ended is a run of its own. */
static rl_span_kind classify_in_node(rl_state *state, rl_handler *self, rl_raised *raised,
                                     PyObject *ns, rl_span_kind kind,
                                     rl_span_start *start, rl_found *found)
{
    rl_text of = start->ns;
    rl_found of_node;
    rl_key node, root;
    bool is_in;

    if (found->other) {
        return kind;
    }
    is_in = rl_nodes_find(state, self, raised, ns, &node, &root);
    if (!is_in && (kind != RL_SPAN_NONE ||
                   !rl_nodes_find_around(state, self, raised, of, &node, &root, &of))) {
        return kind;
    }
    if (rl_graphs_find(self->graphs, node, &of_node) == RL_SPAN_NONE) {
        /* a chain in a node has a graph's metadata */
        if (kind == RL_SPAN_NONE || !rl_caller_is_graph()) {
            kind = classify_late(self, root, of, is_in, kind, start, found);
        }
        return kind;
    }
    if (kind == RL_SPAN_NONE) {
        start->parent = node;
        start->has_parent = true;
        kind = rl_graphs_classify(self->graphs, start, found);
    }
    return kind;
}

/* Classifies a start; one whose id an open run has is told apart from that. */
static rl_span_kind classify_apart(rl_state *state, rl_handler *self, rl_raised *raised,
                                   rl_span_start *start, rl_found *found)
{
    rl_span_kind kind = rl_graphs_classify(self->graphs, start, found);

    if (found->again && rl_same_id_begin(state, self, raised, start)) {
        kind = rl_graphs_classify(self->graphs, start, found);
    }
    return kind;
}

/* Classifies a start. Versions of LangGraph before 1.1.4 do not say in the metadata that a
 * run is a graph's, and some do not say it of a graph within a node: if nothing else
 * explains a chain, or only a chain around it, the stack decides. */
static rl_span_kind classify(rl_state *state, rl_handler *self, rl_raised *raised,
                             bool is_chain, PyObject *ns, rl_span_start *start,
                             rl_found *found)
{
    rl_span_kind kind;
    bool nobodys, may_be_graph;

    if (start->is_graph && (start->ns.data == NULL || start->is_root)) {
        find_place(state, self, raised);
    }
    start->place = &self->place;
    kind = classify_apart(state, self, raised, start, found);
    may_be_graph = is_chain && ((kind == RL_SPAN_NONE && !found->other) ||
                                (kind == RL_SPAN_INNER && found->is_plain));
    if (may_be_graph && rl_caller_is_graph()) {
        find_place(state, self, raised); /* meanwhile another thread may begin one */
        start->is_graph = true;
        start->is_root = true;
        kind = classify_apart(state, self, raised, start, found);
    }
    if (kind == RL_SPAN_NONE || (kind == RL_SPAN_GRAPH && start->ns.data != NULL)) {
        kind = classify_in_node(state, self, raised, ns, kind, start, found);
    }
    /* a chain with a namespace is a part of a graph that is not recorded */
    nobodys = kind == RL_SPAN_NONE && !found->other && !start->hidden;
    if (nobodys && self->all_roots && (!is_chain || start->ns.data == NULL)) {
        find_place(state, self, raised);
        start->is_plain = true;
        kind = classify_apart(state, self, raised, start, found);
    }
    return kind;
}

/* Opens an inner span, which is recorded if it is a call. */
static void start_inner(rl_state *state, rl_handler *self, rl_raised *raised,
                        const rl_call_given *given, const rl_found *found,
                        rl_span_start *start)
{
    bool is_recorded = given->call != RL_CALL_NONE && found->calls != RL_CALLS_NONE;
    rl_call_start call;
    rl_payloads texts;

    if (is_recorded) {
        rl_payloads_begin(state, self, raised, found->owner, &texts);
        rl_call_add_start(&texts, self, given, found->calls, &call);
        if (texts.buf.failed) {
            rl_graph_runs_count_error(self);
        } else {
            rl_call_use(&texts, &call, start);
            start->values = rl_payloads_values(&texts);
            start->wide_numbers = texts.wide;
        }
    }
    if (rl_graphs_start(self->graphs, RL_SPAN_INNER, start, NULL) != RL_OK) {
        rl_graph_runs_count_error(self);
    }
    if (is_recorded) {
        rl_graph_runs_relieve(self, raised, (rl_py_recorder *)texts.recorder);
        rl_call_clear(&call);
        rl_payloads_end(self, &texts);
    }
}

void rl_starts_record(rl_state *state, rl_handler *self, rl_raised *raised,
                      const rl_call_given *given)
{
    PyObject *inputs = given->subject, *kwargs = given->kwargs;
    bool is_chain = given->call == RL_CALL_NONE;
    rl_span_kind kind = RL_SPAN_NONE;
    rl_found found = {.owner = NULL};
    rl_event_texts texts;
    rl_span_start start;
    PyObject *owner;

    if (rl_event_start(state, raised, kwargs, given->call, &start, &texts)) {
        start.key.handler = self->identity;
        start.parent.handler = self->identity;
        rl_same_id_parent(state, self, raised, kwargs, &start);
        start.object = start.object != NULL ? start.object : inputs;
        start.is_graph = start.is_graph && is_chain; /* models have the same key */
        start.is_root = start.is_root && is_chain;
        kind = classify(state, self, raised, is_chain, texts.ns, &start, &found);
    }
    if (!is_chain && kind == RL_SPAN_NODE) {
        kind = RL_SPAN_INNER;
    }
    owner = Py_XNewRef(found.owner); /* while the user's code runs */
    switch (kind) {
    case RL_SPAN_GRAPH:
        self->graphs_seen++;
        start_graph(state, self, raised, given, &start);
        break;
    case RL_SPAN_NODE:
        rl_nodes_add(state, self, raised, texts.ns, found.root, kwargs);
        start_node(state, self, raised, inputs, &found, &start);
        break;
    case RL_SPAN_INNER:
        start_inner(state, self, raised, given, &found, &start);
        break;
    case RL_SPAN_NONE:
        pass_by(state, self, raised, &start, found.other);
        break;
    }
    if (found.at_once && kind != RL_SPAN_GRAPH && kind != RL_SPAN_NONE) {
        rl_graph_runs_write(state, self, raised, &found);
    }
    if (rl_raised_any(raised) && kind != RL_SPAN_NONE) {
        rl_ends_record(state, self, raised, NULL, raised->error, kwargs);
    }
    Py_XDECREF(owner);
    rl_event_clear(&texts);
}
