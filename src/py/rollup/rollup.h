/* The wing of the roll-up: it adds methods and a counter to the type Recorder (see
 * _runlog.pyi), whose own files do not know of it.
 */
#ifndef RL_PY_ROLLUP_H
#define RL_PY_ROLLUP_H

#include "py/base/state.h"

/* Adds the wing to the type Recorder, which exists. 0, or -1 with an error set. */
int rl_rollup_add_to_recorder(rl_state *state);

#endif
