/* The stored form of sums: compact, with a version, whole numbers as varints.
 *
 * Threads: any; pure functions. Ownership: as sums.h.
 */
#ifndef RL_FORM_H
#define RL_FORM_H

#include "core/buf.h"
#include "rollup/sums.h"

#define RL_FORM_VERSION 1

/* Appends the sums. Nodes, failures, paths and models without any figure are left out. */
void rl_form_write(const rl_sums *sums, rl_buf *out);

/* Sets the checksum of a form. */
void rl_form_seal(void *data, size_t len);

/* Adds what is stored to the sums; or, if `down`, takes it away, as far as there is:
 * greatest values and examples stay. False, with the sums in any state, when the bytes are
 * damaged or of another version; no bytes at all are empty sums. */
bool rl_form_read(rl_sums *sums, const void *data, size_t len, bool down);

#endif
