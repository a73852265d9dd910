/* Inside the encoder: its state, the containers that are open, and how texts and ints are
 * written. encode.c, which walks the values, and special_values.c, which converts those
 * that JSON has no form for, build on it. Nobody else includes it.
 * Threads: with the GIL. None of these functions runs Python code.
 */
#ifndef RL_PY_ENCODER_H
#define RL_PY_ENCODER_H

#include "core/json.h"
#include "py/encode/encode_options.h"

#include <stdbool.h>

typedef enum rl_frame_kind {
    FRAME_LIST,
    FRAME_TUPLE,
    FRAME_DICT,
    FRAME_PAIRS,    /* the list of pairs that a mapping's items() gave */
    FRAME_ITERATOR, /* whose length is not known */
    FRAME_FIELDS    /* a tuple of values, with a tuple of their names */
} rl_frame_kind;

/* A container that is being walked. */
typedef struct rl_frame {
    PyObject *owner; /* owned: the value itself, by which cycles are found */
    PyObject *items; /* the items to walk: owned, or the owner itself */
    PyObject *names; /* owned: of the items, FRAME_FIELDS only */
    Py_ssize_t at;
    Py_ssize_t left; /* items to take at most: a list may grow without end meanwhile */
    rl_frame_kind kind;
} rl_frame;

typedef struct rl_encoder {
    const rl_encode_options *options;
    rl_json json;
    unsigned depth;     /* frames in use */
    unsigned key_level; /* encoders around this one, each for a key */
    PyObject *outer;    /* borrowed: a container around all this, or NULL */
    rl_frame frames[RL_JSON_DEPTH];
} rl_encoder;

/* Initialises an encoder that appends to buf. The frames, 10 KB of them, stay as they
 * are. `outer` may be NULL. */
void rl_encoder_begin(rl_encoder *self, const rl_encode_options *options, PyObject *outer,
                      rl_buf *buf);

/* Whether to leave everything as it stands: no memory, or far past the cap. */
static inline bool rl_encoder_stopped(const rl_encoder *self)
{
    return self->json.buf->failed || rl_json_gave_up(&self->json);
}

/* Opens a container: 0, or -1 when a marker stands in its place (a cycle, too deep).
 * `items` is stolen; NULL for the owner itself. */
int rl_encoder_push(rl_encoder *self, rl_frame_kind kind, PyObject *owner,
                    PyObject *items, Py_ssize_t size);

/* Closes the innermost container. */
void rl_encoder_pop(rl_encoder *self);

/* Write one value: a str (or a subclass's instance), an int of any size, or a marker. */
void rl_put_text(rl_encoder *self, PyObject *text, bool key);
void rl_put_int(rl_encoder *self, PyObject *value);
void rl_put_marker(rl_encoder *self, const char *text);

/* Writes "<unserializable T>" for a value whose conversion has raised, and swallows the
 * exception. */
void rl_put_failure(rl_encoder *self, PyObject *value);

#endif
