/* Sums as the objects of runlog/rollup.py. Threads: with the GIL. */
#ifndef RL_PY_BLOCKS_H
#define RL_PY_BLOCKS_H

#include "py/base/state.h"
#include "rollup/sums.h"

/* The classes, borrowed from the caller's tuple, in this order. */
typedef struct rl_block_types {
    PyTypeObject *counter, *histogram, *figures, *model, *failure, *path, *block;
} rl_block_types;

/* A Block. New reference; NULL with an error set. */
PyObject *rl_block_to(rl_state *state, const rl_block_types *types, rl_string wpk_id,
                      uint64_t number, int64_t since, const rl_sums *sums);

#endif
