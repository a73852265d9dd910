/* The encoder's walk over containers and keys: what encode.h and fit.h are made of.
 *
 * Threads: with the GIL, which the user's conversions may give up.
 */
#ifndef RL_PY_WALK_H
#define RL_PY_WALK_H

#include "py/encode/encoder.h"

/* One value: a scalar is written, a container is opened. A comma follows a scalar. */
void rl_walk_put(rl_encoder *self, PyObject *value);

/* Writes a key and its colon; returns what it says of the value that belongs to it. */
rl_secrecy rl_walk_put_key(rl_encoder *self, PyObject *key);

/* Walks until all containers but the outermost `base` are closed. */
void rl_walk(rl_encoder *self, unsigned base);

/* Writes the value that was walked once more, within the cap, if it was longer. */
void rl_walk_fit(rl_encoder *self, PyObject *value);

/* Writes a value whole: straight on, and once more if that is longer than the cap. */
void rl_walk_value(rl_encoder *self, PyObject *value);

#endif
