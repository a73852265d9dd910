/* Calls that are runs of their own, and of which LangChain tells no end: an ainvoke of a
 * model, a tool or a retriever that is cancelled, or a Ctrl-C in a retriever. Else such a
 * run would be open as long as the process lives. Within a graph or a chain, calls end with
 * that.
 *
 * LangChain's function that makes the call has the callback manager in a local variable.
 * So the manager dies when the call has ended, however that was: a weak reference tells.
 * Threads: with the GIL. Exceptions are absorbed.
 */
#ifndef RL_PY_LEFT_H
#define RL_PY_LEFT_H

#include "py/base/raised.h"
#include "py/handler/handler_data.h"

/* Watches a call that has been opened as a run, if LangChain itself makes it, until its end
 * takes the reference out of self->watched. */
void rl_left_watch(rl_state *state, rl_handler *self, rl_raised *raised,
                   PyObject *kwargs);

#endif
