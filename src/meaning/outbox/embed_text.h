/* Finds the text of a run that is to be embedded, in the run's outputs.
 *
 * With a path (core/json_read.h) the text is the value there. Without one it is the
 * member "text" of the outputs. If this is no text, it is the content of the last of
 * "messages", the state of a LangGraph agent. A message is an object with its fields, or
 * LangChain's serialized form ({"lc": 1, "type": "constructor", "kwargs": {"content":
 * ...}}). A content is a string, or a list of blocks ({"type": "text", "text": ...}, or
 * just a string), whose texts are joined by line breaks. White space alone is no text.
 *
 * A large text may be a value (core/value.h): the outputs then have its mark, and
 * `values`, a JSON object, has it by its name. Without it, the text is the head that the
 * mark has.
 *
 * Threads: any; pure functions. Ownership: borrows the arguments for the call.
 */
#ifndef RL_EMBED_TEXT_H
#define RL_EMBED_TEXT_H

#include "core/buf.h"
#include "core/json_read.h"

#include <stdbool.h>
#include <stddef.h>

/* Appends the text to out. outputs: JSON of `len` bytes; path: NULL for the default rule;
 * values: {NULL, 0} for none.
 * False when there is no text, and without memory (out->failed). */
bool rl_embed_text_find(const char *outputs, size_t len, const char *path,
                        rl_json_value values, rl_buf *out);

/* Whether there is a text. Allocates nothing; takes about as long as reading the outputs
 * once. */
bool rl_embed_text_has(const char *outputs, size_t len, const char *path,
                       rl_json_value values);

#endif
