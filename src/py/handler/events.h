/* The events of a handler, recorded. Threads: with the GIL. Each function takes one event
 * and may leave an exception set. `kwargs` may be NULL.
 */
#ifndef RL_PY_EVENTS_H
#define RL_PY_EVENTS_H

#include "py/handler/handler_data.h"

/* A start. Without `inputs` (NULL) it is recorded only as a possible parent of others. */
void rl_events_start(rl_state *state, rl_handler *self, rl_call call, PyObject *inputs,
                     PyObject *kwargs);

/* An end, with outputs or with an error (the other one is NULL). */
void rl_events_end(rl_state *state, rl_handler *self, PyObject *outputs, PyObject *error,
                   PyObject *kwargs);

/* The end of an LLM call, with its LLMResult. */
void rl_events_end_llm(rl_state *state, rl_handler *self, PyObject *result,
                       PyObject *kwargs);

/* LangGraph pauses or resumes a graph, with an event object of its own. */
void rl_events_interrupt(rl_state *state, rl_handler *self, PyObject *event);
void rl_events_resume(rl_state *state, rl_handler *self, PyObject *event);

#endif
