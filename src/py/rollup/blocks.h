/* Sums as the objects of runlog/rollup.py. Threads: with the GIL. */
#ifndef RL_PY_BLOCKS_H
#define RL_PY_BLOCKS_H

#include "py/base/state.h"
#include "rollup/sums.h"

/* clang-format off */
#define RL_BLOCK_NAMES(X) \
    X(counts) X(total) X(statuses) X(retries) X(retried) X(recovered) X(waited_us) \
    X(durations) X(tokens) X(sizes) X(calls) X(repeats) X(repeated_in) X(slowest_us) \
    X(slowest_in) X(error) X(node) X(text) X(number) X(first) X(last) X(runs) X(run) \
    X(workflow) X(since) X(nodes) X(models) X(models_left) X(failures) X(failures_left) \
    X(paths) X(paths_left) X(llm) X(tool) X(completed) X(failed) X(interrupted) \
    X(cancelled) X(running) X(other) X(input) X(output)
/* clang-format on */

#define RL_BLOCK_NAME_OF(name) RL_BLOCK_##name,
typedef enum rl_block_name {
    RL_BLOCK_NAMES(RL_BLOCK_NAME_OF) RL_BLOCK_NAME_COUNT
} rl_block_name;
#undef RL_BLOCK_NAME_OF

/* The classes, borrowed from the caller's tuple, in this order; and the names of their
 * members, which rl_block_types_begin makes and the other one drops. */
typedef struct rl_block_types {
    PyTypeObject *counter, *histogram, *figures, *model, *failure, *path, *block;
    PyObject *names[RL_BLOCK_NAME_COUNT], *nothing;
} rl_block_types;

/* 0, or -1 with an error set. */
int rl_block_types_begin(rl_block_types *types);
void rl_block_types_end(rl_block_types *types);

/* A Block. New reference; NULL with an error set. */
PyObject *rl_block_to(rl_state *state, const rl_block_types *types, rl_string wpk_id,
                      uint64_t number, int64_t since, const rl_sums *sums);

#endif
