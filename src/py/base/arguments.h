/* Arguments of the methods of Recorder into C values. Each gives 0, or -1 with a
 * ValidationError that names the field.
 */
#ifndef RL_PY_ARGUMENTS_H
#define RL_PY_ARGUMENTS_H

#include "py/base/state.h"

/* Text, or None (or a NULL): then *out is NULL. It stays valid as long as the argument
 * does. */
int rl_read_text(rl_state *state, const char *field, PyObject *value, const char **out);

/* A whole number from `low` to `high`; `wanted` says so in the error. A NULL leaves
 * *out. */
int rl_read_int(rl_state *state, const char *field, const char *wanted, PyObject *value,
                int64_t low, int64_t high, int64_t *out);

/* A datetime or ISO 8601 text, as microseconds since 1970; None (or a NULL) leaves
 * *stamp. */
int rl_read_time(rl_state *state, const char *field, PyObject *value, int64_t *stamp);

#endif
