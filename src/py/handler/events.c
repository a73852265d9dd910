/* Events between the start and the end of a run. See events.h. */
#include "py/handler/events.h"

#include "py/encode/encode.h"
#include "py/handler/event.h"
#include "py/handler/graph_runs.h"
#include "py/handler/same_id.h"
#include "py/handler/unrecognised.h"

static const rl_text no_text = {NULL, 0};

rl_span_kind rl_events_find(rl_state *state, rl_handler *self, rl_raised *raised,
                            bool known, rl_key *key, rl_found *found, PyObject **owner)
{
    rl_span_kind kind = RL_SPAN_NONE;

    *found = (rl_found){0};
    key->handler = self->identity;
    if (known && rl_same_id_find(state, self, raised, key)) {
        kind = rl_graphs_find(self->graphs, *key, found);
    }
    *owner = Py_XNewRef(found->owner);
    if (kind == RL_SPAN_NONE && !found->other) {
        rl_graph_runs_count_ignored(self);
        rl_unrecognised_end(state, self, raised, *key);
    }
    return kind;
}

rl_text rl_events_interrupts(const rl_state *state, rl_payloads *texts,
                             PyObject *interrupts)
{
    rl_raised *raised = texts->options.raised;
    PyObject *list = rl_event_list_interrupts(state, raised, interrupts);
    rl_text text = no_text;

    if (list != NULL) {
        text = rl_payloads_text(texts, rl_payloads_add_json(texts, list));
        Py_DECREF(list);
    } else {
        rl_raised_absorb(raised);
    }
    return texts->buf.failed ? no_text : text;
}

void rl_events_custom(rl_state *state, rl_handler *self, rl_raised *raised,
                      PyObject *name, PyObject *data, PyObject *kwargs)
{
    PyObject *owner;
    rl_found found;
    rl_payloads texts;
    rl_piece name_at, data_at;
    rl_key key;
    bool known = rl_event_run(state, raised, kwargs, &key);

    if (rl_events_find(state, self, raised, known, &key, &found, &owner) !=
            RL_SPAN_NONE &&
        found.calls != RL_CALLS_NONE) {
        rl_payloads_begin(state, self, raised, owner, &texts);
        name_at = rl_payloads_add_plain(&texts, name, RL_PLAIN_NAME);
        data_at = rl_payloads_add_outputs(
            &texts, found.calls != RL_CALLS_SUMMARY ? data : Py_None);
        if (texts.buf.failed) {
            rl_graph_runs_count_error(self);
        } else {
            rl_graphs_event(self->graphs, key, rl_payloads_text(&texts, name_at),
                            rl_payloads_text(&texts, data_at),
                            rl_payloads_values(&texts));
        }
        rl_graph_runs_relieve(self, raised, (rl_py_recorder *)texts.recorder);
        rl_payloads_end(self, &texts);
        if (found.at_once) {
            rl_graph_runs_write(state, self, raised, &found);
        }
    }
    Py_XDECREF(owner);
}

/* Finds the graph that a pause or resume is about; false where it is not recorded. *owner
 * as above. */
static bool read_subject(rl_state *state, rl_handler *self, rl_raised *raised,
                         PyObject *event, rl_key *key, rl_found *found, PyObject **owner)
{
    PyObject *run_id = rl_event_attribute(state, raised, event, RL_NAME_run_id);
    bool known = rl_event_key(state, raised, run_id, key);

    Py_XDECREF(run_id);
    return rl_events_find(state, self, raised, known, key, found, owner) != RL_SPAN_NONE;
}

void rl_events_interrupt(rl_state *state, rl_handler *self, rl_raised *raised,
                         PyObject *event)
{
    PyObject *interrupts, *owner;
    rl_found found;
    rl_payloads texts;
    rl_key key;

    if (read_subject(state, self, raised, event, &key, &found, &owner)) {
        interrupts = rl_event_attribute(state, raised, event, RL_NAME_interrupts);
        rl_payloads_begin(state, self, raised, owner, &texts);
        rl_graphs_interrupt(self->graphs, key,
                            interrupts != NULL
                                ? rl_events_interrupts(state, &texts, interrupts)
                                : no_text);
        rl_payloads_end(self, &texts);
        Py_XDECREF(interrupts);
    }
    Py_XDECREF(owner);
}

void rl_events_resume(rl_state *state, rl_handler *self, rl_raised *raised,
                      PyObject *event)
{
    PyObject *owner;
    rl_found found;
    rl_key key;

    if (read_subject(state, self, raised, event, &key, &found, &owner)) {
        rl_graphs_resume(self->graphs, key);
    }
    Py_XDECREF(owner);
}
