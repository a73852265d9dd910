/* Runs that one handler has open at once under one id, which the program has given them.
 *
 * Their events have only that id. So each such run after the first gets a token, in the
 * metadata that LangChain's callback manager passes on: to the starts of the run's nodes,
 * and to the manager that sends its end. self->identity is a dict with these tokens, each
 * with an object that stands for that identity in the run's keys, or None when the run
 * has ended. It is usually empty, and then nothing here does anything. Threads: with the
 * GIL. The functions leave no exception set: `raised` takes the program's.
 */
#ifndef RL_PY_SAME_ID_H
#define RL_PY_SAME_ID_H

#include "py/base/raised.h"
#include "py/handler/handler_data.h"

/* Another open run has the id of the one that starts (rl_found.again): gives it a key of its
 * own. False, and reported, if its events can't be distinguished from the other's. */
bool rl_same_id_begin(rl_state *state, rl_handler *self, rl_raised *raised,
                      rl_span_start *start);

/* Makes start->parent the key of the run whose token the start has. */
void rl_same_id_parent(const rl_state *state, const rl_handler *self, rl_raised *raised,
                       PyObject *kwargs, rl_span_start *start);

/* Makes *key, of a span, that of the run whose event comes now. False if it may be that of
 * several, as the stack does not show whose it is. */
bool rl_same_id_find(const rl_state *state, const rl_handler *self, rl_raised *raised,
                     rl_key *key);

/* A run has ended. */
void rl_same_id_end(const rl_handler *self, rl_raised *raised, rl_key key);

#endif
