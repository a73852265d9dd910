/* Answers that are being streamed. The chunks are kept until the call ends: if it fails,
 * LangChain does not always hand over what had come until then. LangChain keeps the same
 * chunks, so this costs a reference each.
 * Threads: with the GIL. Exceptions are absorbed.
 */
#ifndef RL_PY_STREAMS_H
#define RL_PY_STREAMS_H

#include "py/base/raised.h"
#include "py/handler/handler_data.h"

/* Keeps a chunk of a recorded call, and notes when the first token came. `kwargs` are the
 * callback's, `token` its first argument. */
void rl_streams_add(rl_state *state, rl_handler *self, rl_raised *raised, PyObject *token,
                    PyObject *kwargs);

/* Forgets the chunks of a call that has ended, and returns what they are together: a
 * generation, by a new reference; NULL where there are none, or none are `wanted`. */
PyObject *rl_streams_take(rl_state *state, rl_handler *self, rl_raised *raised,
                          PyObject *kwargs, bool wanted);

/* The run_ids of calls with chunks that are open in a node or a run, by its key: a new
 * list, or NULL. LangChain sends no end event for a call that was cancelled while the
 * client waited. */
PyObject *rl_streams_left(rl_state *state, rl_handler *self, rl_raised *raised,
                          rl_key key);

/* Forgets all. */
void rl_streams_clear(rl_handler *self);

#endif
