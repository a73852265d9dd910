/* Base64, encoded and decoded.
 *
 * Pure functions; thread-safe. Source: RFC 4648, section 4 (the standard alphabet).
 */
#ifndef RL_BASE64_H
#define RL_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes base64 with padding; returns the bytes written, 4 * ((len + 2) / 3). */
size_t rl_base64_encode(char *out, const uint8_t *data, size_t len);

/* The most bytes that `len` characters of base64 can stand for. */
#define RL_BASE64_ROOM(len) ((len) / 4 * 3)

/* Decodes `len` characters into out [RL_BASE64_ROOM(len)] and sets *size to the number of
 * bytes. False unless the text is canonical: characters of the alphabet only, padded to a
 * multiple of four, with nothing after the padding and its unused bits zero. */
bool rl_base64_decode(const char *text, size_t len, uint8_t *out, size_t *size);

#endif
