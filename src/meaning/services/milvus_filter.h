/* Milvus's expressions that select rows (https://milvus.io/docs/boolean.md), with any
 * text as a value in them.
 *
 * Threads: any; pure functions. Ownership: copies what it appends; the buffer's `failed`
 * reports a failure.
 */
#ifndef RL_MILVUS_FILTER_H
#define RL_MILVUS_FILTER_H

#include "core/buf.h"
#include "meaning/services/milvus_codec.h"

#include <stddef.h>

/* Appends the literal of a text, with its quotes. */
void rl_milvus_add_literal(rl_buf *buf, const char *text, size_t len);

/* Appends the filter of a search, if it has one. max_length: bytes above which the value
 * of a field is cut, as in the rows. */
void rl_milvus_add_filter(rl_buf *buf, const rl_milvus_search *search,
                          const size_t max_length[RL_MILVUS_FIELDS]);

/* Appends the expression of the rows with one of these ids. */
void rl_milvus_add_ids(rl_buf *buf, const char *const *ids, size_t count);

#endif
