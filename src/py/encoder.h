/* Inside the encoder: what encode.c, which walks containers, and odd_values.c, which converts
 * what JSON has no form for, share. Nobody else includes it.
 */
#ifndef RL_PY_ENCODER_H
#define RL_PY_ENCODER_H

#include "core/json.h"
#include "py/encode.h"

typedef enum rl_frame_kind {
    FRAME_LIST,
    FRAME_TUPLE,
    FRAME_DICT,
    FRAME_PAIRS,
    FRAME_ITERATOR,
    FRAME_FIELDS
} rl_frame_kind;

/* A container that is being walked. */
typedef struct rl_frame {
    PyObject *owner; /* owned: the value itself, by which cycles are told */
    PyObject *items; /* what is walked: owned, or the owner itself */
    PyObject *names; /* owned: of the items, FRAME_FIELDS only */
    Py_ssize_t at;
    Py_ssize_t left; /* items to take at most: a list may grow for ever under us */
    rl_frame_kind kind;
} rl_frame;

typedef struct rl_encoder {
    const rl_encode_options *options;
    rl_json json;
    unsigned depth;
    unsigned key_level;
    PyObject *outer; /* borrowed: a container around all this, or NULL */
    rl_frame frames[RL_JSON_DEPTH];
} rl_encoder;

/* Whether to leave everything as it stands: no memory, or far past the cap. */
static inline bool rl_stopped(const rl_encoder *self)
{
    return self->json.buf->failed || rl_json_gave_up(&self->json);
}

/* Escapes `len` characters of a str from `at` on, in whichever of its three forms CPython
 * keeps it (PEP 393). Returns the bytes written; room as for rl_escape_ucs4. */
static inline size_t rl_escape_str(char *out, PyObject *text, size_t at, size_t len)
{
    const void *data = PyUnicode_DATA(text);

    switch (PyUnicode_KIND(text)) {
    case PyUnicode_1BYTE_KIND:
        return rl_escape_ucs1(out, (const uint8_t *)data + at, len);
    case PyUnicode_2BYTE_KIND:
        return rl_escape_ucs2(out, (const uint16_t *)data + at, len);
    default:
        return rl_escape_ucs4(out, (const uint32_t *)data + at, len);
    }
}

/* Write one value: a text, an int, a marker, "<unserializable T>" for a conversion that has
 * raised (the exception is swallowed), or any value. rl_put opens containers, which the
 * walk then goes through. */
void rl_put_text(rl_encoder *self, PyObject *text, bool key);
void rl_put_int(rl_encoder *self, PyObject *value);
void rl_put_marker(rl_encoder *self, const char *text);
void rl_put_failure(rl_encoder *self, PyObject *value);
void rl_put(rl_encoder *self, PyObject *value);

/* A value of none of JSON's own types; odd_values.c. */
void rl_put_other(rl_encoder *self, PyObject *value);

/* The member at which the quick path ended, borrowed. No key: it is written already, or the
 * container has none. */
typedef struct rl_pending {
    PyObject *key, *value;
} rl_pending;

/* Goes on with the dict, list or tuple at the top; quick.c. True when it has come to its end
 * (it is still to be closed); else `next` is to be written, and other containers may stand
 * at the top by then. */
bool rl_quick_walk(rl_encoder *self, rl_frame *top, rl_pending *next);

/* Opens a container: 0, or -1 when a marker stands in its place. Steals `items`. */
int rl_push(rl_encoder *self, rl_frame_kind kind, PyObject *owner, PyObject *items,
            Py_ssize_t size);

#endif
