/* The encoder's walk: scalars, texts, containers. See encode.h and encoder.h. */
#include "py/encode.h"

#include "core/delta.h"
#include "py/encoder.h"
#include "py/errors.h"

#define KEY_LEVELS 2 /* containers as keys within keys */

void rl_put_marker(rl_encoder *self, const char *text)
{
    rl_json_text(&self->json, text, strlen(text));
}

const char *rl_type_name(PyObject *value)
{
    const char *name = strrchr(Py_TYPE(value)->tp_name, '.');

    return name != NULL ? name + 1 : Py_TYPE(value)->tp_name;
}

/* The value's conversion has raised. */
void rl_put_failure(rl_encoder *self, PyObject *value)
{
    char text[160];

    rl_errors_swallow();
    PyOS_snprintf(text, sizeof text, "<unserializable %.100s>", rl_type_name(value));
    rl_put_marker(self, text);
}

/* Text that is neither ASCII nor has its UTF-8 at hand is written from CPython's own form,
 * so that no UTF-8 copy stays in the user's objects. */
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
                           rl_escape_str(buf->data + buf->len, text, at, piece));
        at += piece;
    }
    rl_json_string_end(&self->json, &string);
}

static inline void put_text_itself(rl_encoder *self, PyObject *text, bool key)
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
        data = compact->utf8; /* there if somebody has asked for it before */
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

/* A long text that may have been encoded before. One that could be cut is not looked for. */
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
    put_text_itself(self, text, false);
    if (cached == NULL && !self->json.cut && !buf->failed) {
        rl_text_cache_add(cache, text, buf->data + at, buf->len - 1 - at);
    }
}

static inline void put_text(rl_encoder *self, PyObject *text, bool key)
{
    if (self->options->cache != NULL && !key && PyUnicode_CheckExact(text) &&
        rl_text_cache_wants(text)) {
        put_long_text(self, text);
    } else {
        put_text_itself(self, text, key);
    }
}

/* An int of more than 64 bits. str() refuses more than 4,300 digits (CVE-2020-10735) and
 * takes quadratic time, so what is longer is written in hexadecimal, as text. */
static void put_big_int(rl_encoder *self, PyObject *value)
{
    PyObject *digits = PyLong_Type.tp_repr(value);
    bool is_number = digits != NULL && PyUnicode_GET_LENGTH(digits) <= 4300 + 1;

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
        put_text(self, digits, false);
    }
    Py_XDECREF(digits);
}

static inline void put_int(rl_encoder *self, PyObject *value)
{
    int overflow = 0;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);

    if (overflow == 0) {
        rl_json_int(&self->json, number);
    } else {
        put_big_int(self, value);
    }
}

/* Whether a container may be opened; else its marker is written. */
static inline bool may_open(rl_encoder *self, PyObject *owner)
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

static inline void open_frame(rl_encoder *self, rl_frame_kind kind, PyObject *owner,
                              PyObject *items, Py_ssize_t size, char bracket)
{
    rl_frame *next = &self->frames[self->depth++];

    next->owner = Py_NewRef(owner);
    next->items = items;
    next->names = NULL;
    next->at = 0;
    next->left = size;
    next->kind = kind;
    rl_json_open(&self->json, bracket);
}

int rl_push(rl_encoder *self, rl_frame_kind kind, PyObject *owner, PyObject *items,
            Py_ssize_t size)
{
    bool is_object = kind == FRAME_DICT || kind == FRAME_PAIRS || kind == FRAME_FIELDS;

    if (!may_open(self, owner)) {
        Py_DECREF(items);
        return -1;
    }
    if (items == owner) { /* one reference is enough */
        Py_DECREF(items);
    }
    open_frame(self, kind, owner, items, size, is_object ? '{' : '[');
    return 0;
}

static inline void pop(rl_encoder *self)
{
    rl_frame *top = &self->frames[--self->depth];

    rl_json_close(&self->json);
    Py_XDECREF(top->names);
    if (top->items != top->owner) {
        Py_DECREF(top->items);
    }
    Py_DECREF(top->owner);
}

/* One value. Scalars are written, containers opened. `value` must stay alive by itself only
 * as long as no Python code runs: put_other takes a reference. */
static inline void put(rl_encoder *self, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);

    if (type == &PyDict_Type) {
        if (may_open(self, value)) {
            open_frame(self, FRAME_DICT, value, value, PyDict_GET_SIZE(value), '{');
        }
    } else if (type == &PyUnicode_Type) {
        put_text(self, value, false);
    } else if (type == &PyList_Type) {
        if (may_open(self, value)) {
            open_frame(self, FRAME_LIST, value, value, PyList_GET_SIZE(value), '[');
        }
    } else if (type == &PyTuple_Type) {
        if (may_open(self, value)) {
            open_frame(self, FRAME_TUPLE, value, value, PyTuple_GET_SIZE(value), '[');
        }
    } else if (type == &PyLong_Type) {
        put_int(self, value);
    } else if (type == &PyFloat_Type) {
        rl_json_double(&self->json, PyFloat_AS_DOUBLE(value));
    } else if (value == Py_None) {
        rl_json_raw(&self->json, "null", 4);
    } else if (value == Py_True) {
        rl_json_raw(&self->json, "true", 4);
    } else if (value == Py_False) {
        rl_json_raw(&self->json, "false", 5);
    } else {
        rl_put_other(self, value);
    }
}

void rl_put_text(rl_encoder *self, PyObject *text, bool key)
{
    put_text(self, text, key);
}

void rl_put_int(rl_encoder *self, PyObject *value)
{
    put_int(self, value);
}

void rl_put(rl_encoder *self, PyObject *value)
{
    put(self, value);
}

/* Readies an encoder whose frames, 10 KB of them, are left as they are. */
static void begin(rl_encoder *self, const rl_encode_options *options, PyObject *outer,
                  rl_buf *buf)
{
    self->options = options;
    self->depth = 0;
    self->key_level = 0;
    self->outer = outer;
    rl_json_begin(&self->json, buf, options->cap);
}

static void walk(rl_encoder *self, unsigned base);

/* A key that is no text: its JSON, as text. Written by an rl_encoder of its own, as its text
 * may stand behind nothing but a brace or a comma. */
static void put_odd_key(rl_encoder *self, PyObject *key)
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
    begin(&inner, self->options, NULL, &buf);
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

    if (PyUnicode_CheckExact(key)) {
        put_text(self, key, true);
    } else {
        put_odd_key(self, key);
    }
    /* compared as it was written: past the cut nothing is stored anyway */
    return buf->len >= at + 2 && !self->json.cut &&
           rl_redact_match(self->options->redact, buf->data + at, buf->len - at - 2);
}

static inline void put_member(rl_encoder *self, PyObject *key, PyObject *value)
{
    if (put_key(self, key)) {
        rl_put_marker(self, RL_REDACTED);
    } else {
        put(self, value);
    }
}

/* A dict, list or tuple: what is common in it and in what it holds goes the quick path, in
 * one go; what ends that is written with care. */
static void walk_common(rl_encoder *self, rl_frame *top)
{
    rl_pending next;

    if (rl_stopped(self) || rl_quick_walk(self, top, &next)) {
        pop(self);
        return;
    }
    Py_XINCREF(next.key); /* a conversion may run Python, which may drop both */
    Py_INCREF(next.value);
    if (next.key != NULL) {
        put_member(self, next.key, next.value);
    } else {
        put(self, next.value);
    }
    Py_DECREF(next.value);
    Py_XDECREF(next.key);
}

/* The walks of other containers: until one ends (then it is closed) or another is opened.
 * This is the list of pairs that a mapping's items() gave. */
static void walk_pairs(rl_encoder *self, rl_frame *top)
{
    const unsigned depth = self->depth;

    while (top->left > 0 && top->at < PyList_GET_SIZE(top->items) && !rl_stopped(self)) {
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
    pop(self);
}

static void walk_iterator(rl_encoder *self, rl_frame *top)
{
    const unsigned depth = self->depth;

    while (!rl_stopped(self)) {
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
    pop(self);
}

static void walk_fields(rl_encoder *self, rl_frame *top)
{
    const unsigned depth = self->depth;

    while (top->at < PyTuple_GET_SIZE(top->names) && !rl_stopped(self)) {
        Py_ssize_t at = top->at++;

        put_member(self, PyTuple_GET_ITEM(top->names, at),
                   PyTuple_GET_ITEM(top->items, at));
        if (self->depth != depth) {
            return;
        }
    }
    pop(self);
}

/* Walks until the containers above `base` are closed. */
static void walk(rl_encoder *self, unsigned base)
{
    while (self->depth > base) {
        rl_frame *top = &self->frames[self->depth - 1];

        switch (top->kind) {
        case FRAME_LIST:
        case FRAME_TUPLE:
        case FRAME_DICT:
            walk_common(self, top);
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

/* Encodes a value that stands inside of `outer`, or in nothing (NULL). */
static void encode_within(const rl_encode_options *options, PyObject *value,
                          PyObject *outer, rl_buf *buf, bool *wide_numbers)
{
    rl_encoder self;

    begin(&self, options, outer, buf);
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

/* The members of a dict that was opened, each noted from `start` on. */
static void walk_members(rl_encoder *self, PyObject *dict, size_t start, rl_buf *members)
{
    const rl_buf *buf = self->json.buf;
    Py_ssize_t at = 0, left = PyDict_GET_SIZE(dict);
    PyObject *key, *value;

    while (left-- > 0 && !rl_stopped(self) && PyDict_Next(dict, &at, &key, &value)) {
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

    begin(&self, options, NULL, buf);
    put(&self, value);
    if (self.depth == 1 && PyDict_CheckExact(value)) {
        walk_members(&self, value, start, members);
        pop(&self);
    } else {
        walk(&self, 0);
    }
    cut = self.json.cut; /* which the end takes back */
    rl_json_end(&self.json);
    *wide_numbers |= self.json.wide_number;
    if (cut || buf->failed || members->failed) {
        return false;
    }
    return PyDict_CheckExact(value) ||
           rl_object_split(buf->data + start, buf->len - start, members);
}

/* One node log: each of its members has the cap to itself. */
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
        begin(&self, options, log, buf);
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
