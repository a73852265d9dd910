/* Inside the encoder: its state, the containers that are open, and how texts and ints are
 * written. walk.c, which walks the values, fit.c, which makes them fit, and
 * special_values.c, which converts those that JSON has no form for, build on it. Nobody
 * else includes it.
 * Threads: with the GIL. None of these functions runs Python code, but for those that
 * release a reference: rl_encoder_pop and rl_put_failure.
 */
#ifndef RL_PY_ENCODER_H
#define RL_PY_ENCODER_H

#include "core/json.h"
#include "core/source.h"
#include "py/encode/encode_options.h"
#include "py/encode/links.h"

#include <stdbool.h>

typedef enum rl_frame_kind {
    FRAME_LIST,
    FRAME_TUPLE,
    FRAME_DICT,
    FRAME_KEYS,     /* an iterator of a mapping's keys */
    FRAME_ITEMS,    /* an iterator of the pairs of a dict of the user's */
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
    Py_ssize_t link; /* its place in the links, or -1 */
    size_t start;    /* where its text begins in the buffer */
    size_t end;      /* what rl_encoder.end was before, and the next two; with a link */
    unsigned deepest;
    bool elided;
    rl_frame_kind kind;
} rl_frame;

struct rl_fit_puts; /* see fit.h */

typedef struct rl_encoder {
    const rl_encode_options *options;
    rl_json json;
    size_t cap;                     /* bytes */
    unsigned depth;                 /* frames in use */
    unsigned deepest;               /* the most containers within one another, so far */
    unsigned key_level;             /* encoders around this one, each for a key */
    bool fitting;                   /* the second attempt: see fit.h */
    const struct rl_fit_puts *puts; /* fitting: borrowed */
    uint64_t *plain_keys;           /* borrowed: see walk.c */
    uint64_t salt;                  /* of the rules */
    bool judges;                    /* keys, by their names */
    bool searches;                  /* texts, for secrets */
    bool elided;                    /* something was left out */
    size_t easy;     /* up to this length of the buffer an item of RL_EASY_ROOM bytes fits
                         into it, and within the cap: see rl_encoder_place */
    size_t end;      /* fitting: where the value that is being written must end */
    size_t copied;   /* bytes of texts that were written again */
    Py_ssize_t link; /* of the container that will be opened next, or -1 */
    size_t values_at; /* the length of options->values at the beginning */
    PyObject *outer;  /* borrowed: a container around all this, or NULL */
    PyObject *keys;   /* owned: a set of the keys that are no texts, by hash; or NULL */
    size_t same_keys; /* keys that have the text of another one */
    rl_links links;
    rl_buf texts;    /* fitting: the texts of links, as those in the buffer may move */
    rl_buf children; /* fitting: of the containers that are open */
    rl_buf scratch;  /* fitting */
    rl_frame frames[RL_JSON_DEPTH];
} rl_encoder;

/* Initialises an encoder that appends at most `cap` bytes to buf. The frames, 16 KB of
 * them, stay as they are. `outer` may be NULL. */
void rl_encoder_begin(rl_encoder *self, const rl_encode_options *options, PyObject *outer,
                      size_t cap, rl_buf *buf);
void rl_encoder_end(rl_encoder *self);

/* The cache, without what was redacted by other rules; NULL: none. */
static inline rl_text_cache *rl_encoder_cache(const rl_encoder *self)
{
    rl_text_cache *cache = self->options->cache;

    if (cache != NULL) {
        rl_text_cache_use(cache, self->salt);
    }
    return cache;
}

/* Takes the values back that were added since the beginning. */
void rl_encoder_drop_values(rl_encoder *self);

/* Whether to leave everything as it stands: no memory, or past the cap. */
static inline bool rl_encoder_stopped(const rl_encoder *self)
{
    return self->json.buf->failed || self->json.over;
}

#define RL_EASY_ROOM 64 /* bytes of a short item, and what its writer may overwrite */

/* The slow path of rl_encoder_place: makes room, and looks how far it goes. */
bool rl_encoder_make_room(rl_encoder *self);

/* Where a short item is written, or NULL: no memory, near the cap, or fitting. Then the
 * functions that look at each byte's place have to write it. */
static inline char *rl_encoder_place(rl_encoder *self)
{
    const rl_buf *buf = self->json.buf;
    bool has_room = buf->len < self->easy && !buf->failed;

    return has_room || rl_encoder_make_room(self) ? buf->data + buf->len : NULL;
}

static inline bool rl_frame_is_object(rl_frame_kind kind)
{
    return kind == FRAME_DICT || kind == FRAME_KEYS || kind == FRAME_ITEMS ||
           kind == FRAME_FIELDS;
}

/* Opens a container: 0, or -1 when a marker stands in its place (a cycle, too deep, no
 * room). `items` is stolen; NULL for the owner itself. `size`: the items to take at
 * most. */
int rl_encoder_push(rl_encoder *self, rl_frame_kind kind, PyObject *owner,
                    PyObject *items, Py_ssize_t size);

/* Whether a value is not stored under a key that says `secrecy` of it. NULL: a value that
 * a mapping would have to make. */
static inline bool rl_is_hidden(rl_secrecy secrecy, PyObject *value)
{
    return secrecy == RL_HIDE_ALL ||
           (secrecy == RL_HIDE_TEXT &&
            (value == NULL ||
             !(value == Py_None || PyLong_Check(value) || PyFloat_Check(value))));
}

/* Closes the innermost container. */
void rl_encoder_pop(rl_encoder *self);

/* Whether a container is open: then it contains itself. */
static inline bool rl_encoder_is_open(const rl_encoder *self, PyObject *owner)
{
    const rl_frame *frame = self->frames + self->depth;
    bool open = owner == self->outer;

    while (frame > self->frames && !open) {
        open = (--frame)->owner == owner;
    }
    return open;
}

/* Write one value: a str (or a subclass's instance), a text of any source, an int of any
 * size, or a marker. `owner` is the object that the text is made from, if that never
 * changes, or NULL. */
void rl_put_text(rl_encoder *self, PyObject *text, bool key);
void rl_put_source(rl_encoder *self, const rl_source *source, bool key, PyObject *owner);
void rl_put_int(rl_encoder *self, PyObject *value);
void rl_put_marker(rl_encoder *self, const char *text);

/* Where the characters of a str are; false (no memory) in builds before Python 3.12. */
bool rl_source_of(PyObject *text, rl_source *source);

/* Whether an int has one digit of CPython's or none: at most 30 bits and a sign. */
static inline bool rl_int_is_small(PyObject *value, long *number)
{
#if PY_VERSION_HEX >= 0x030C0000
    const PyLongObject *digits = (const PyLongObject *)value;
    const bool small = PyUnstable_Long_IsCompact(digits);

    *number = small ? (long)PyUnstable_Long_CompactValue(digits) : 0;
#else
    const Py_ssize_t size = Py_SIZE(value); /* with the sign */
    const bool small = size >= -1 && size <= 1;

    *number = small ? (long)size * (long)((const PyLongObject *)value)->ob_digit[0] : 0;
#endif
    return small;
}

/* Writes "<unserializable T>" for a value whose conversion has raised, and absorbs the
 * exception, if there is one. */
void rl_put_failure(rl_encoder *self, PyObject *value);

/* Absorbs the exception that is set, if any. */
static inline void rl_encoder_absorb(const rl_encoder *self)
{
    if (PyErr_Occurred()) {
        rl_raised_absorb(self->options->raised);
    }
}

/* Whether the program was interrupted while it converted a value of this payload. No more
 * of the user's code is run then: what it would convert is written as a marker. */
static inline bool rl_encoder_is_broken_off(const rl_encoder *self)
{
    return rl_raised_any(self->options->raised);
}

#endif
