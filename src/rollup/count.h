/* Counts what is marked in a roll-up: a pass reads some marks, the runs of their leaves and
 * what is above them, and makes a list of changes; the changes are then written.
 *
 * A leaf is always counted anew from its rows, and each piece above from those below, so
 * that nothing can drift. A pass reads in one snapshot; its changes may be written only if
 * nobody else has written any since.
 *
 * Threads: one at a time. Ownership: a count owns its memory; it borrows the book.
 */
#ifndef RL_COUNT_H
#define RL_COUNT_H

#include "core/buf.h"
#include "rollup/book.h"

#include <stdatomic.h>

#define RL_LEAF_RUNS 256
#define RL_PASS_RUNS 2048 /* rows that a pass reads, and the rest of the last leaf */

typedef struct rl_count {
    rl_pool pool;     /* of the pass */
    rl_buf changes;   /* struct change, in count.c */
    uint64_t counted; /* runs, in this pass */
    unsigned damaged; /* pieces whose data could not be read, in this pass */
    bool more;        /* marks are left */
} rl_count;

void rl_count_init(rl_count *count);
void rl_count_free(rl_count *count);

/* Reads a pass. RL_NOMEM, or what the book says. */
rl_status rl_count_read(rl_count *count, rl_book *book, const atomic_bool *stop,
                        rl_err *err);

/* Whether the pass has changed anything. */
bool rl_count_has_changes(const rl_count *count);

/* Writes the changes. */
rl_status rl_count_write(rl_count *count, rl_book *book, rl_err *err);

#endif
