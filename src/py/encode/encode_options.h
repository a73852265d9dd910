/* The options of one encoding. */
#ifndef RL_PY_ENCODE_OPTIONS_H
#define RL_PY_ENCODE_OPTIONS_H

#include "core/redact.h"
#include "py/base/state.h"
#include "py/encode/text_cache.h"

typedef struct rl_encode_options {
    rl_state *state;         /* borrowed */
    const rl_redact *redact; /* borrowed: the keys whose values are not stored */
    size_t cap;              /* bytes after which the text is cut */
    rl_text_cache *cache;    /* borrowed, or NULL */
    rl_buf *values; /* borrowed: of rl_value *, owned by whoever owns the buffer. Large
                       texts become values, and are added here. NULL: they stay texts */
} rl_encode_options;

#endif
