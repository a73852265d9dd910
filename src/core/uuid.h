/* UUIDs of version 7 (RFC 9562, section 5.7, with method 3 of section 6.2).
 *
 * Thread-safe and fork-safe: each call reads its random bits from the kernel, so a child
 * never repeats those of its parent.
 */
#ifndef RL_UUID_H
#define RL_UUID_H

#include "core/err.h"

#include <stdbool.h>
#include <stdint.h>

#define RL_UUID_TEXT 37 /* 36 characters and a NUL */

/* Makes an id for the time `stamp` (microseconds since 1970; earlier times count as
 * 1970): 48 bits of milliseconds, 12 bits of the fraction of a millisecond, 62 random
 * bits. RL_STORE when the kernel provides no random bytes. */
rl_status rl_uuid7(int64_t stamp, uint8_t out[16], rl_err *err);

/* Writes 36 characters, in lower case, and a NUL. */
void rl_uuid_format(const uint8_t id[16], char out[RL_UUID_TEXT]);

/* Reads a text of rl_uuid_format. False for any other text. */
bool rl_uuid_parse(const char *text, uint8_t id[16]);

#endif
