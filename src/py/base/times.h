/* Python's datetimes and the core's time stamps. Threads: with the GIL. */
#ifndef RL_PY_TIMES_H
#define RL_PY_TIMES_H

#include "py/base/state.h"

#include <stdbool.h>
#include <stdint.h>

/* Reads a datetime (naive: local time), ISO 8601 text or, with `numbers`, seconds since
 * 1970. 0, or -1 with ValidationError that names the field, or an exception of the
 * program's. */
int rl_time_from(rl_state *state, const char *field, PyObject *value, bool numbers,
                 int64_t *stamp);

/* An aware datetime in UTC. New reference; NULL with an error set. */
PyObject *rl_time_to(rl_state *state, int64_t stamp);

#endif
