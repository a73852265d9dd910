/* Runs that a handler sees and that are no graph's: a chain, a model or a tool alone. One
 * in which a graph runs is recorded as that graph. Of the others nothing is recorded,
 * which is counted, and logged once. Threads: with the GIL.
 */
#ifndef RL_PY_UNRECOGNISED_H
#define RL_PY_UNRECOGNISED_H

#include "py/base/raised.h"
#include "py/handler/handler_data.h"

/* A start that belongs to no recorded run. May run the user's code; leaves no exception
 * set, `raised` takes those of the program's. */
void rl_unrecognised_start(rl_state *state, rl_handler *self, rl_raised *raised,
                           const rl_span_start *start);

/* The end of a run that is not recorded; the same holds. */
void rl_unrecognised_end(rl_state *state, rl_handler *self, rl_raised *raised,
                         rl_key key);

/* Forgets all of them. */
void rl_unrecognised_clear(rl_handler *self);

#endif
