/* The encoder's walk: scalars, texts, containers. See encode.h and encoder.h. */
#include "py/encode.h"

#include "py/encoder.h"
#include "py/errors.h"

#define KEY_LEVELS 2 /* containers as keys within keys */

void rl_put_marker(rl_encoder *self, const char *text)
{
    rl_json_text(&self->json, text, strlen(text));
}

/* The name of the type, without its module. */
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
    const void *data = PyUnicode_DATA(text);
    const int kind = PyUnicode_KIND(text);
    size_t len = (size_t)PyUnicode_GET_LENGTH(text), at = 0;
    rl_buf *buf = self->json.buf;
    rl_json_string string;

    rl_json_string_begin(&self->json, &string, key);
    while (at < len) {
        size_t piece = len - at < RL_JSON_PIECE ? len - at : RL_JSON_PIECE, written;
        char *out;

        if (!rl_buf_reserve(buf, RL_ESCAPE_MAX * piece)) {
            break;
        }
        out = buf->data + buf->len;
        if (kind == PyUnicode_1BYTE_KIND) {
            written = rl_escape_ucs1(out, (const uint8_t *)data + at, piece);
        } else if (kind == PyUnicode_2BYTE_KIND) {
            written = rl_escape_ucs2(out, (const uint16_t *)data + at, piece);
        } else {
            written = rl_escape_ucs4(out, (const uint32_t *)data + at, piece);
        }
        rl_json_string_add(&self->json, &string, written);
        at += piece;
    }
    rl_json_string_end(&self->json, &string);
}

static inline void put_text(rl_encoder *self, PyObject *text, bool key)
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

/* The room that one member may need on the quick path: a key and a value. */
#define QUICK_KEY 32
#define QUICK_TEXT 32
#define QUICK_ROOM 128

/* A compact int's value (one digit, or a few); false for others. */
static inline bool compact_int(PyObject *value, int64_t *number)
{
#if PY_VERSION_HEX >= 0x030C0000
    if (PyUnstable_Long_IsCompact((PyLongObject *)value)) {
        *number = PyUnstable_Long_CompactValue((PyLongObject *)value);
        return true;
    }
#else
    if (Py_SIZE(value) == 1 || Py_SIZE(value) == 0) {
        *number = Py_SIZE(value) == 1 ? ((PyLongObject *)value)->ob_digit[0] : 0;
        return true;
    }
#endif
    return false;
}

/* Escapes a text of any length and kind at out if there is room for it before stop. */
static char *quick_text(char *out, const char *stop, PyObject *value)
{
    const PyCompactUnicodeObject *compact = (const PyCompactUnicodeObject *)value;
    const void *data = PyUnicode_DATA(value);
    size_t len = (size_t)PyUnicode_GET_LENGTH(value), written;
    bool ascii = PyUnicode_IS_COMPACT_ASCII(value);

    if (!ascii && compact->utf8 != NULL) { /* somebody has asked for it before */
        data = compact->utf8;
        len = (size_t)compact->utf8_length;
        ascii = true;
    }
    if (out > stop || len > (size_t)(stop - out) / RL_ESCAPE_MAX) {
        return NULL;
    }
    if (ascii) {
        written = rl_escape_utf8(out + 1, data, len);
    } else if (PyUnicode_KIND(value) == PyUnicode_1BYTE_KIND) {
        written = rl_escape_ucs1(out + 1, data, len);
    } else if (PyUnicode_KIND(value) == PyUnicode_2BYTE_KIND) {
        written = rl_escape_ucs2(out + 1, data, len);
    } else {
        written = rl_escape_ucs4(out + 1, data, len);
    }
    out[0] = '"';
    out[written + 1] = '"';
    return out + written + 2;
}

/* Writes a common scalar with its comma at out and returns where it ends; NULL, with
 * nothing written that counts, for any other value. Neither the buffer nor the cap are
 * looked at: that is the caller's, once for a whole member. Only texts are longer than
 * that, which must end before `stop`. */
static inline char *quick_scalar(char *out, const char *stop, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    int64_t number;

    if (type == &PyUnicode_Type) {
        size_t len = (size_t)PyUnicode_GET_LENGTH(value);

        if (PyUnicode_IS_COMPACT_ASCII(value) && len <= QUICK_TEXT &&
            rl_copy_clean_inside(out + 1, (const char *)PyUnicode_1BYTE_DATA(value),
                                 len)) {
            out[0] = '"';
            out[len + 1] = '"';
            out += len + 2;
        } else {
            out = quick_text(out, stop, value);
            if (out == NULL) {
                return NULL;
            }
        }
    } else if (type == &PyLong_Type) {
        if (!compact_int(value, &number)) {
            return NULL;
        }
        out += rl_put_i64(out, number);
    } else if (type == &PyFloat_Type) {
        double real = PyFloat_AS_DOUBLE(value);

        if (!(real > -1e16 && real < 1e16)) {
            return NULL;
        }
        out += rl_dtoa(real, out);
    } else if (value == Py_None) {
        memcpy(out, "null", 4);
        out += 4;
    } else if (value == Py_True) {
        memcpy(out, "true", 4);
        out += 4;
    } else if (value == Py_False) {
        memcpy(out, "false", 5);
        out += 5;
    } else {
        return NULL;
    }
    *out = ',';
    return out + 1;
}

/* Where the quick paths may write: as long as out is not past stop, a whole member fits
 * below the cap and into the buffer, so that neither has to be looked at. */
typedef struct window {
    char *out;
    const char *stop;
    const char *item; /* where the item begins that is being written */
    PyObject *key,
        *value; /* borrowed: where they ended; no key: it stands, or needs none */
} window;

/* False when there is no room for a single member: then only the careful path is left. */
static inline bool open_window(rl_encoder *self, window *quick)
{
    const size_t room = QUICK_ROOM + 2 * RL_JSON_DEPTH; /* and all brackets */
    rl_buf *buf = self->json.buf;
    size_t end;

    if (!rl_buf_reserve(buf, room)) {
        return false;
    }
    end = self->json.limit < buf->cap ? self->json.limit : buf->cap;
    if (end < buf->len + room) {
        return false;
    }
    quick->out = buf->data + buf->len;
    quick->stop = buf->data + (end - room);
    quick->item = quick->out;
    quick->key = NULL;
    return true;
}

static inline void close_window(rl_encoder *self, const window *quick)
{
    rl_json *json = &self->json;

    json->buf->len = (size_t)(quick->out - json->buf->data);
    json->item = (size_t)(quick->item - json->buf->data);
    json->depth = self->depth;
}

/* Writes a common key and its colon; NULL for others, and for those to redact. */
static inline char *quick_key(const rl_encoder *self, char *out, PyObject *key)
{
    const char *text;
    size_t len;

    if (!PyUnicode_CheckExact(key) || !PyUnicode_IS_COMPACT_ASCII(key)) {
        return NULL;
    }
    text = (const char *)PyUnicode_1BYTE_DATA(key);
    len = (size_t)PyUnicode_GET_LENGTH(key);
    if (len > QUICK_KEY || !rl_copy_clean_inside(out + 1, text, len) ||
        rl_redact_match(self->options->redact, text, len)) {
        return NULL;
    }
    out[0] = '"';
    out[len + 1] = '"';
    out[len + 2] = ':';
    return out + len + 3;
}

/* A container on the quick path, on the C stack: nothing of Python's runs there, so it needs
 * no reference. When the path ends inside of it, it becomes a frame. */
typedef struct place {
    const struct place *up; /* the enclosing one, NULL for the frame that is resumed */
    PyObject *owner;
    Py_ssize_t at, left; /* as in a frame */
    unsigned level;      /* its frame's index */
    rl_frame_kind kind;
} place;

/* C frames of the quick path; what is deeper goes through the encoder's own. */
#define QUICK_LEVELS 24

/* Whether the container is one that is being written. */
static inline bool is_open(const rl_encoder *self, const place *in, PyObject *value)
{
    bool open = value == self->outer;

    for (; in->up != NULL && !open; in = in->up) {
        open = in->owner == value;
    }
    for (unsigned i = self->depth; i > 0 && !open; i--) {
        open = self->frames[i - 1].owner == value;
    }
    return open;
}

static bool quick_container(rl_encoder *self, window *quick, place *in);

/* Makes a frame of a place. The innermost is the first to come here. */
static void suspend(rl_encoder *self, const place *from)
{
    rl_frame *frame = &self->frames[from->level];
    unsigned depth = from->level + 1;
    uint64_t bit = UINT64_C(1) << (depth & 63);

    frame->owner = Py_NewRef(from->owner);
    frame->items = from->owner;
    frame->names = NULL;
    frame->at = from->at;
    frame->left = from->left;
    frame->kind = from->kind;
    if (from->kind == FRAME_DICT) {
        self->json.objects[depth >> 6] |= bit;
    } else {
        self->json.objects[depth >> 6] &= ~bit;
    }
    if (self->depth < depth) {
        self->depth = depth;
    }
}

/* A container inside of `in`; false when it, or something in it, is not common. */
static bool quick_inner(rl_encoder *self, window *quick, const place *in, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    place inner = {.up = in, .owner = value, .level = in->level + 1};

    if (type == &PyDict_Type) {
        inner.kind = FRAME_DICT;
        inner.left = PyDict_GET_SIZE(value);
    } else if (type == &PyList_Type) {
        inner.kind = FRAME_LIST;
        inner.left = PyList_GET_SIZE(value);
    } else if (type == &PyTuple_Type) {
        inner.kind = FRAME_TUPLE;
        inner.left = PyTuple_GET_SIZE(value);
    } else {
        return false;
    }
    if (inner.level >= RL_JSON_DEPTH || inner.level >= self->depth + QUICK_LEVELS ||
        quick->out > quick->stop || is_open(self, in, value)) {
        return false;
    }
    *quick->out++ = inner.kind == FRAME_DICT ? '{' : '[';
    if (!quick_container(self, quick, &inner)) {
        suspend(self, &inner);
        return false;
    }
    quick->out -= quick->out[-1] == ',';
    *quick->out++ = inner.kind == FRAME_DICT ? '}' : ']';
    *quick->out++ = ',';
    return true;
}

/* PyDict_Next is safe on a dict that changes between two calls; at worst it misses a key
 * or gives one twice. A value is asked of the memory before it is looked at, as the values
 * of a state lie all over it. */
static inline bool next_entry(place *in, PyObject **key, PyObject **value)
{
    if (in->left <= 0 || !PyDict_Next(in->owner, &in->at, key, value)) {
        return false;
    }
    in->left--;
    __builtin_prefetch(*value);
    __builtin_prefetch((const char *)*value + 64);
    return true;
}

/* The path has come to a value that is no common scalar: into it if it is a container, else
 * to its end. The item, and its key unless it stands, are told in any case. */
static inline bool quick_other(rl_encoder *self, window *quick, const place *in,
                               const char *item, PyObject *value)
{
    quick->item = item;
    quick->key = NULL;
    quick->value = value;
    return quick_inner(self, quick, in, value);
}

static bool quick_members(rl_encoder *self, window *quick, place *in)
{
    char *out =
        quick->out; /* a local: through the window, each store waits for the last */
    PyObject *key, *value;

    while (next_entry(in, &key, &value)) {
        char *after_key = out <= quick->stop ? quick_key(self, out, key) : NULL;
        char *end =
            after_key != NULL ? quick_scalar(after_key, quick->stop, value) : NULL;

        if (end == NULL) {
            quick->out = after_key != NULL ? after_key : out;
            if (after_key == NULL) {
                quick->item = out;
                quick->key = key;
                quick->value = value;
                return false;
            }
            if (!quick_other(self, quick, in, out, value)) {
                return false;
            }
            end = quick->out;
        }
        out = end;
    }
    quick->out = out;
    quick->item = out;
    return true;
}

static bool quick_items(rl_encoder *self, window *quick, place *in)
{
    PyObject *const *items = in->kind == FRAME_LIST
                                 ? ((PyListObject *)in->owner)->ob_item
                                 : ((PyTupleObject *)in->owner)->ob_item;
    Py_ssize_t size = Py_SIZE(in->owner) - in->at;
    Py_ssize_t at = 0, count = in->left < size ? in->left : size;
    char *out = quick->out;
    bool common = true;

    items += in->at;
    while (common && at < count) {
        PyObject *value = items[at++];
        char *end = out <= quick->stop ? quick_scalar(out, quick->stop, value) : NULL;

        if (end == NULL) {
            quick->out = out;
            in->at += at; /* for the case that this container is suspended */
            in->left -= at;
            items += at;
            count -= at;
            at = 0;
            common = quick_other(self, quick, in, out, value);
            end = quick->out;
        }
        out = end;
    }
    in->at += at;
    in->left -= at;
    quick->out = out;
    if (common) {
        quick->item = out;
    }
    return common;
}

/* Writes what is common of a container from its place on; false when something is not, or
 * when the window is full. */
static bool quick_container(rl_encoder *self, window *quick, place *in)
{
    return in->kind == FRAME_DICT ? quick_members(self, quick, in)
                                  : quick_items(self, quick, in);
}

/* Without a window: the next member of a container, if there is one. */
static bool careful_next(window *next, place *in)
{
    if (in->kind == FRAME_DICT) {
        return next_entry(in, &next->key, &next->value);
    }
    next->key = NULL;
    if (in->left <= 0 || in->at >= Py_SIZE(in->owner)) {
        return false;
    }
    in->left--;
    next->value = in->kind == FRAME_LIST ? PyList_GET_ITEM(in->owner, in->at)
                                         : PyTuple_GET_ITEM(in->owner, in->at);
    in->at++;
    return true;
}

/* A dict, list or tuple: what is common in it and in what it holds goes the quick path, in
 * one go; what ends that is written with care. */
static void walk_common(rl_encoder *self, rl_frame *top)
{
    place in = {NULL, top->items, top->at, top->left, self->depth - 1, top->kind};
    bool ended = true;
    window quick;

    if (!rl_stopped(self)) {
        if (open_window(self, &quick)) {
            ended = quick_container(self, &quick, &in);
            close_window(self, &quick);
        } else {
            ended = !careful_next(&quick, &in);
        }
    }
    top->at = in.at;
    top->left = in.left;
    if (ended) {
        pop(self);
        return;
    }
    Py_XINCREF(quick.key); /* a conversion may run Python, which may drop both */
    Py_INCREF(quick.value);
    if (quick.key != NULL) {
        put_member(self, quick.key, quick.value);
    } else {
        put(self, quick.value);
    }
    Py_DECREF(quick.value);
    Py_XDECREF(quick.key);
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
