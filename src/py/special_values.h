/* Values that JSON has no form for, and instances of subclasses of JSON's own types. */
#ifndef RL_PY_SPECIAL_VALUES_H
#define RL_PY_SPECIAL_VALUES_H

#include "py/encoder.h"

/* Writes what such a value is converted to, or opens it as a container for the walk: then
 * NULL. Or returns another value that is to be written in its place (an Enum's value, a
 * scalar of numpy): a new reference. No exception is left set. `value` must stay alive by
 * itself: the conversion may run the user's Python code. */
PyObject *rl_put_special(rl_encoder *self, PyObject *value);

#endif
