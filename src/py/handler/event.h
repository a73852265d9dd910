/* Reads the arguments of LangChain's callbacks. Threads: with the GIL.
 *
 * Keyword arguments and metadata are looked up by interned names of the module's state. A
 * value that is missing, or not of the type that LangChain gives it, counts as absent and
 * is no error.
 */
#ifndef RL_PY_EVENT_H
#define RL_PY_EVENT_H

#include "py/base/state.h"
#include "record/graph/graph.h"

#include <stdbool.h>

/* Fetches the names and uuid.UUID, by which events are read. 0, or -1 with an error
 * set. */
int rl_event_prepare(rl_state *state);

/* The key of a run by its uuid.UUID, or the text of one; key->handler is left to the
 * caller. False for other values. */
bool rl_event_key(const rl_state *state, PyObject *uuid, rl_key *key);

/* The UTF-8 of a str, borrowed from it; NULL data for other values. */
rl_text rl_event_text(PyObject *text);

/* A keyword argument or a metadata value, borrowed; NULL if absent or None. */
PyObject *rl_event_get(const rl_state *state, PyObject *dict, rl_name name);

/* An attribute; a new reference, NULL if absent or None. */
PyObject *rl_event_attribute(const rl_state *state, PyObject *object, rl_name name);

/* The texts of a start, owned: the user's code, which may run while inputs are encoded,
 * could delete them from the event. */
typedef struct rl_event_texts {
    PyObject *ns, *name;
} rl_event_texts;

/* Reads run_id, parent_run_id, tags and metadata of a start; false when there is no
 * run_id, so not an event of LangChain's. start borrows from *texts, which the caller
 * clears in both cases. */
bool rl_event_start(const rl_state *state, PyObject *kwargs, rl_call call,
                    rl_span_start *start, rl_event_texts *texts);
void rl_event_clear(rl_event_texts *texts);

/* The outcome of a node or graph that ended with an exception. */
rl_outcome rl_event_outcome(const rl_state *state, PyObject *error);

/* The Command of a ParentCommand, and the interrupts of a GraphInterrupt, which are
 * exceptions of LangGraph's. Borrowed; NULL for other exceptions. */
PyObject *rl_event_command(const rl_state *state, PyObject *error);
PyObject *rl_event_interrupts(const rl_state *state, PyObject *error);

/* Interrupts as they are stored: a new list of dicts with "id", "value" and, if the
 * interrupt has one, "response_schema". Items that are no Interrupt stay as they are.
 * NULL with an error set. */
PyObject *rl_event_list_interrupts(const rl_state *state, PyObject *interrupts);

/* Whether a graph with these inputs resumes from a checkpoint: they are None, or a
 * Command with a resume value. */
bool rl_event_resumes(const rl_state *state, PyObject *inputs);

/* The user's metadata and tags of a graph, as a new dict; NULL without an error when
 * there are none. LangGraph's and LangSmith's own keys are left out. A key that runlog
 * uses for the totals of a run is renamed to user_<key>. */
PyObject *rl_event_metadata(const rl_state *state, PyObject *kwargs);

#endif
