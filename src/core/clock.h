/* Wall and monotonic clocks, and the text form of a time stamp.
 *
 * A time stamp is an int64_t of microseconds since 1970-01-01 00:00 UTC, leap seconds not
 * counted. All functions are thread-safe.
 */
#ifndef RL_CLOCK_H
#define RL_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define RL_TIME_NONE INT64_MIN /* not set */
#define RL_TIME_TEXT 28        /* bytes of "2026-11-23T18:00:00.123456Z" and its NUL */

/* Years 1 to 9999: the range of Python's datetime, and of ISO 8601 with four digits. */
#define RL_TIME_MIN INT64_C(-62135596800000000)
#define RL_TIME_MAX INT64_C(253402300799999999)

int64_t rl_time_now(void);      /* microseconds since 1970, UTC */
uint64_t rl_monotonic_ns(void); /* nanoseconds since an arbitrary start */

/* Converts nanoseconds to a timespec. */
struct timespec rl_timespec(uint64_t ns);

/* Writes "YYYY-MM-DDTHH:MM:SS.ffffffZ" and a NUL; the stamp is clamped to the years
 * 1 to 9999. Such texts sort by time. */
void rl_time_format(int64_t stamp, char out[RL_TIME_TEXT]);

/* Reads a text of rl_time_format into *stamp. False for any other text. */
bool rl_time_parse(const char *text, size_t len, int64_t *stamp);

#endif
