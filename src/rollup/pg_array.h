/* Array literals of PostgreSQL, as parameters: an element is appended with the comma or the
 * brace before it; who sends the array adds the last brace.
 *
 * Threads: one at a time. Without memory the buffer has failed.
 */
#ifndef RL_PG_ARRAY_H
#define RL_PG_ARRAY_H

#include "core/buf.h"

#include <stddef.h>
#include <stdint.h>

void rl_pg_array_text(rl_buf *array, const char *text, size_t len);
void rl_pg_array_time(rl_buf *array, int64_t at); /* microseconds since 1970 */
void rl_pg_array_number(rl_buf *array, int64_t number);
void rl_pg_array_bytes(rl_buf *array, const void *bytes, size_t len); /* NULL: NULL */

/* The digits of bytes, two each. */
void rl_pg_hex(rl_buf *buf, const void *bytes, size_t len);

#endif
