/* The starts of graphs, nodes, calls and whatever else may have a child. See events.h.
 */
#ifndef RL_PY_STARTS_H
#define RL_PY_STARTS_H

#include "py/handler/call.h"
#include "py/handler/handler_data.h"

/* A start: of a chain, if given->call is RL_CALL_NONE, with its inputs as the subject. If
 * `raised` has taken an exception, its end is recorded, too: LangChain gives no other
 * event of a run whose start has raised. */
void rl_starts_record(rl_state *state, rl_handler *self, rl_raised *raised,
                      const rl_call_given *given);

#endif
