/* The encoder: walks Python objects once and appends their JSON text to a buffer.
 *
 * It never fails for a value: what can't be encoded becomes a marker ("<cycle>",
 * "<too deep>", "<unserializable T>"). It keeps its own stack of containers, so that no
 * depth overflows the C stack, and a reference to everything that it is inside of, so that
 * values may be changed under it by another thread or by their own conversions.
 * Threads: with the GIL, which conversions of the user's may give up. No lock may be held.
 */
#ifndef RL_PY_ENCODE_H
#define RL_PY_ENCODE_H

#include "core/buf.h"
#include "py/encode_options.h"

#include <stdbool.h>

/* Appends the JSON text of value; a NUL that is not counted stands behind it. Sets
 * *wide_numbers (never clears it) when it holds doubles for rl_json_widen. Only memory can
 * lack: then buf->failed is set. */
void rl_encode(const rl_encode_options *options, PyObject *value, rl_buf *buf,
               bool *wide_numbers);

/* The same for a value of which each member is to be told apart: appends an rl_member of
 * core/delta.h for each, by offsets into the text. True when the text is an object with all
 * of its members; false for other values, and for what was cut. */
bool rl_encode_members(const rl_encode_options *options, PyObject *value, rl_buf *buf,
                       rl_buf *members, bool *wide_numbers);

/* As rl_encode for the list of node logs: each member of each of them has the cap to itself. */
void rl_encode_logs(const rl_encode_options *options, PyObject *logs, rl_buf *buf,
                    bool *wide_numbers);

/* Appends a value as plain text (NUL and lone surrogates replaced): str as it is, an
 * exception as str() gives it, any other value by the encoder's rules, without the quotes
 * where those give a string. */
void rl_encode_plain(const rl_encode_options *options, PyObject *value, rl_buf *buf);

#endif
