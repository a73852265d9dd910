/* The traceback of an exception that ended a node or a graph. Threads: with the GIL, which
 * the user's code may give up: str() of the exceptions.
 */
#ifndef RL_PY_TRACEBACK_H
#define RL_PY_TRACEBACK_H

#include "py/encode/encode_options.h"
#include "py/handler/handler_data.h"

/* Adds the traceback to the end of the node or graph of `key`, unless a node within it has
 * ended with the same exception, or it did not fail. `end` borrows from *text, an empty
 * buffer, which the caller frees. An exception while it makes the traceback is absorbed,
 * and counted. */
void rl_traceback_add(const rl_encode_options *options, const rl_handler *self,
                      rl_key key, PyObject *error, rl_buf *text, rl_span_end *end);

#endif
