/* The ends of a handler's events. See ends.h. */
#include "py/handler/ends.h"

#include "core/source.h"
#include "py/base/errors.h"
#include "py/encode/encode.h"
#include "py/handler/call_end.h"
#include "py/handler/event.h"
#include "py/handler/events.h"
#include "py/handler/graph_runs.h"
#include "py/handler/payloads.h"
#include "py/handler/same_id.h"
#include "py/handler/streams.h"
#include "py/handler/traceback.h"
#include "py/handler/usage.h"

static const rl_text no_text = {NULL, 0};

/* Fills in an error's type and text. */
static void encode_error(rl_payloads *texts, PyObject *error, rl_span_end *end)
{
    /* copied: the class may be renamed while the GIL is given up */
    rl_piece type = {.at = texts->buf.len}, message;
    const char *name = rl_type_name(error);
    const rl_source source = {.units = RL_UTF8, .data = name, .count = strlen(name)};

    rl_source_plain(&texts->buf, &source, RL_PLAIN_NAME);
    type.end = texts->buf.len;
    message = rl_payloads_add_plain(texts, error, RL_PLAIN_ERROR);
    end->error_type = rl_payloads_text(texts, type);
    end->error_text = rl_payloads_text(texts, message);
}

/* Fills in the end of a graph or node: its outputs, its interrupts or its error. */
static void encode_end(const rl_state *state, rl_payloads *texts, PyObject *outputs,
                       PyObject *error, rl_span_end *end)
{
    rl_raised *raised = texts->options.raised;
    PyObject *interrupts = NULL;

    Py_XINCREF(outputs);
    if (error != NULL) {
        end->outcome = rl_event_outcome(state, raised, error);
        interrupts = rl_event_interrupts(state, raised, error);
        Py_XSETREF(outputs, rl_event_command(state, raised, error));
    }
    if (outputs != NULL) {
        end->outputs = rl_payloads_text(texts, rl_payloads_add_outputs(texts, outputs));
    } else if (interrupts != NULL) { /* a pause, not an error */
        end->interrupts = rl_events_interrupts(state, texts, interrupts);
    } else if (error != NULL) {
        encode_error(texts, error, end);
    }
    if (texts->buf.failed) { /* the end is recorded without its texts */
        end->outputs = no_text;
        end->error_type = no_text;
        end->error_text = no_text;
        end->interrupts = no_text;
    }
    end->wide_numbers = texts->wide;
    Py_XDECREF(interrupts);
    Py_XDECREF(outputs);
}

/* Drops the cached texts when the last graph has ended. */
static void forget_texts(rl_handler *self)
{
    self->open -= self->open > 0;
    if (self->open == 0) {
        rl_text_cache_clear(&self->cache);
        rl_error_texts_clear(&self->errors);
        rl_streams_clear(self);
        Py_CLEAR(self->nodes);
    }
}

/* What a root that is a call has come to: its outputs, and in *members what its log says.
 * New reference, or NULL. */
static PyObject *end_root_call(rl_payloads *texts, const rl_found *found,
                               PyObject *result, rl_call_end *pieces)
{
    const rl_state *state = texts->options.state;

    if (found->calls != RL_CALLS_NONE) {
        rl_call_add_end(texts, found->call, found->calls, result, pieces);
    }
    return result != NULL && found->calls < RL_CALLS_SUMMARY
               ? rl_call_outputs(state, texts->options.raised, found->call, result)
               : NULL;
}

/* Ends a graph or a node. */
static void end_payload(rl_state *state, rl_handler *self, rl_raised *raised,
                        PyObject *outputs, PyObject *error, rl_key key,
                        const rl_found *found, rl_span_end *end)
{
    bool is_root = found->root.low == key.low && found->root.high == key.high;
    bool whole, interrupted;
    PyObject *left = NULL;
    rl_call_end pieces = {.output = {.at = 0}};
    rl_span_end of_call;
    rl_graph *graph;
    rl_payloads texts;
    rl_buf traceback;

    if (is_root && found->call == RL_CALL_NONE && error != NULL &&
        rl_event_outcome(state, raised, error) == RL_CANCELLED) {
        rl_graphs_progress(self->graphs, key, &whole, &interrupted);
        left = rl_event_left(state, raised, error, whole, interrupted, &end->outcome);
        outputs = left;
        error = left == NULL ? error : NULL;
    }
    rl_payloads_begin(state, self, raised, found->owner, &texts);
    if (found->call != RL_CALL_NONE) {
        Py_XSETREF(left, end_root_call(&texts, found, outputs, &pieces));
        outputs = end->outcome == RL_COMPLETED ? left : NULL;
    }
    encode_end(state, &texts, outputs, error, end);
    end->values = rl_payloads_values(&texts);
    rl_buf_init(&traceback, RL_BUF_MAX);
    rl_traceback_add(&texts.options, self, key, error, &traceback, end);
    if (texts.buf.failed) {
        rl_graph_runs_count_error(self);
        pieces.output.end = pieces.output.at;
        pieces.members.end = pieces.members.at;
    }
    if (!is_root) {
        (void)rl_graphs_end(self->graphs, key, end);
        rl_graph_runs_relieve(self, raised, (rl_py_recorder *)texts.recorder);
    } else {
        graph = rl_graphs_take(self->graphs, key);
        if (graph != NULL) {
            of_call = *end;
            of_call.outputs = no_text;
            rl_call_use_end(&texts, &pieces, &of_call);
            rl_graph_end_root(graph, end, &of_call);
            rl_graph_runs_finish(state, self, raised, graph, end);
            rl_same_id_end(self, raised, key);
            forget_texts(self);
        }
    }
    rl_buf_free(&traceback);
    rl_payloads_end(self, &texts);
    Py_XDECREF(left);
}

/* Ends an inner span. */
static void end_inner(rl_state *state, rl_handler *self, rl_raised *raised,
                      PyObject *result, PyObject *error, rl_key key,
                      const rl_found *found, rl_span_end *end)
{
    bool is_recorded = found->call != RL_CALL_NONE && found->calls != RL_CALLS_NONE;
    rl_call_end pieces;
    rl_payloads texts;

    if (is_recorded) {
        rl_payloads_begin(state, self, raised, found->owner, &texts);
        rl_call_add_end(&texts, found->call, found->calls, result, &pieces);
        if (error != NULL) {
            encode_end(state, &texts, NULL, error, end);
        }
        end->values = rl_payloads_values(&texts);
        end->wide_numbers = texts.wide;
        if (texts.buf.failed) {
            rl_graph_runs_count_error(self);
        } else {
            rl_call_use_end(&texts, &pieces, end);
        }
    }
    (void)rl_graphs_end(self->graphs, key, end);
    if (is_recorded) {
        rl_graph_runs_relieve(self, raised, (rl_py_recorder *)texts.recorder);
        rl_payloads_end(self, &texts);
    }
}

/* Ends the calls of a node or a run that was left, with what their streams had brought. */
static void end_streams(rl_state *state, rl_handler *self, rl_raised *raised, rl_key key)
{
    PyObject *ids = rl_streams_left(state, self, raised, key), *kwargs;

    for (Py_ssize_t i = 0; ids != NULL && i < PyList_GET_SIZE(ids); i++) {
        kwargs = PyDict_New();
        if (kwargs != NULL && rl_event_put(state, kwargs, RL_NAME_run_id,
                                           Py_NewRef(PyList_GET_ITEM(ids, i))) == 0) {
            rl_ends_record(state, self, raised, NULL, NULL, kwargs);
        }
        Py_XDECREF(kwargs);
    }
    Py_XDECREF(ids);
}

/* The end of a run that is a call has come: see left.h. */
static void stop_watching(const rl_state *state, rl_handler *self, rl_raised *raised,
                          PyObject *kwargs)
{
    PyObject *run_id = NULL;

    if (self->watched != NULL && PyDict_GET_SIZE(self->watched) > 0) {
        run_id = rl_event_get(state, raised, kwargs, RL_NAME_run_id);
    }
    if (run_id != NULL && PyDict_Contains(self->watched, run_id) == 1) {
        (void)PyDict_DelItem(self->watched, run_id);
    }
    rl_raised_absorb(raised);
    Py_XDECREF(run_id);
}

/* Whether a span that has ended has a log, of its node or of its own. */
static bool has_log(rl_span_kind kind, const rl_found *found)
{
    return kind == RL_SPAN_NODE ||
           (kind == RL_SPAN_INNER && found->call != RL_CALL_NONE &&
            found->calls != RL_CALLS_NONE);
}

void rl_ends_record(rl_state *state, rl_handler *self, rl_raised *raised,
                    PyObject *outputs, PyObject *error, PyObject *kwargs)
{
    rl_span_end end = {.outcome = RL_COMPLETED, .ended_ns = rl_monotonic_ns()};
    PyObject *owner, *model = NULL, *partial = NULL;
    rl_found found;
    rl_key key;
    bool known = rl_event_run(state, raised, kwargs, &key);
    rl_span_kind kind = rl_events_find(state, self, raised, known, &key, &found, &owner);

    if (kind == RL_SPAN_INNER && found.hidden && error != NULL) {
        rl_graphs_reveal(self->graphs, key);
        kind = RL_SPAN_NODE;
    }
    if (kind == RL_SPAN_GRAPH || (kind == RL_SPAN_NODE && error != NULL)) {
        end_streams(state, self, raised, key);
    }
    if (kind == RL_SPAN_GRAPH || kind == RL_SPAN_NONE) {
        stop_watching(state, self, raised, kwargs);
    }
    if (outputs == NULL && error == NULL) {
        end.outcome = RL_CANCELLED;
    }
    if (kind != RL_SPAN_NONE && found.call == RL_CALL_LLM) {
        if (outputs != NULL) {
            rl_usage_read(state, raised, outputs, &end, &model);
        }
        partial = rl_streams_take(state, self, raised, kwargs, outputs == NULL);
        outputs = outputs != NULL ? outputs : partial;
    }
    if (kind == RL_SPAN_INNER) {
        end_inner(state, self, raised, outputs, error, key, &found, &end);
    } else if (kind != RL_SPAN_NONE) {
        end_payload(state, self, raised, outputs, error, key, &found, &end);
    }
    if (found.at_once && has_log(kind, &found)) {
        rl_graph_runs_write(state, self, raised, &found);
    }
    rl_tokens_free(&end.tokens);
    Py_XDECREF(partial);
    Py_XDECREF(model);
    Py_XDECREF(owner);
}
