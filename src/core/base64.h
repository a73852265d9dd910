/* Base64 read back. The encoder is rl_base64 in text.h.
 *
 * Pure functions; thread-safe. Source: RFC 4648, section 4 (the standard alphabet).
 */
#ifndef RL_BASE64_H
#define RL_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the text of so many characters may become at most. */
#define RL_BASE64_ROOM(len) ((len) / 4 * 3)

/* Decodes text into out [RL_BASE64_ROOM(len)]; *size is how many bytes it became. False when
 * the text is not just what an encoder writes: another character, no padding, something behind
 * it, bits that are lost. */
bool rl_base64_decode(const char *text, size_t len, uint8_t *out, size_t *size);

#endif
