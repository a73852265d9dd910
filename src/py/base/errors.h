/* The exceptions: their classes, and raising them from the core's errors. */
#ifndef RL_PY_ERRORS_H
#define RL_PY_ERRORS_H

#include "core/err.h"
#include "py/base/state.h"

/* Makes the exception classes and adds them to the module. 0, or -1 with an error set. */
int rl_errors_init(PyObject *module, rl_state *state);

/* Raises what `err` describes; always returns NULL. */
PyObject *rl_errors_raise(rl_state *state, const rl_err *err);

/* Raises ValidationError "<field> <problem>, not <the type and short text of `got`>";
 * always returns -1. Without `got` (NULL) the message ends after the problem. */
int rl_errors_invalid(rl_state *state, const char *field, const char *problem,
                      PyObject *got);

/* The name of the value's type, without its module. Borrowed from the type. */
const char *rl_type_name(PyObject *value);

#endif
