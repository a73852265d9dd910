/* The text of a run that is embedded: where in its outputs it stands.
 *
 * With a path (json_read.h) it is what stands there. Without one it is the member "text" of the
 * outputs; where that is no text, the content of the last of "messages", the state of a LangGraph
 * agent: as a message's fields, or in LangChain's serialized form
 * ({"lc": 1, "type": "constructor", "kwargs": {"content": ...}}). A content is a text, or a list
 * of blocks, whose texts ({"type": "text", "text": ...}, or just a string) are joined by line
 * breaks. A text of nothing but white space is none.
 *
 * Threads: any; pure functions. Ownership: the outputs and the path are borrowed for the call.
 */
#ifndef RL_EMBED_TEXT_H
#define RL_EMBED_TEXT_H

#include "core/buf.h"

#include <stdbool.h>
#include <stddef.h>

/* Appends the text of outputs, a JSON text, to out. False when there is none, and when it could
 * not be appended, which sets out->failed. path: NULL for the rule above. */
bool rl_embed_text_find(const char *outputs, size_t len, const char *path, rl_buf *out);

/* Whether there is a text. Allocates nothing; takes about as long as reading the outputs once. */
bool rl_embed_text_has(const char *outputs, size_t len, const char *path);

#endif
