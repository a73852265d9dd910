/* A JSON writer that appends to a buffer, with a cap on the size of one text.
 *
 * Each value is written with a comma after it. Closing a container replaces the last
 * comma with the bracket, and rl_json_end removes the outermost one. The caller is
 * responsible for the order: in an object, a key before each value.
 *
 * Past the cap `over` is set, and stays: what was written is then of no use, and the
 * caller stops. So memory stays near the cap.
 *
 * Failures (no memory) stick in the buffer's `failed`. Not thread-safe. Format: RFC 8259.
 */
#ifndef RL_JSON_H
#define RL_JSON_H

#include "core/buf.h"
#include "core/dtoa.h"
#include "core/text.h"

#include <float.h>
#include <stdint.h>
#include <string.h>

#define RL_JSON_DEPTH 200 /* containers within one another */

typedef struct rl_json {
    rl_buf *buf;      /* borrowed */
    size_t start;     /* where the text begins in the buffer */
    size_t limit;     /* buffer length, with open brackets, past which it is too long */
    unsigned depth;   /* containers open */
    bool over;        /* it has grown past the limit */
    bool wide_number; /* a double was written in the form 1e16: see rl_json_widen */
    uint64_t objects[4]; /* bit d: the container at depth d is an object */
} rl_json;

/* Begins a text at the end of buf, of at most `cap` bytes. */
void rl_json_begin(rl_json *json, rl_buf *buf, size_t cap);
/* Ends it: removes the last comma, appends a NUL that is not counted. */
void rl_json_end(rl_json *json);

/* After each item. Behind an item its comma counts for the first of the brackets that are
 * still to be closed. */
static inline void rl_json_done(rl_json *json)
{
    if (json->buf->len + json->depth > json->limit) {
        json->over = true;
    }
}

static inline bool rl_json_in_object(const rl_json *json)
{
    unsigned at = json->depth;

    return at > 0 && (json->objects[at >> 6] >> (at & 63) & 1) != 0;
}

/* Opens '{' or '['. The caller keeps the depth at RL_JSON_DEPTH or less. */
static inline void rl_json_open(rl_json *json, char bracket)
{
    unsigned at = ++json->depth;
    uint64_t bit = UINT64_C(1) << (at & 63);

    if (bracket == '{') {
        json->objects[at >> 6] |= bit;
    } else {
        json->objects[at >> 6] &= ~bit;
    }
    rl_buf_add_char(json->buf, bracket);
    if (json->buf->len + json->depth + 1 > json->limit) { /* no comma here yet */
        json->over = true;
    }
}

/* Closes the innermost container with the bracket that it needs. */
static inline void rl_json_close_with(rl_json *json, char bracket)
{
    rl_buf *buf = json->buf;

    json->depth--;
    if (buf->len > 0 && buf->data[buf->len - 1] == ',') {
        buf->len--;
    }
    if (rl_buf_reserve(buf, 2)) {
        buf->data[buf->len++] = bracket;
        buf->data[buf->len++] = ',';
    }
}

static inline void rl_json_close(rl_json *json)
{
    rl_json_close_with(json, rl_json_in_object(json) ? '}' : ']');
}

/* A value that is short and already JSON: "null", or a number. */
static inline void rl_json_raw(rl_json *json, const char *text, size_t len)
{
    rl_buf *buf = json->buf;

    if (rl_buf_reserve(buf, len + 1)) {
        memcpy(buf->data + buf->len, text, len);
        buf->data[buf->len + len] = ',';
        buf->len += len + 1;
    }
    rl_json_done(json);
}

static inline void rl_json_int(rl_json *json, int64_t value)
{
    rl_buf *buf = json->buf;

    if (rl_buf_reserve(buf, 24)) {
        char *out = buf->data + buf->len;
        size_t len = rl_put_i64(out, value);

        out[len] = ',';
        buf->len += len + 1;
    }
    rl_json_done(json);
}

/* Writes "NaN", "Infinity" or "-Infinity" as a string, as proto3's JSON does. */
void rl_json_not_finite(rl_json *json, double value);

static inline void rl_json_double(rl_json *json, double value)
{
    rl_buf *buf = json->buf;
    double size = value < 0 ? -value : value;

    if (!(size < 1e16)) { /* also for NaN */
        if (!(size <= DBL_MAX)) {
            rl_json_not_finite(json, value);
            return;
        }
        json->wide_number = true;
    }
    if (rl_buf_reserve(buf, RL_DTOA_MAX + 1)) {
        char *out = buf->data + buf->len;
        size_t len = rl_dtoa(value, out);

        out[len] = ',';
        buf->len += len + 1;
    }
    rl_json_done(json);
}

/* The slow paths of rl_json_text and rl_json_key. */
void rl_json_text_slow(rl_json *json, const char *text, size_t len);
void rl_json_key_slow(rl_json *json, const char *text, size_t len);

/* Stores a quoted text and `tail` if it is short, needs no escape and is within the
 * limit. The caller then raises the buffer's length. */
static inline bool rl_json_quick(rl_json *json, const char *text, size_t len, char tail)
{
    rl_buf *buf = json->buf;
    char *out;

    if (len >= 16 || !rl_buf_reserve(buf, 20)) {
        return false;
    }
    out = buf->data + buf->len;
    if (!rl_copy_clean(out + 1, text, len)) {
        return false;
    }
    out[0] = '"';
    out[len + 1] = '"';
    out[len + 2] = tail;
    return buf->len + len + 3 + json->depth <= json->limit;
}

/* A string value, or the key of the next value. Valid UTF-8. */
static inline void rl_json_text(rl_json *json, const char *text, size_t len)
{
    if (rl_json_quick(json, text, len, ',')) {
        json->buf->len += len + 3;
    } else {
        rl_json_text_slow(json, text, len);
    }
}

static inline void rl_json_key(rl_json *json, const char *text, size_t len)
{
    if (rl_json_quick(json, text, len, ':')) {
        json->buf->len += len + 3;
    } else {
        rl_json_key_slow(json, text, len);
    }
}

/* Bytes of input for one piece. Without pieces, a text would need six times its size. */
#define RL_JSON_PIECE ((size_t)16384)

/* Appends `text` (of `len` bytes, and a NUL) to `out`, with numbers of the form 1e16
 * written as 10000000000000000.0. PostgreSQL's jsonb would return 1e16 as an integer. */
void rl_json_widen(rl_buf *out, const char *text, size_t len);

#endif
