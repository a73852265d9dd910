/* Counts rows into leaves, for count.c.
 *
 * Threads: one at a time. Ownership: as pass.h.
 */
#ifndef RL_LEAVES_H
#define RL_LEAVES_H

#include "rollup/pass.h"

/* Counts what is marked in the leaves of a block. Adds to `now` the leaves as they
 * are afterwards, to `gone` what was deleted. */
rl_status rl_leaves_count(rl_pass *self, const rl_pieces *leaves, const rl_marks *marks,
                          rl_sums *gone, rl_pieces *now);

#endif
