/* The options of one encoding. */
#ifndef RL_PY_ENCODE_OPTIONS_H
#define RL_PY_ENCODE_OPTIONS_H

#include "core/metrics.h"
#include "core/redact.h"
#include "core/value.h"
#include "py/base/raised.h"
#include "py/base/state.h"
#include "py/encode/error_text.h"
#include "py/encode/text_cache.h"

/* Bytes of the values of one payload. */
#define RL_VALUES_MAX ((size_t)64 << 20)

typedef struct rl_encode_options {
    rl_state *state;         /* borrowed */
    rl_raised *raised;       /* borrowed: takes exceptions that belong to the program */
    const rl_redact *redact; /* borrowed: the keys whose values are not stored */
    size_t cap;              /* bytes after which the text is cut */
    rl_text_cache *cache;    /* borrowed, or NULL */
    rl_error_texts *errors;  /* the same */
    size_t max_value;        /* bytes after which a value is cut */
    rl_buf *values; /* borrowed: of rl_value *, owned by whoever owns the buffer. Large
                       texts become values, and are added here. NULL: they stay texts */
    size_t *value_bytes; /* borrowed: of the values in the list; with `values` only. Past
                            RL_VALUES_MAX (or max_value) large texts stay texts */
    atomic_uint_fast64_t *spent_ns; /* borrowed: takes how long payloads took; or NULL */
} rl_encode_options;

#endif
