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

/* A text longer than options->cap is written a second time, as fit.h says: it is never
 * longer than the cap, and always JSON. */

/* As rl_encode, and for a value that becomes an object appends an rl_member of
 * core/delta.h for each member to `members`, by offsets into the text. True when the text
 * is an object, false for other values. A text that was cut has the members that are
 * left, and the mark "<cut>" may be one of them. */
bool rl_encode_members(const rl_encode_options *options, PyObject *value, rl_buf *buf,
                       rl_buf *members, bool *wide_numbers);

/* As rl_encode, and for a list appends an rl_element of core/split.h for each element to
 * `elements`, by offsets into the text; for other values that become an array, too. */
void rl_encode_elements(const rl_encode_options *options, PyObject *value, rl_buf *buf,
                        rl_buf *elements, bool *wide_numbers);

/* As rl_encode for a list of node logs: the cap holds for each member of each log. Of
 * logs that take more than 64 caps those in the middle give way to a mark; one that takes
 * more than 32 is cut as one payload. */
void rl_encode_logs(const rl_encode_options *options, PyObject *logs, rl_buf *buf,
                    bool *wide_numbers);

/* The most bytes of a plain text. Two names and an id fit into an entry of PostgreSQL's
 * indexes, which takes 2,704 bytes. */
#define RL_PLAIN_NAME ((size_t)1024)
#define RL_PLAIN_ERROR RL_ERROR_SAID
#define RL_PLAIN_TRACEBACK ((size_t)16384)

/* Appends a value as plain text of at most `room` bytes (RL_CUT_MIN or more), with NUL
 * and lone surrogates replaced: a str as it is, an exception as rl_error_said gives it, any
 * other value as its JSON, a JSON string without its quotes and escapes. The middle of a
 * longer text is cut. */
void rl_encode_plain(const rl_encode_options *options, PyObject *value, size_t room,
                     rl_buf *buf);

/* A str of at most `room` bytes (RL_CUT_MIN or more) for a str: itself, or with its middle
 * cut; other values are returned as they are. The secrets of a text that is to be searched
 * later go before it is cut, so that no half of one stays; NULL: it is not searched. New
 * reference; NULL without an error when memory is lacking. */
PyObject *rl_encode_short(const rl_redact *redact, PyObject *text, size_t room);

/* The same with RL_PLAIN_NAME bytes, for a name, which is not searched. */
PyObject *rl_encode_name(PyObject *text);

#endif
