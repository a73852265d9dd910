/* The exceptions, and how a failure of the core becomes one. */
#ifndef RL_PY_ERRORS_H
#define RL_PY_ERRORS_H

#include "core/err.h"
#include "py/state.h"

/* Makes the exception classes and adds them to the module. 0, or -1 with an error set. */
int rl_errors_init(PyObject *module, rl_state *state);

/* Raises what `err` describes; always returns NULL. */
PyObject *rl_errors_raise(rl_state *state, const rl_err *err);

/* Raises ValidationError "<field> <problem>, not <value's type and short text>"; always
 * returns -1. `got` may be NULL: then nothing is said of it. */
int rl_errors_invalid(rl_state *state, const char *field, const char *problem,
                      PyObject *got);

/* The name of the value's type, without its module. Borrowed from the type. */
const char *rl_type_name(PyObject *value);

/* Swallows the exception that is set. An interrupt by the user (KeyboardInterrupt) is put
 * back to be raised once the program's own code runs again. */
void rl_errors_swallow(void);

#endif
