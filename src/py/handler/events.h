/* The events of a handler, recorded: starts.h has the starts, ends.h the ends, and this file
 * what comes between them. Threads: with the GIL. Each function takes one event and leaves no
 * exception set: `raised` takes one that belongs to the program, once the event is recorded.
 * `kwargs` may be NULL.
 */
#ifndef RL_PY_EVENTS_H
#define RL_PY_EVENTS_H

#include "py/handler/handler_data.h"
#include "py/handler/payloads.h"

/* Finds an open span by the key that was read (if it was `known`), and holds the recorder
 * of its run: *found borrows from *owner, a new reference. Counts the event as ignored when
 * there is none. */
rl_span_kind rl_events_find(rl_state *state, rl_handler *self, rl_raised *raised,
                            bool known, rl_key *key, rl_found *found, PyObject **owner);

/* Interrupts as JSON, in the payloads; no text where they are not as LangGraph makes
 * them. */
rl_text rl_events_interrupts(const rl_state *state, rl_payloads *texts,
                             PyObject *interrupts);

/* An event of the user's, within a node. */
void rl_events_custom(rl_state *state, rl_handler *self, rl_raised *raised,
                      PyObject *name, PyObject *data, PyObject *kwargs);

/* LangGraph pauses or resumes a graph, with an event object of its own. */
void rl_events_interrupt(rl_state *state, rl_handler *self, rl_raised *raised,
                         PyObject *event);
void rl_events_resume(rl_state *state, rl_handler *self, rl_raised *raised,
                      PyObject *event);

#endif
