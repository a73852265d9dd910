/* What LangChain's callbacks deliver, read into the core's terms. Threads: with the GIL.
 *
 * Keyword arguments and metadata are looked up by interned names that the module's state
 * keeps. What is missing, or of another type than LangChain's, reads as absent, without an
 * error.
 */
#ifndef RL_PY_EVENT_H
#define RL_PY_EVENT_H

#include "py/state.h"
#include "record/graph.h"

#include <stdbool.h>

/* Fetches what events are read with: names, uuid.UUID. 0, or -1 with an error set. */
int rl_event_prepare(rl_state *state);

/* The key of a uuid.UUID, or of its text, but for the handler; false when it is none. */
bool rl_event_key(const rl_state *state, PyObject *uuid, rl_key *key);

/* A borrowed text of a str; no data when it is none. Valid as long as the str is. */
rl_text rl_event_text(PyObject *text);

/* A keyword argument or a metadata value, borrowed; NULL if absent or None. */
PyObject *rl_event_get(const rl_state *state, PyObject *dict, rl_name name);

/* An attribute; a new reference, NULL if absent or None. */
PyObject *rl_event_attribute(const rl_state *state, PyObject *object, rl_name name);

/* The texts of a start, owned: the user's code that runs while inputs are encoded might
 * drop them from where they came. */
typedef struct rl_event_texts {
    PyObject *ns, *name;
} rl_event_texts;

/* Reads run_id, parent_run_id, tags and metadata of a start; false when the event was not
 * made by LangChain. start borrows from *texts, which the caller clears in both cases. */
bool rl_event_start(const rl_state *state, PyObject *kwargs, rl_call call,
                    rl_span_start *start, rl_event_texts *texts);
void rl_event_clear(rl_event_texts *texts);

/* What a node's or graph's exception says of how it ended. */
rl_outcome rl_event_outcome(const rl_state *state, PyObject *error);

/* What LangGraph's own exceptions carry, borrowed: the Command of a ParentCommand, the
 * interrupts of a GraphInterrupt. NULL for others. */
PyObject *rl_event_command(const rl_state *state, PyObject *error);
PyObject *rl_event_interrupts(const rl_state *state, PyObject *error);

/* Interrupts as they are kept: a new list of {"id", "value"}, and where one asks for it
 * "response_schema". What is no Interrupt stays itself. NULL with an error set. */
PyObject *rl_event_list_interrupts(const rl_state *state, PyObject *interrupts);

/* Whether a graph that gets these inputs goes on from a checkpoint: None, or a Command that
 * resumes. */
bool rl_event_resumes(const rl_state *state, PyObject *inputs);

/* The user's metadata and tags of a graph, as a new dict; NULL without an error when there
 * are none. LangGraph's and LangSmith's own keys are left out; one that a run's totals have
 * is called user_<key>. */
PyObject *rl_event_metadata(const rl_state *state, PyObject *kwargs);

#endif
