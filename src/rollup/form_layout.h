/* What writing and reading the stored form of sums have in common.
 *
 * A text is its length times two, and its bytes; or 1 and the 16 bytes of a UUID; or 3 and
 * the number of a usual name. Optional texts are 0 for none, or 1 and the text.
 */
#ifndef RL_FORM_LAYOUT_H
#define RL_FORM_LAYOUT_H

#include "core/uuid.h"

#include <stddef.h>
#include <stdint.h>

#define RL_FORM_HEADER \
    (1 + sizeof(uint32_t))              /* the version, and a checksum of the rest */
#define RL_FORM_UUID (RL_UUID_TEXT - 1) /* the length of a UUID as text */
#define RL_FORM_USUAL 5

extern const char *const rl_form_usual[RL_FORM_USUAL];

/* The checksum of the bytes behind the header. */
uint32_t rl_form_check(const void *data, size_t len);

#endif
