/* Milvus's expressions that choose rows (https://milvus.io/docs/boolean.md), with any text as
 * a value in them.
 *
 * Threads: any; pure functions. Ownership: what is appended is copied; failures are the
 * buffer's.
 */
#ifndef RL_MILVUS_FILTER_H
#define RL_MILVUS_FILTER_H

#include "core/buf.h"
#include "meaning/services/milvus_codec.h"

#include <stddef.h>

/* The literal of a text, with its quotes. */
void rl_milvus_add_literal(rl_buf *buf, const char *text, size_t len);

/* The filter of a search; nothing when it has none. Values are cut as the rows' are. */
void rl_milvus_add_filter(rl_buf *buf, const rl_milvus_search *search,
                          const size_t max_length[RL_MILVUS_FIELDS]);

/* The rows with one of these ids. */
void rl_milvus_add_ids(rl_buf *buf, const char *const *ids, size_t count);

#endif
