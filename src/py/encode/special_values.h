/* Values that JSON has no form for, and instances of subclasses of JSON's own types. */
#ifndef RL_PY_SPECIAL_VALUES_H
#define RL_PY_SPECIAL_VALUES_H

#include "py/encode/encoder.h"

/* Converts such a value and writes the result, or opens it as a container for the walk,
 * and returns NULL. Some values are replaced by another one (an Enum by its value, a
 * scalar of numpy by Python's): that one is returned, a new reference, for the caller to
 * write. No exception is left set. The caller holds a reference to `value`, as the
 * conversion may run the user's Python code. */
PyObject *rl_put_special(rl_encoder *self, PyObject *value);

#endif
