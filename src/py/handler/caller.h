/* Who starts the run of an event: read from Python's stack.
 * Threads: with the GIL. No function here runs Python code.
 */
#ifndef RL_PY_CALLER_H
#define RL_PY_CALLER_H

#include "py/base/state.h"

#include <stdbool.h>

/* Whether LangGraph's Pregel (stream or astream) called the on_chain_start of the callback
 * manager that calls the handler now: the run is then that of a graph, in every version of
 * LangGraph. False also where the stack doesn't show it, as the handler is called in
 * another thread (run_inline is false). */
bool rl_caller_is_graph(void);

/* Whether a frame runs code of the named package or module, or of a module in it. */
bool rl_caller_is_in(PyFrameObject *frame, const char *package);

/* A local variable of a frame; a new reference, NULL without an error if there is none. */
PyObject *rl_caller_local(PyFrameObject *frame, const char *name);

/* Whether a frame is LangGraph's, of the function that runs a graph. */
bool rl_caller_runs_graph(PyFrameObject *frame);

/* The callback manager that calls the handler now: of a start, the one from which the
 * manager of the run will be made; of an end, the run's own; of a pause, that of the graph
 * which pauses. A new reference; NULL, without an error, where the stack doesn't show it. */
PyObject *rl_caller_manager(void);

/* The same manager for the start of a model's, a tool's or a retriever's call which
 * LangChain itself makes; else NULL. */
PyObject *rl_caller_of_call(void);

#endif
