/* Reads the values of a recorder's options, which come from keyword arguments or from the
 * environment. Each function returns 0, or -1 with an error set: ConfigError, which names
 * the option and its variable, unless it says otherwise.
 */
#ifndef RL_PY_OPTION_VALUES_H
#define RL_PY_OPTION_VALUES_H

#include "py/base/state.h"

#include <stdbool.h>

typedef struct rl_option {
    const char *keyword, *variable; /* of the environment */
} rl_option;

/* Raises "<option> (<VARIABLE>) <problem>"; always returns -1. The message does not show
 * the value, which may be a secret. */
int rl_option_refuse(rl_state *state, const rl_option *option, const char *problem);

/* Raises "<option> (<VARIABLE>) must be <expected>, not ...", with the value if it is a
 * number, else with its type; always returns -1. */
int rl_option_refuse_value(rl_state *state, const rl_option *option, const char *expected,
                           PyObject *value);

/* What a switch is set to: 1 or 0 for True or False, 1 or 0, or their names (1, true, yes,
 * on; 0, false, no, off) in any case; -1, without an error, for anything else. */
int rl_option_switch(PyObject *value);

/* Raises TypeError for a keyword argument (of a dict or NULL) that is in neither
 * table. */
int rl_option_check_keywords(PyObject *kwargs, const rl_option *options, size_t count,
                             const rl_option *more, size_t more_count);

/* The value of each option: a new reference, NULL where it is not set. The caller
 * releases `values`, which begin as NULL, in both cases. */
int rl_option_collect(PyObject *kwargs, const rl_option *options, size_t count,
                      PyObject **values);

/* A copy of a text without NUL, owned by the caller. */
int rl_option_copy(rl_state *state, const rl_option *option, PyObject *value, char **out);

/* The same for a value that may be NULL: then a copy of the default, which may be NULL
 * too. */
int rl_option_text(rl_state *state, const rl_option *option, PyObject *value,
                   const char *fallback, char **out);

/* A whole number from low to high, in `unit`s; without a value (NULL) *out stays. */
int rl_option_number(rl_state *state, const rl_option *option, PyObject *value,
                     const char *unit, long long low, long long high, long long *out);

/* Seconds, as nanoseconds; `seconds` is the default for a NULL. */
int rl_option_seconds(rl_state *state, const rl_option *option, PyObject *value,
                      double seconds, uint64_t *ns);

#endif
