/* What LangChain's callbacks deliver, read into the core's terms. Threads: with the GIL. */
#ifndef RL_PY_EVENT_H
#define RL_PY_EVENT_H

#include "py/state.h"
#include "record/graph.h"

#include <stdbool.h>

/* The key of a uuid.UUID; false (without an error) when it is none. */
bool rl_event_key(PyObject *uuid, rl_key *key);

/* A borrowed text of a str; no data (without an error) when it is none. Valid as long as
 * the str is. */
rl_text rl_event_text(PyObject *text);

/* A keyword argument or a metadata value, borrowed; NULL (without an error) if absent. */
PyObject *rl_event_get(PyObject *dict, const char *name);

/* The texts of a start, owned: the user's code that runs while inputs are encoded might
 * drop them from where they came. */
typedef struct rl_event_texts {
    PyObject *ns, *name;
} rl_event_texts;

/* Reads run_id, parent_run_id, tags and metadata of a start; false when the event was not
 * made by LangChain. start borrows from *texts, which the caller clears in both cases. */
bool rl_event_start(PyObject *kwargs, rl_span_start *start, rl_event_texts *texts);
void rl_event_clear(rl_event_texts *texts);

/* What a node's or graph's exception says of how it ended. */
rl_outcome rl_event_outcome(const rl_state *state, PyObject *error);

/* The user's metadata and tags of a graph, as a new dict; NULL without an error when there
 * are none. LangGraph's and LangSmith's own keys are left out. */
PyObject *rl_event_metadata(PyObject *kwargs);

#endif
