/* The encoder's walk over containers and keys. See encode.h and encoder.h. */
#include "py/encode/encode.h"

#include "core/delta.h"
#include "py/base/errors.h"
#include "py/encode/encoder.h"
#include "py/encode/special_values.h"

#define KEY_LEVELS 2 /* containers as keys within keys */
#define REPLACED_MAX \
    100               /* values that stand for one another: an Enum of an Enum of ... */
#define SHORT_TEXT 32 /* characters, as rl_copy_clean_inside takes */

/* Writes a str of a few ASCII characters that need no escape, and `tail` after it. False,
 * with nothing written, for any other text, and near the cap. Most keys and many values
 * are such texts, so callers try this before rl_put_text. */
static inline bool put_short_text(rl_encoder *self, PyObject *text, char tail)
{
    rl_buf *buf = self->json.buf;
    size_t len = (size_t)((PyASCIIObject *)text)->length;
    char *out;

    if (!PyUnicode_IS_COMPACT_ASCII(text) || len > SHORT_TEXT ||
        !rl_buf_reserve(buf, SHORT_TEXT + 8) ||
        buf->len + len + 3 + self->depth > self->json.limit) {
        return false;
    }
    out = buf->data + buf->len;
    if (!rl_copy_clean_inside(out + 1, (const char *)PyUnicode_1BYTE_DATA(text), len)) {
        return false;
    }
    out[0] = '"';
    out[len + 1] = '"';
    out[len + 2] = tail;
    buf->len += len + 3;
    return true;
}

/* Writes a value of one of JSON's own types, or opens it as a container; false for values
 * of other types. Runs no Python code: a borrowed `value` stays alive. */
static inline bool put_plain(rl_encoder *self, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);

    if (type == &PyUnicode_Type) {
        if (put_short_text(self, value, ',')) {
            self->json.item = self->json.buf->len;
        } else {
            rl_put_text(self, value, false);
        }
    } else if (type == &PyLong_Type) {
        rl_put_int(self, value);
    } else if (type == &PyFloat_Type) {
        rl_json_double(&self->json, PyFloat_AS_DOUBLE(value));
    } else if (type == &PyDict_Type) {
        (void)rl_encoder_push(self, FRAME_DICT, value, NULL, PyDict_GET_SIZE(value));
    } else if (type == &PyList_Type) {
        (void)rl_encoder_push(self, FRAME_LIST, value, NULL, PyList_GET_SIZE(value));
    } else if (type == &PyTuple_Type) {
        (void)rl_encoder_push(self, FRAME_TUPLE, value, NULL, PyTuple_GET_SIZE(value));
    } else if (value == Py_None) {
        rl_json_raw(&self->json, "null", 4);
    } else if (value == Py_True) {
        rl_json_raw(&self->json, "true", 4);
    } else if (value == Py_False) {
        rl_json_raw(&self->json, "false", 5);
    } else {
        return false;
    }
    return true;
}

/* Any other value; it may be replaced by another one, which may be replaced in turn. */
static void put_special(rl_encoder *self, PyObject *value)
{
    unsigned replaced = 0;

    Py_INCREF(value);
    do {
        Py_SETREF(value, rl_put_special(self, value));
    } while (value != NULL && !put_plain(self, value) && ++replaced < REPLACED_MAX);
    if (replaced == REPLACED_MAX) {
        rl_put_failure(self, value);
    }
    Py_XDECREF(value);
}

/* One value: a scalar is written, a container is opened. */
static inline void put(rl_encoder *self, PyObject *value)
{
    if (!put_plain(self, value)) {
        put_special(self, value);
    }
}

static void walk(rl_encoder *self, unsigned base);

/* A key that is not a text: its JSON, as text. A second encoder writes it to a separate
 * buffer, as the JSON must be escaped again. */
static void put_other_key(rl_encoder *self, PyObject *key)
{
    rl_encoder inner;
    const char *text;
    rl_buf buf;
    size_t len;

    rl_buf_init(&buf, RL_BUF_MAX);
    if (self->key_level == KEY_LEVELS) {
        rl_json_key(&self->json, "<too deep>", 10);
        return;
    }
    Py_INCREF(key);
    rl_encoder_begin(&inner, self->options, NULL, &buf);
    inner.key_level = self->key_level + 1;
    put(&inner, key);
    walk(&inner, 0);
    rl_json_end(&inner.json);
    if (buf.failed) {
        self->json.buf->failed = true;
    } else if (buf.data[0] == '"') {
        rl_json_string string;

        text = buf.data + 1;
        len = buf.len - 2;
        rl_json_string_begin(&self->json, &string, true);
        if (rl_buf_reserve(self->json.buf, len)) {
            memcpy(self->json.buf->data + self->json.buf->len, text, len);
            rl_json_string_add(&self->json, &string, len);
        }
        rl_json_string_end(&self->json, &string);
    } else {
        rl_json_key(&self->json, buf.data, buf.len);
    }
    rl_buf_free(&buf);
    Py_DECREF(key);
}

/* Writes a key; true when the value that belongs to it is not to be stored. */
static inline bool put_key(rl_encoder *self, PyObject *key)
{
    rl_buf *buf = self->json.buf;
    size_t at = buf->len + 1;

    if (!PyUnicode_CheckExact(key)) {
        put_other_key(self, key);
    } else if (!put_short_text(self, key, ':')) {
        rl_put_text(self, key, true);
    }
    /* compared as it was written: past the cut nothing is stored anyway */
    return buf->len >= at + 2 && !self->json.cut &&
           rl_redact_match(self->options->redact, buf->data + at, buf->len - at - 2);
}

static inline void put_member(rl_encoder *self, PyObject *key, PyObject *value)
{
    Py_INCREF(
        value); /* converting the key may run Python code, which may drop the value */
    if (put_key(self, key)) {
        rl_put_marker(self, RL_REDACTED);
    } else {
        put(self, value);
    }
    Py_DECREF(value);
}

/* The walks of the kinds of containers. Each continues until its container ends (and is
 * then closed), or until it has opened another container. */
static void walk_dict(rl_encoder *self, rl_frame *top)
{
    const unsigned depth = self->depth;
    PyObject *key, *value;

    /* PyDict_Next is safe on a dict that changes between two calls: at worst it misses a
     * key or gives one twice. */
    while (top->left > 0 && !rl_encoder_stopped(self) &&
           PyDict_Next(top->items, &top->at, &key, &value)) {
        top->left--;
        put_member(self, key, value);
        if (self->depth != depth) {
            return;
        }
    }
    rl_encoder_pop(self);
}

static void walk_list(rl_encoder *self, rl_frame *top)
{
    const unsigned depth = self->depth;

    while (top->left > 0 && top->at < Py_SIZE(top->items) && !rl_encoder_stopped(self)) {
        PyObject *item = top->kind == FRAME_LIST ? PyList_GET_ITEM(top->items, top->at)
                                                 : PyTuple_GET_ITEM(top->items, top->at);

        top->at++;
        top->left--;
        put(self, item); /* which holds it while Python code may run */
        if (self->depth != depth) {
            return;
        }
    }
    rl_encoder_pop(self);
}

static void walk_pairs(rl_encoder *self, rl_frame *top)
{
    const unsigned depth = self->depth;

    while (top->left > 0 && top->at < PyList_GET_SIZE(top->items) &&
           !rl_encoder_stopped(self)) {
        PyObject *pair = Py_NewRef(PyList_GET_ITEM(top->items, top->at++));

        top->left--;
        if (PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2) {
            put_member(self, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
        }
        Py_DECREF(pair);
        if (self->depth != depth) {
            return;
        }
    }
    rl_encoder_pop(self);
}

static void walk_iterator(rl_encoder *self, rl_frame *top)
{
    const unsigned depth = self->depth;

    while (!rl_encoder_stopped(self)) {
        PyObject *item = PyIter_Next(top->items);

        if (item == NULL) {
            if (PyErr_Occurred()) {
                rl_put_failure(self, top->owner);
            }
            break;
        }
        put(self, item);
        Py_DECREF(item);
        if (self->depth != depth) {
            return;
        }
    }
    rl_encoder_pop(self);
}

static void walk_fields(rl_encoder *self, rl_frame *top)
{
    const unsigned depth = self->depth;

    while (top->at < PyTuple_GET_SIZE(top->names) && !rl_encoder_stopped(self)) {
        Py_ssize_t at = top->at++;

        put_member(self, PyTuple_GET_ITEM(top->names, at),
                   PyTuple_GET_ITEM(top->items, at));
        if (self->depth != depth) {
            return;
        }
    }
    rl_encoder_pop(self);
}

/* Walks until all containers but the outermost `base` are closed. */
static void walk(rl_encoder *self, unsigned base)
{
    while (self->depth > base) {
        rl_frame *top = &self->frames[self->depth - 1];

        switch (top->kind) {
        case FRAME_DICT:
            walk_dict(self, top);
            break;
        case FRAME_LIST:
        case FRAME_TUPLE:
            walk_list(self, top);
            break;
        case FRAME_PAIRS:
            walk_pairs(self, top);
            break;
        case FRAME_ITERATOR:
            walk_iterator(self, top);
            break;
        case FRAME_FIELDS:
            walk_fields(self, top);
            break;
        }
    }
}

/* Encodes a value that is inside of `outer` (NULL: of nothing). */
static void encode_within(const rl_encode_options *options, PyObject *value,
                          PyObject *outer, rl_buf *buf, bool *wide_numbers)
{
    rl_encoder self;

    rl_encoder_begin(&self, options, outer, buf);
    put(&self, value);
    walk(&self, 0);
    rl_json_end(&self.json);
    *wide_numbers |= self.json.wide_number;
}

void rl_encode(const rl_encode_options *options, PyObject *value, rl_buf *buf,
               bool *wide_numbers)
{
    encode_within(options, value, NULL, buf, wide_numbers);
}

/* The members of an open dict. `members` gets the place of each, counted from `start`. */
static void walk_members(rl_encoder *self, PyObject *dict, size_t start, rl_buf *members)
{
    const rl_buf *buf = self->json.buf;
    Py_ssize_t at = 0, left = PyDict_GET_SIZE(dict);
    PyObject *key, *value;

    while (left-- > 0 && !rl_encoder_stopped(self) &&
           PyDict_Next(dict, &at, &key, &value)) {
        rl_member member = {.key_at = buf->len - start};

        Py_INCREF(key);
        Py_INCREF(value);
        if (put_key(self, key)) {
            member.value_at = buf->len - start;
            rl_put_marker(self, RL_REDACTED);
        } else {
            member.value_at = buf->len - start;
            put(self, value);
            walk(self, 1);
        }
        member.key_len = member.value_at - 1 - member.key_at;      /* without the colon */
        member.value_len = buf->len - 1 - start - member.value_at; /* nor the comma */
        rl_buf_add(members, &member, sizeof member);
        Py_DECREF(value);
        Py_DECREF(key);
    }
}

bool rl_encode_members(const rl_encode_options *options, PyObject *value, rl_buf *buf,
                       rl_buf *members, bool *wide_numbers)
{
    size_t start = buf->len;
    bool cut;
    rl_encoder self;

    rl_encoder_begin(&self, options, NULL, buf);
    put(&self, value);
    if (self.depth == 1 && PyDict_CheckExact(value)) {
        walk_members(&self, value, start, members);
        rl_encoder_pop(&self);
    } else {
        walk(&self, 0);
    }
    cut = self.json.cut; /* rl_json_end clears it */
    rl_json_end(&self.json);
    *wide_numbers |= self.json.wide_number;
    if (cut || buf->failed || members->failed) {
        return false;
    }
    return PyDict_CheckExact(value) ||
           rl_object_split(buf->data + start, buf->len - start, members);
}

/* One node log; the cap holds for each of its members. */
static void encode_log(const rl_encode_options *options, PyObject *log, rl_buf *buf,
                       bool *wide_numbers)
{
    rl_encoder self;
    Py_ssize_t at = 0, left = PyDict_GET_SIZE(log);
    PyObject *key, *value;

    rl_buf_add_char(buf, '{');
    while (left-- > 0 && PyDict_Next(log, &at, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        rl_encoder_begin(&self, options, log, buf);
        if (put_key(&self, key)) {
            rl_put_marker(&self, RL_REDACTED);
        } else {
            encode_within(options, value, log, buf, wide_numbers);
            rl_buf_add_char(buf, ',');
        }
        Py_DECREF(value);
        Py_DECREF(key);
    }
    if (!buf->failed) {
        buf->len -= buf->data[buf->len - 1] == ',';
    }
    rl_buf_add_char(buf, '}');
}

void rl_encode_logs(const rl_encode_options *options, PyObject *logs, rl_buf *buf,
                    bool *wide_numbers)
{
    Py_ssize_t size;

    if (!PyList_CheckExact(logs)) {
        rl_encode(options, logs, buf, wide_numbers);
        return;
    }
    size = PyList_GET_SIZE(logs);
    rl_buf_add_char(buf, '[');
    for (Py_ssize_t i = 0; i < size && i < PyList_GET_SIZE(logs); i++) {
        PyObject *log = Py_NewRef(PyList_GET_ITEM(logs, i));

        if (i > 0) {
            rl_buf_add_char(buf, ',');
        }
        if (PyDict_CheckExact(log)) {
            encode_log(options, log, buf, wide_numbers);
        } else {
            encode_within(options, log, logs, buf, wide_numbers);
        }
        Py_DECREF(log);
    }
    rl_buf_add_char(buf, ']');
}

/* str() of a value, in UTF-8 with replacements; false when it raised. */
static bool add_str(PyObject *value, rl_buf *buf)
{
    PyObject *text = PyObject_Str(value);
    PyObject *bytes =
        text != NULL ? PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass") : NULL;

    if (bytes != NULL) {
        const unsigned char *from = (const unsigned char *)PyBytes_AS_STRING(bytes);
        size_t len = (size_t)PyBytes_GET_SIZE(bytes);

        for (size_t i = 0; i < len; i++) {
            if (from[i] == 0) {
                rl_buf_add(buf, RL_REPLACEMENT, 3);
            } else if (from[i] == 0xED && from[i + 1] >= 0xA0) { /* a lone surrogate */
                rl_buf_add(buf, RL_REPLACEMENT, 3);
                i += 2;
            } else {
                rl_buf_add_char(buf, (char)from[i]);
            }
        }
    }
    Py_XDECREF(bytes);
    Py_XDECREF(text);
    return bytes != NULL;
}

void rl_encode_plain(const rl_encode_options *options, PyObject *value, rl_buf *buf)
{
    size_t at = buf->len;
    bool wide = false;

    if (!PyUnicode_Check(value) && !PyExceptionInstance_Check(value)) {
        rl_encode(options, value, buf, &wide);
        if (!buf->failed && buf->data[at] == '"') {
            buf->len =
                at + rl_unescape(buf->data + at, buf->data + at + 1, buf->len - at - 2);
        }
    } else if (!add_str(value, buf)) {
        rl_errors_swallow();
        rl_buf_printf(buf, "<unserializable %.100s>", rl_type_name(value));
    }
}
