/* Inside the handler: what handler.c, which is the type, and events.c, which follows the
 * events, share. Nobody else includes it.
 */
#ifndef RL_PY_HANDLER_DATA_H
#define RL_PY_HANDLER_DATA_H

#include "py/recorder.h"
#include "py/state.h"
#include "py/text_cache.h"
#include "record/graph.h"

typedef struct rl_handler {
    PyObject *wpk_id;   /* owned, or NULL */
    PyObject *recorder; /* owned, or NULL: the default one */
    PyObject *last;     /* owned: the recorder of the last graph, for counting */
    rl_graphs *graphs;  /* the process's own */
    rl_node_inputs node_inputs;
    uint64_t interval_ns; /* how often open runs are written, or RL_LIVE_NEVER */
    rl_buf scratch;       /* lent to one event at a time, so that it need not grow anew */
    rl_buf members;       /* the same */
    rl_text_cache cache;  /* of the states that are on their way through the graphs */
    size_t open;          /* graphs begun here */
} rl_handler;

/* events.c. Each follows one event, with the GIL, and may leave an exception set. `kwargs`
 * may be NULL. */

/* A start; `inputs` is NULL for what can only be the parent of others. */
void rl_events_start(rl_state *state, rl_handler *self, rl_call call, PyObject *inputs,
                     PyObject *kwargs);

/* An end, with outputs or with an error (the other one is NULL). */
void rl_events_end(rl_state *state, rl_handler *self, PyObject *outputs, PyObject *error,
                   PyObject *kwargs);

/* The end of an LLM call, with its LLMResult. */
void rl_events_end_llm(rl_state *state, rl_handler *self, PyObject *result,
                       PyObject *kwargs);

/* LangGraph pauses a graph, or goes on with one, by an event object of its own. */
void rl_events_interrupt(rl_state *state, rl_handler *self, PyObject *event);
void rl_events_resume(rl_state *state, rl_handler *self, PyObject *event);

/* What was begun before a fork ends in the parent: the child forgets it. */
void rl_events_after_fork(rl_handler *self);

#endif
