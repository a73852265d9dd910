/* Reads the arguments of LangChain's callbacks. Threads: with the GIL.
 *
 * Keyword arguments and metadata are looked up by interned names of the module's state. A
 * value that is missing, or not of the type that LangChain gives it, counts as absent and
 * is no error. Any lookup may run the user's code: that of a key's __eq__, or of an
 * attribute. What is returned is therefore owned, and exceptions are absorbed; `raised`
 * takes those of the program's.
 */
#ifndef RL_PY_EVENT_H
#define RL_PY_EVENT_H

#include "py/base/raised.h"
#include "py/base/state.h"
#include "record/graph/graph.h"

#include <stdbool.h>

/* Fetches the names and uuid.UUID, by which events are read. 0, or -1 with an error
 * set. */
int rl_event_prepare(rl_state *state);

/* The key of a run by its uuid.UUID, or the text of one; by a hash for another text or an
 * int, which a program may have given as the run_id. key->handler is left to the caller.
 * False, and 0, for other values. */
bool rl_event_key(const rl_state *state, rl_raised *raised, PyObject *uuid, rl_key *key);

/* The UTF-8 of a str, borrowed from it; NULL data for other values. */
rl_text rl_event_text(PyObject *text);

/* Whether a value is a str that is one of these `count` names. */
bool rl_event_is_one_of(PyObject *value, const char *const *names, size_t count);

/* A keyword argument or a metadata value; a new reference, NULL if absent or None, or if
 * `dict` is no dict or NULL. */
PyObject *rl_event_get(const rl_state *state, rl_raised *raised, PyObject *dict,
                       rl_name name);

/* Adds a member to a dict of our own (the value is stolen), if there is one. 0, or -1 with
 * an error set. */
int rl_event_put(const rl_state *state, PyObject *dict, rl_name name, PyObject *value);

/* An attribute; a new reference, NULL if absent or None. */
PyObject *rl_event_attribute(const rl_state *state, rl_raised *raised, PyObject *object,
                             rl_name name);

/* The model that an LLM call names; a new reference, NULL when it names none. */
PyObject *rl_event_model(const rl_state *state, rl_raised *raised, PyObject *kwargs,
                         PyObject *metadata);

/* The key of the run that an event is about, by its run_id. False if it has none. */
bool rl_event_run(const rl_state *state, rl_raised *raised, PyObject *kwargs,
                  rl_key *key);

/* The texts of a start, owned: the user's code, which may run while inputs are encoded,
 * could delete them from the event. */
typedef struct rl_event_texts {
    PyObject *ns, *name;
} rl_event_texts;

/* Reads run_id, parent_run_id, tags and metadata of a start; false when there is no
 * run_id, so not an event of LangChain's. start borrows from *texts, which the caller
 * clears in both cases. */
bool rl_event_start(const rl_state *state, rl_raised *raised, PyObject *kwargs,
                    rl_call call, rl_span_start *start, rl_event_texts *texts);
void rl_event_clear(rl_event_texts *texts);

/* The outcome of a node or graph that ended with an exception. */
rl_outcome rl_event_outcome(const rl_state *state, rl_raised *raised, PyObject *error);

/* Whether a graph that was cancelled by this exception had nothing left to do: *outcome is
 * then its outcome. `whole` and `interrupted`: see rl_graphs_progress. Returns a new
 * reference to its outputs; NULL, without an error, if work was left or that is unknown.
 * May run the user's code. */
PyObject *rl_event_left(const rl_state *state, rl_raised *raised, PyObject *error,
                        bool whole, bool interrupted, rl_outcome *outcome);

/* The Command of a ParentCommand, and the interrupts of a GraphInterrupt, which are
 * exceptions of LangGraph's. New references; NULL for other exceptions. */
PyObject *rl_event_command(const rl_state *state, rl_raised *raised, PyObject *error);
PyObject *rl_event_interrupts(const rl_state *state, rl_raised *raised, PyObject *error);

/* Interrupts as they are stored: a new list of dicts with "id", "value" and, if the
 * interrupt has one, "response_schema". Items that are no Interrupt stay as they are.
 * NULL with an error set. */
PyObject *rl_event_list_interrupts(const rl_state *state, rl_raised *raised,
                                   PyObject *interrupts);

/* Whether a graph with these inputs resumes from a checkpoint: they are None, or a
 * Command with a resume value. */
bool rl_event_resumes(const rl_state *state, rl_raised *raised, PyObject *inputs);

#endif
