/* The ends of graphs, nodes, calls and whatever else has started. See events.h.
 */
#ifndef RL_PY_ENDS_H
#define RL_PY_ENDS_H

#include "py/handler/handler_data.h"

/* An end, with outputs or with an error (the other one is NULL); with neither, of a call that
 * was left. */
void rl_ends_record(rl_state *state, rl_handler *self, rl_raised *raised,
                    PyObject *outputs, PyObject *error, PyObject *kwargs);

#endif
