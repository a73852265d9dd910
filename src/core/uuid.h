/* UUIDs of version 7 (RFC 9562, section 5.7, with method 3 of section 6.2).
 *
 * Thread-safe and fork-safe: the random bits come from the kernel at each call, so a child
 * never repeats its parent's.
 */
#ifndef RL_UUID_H
#define RL_UUID_H

#include "core/err.h"

#include <stdbool.h>
#include <stdint.h>

#define RL_UUID_TEXT 37 /* 36 characters and a NUL */

/* Makes an id for the time `stamp` (microseconds since 1970; before 1970 counts as 1970):
 * 48 bits of milliseconds, 12 bits of the fraction of a millisecond, 62 random bits.
 * RL_STORE when the kernel gives no random bytes. */
rl_status rl_uuid7(int64_t stamp, uint8_t out[16], rl_err *err);

void rl_uuid_format(const uint8_t id[16], char out[RL_UUID_TEXT]);

/* Reads what rl_uuid_format wrote. False when the text is anything else. */
bool rl_uuid_parse(const char *text, uint8_t id[16]);

#endif
