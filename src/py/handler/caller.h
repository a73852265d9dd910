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

#endif
