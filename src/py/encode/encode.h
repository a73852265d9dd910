/* The encoder: walks Python objects once and appends their JSON text to a buffer.
 *
 * It never fails for a value: one that can't be encoded becomes a marker ("<cycle>",
 * "<too deep>", "<unserializable T>"). The open containers are on a stack of its own, so
 * no depth overflows the C stack. It holds a reference to each of them, so another thread
 * or a conversion may change values meanwhile.
 * Threads: with the GIL, which the user's conversions may give up. The caller holds no
 * lock.
 */
#ifndef RL_PY_ENCODE_H
#define RL_PY_ENCODE_H

#include "core/buf.h"
#include "py/encode/encode_options.h"

#include <stdbool.h>

/* Appends the JSON text of value, and a NUL that buf->len does not count. Sets
 * *wide_numbers (never clears it) when the text has doubles for rl_json_widen. The one
 * possible failure is lack of memory: then buf->failed is set. */
void rl_encode(const rl_encode_options *options, PyObject *value, rl_buf *buf,
               bool *wide_numbers);

/* As rl_encode, and for a value that becomes an object appends an rl_member of
 * core/delta.h for each member to `members`, by offsets into the text. True when the text
 * is an object with all of its members; false for other values, and for a text that was
 * cut. */
bool rl_encode_members(const rl_encode_options *options, PyObject *value, rl_buf *buf,
                       rl_buf *members, bool *wide_numbers);

/* As rl_encode for a list of node logs: the cap holds for each member of each log. */
void rl_encode_logs(const rl_encode_options *options, PyObject *logs, rl_buf *buf,
                    bool *wide_numbers);

/* Appends a value as plain text, with NUL and lone surrogates replaced: a str as it is,
 * an exception as str() gives it, any other value as its JSON, a JSON string without its
 * quotes and escapes. */
void rl_encode_plain(const rl_encode_options *options, PyObject *value, rl_buf *buf);

#endif
