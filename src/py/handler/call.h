/* The calls of models, tools and retrievers: what is recorded of their arguments and
 * results, as members of the call's log. See docs/langgraph.md for the form.
 *
 * Whatever LangChain or a program gives: what is not of the shape that LangChain gives it
 * counts as absent, or is recorded as it is.
 * Threads: with the GIL. Looking at arguments may run the user's code; exceptions are
 * absorbed.
 */
#ifndef RL_PY_CALL_H
#define RL_PY_CALL_H

#include "py/handler/payloads.h"

/* What a callback that starts a call was given; borrowed. */
typedef struct rl_call_given {
    rl_call call;
    bool is_text;        /* a model of texts */
    PyObject *subject;   /* the messages or prompts, a tool's input, or a query */
    PyObject *described; /* the first argument: "serialized" */
    PyObject *kwargs;
} rl_call_given;

/* The pieces of a start, see rl_call_use. */
typedef struct rl_call_start {
    rl_piece name, members, prompt;
    rl_prompt split;    /* its `elements` and `pieces` are owned */
    bool splits_prompt; /* into messages, each to be stored once */
} rl_call_start;

/* The name of a run: the one it was given, else that of its class; a new reference, NULL if
 * there is none. */
PyObject *rl_call_name(const rl_state *state, rl_raised *raised,
                       const rl_call_given *given);

/* Appends what is recorded of a start. */
void rl_call_add_start(rl_payloads *to, const rl_handler *self,
                       const rl_call_given *given, rl_calls calls, rl_call_start *pieces);

/* Lets a start borrow the pieces, once nothing more is appended. */
void rl_call_use(const rl_payloads *from, rl_call_start *pieces, rl_span_start *start);
void rl_call_clear(rl_call_start *pieces);

/* The inputs of a call that is a run of its own: a new reference; NULL with an error
 * set. */
PyObject *rl_call_inputs(const rl_state *state, rl_raised *raised,
                         const rl_call_given *given);

#endif
