/* Text: escaping for JSON strings, UTF-8, base64, decimal integers.
 *
 * Pure functions from memory to memory; thread-safe. Sources: RFC 8259 (JSON), RFC 3629
 * (UTF-8), RFC 4648 (base64).
 */
#ifndef RL_TEXT_H
#define RL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "00010203...99" */
extern const char rl_two_digits[201];

/* What one input unit may become: "\u001f". Room for this, a unit, must be at out; the
 * functions may scribble over the whole of that room. */
#define RL_ESCAPE_MAX 6

/* U+FFFD, which stands in for what PostgreSQL's jsonb can't hold (NUL, lone surrogates). */
#define RL_REPLACEMENT "\xEF\xBF\xBD"

/* Escape text for the inside of a JSON string. Return the bytes written.
 * The first takes UTF-8 that is known to be valid, the others the three forms in which
 * CPython keeps text: Latin-1, UCS-2 without pairs, UCS-4 (PEP 393). */
size_t rl_escape_utf8(char *out, const char *text, size_t len);
size_t rl_escape_ucs1(char *out, const uint8_t *text, size_t len);
size_t rl_escape_ucs2(char *out, const uint16_t *text, size_t len);
size_t rl_escape_ucs4(char *out, const uint32_t *text, size_t len);

/* The inverse of rl_escape_utf8: writes at most `len` bytes. */
size_t rl_unescape(char *out, const char *text, size_t len);

/* The longest prefix of escaped text (the inside of a JSON string) of at most `max` bytes
 * that ends between two characters. */
size_t rl_escaped_prefix(const char *text, size_t len, size_t max);

/* Base64 with padding; writes 4 * ((len + 2) / 3) bytes. */
size_t rl_base64(char *out, const uint8_t *data, size_t len);

/* Writes a decimal integer, at most 20 bytes. */
size_t rl_put_u64(char *out, uint64_t value);
size_t rl_put_i64(char *out, int64_t value);

#endif
