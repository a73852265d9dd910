/* The wing of embeddings, Milvus and search: the methods that it adds to Recorder, and
 * its part of Recorder.stats(); see _runlog.pyi. The recorder's own files do not know of
 * it.
 */
#ifndef RL_PY_MEANING_H
#define RL_PY_MEANING_H

#include "py/state.h"

/* Adds the wing to the type Recorder, which exists. 0, or -1 with an error set. */
int rl_meaning_add_methods(rl_state *state);

#endif
