/* Doubles as the shortest JSON text that reads back as the very same double.
 *
 * Duty: rl_dtoa, and nothing else; it has no state but two constant tables.
 * Threads: any number at once. Ownership: the caller's buffer; nothing is allocated.
 */
#ifndef RL_DTOA_H
#define RL_DTOA_H

#include <stddef.h>

/* Room that rl_dtoa needs; the longest text itself is 24 bytes. */
#define RL_DTOA_MAX 32

/*
 * Writes `value` with the digits of Python's repr: the fewest that read back as the same
 * double and, among those, the closest to it. The text is a JSON number that reads back
 * as a float, so it always has a '.' or an 'e': positional from 0.0001 up to below 1e16
 * ("0.0001", "1.0", "-0.0", "123.5"), otherwise scientific without '+' and without
 * leading zeros in the exponent ("1e16", "1.5e-7", "5e-324").
 *
 * `value` must be finite; a NaN or an infinity gives some number, not an error. `out`
 * must have RL_DTOA_MAX bytes, any of which may be scribbled on. No NUL is written.
 * Returns the length of the text, at most RL_DTOA_MAX.
 */
size_t rl_dtoa(double value, char *out);

#endif
