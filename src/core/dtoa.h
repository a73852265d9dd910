/* Doubles as the shortest JSON number that reads back as the same double.
 *
 * Threads: any; the only data are constant tables. Nothing is allocated.
 */
#ifndef RL_DTOA_H
#define RL_DTOA_H

#include <stddef.h>

/* Bytes that rl_dtoa needs at `out`; the longest text has 24. */
#define RL_DTOA_MAX 32

/*
 * Writes `value` with the digits of Python's repr: the fewest that read back as the same
 * double and, among those, the closest to it. The text always has a '.' or an 'e', so
 * that readers take it for a float: positional from 0.0001 up to below 1e16 ("0.0001",
 * "1.0", "-0.0", "123.5"), otherwise scientific without '+' and without leading zeros in
 * the exponent ("1e16", "1.5e-7", "5e-324").
 *
 * `value` must be finite; a NaN or an infinity gives some number, not an error. All of
 * the RL_DTOA_MAX bytes at `out` may be overwritten. No NUL is written. Returns the
 * length of the text in bytes.
 */
size_t rl_dtoa(double value, char *out);

#endif
