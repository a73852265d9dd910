/* The encoder's state, and texts and ints. See encoder.h. */
#include "py/encode/encoder.h"

#include "py/base/errors.h"

#define DIGITS_MAX 4300 /* of an int in decimal, as in CPython */

void rl_encoder_begin(rl_encoder *self, const rl_encode_options *options, PyObject *outer,
                      rl_buf *buf)
{
    self->options = options;
    self->depth = 0;
    self->key_level = 0;
    self->outer = outer;
    rl_json_begin(&self->json, buf, options->cap);
}

/* Whether a container may be opened; else its marker is written. */
static bool may_open(rl_encoder *self, PyObject *owner)
{
    bool cycle = owner == self->outer;

    for (unsigned i = self->depth; i > 0 && !cycle; i--) {
        cycle = self->frames[i - 1].owner == owner;
    }
    if (cycle) {
        rl_put_marker(self, "<cycle>");
    } else if (self->depth == RL_JSON_DEPTH) {
        rl_put_marker(self, "<too deep>");
    }
    return !cycle && self->depth < RL_JSON_DEPTH;
}

int rl_encoder_push(rl_encoder *self, rl_frame_kind kind, PyObject *owner,
                    PyObject *items, Py_ssize_t size)
{
    bool is_object = kind == FRAME_DICT || kind == FRAME_PAIRS || kind == FRAME_FIELDS;
    rl_frame *frame;

    if (!may_open(self, owner)) {
        Py_XDECREF(items);
        return -1;
    }
    frame = &self->frames[self->depth++];
    frame->owner = Py_NewRef(owner);
    frame->items = items != NULL ? items : owner;
    frame->names = NULL;
    frame->at = 0;
    frame->left = size;
    frame->kind = kind;
    rl_json_open(&self->json, is_object ? '{' : '[');
    return 0;
}

void rl_encoder_pop(rl_encoder *self)
{
    rl_frame *top = &self->frames[--self->depth];

    rl_json_close(&self->json);
    Py_XDECREF(top->names);
    if (top->items != top->owner) {
        Py_DECREF(top->items);
    }
    Py_DECREF(top->owner);
}

void rl_put_marker(rl_encoder *self, const char *text)
{
    rl_json_text(&self->json, text, strlen(text));
}

void rl_put_failure(rl_encoder *self, PyObject *value)
{
    char text[160];

    rl_errors_swallow();
    PyOS_snprintf(text, sizeof text, "<unserializable %.100s>", rl_type_name(value));
    rl_put_marker(self, text);
}

/* Escapes `len` characters of a str from `at` on, in whichever of its three forms CPython
 * stores it (PEP 393). Returns the bytes written; room as for rl_escape_ucs4. */
static size_t escape_str(char *out, PyObject *text, size_t at, size_t len)
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

/* Text that is not ASCII, and whose UTF-8 CPython has not cached, is escaped from
 * CPython's own form, so that the user's objects do not grow by a UTF-8 copy. */
static void put_wide_text(rl_encoder *self, PyObject *text, bool key)
{
    size_t len = (size_t)PyUnicode_GET_LENGTH(text), at = 0;
    rl_buf *buf = self->json.buf;
    rl_json_string string;

    rl_json_string_begin(&self->json, &string, key);
    while (at < len) {
        size_t piece = len - at < RL_JSON_PIECE ? len - at : RL_JSON_PIECE;

        if (!rl_buf_reserve(buf, RL_ESCAPE_MAX * piece)) {
            break;
        }
        rl_json_string_add(&self->json, &string,
                           escape_str(buf->data + buf->len, text, at, piece));
        at += piece;
    }
    rl_json_string_end(&self->json, &string);
}

static void put_uncached_text(rl_encoder *self, PyObject *text, bool key)
{
    const char *data = NULL;
    size_t len = 0;

    if (PyUnicode_IS_COMPACT_ASCII(text)) {
        data = (const char *)PyUnicode_1BYTE_DATA(text);
        len = (size_t)PyUnicode_GET_LENGTH(text);
    } else {
        const PyCompactUnicodeObject *compact = (const PyCompactUnicodeObject *)text;

#if PY_VERSION_HEX < 0x030C0000
        if (PyUnicode_READY(text) < 0) {
            rl_put_failure(self, text);
            return;
        }
#endif
        data = compact->utf8; /* cached if anyone has asked for it before */
        len = (size_t)compact->utf8_length;
    }
    if (data == NULL) {
        put_wide_text(self, text, key);
    } else if (key) {
        rl_json_key(&self->json, data, len);
    } else {
        rl_json_text(&self->json, data, len);
    }
}

/* A long text that may be in the cache. One that could be cut is not taken from it. */
static void put_long_text(rl_encoder *self, PyObject *text)
{
    rl_text_cache *cache = self->options->cache;
    const rl_cached_text *cached = rl_text_cache_find(cache, text);
    rl_buf *buf = self->json.buf;
    size_t at = buf->len;

    if (cached != NULL && at + cached->len + self->depth < self->json.limit) {
        rl_json_raw(&self->json, cached->json, cached->len);
        return;
    }
    put_uncached_text(self, text, false);
    if (cached == NULL && !self->json.cut && !buf->failed) {
        rl_text_cache_add(cache, text, buf->data + at, buf->len - 1 - at);
    }
}

void rl_put_text(rl_encoder *self, PyObject *text, bool key)
{
    if (self->options->cache != NULL && !key && PyUnicode_CheckExact(text) &&
        rl_text_cache_wants(text)) {
        put_long_text(self, text);
    } else {
        put_uncached_text(self, text, key);
    }
}

/* An int of more than 64 bits. str() refuses more than 4,300 digits (CVE-2020-10735) and
 * takes quadratic time, so a longer int is written in hexadecimal, as text. */
static void put_big_int(rl_encoder *self, PyObject *value)
{
    PyObject *digits = PyLong_Type.tp_repr(value);
    bool is_number = digits != NULL && PyUnicode_GET_LENGTH(digits) <= DIGITS_MAX + 1;

    if (!is_number) {
        PyErr_Clear();
        Py_XDECREF(digits);
        digits = PyNumber_ToBase(value, 16);
    }
    if (digits == NULL) {
        rl_put_failure(self, value);
    } else if (is_number) {
        rl_json_raw(&self->json, (const char *)PyUnicode_1BYTE_DATA(digits),
                    (size_t)PyUnicode_GET_LENGTH(digits));
    } else {
        rl_put_text(self, digits, false);
    }
    Py_XDECREF(digits);
}

void rl_put_int(rl_encoder *self, PyObject *value)
{
    int overflow = 0;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);

    if (overflow == 0) {
        rl_json_int(&self->json, number);
    } else {
        put_big_int(self, value);
    }
}
