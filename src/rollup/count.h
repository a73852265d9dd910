/* Counts what is marked in a roll-up: a pass reads some marks, the runs of their leaves and
 * what is above them, and makes a list of changes; the changes are then written.
 *
 * A leaf is always counted from its rows, never adjusted, and each piece above from those
 * below, so that nothing can drift. A pass reads in one snapshot; its changes may be written only if
 * nobody else has written any since.
 *
 * Threads: one at a time. Ownership: a count owns its memory; it borrows the book.
 */
#ifndef RL_COUNT_H
#define RL_COUNT_H

#include "rollup/pass.h"

#include <stdatomic.h>

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
