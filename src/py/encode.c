/* The encoder. See encode.h. */
#include "py/encode.h"

#include "core/json.h"
#include "py/convert.h"
#include "py/errors.h"

#define KEY_LEVELS 2   /* containers as keys within keys */

typedef enum frame_kind {
    FRAME_LIST,
    FRAME_TUPLE,
    FRAME_DICT,
    FRAME_PAIRS,
    FRAME_ITERATOR,
    FRAME_FIELDS
} frame_kind;

/* A container that is being walked. */
typedef struct frame {
    PyObject *owner; /* owned: the value itself, by which cycles are told */
    PyObject *items; /* owned: what is walked, which may be the owner */
    PyObject *names; /* owned: FRAME_FIELDS only */
    Py_ssize_t at;
    Py_ssize_t left; /* items to take at most: a list may grow for ever under us */
    frame_kind kind;
} frame;

typedef struct encoder {
    const rl_encode_options *options;
    rl_json json;
    unsigned depth;
    unsigned key_level;
    frame frames[RL_JSON_DEPTH];
} encoder;

static void put(encoder *self, PyObject *value);
static void put_other(encoder *self, PyObject *value);

static bool stopped(const encoder *self)
{
    return self->json.buf->failed || rl_json_gave_up(&self->json);
}

static void put_marker(encoder *self, const char *text)
{
    rl_json_text(&self->json, text, strlen(text));
}

/* The name of the type, without its module. */
static const char *type_name(PyObject *value)
{
    const char *name = strrchr(Py_TYPE(value)->tp_name, '.');

    return name != NULL ? name + 1 : Py_TYPE(value)->tp_name;
}

/* The value's conversion has raised. */
static void put_failure(encoder *self, PyObject *value)
{
    char text[160];

    rl_errors_swallow();
    PyOS_snprintf(text, sizeof text, "<unserializable %.100s>", type_name(value));
    put_marker(self, text);
}

/* Text that is neither ASCII nor has its UTF-8 at hand is written from CPython's own form,
 * so that no UTF-8 copy stays in the user's objects. */
static void put_wide_text(encoder *self, PyObject *text, bool key)
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

static inline void put_text(encoder *self, PyObject *text, bool key)
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
            put_failure(self, text);
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
static void put_big_int(encoder *self, PyObject *value)
{
    PyObject *digits = PyLong_Type.tp_repr(value);
    bool is_number = digits != NULL && PyUnicode_GET_LENGTH(digits) <= 4300 + 1;

    if (!is_number) {
        PyErr_Clear();
        Py_XDECREF(digits);
        digits = PyNumber_ToBase(value, 16);
    }
    if (digits == NULL) {
        put_failure(self, value);
    } else if (is_number) {
        rl_json_raw(&self->json, (const char *)PyUnicode_1BYTE_DATA(digits),
                    (size_t)PyUnicode_GET_LENGTH(digits));
    } else {
        put_text(self, digits, false);
    }
    Py_XDECREF(digits);
}

static inline void put_int(encoder *self, PyObject *value)
{
    int overflow = 0;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);

    if (overflow == 0) {
        rl_json_int(&self->json, number);
    } else {
        put_big_int(self, value);
    }
}

/* Opens a container: 0, or -1 when a marker stands in its place. Steals `items`. */
static int push(encoder *self, frame_kind kind, PyObject *owner, PyObject *items,
                Py_ssize_t size)
{
    frame *next = &self->frames[self->depth];

    for (unsigned i = self->depth; i > 0; i--) {
        if (self->frames[i - 1].owner == owner) {
            put_marker(self, "<cycle>");
            Py_DECREF(items);
            return -1;
        }
    }
    if (self->depth == RL_JSON_DEPTH) {
        put_marker(self, "<too deep>");
        Py_DECREF(items);
        return -1;
    }
    next->owner = Py_NewRef(owner);
    next->items = items;
    next->names = NULL;
    next->at = 0;
    next->left = size;
    next->kind = kind;
    self->depth++;
    rl_json_open(&self->json, kind == FRAME_DICT || kind == FRAME_PAIRS || kind == FRAME_FIELDS
                                  ? '{'
                                  : '[');
    return 0;
}

static void pop(encoder *self)
{
    frame *top = &self->frames[--self->depth];

    rl_json_close(&self->json);
    Py_XDECREF(top->names);
    Py_DECREF(top->items);
    Py_DECREF(top->owner);
}

/* One value. Scalars are written, containers opened. `value` must stay alive by itself only
 * as long as no Python code runs: put_other takes a reference. */
static inline void put(encoder *self, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);

    if (type == &PyUnicode_Type) {
        put_text(self, value, false);
    } else if (type == &PyLong_Type) {
        put_int(self, value);
    } else if (type == &PyFloat_Type) {
        rl_json_double(&self->json, PyFloat_AS_DOUBLE(value));
    } else if (value == Py_None) {
        rl_json_raw(&self->json, "null", 4);
    } else if (type == &PyBool_Type) {
        rl_json_raw(&self->json, value == Py_True ? "true" : "false",
                    value == Py_True ? 4 : 5);
    } else if (type == &PyDict_Type) {
        push(self, FRAME_DICT, value, Py_NewRef(value), PyDict_GET_SIZE(value));
    } else if (type == &PyList_Type) {
        push(self, FRAME_LIST, value, Py_NewRef(value), PyList_GET_SIZE(value));
    } else if (type == &PyTuple_Type) {
        push(self, FRAME_TUPLE, value, Py_NewRef(value), PyTuple_GET_SIZE(value));
    } else {
        put_other(self, value);
    }
}

static void walk(encoder *self, unsigned base);

/* A key that is no text: its JSON, as text. Written by an encoder of its own, as its text
 * may stand behind nothing but a brace or a comma. */
static void put_odd_key(encoder *self, PyObject *key)
{
    encoder inner = {.options = self->options, .key_level = self->key_level + 1};
    const char *text;
    rl_buf buf;
    size_t len;

    rl_buf_init(&buf, RL_BUF_MAX);
    if (self->key_level == KEY_LEVELS) {
        rl_json_key(&self->json, "<too deep>", 10);
        return;
    }
    Py_INCREF(key);
    rl_json_begin(&inner.json, &buf, self->options->cap);
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
static inline bool put_key(encoder *self, PyObject *key)
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

static inline void put_member(encoder *self, PyObject *key, PyObject *value)
{
    if (put_key(self, key)) {
        put_marker(self, RL_REDACTED);
    } else {
        put(self, value);
    }
}

/* The walks of one container: until it ends (then it is closed) or another is opened. */
static void walk_list(encoder *self, frame *top)
{
    const unsigned depth = self->depth;

    while (top->left > 0 && top->at < PyList_GET_SIZE(top->items) && !stopped(self)) {
        top->left--;
        put(self, PyList_GET_ITEM(top->items, top->at++));
        if (self->depth != depth) {
            return;
        }
    }
    pop(self);
}

static void walk_tuple(encoder *self, frame *top)
{
    const unsigned depth = self->depth;

    while (top->at < PyTuple_GET_SIZE(top->items) && !stopped(self)) {
        put(self, PyTuple_GET_ITEM(top->items, top->at++));
        if (self->depth != depth) {
            return;
        }
    }
    pop(self);
}

/* PyDict_Next is safe on a dict that changes between two calls; at worst it misses a key
 * or gives one twice. */
static void walk_dict(encoder *self, frame *top)
{
    const unsigned depth = self->depth;
    PyObject *key, *value;

    while (top->left > 0 && !stopped(self) &&
           PyDict_Next(top->items, &top->at, &key, &value)) {
        top->left--;
        if (PyUnicode_CheckExact(key)) {
            put_member(self, key, value);
        } else { /* its conversion may run Python, which may drop both from the dict */
            Py_INCREF(key);
            Py_INCREF(value);
            put_member(self, key, value);
            Py_DECREF(value);
            Py_DECREF(key);
        }
        if (self->depth != depth) {
            return;
        }
    }
    pop(self);
}

/* The list of pairs that a mapping's items() gave. */
static void walk_pairs(encoder *self, frame *top)
{
    const unsigned depth = self->depth;

    while (top->left > 0 && top->at < PyList_GET_SIZE(top->items) && !stopped(self)) {
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

static void walk_iterator(encoder *self, frame *top)
{
    const unsigned depth = self->depth;

    while (!stopped(self)) {
        PyObject *item = PyIter_Next(top->items);

        if (item == NULL) {
            if (PyErr_Occurred()) {
                put_failure(self, top->owner);
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

static void walk_fields(encoder *self, frame *top)
{
    const unsigned depth = self->depth;

    while (top->at < PyTuple_GET_SIZE(top->names) && !stopped(self)) {
        PyObject *name = PyTuple_GET_ITEM(top->names, top->at++);
        bool redacted = put_key(self, name);
        PyObject *value = redacted ? NULL : PyObject_GetAttr(top->owner, name);

        if (redacted) {
            put_marker(self, RL_REDACTED);
        } else if (value == NULL) {
            put_failure(self, top->owner);
        } else {
            put(self, value);
            Py_DECREF(value);
        }
        if (self->depth != depth) {
            return;
        }
    }
    pop(self);
}

/* Walks until the containers above `base` are closed. */
static void walk(encoder *self, unsigned base)
{
    while (self->depth > base) {
        frame *top = &self->frames[self->depth - 1];

        switch (top->kind) {
        case FRAME_LIST:
            walk_list(self, top);
            break;
        case FRAME_TUPLE:
            walk_tuple(self, top);
            break;
        case FRAME_DICT:
            walk_dict(self, top);
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

static void put_base64(encoder *self, PyObject *value)
{
    const size_t piece = RL_JSON_PIECE / 3 * 3; /* so that only the last one is padded */
    rl_buf *buf = self->json.buf;
    rl_json_string string;
    Py_buffer view;
    size_t at = 0;
    PyObject *copy = NULL;

    if (PyMemoryView_Check(value) && !PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(value), 'C')) {
        value = copy = PyBytes_FromObject(value);
    }
    if (value == NULL || PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) < 0) {
        Py_XDECREF(copy);
        rl_errors_swallow();
        put_marker(self, "<unserializable memoryview>");
        return;
    }
    rl_json_string_begin(&self->json, &string, false);
    while (at < (size_t)view.len) {
        size_t len = (size_t)view.len - at < piece ? (size_t)view.len - at : piece;

        if (!rl_buf_reserve(buf, (len + 2) / 3 * 4)) {
            break;
        }
        rl_json_string_add(
            &self->json, &string,
            rl_base64(buf->data + buf->len, (const uint8_t *)view.buf + at, len));
        at += len;
    }
    rl_json_string_end(&self->json, &string);
    PyBuffer_Release(&view);
    Py_XDECREF(copy);
}

static void put_exception(encoder *self, PyObject *value)
{
    PyObject *message = PyObject_Str(value);

    if (self->depth == RL_JSON_DEPTH) {
        put_marker(self, "<too deep>");
    } else {
        rl_json_open(&self->json, '{');
        rl_json_key(&self->json, "error", 5);
        put_marker(self, type_name(value));
        rl_json_key(&self->json, "message", 7);
        if (message != NULL) {
            put_text(self, message, false);
        } else {
            put_failure(self, value);
        }
        rl_json_close(&self->json);
    }
    Py_XDECREF(message);
}

/* Reads an item of a numeric buffer and writes it; false when the format is not known. */
static bool put_item(encoder *self, const char *item, char format)
{
    switch (format) {
#define INTEGER(code, ctype)                                                                 \
    case code: {                                                                             \
        ctype number;                                                                        \
        memcpy(&number, item, sizeof number);                                                \
        rl_json_int(&self->json, (int64_t)number);                                           \
        return true;                                                                         \
    }
#define REAL(code, ctype)                                                                    \
    case code: {                                                                             \
        ctype number;                                                                        \
        memcpy(&number, item, sizeof number);                                                \
        rl_json_double(&self->json, (double)number);                                         \
        return true;                                                                         \
    }
        INTEGER('b', signed char)
        INTEGER('B', unsigned char)
        INTEGER('h', short)
        INTEGER('H', unsigned short)
        INTEGER('i', int)
        INTEGER('I', unsigned)
        INTEGER('l', long)
        INTEGER('q', long long)
        REAL('f', float)
        REAL('d', double)
#undef INTEGER
#undef REAL
    case '?':
        rl_json_raw(&self->json, *item != 0 ? "true" : "false", *item != 0 ? 4 : 5);
        return true;
    default:
        return false;
    }
}

/* A one-dimensional array of numbers, read in place. */
static bool put_vector(encoder *self, const Py_buffer *view)
{
    const char *item = view->buf;
    char format = view->format != NULL ? view->format[0] : 'B';

    if (view->format != NULL && view->format[1] != '\0') {
        return false; /* another byte order, or a structure */
    }
    if (self->depth == RL_JSON_DEPTH) {
        put_marker(self, "<too deep>");
        return true;
    }
    if (strchr("bBhHiIlqfd?", format) == NULL) {
        return false;
    }
    rl_json_open(&self->json, '[');
    for (Py_ssize_t i = 0; i < view->shape[0] && !stopped(self); i++) {
        (void)put_item(self, item, format);
        item += view->strides[0];
    }
    rl_json_close(&self->json);
    return true;
}

/* Pushes the container that a conversion gave (stolen; NULL with an error set). */
static void push_converted(encoder *self, frame_kind kind, PyObject *owner, PyObject *items)
{
    if (items == NULL) {
        put_failure(self, owner);
    } else {
        push(self, kind, owner, items,
             PyList_Check(items) ? PyList_GET_SIZE(items) : PY_SSIZE_T_MAX);
    }
}

static void put_array(encoder *self, PyObject *array)
{
    PyObject *list;
    Py_buffer view;
    bool done = false;
    int dimensions = 0;

    if (PyObject_GetBuffer(array, &view, PyBUF_RECORDS_RO) == 0) {
        dimensions = view.ndim;
        done = dimensions == 1 && put_vector(self, &view);
        PyBuffer_Release(&view);
    } else { /* dates and the like offer no buffer */
        PyErr_Clear();
    }
    if (done) {
        return;
    }
    if (dimensions > 1) { /* its rows are arrays again */
        push_converted(self, FRAME_ITERATOR, array, PyObject_GetIter(array));
        return;
    }
    list = PyObject_CallMethod(array, "tolist", NULL);
    if (list != NULL && PyList_CheckExact(list)) {
        push_converted(self, FRAME_LIST, array, list);
    } else if (list != NULL && Py_TYPE(list) != Py_TYPE(array)) {
        put(self, list); /* no dimensions: a scalar */
        Py_DECREF(list);
    } else {
        Py_XDECREF(list);
        put_failure(self, array);
    }
}

static void push_fields(encoder *self, PyObject *value, PyObject *names)
{
    Py_INCREF(names);
    if (push(self, FRAME_FIELDS, value, Py_NewRef(value), PyTuple_GET_SIZE(names)) == 0) {
        self->frames[self->depth - 1].names = names;
    } else {
        Py_DECREF(names);
    }
}

/* A plain pydantic model: its fields stand in its __dict__, what it was given besides them
 * in __pydantic_extra__. */
static void push_vars(encoder *self, PyObject *value)
{
    PyObject *vars = PyObject_GetAttrString(value, "__dict__");
    PyObject *extra =
        vars != NULL ? PyObject_GetAttrString(value, "__pydantic_extra__") : NULL;
    PyObject *all = vars;

    if (vars != NULL && !PyDict_CheckExact(vars)) {
        Py_CLEAR(vars);
        all = NULL;
        PyErr_SetString(PyExc_TypeError, "__dict__ is no dict");
    }
    if (extra != NULL && PyDict_Check(extra) && PyDict_GET_SIZE(extra) > 0 && vars != NULL) {
        all = PyDict_Copy(vars);
        if (all != NULL && PyDict_Update(all, extra) < 0) {
            Py_CLEAR(all);
        }
        Py_DECREF(vars);
    }
    Py_XDECREF(extra);
    if (all == NULL) {
        put_failure(self, value);
    } else {
        PyErr_Clear(); /* a model made by hand may lack __pydantic_extra__ */
        push(self, FRAME_DICT, value, all, PyDict_GET_SIZE(all));
    }
}

/* The result of a model's own dump (stolen), walked in the model's place. */
static void push_dump(encoder *self, PyObject *value, PyObject *dump)
{
    if (dump != NULL && PyDict_CheckExact(dump)) {
        push(self, FRAME_DICT, value, dump, PyDict_GET_SIZE(dump));
    } else if (dump != NULL && PyList_CheckExact(dump)) {
        push(self, FRAME_LIST, value, dump, PyList_GET_SIZE(dump));
    } else if (dump != NULL && Py_TYPE(dump) != Py_TYPE(value)) {
        put(self, dump); /* a RootModel of a scalar */
        Py_DECREF(dump);
    } else {
        Py_XDECREF(dump);
        put_failure(self, value);
    }
}

/* The result of a conversion to text (stolen; NULL with an error set). */
static void put_converted_text(encoder *self, PyObject *value, PyObject *text)
{
    if (text != NULL && PyUnicode_Check(text)) {
        put_text(self, text, false);
    } else if (text != NULL && PyBytes_Check(text)) {
        put_base64(self, text); /* the pattern of a regular expression over bytes */
    } else {
        put_failure(self, value);
    }
    Py_XDECREF(text);
}

static void put_seconds(encoder *self, PyObject *value)
{
    PyObject *seconds = PyObject_CallMethod(value, "total_seconds", NULL);

    if (seconds != NULL && PyFloat_Check(seconds)) {
        rl_json_double(&self->json, PyFloat_AS_DOUBLE(seconds));
    } else {
        put_failure(self, value);
    }
    Py_XDECREF(seconds);
}

/* A value that stands for another: an Enum's value, a numpy scalar's item (new reference;
 * NULL with an error set). A long double's item is itself. */
static void put_replaced(encoder *self, PyObject *value, PyObject *other)
{
    if (other == NULL) {
        put_failure(self, value);
    } else if (Py_TYPE(other) == Py_TYPE(value)) {
        put_converted_text(self, value, PyObject_Str(value));
    } else {
        put(self, other);
    }
    Py_XDECREF(other);
}

static void put_kind(encoder *self, PyObject *value, rl_kind_of_value kind, PyObject *fields)
{
    switch (kind) {
    case RL_AS_STR:
        put_text(self, value, false);
        break;
    case RL_AS_INT:
        put_int(self, value);
        break;
    case RL_AS_FLOAT:
        rl_json_double(&self->json, PyFloat_AS_DOUBLE(value));
        break;
    case RL_AS_BASE64:
        put_base64(self, value);
        break;
    case RL_AS_DICT:
        push(self, FRAME_DICT, value, Py_NewRef(value), PyDict_GET_SIZE(value));
        break;
    case RL_AS_MAPPING:
        push_converted(self, FRAME_PAIRS, value, PyMapping_Items(value));
        break;
    case RL_AS_LIST:
        push(self, FRAME_LIST, value, Py_NewRef(value), PyList_GET_SIZE(value));
        break;
    case RL_AS_TUPLE:
        push(self, FRAME_TUPLE, value, Py_NewRef(value), PyTuple_GET_SIZE(value));
        break;
    case RL_AS_SNAPSHOT:
        push_converted(self, FRAME_LIST, value, PySequence_List(value));
        break;
    case RL_AS_ITERATOR:
        push_converted(self, FRAME_ITERATOR, value, PyObject_GetIter(value));
        break;
    case RL_AS_FIELDS:
        push_fields(self, value, fields);
        break;
    case RL_AS_VARS:
        push_vars(self, value);
        break;
    case RL_AS_DUMP:
        push_dump(self, value, PyObject_CallMethod(value, "model_dump", NULL));
        break;
    case RL_AS_OLD_DUMP:
        push_dump(self, value, PyObject_CallMethod(value, "dict", NULL));
        break;
    case RL_AS_ISO:
        put_converted_text(self, value, PyObject_CallMethod(value, "isoformat", NULL));
        break;
    case RL_AS_SECONDS:
        put_seconds(self, value);
        break;
    case RL_AS_TEXT:
        put_converted_text(self, value, PyObject_Str(value));
        break;
    case RL_AS_PATTERN:
        put_converted_text(self, value, PyObject_GetAttrString(value, "pattern"));
        break;
    case RL_AS_VALUE:
        put_replaced(self, value, PyObject_GetAttrString(value, "value"));
        break;
    case RL_AS_ITEM:
        put_replaced(self, value, PyObject_CallMethod(value, "item", NULL));
        break;
    case RL_AS_ARRAY:
        put_array(self, value);
        break;
    case RL_AS_EXCEPTION:
        put_exception(self, value);
        break;
    case RL_AS_NAME:
    case RL_AS_TYPE_NAME:
        put_converted_text(self, value, rl_convert_name(value, kind));
        break;
    }
}

static void put_other(encoder *self, PyObject *value)
{
    PyObject *fields = NULL;
    rl_kind_of_value kind;

    Py_INCREF(value);
    if (Py_EnterRecursiveCall(" while runlog encodes a value") != 0) {
        put_failure(self, value); /* an Enum of an Enum of ... */
    } else {
        kind = rl_convert_kind(self->options->state, Py_TYPE(value), &fields);
        put_kind(self, value, kind, fields);
        Py_LeaveRecursiveCall();
    }
    Py_DECREF(value);
}

void rl_encode(const rl_encode_options *options, PyObject *value, rl_buf *buf,
               bool *wide_numbers)
{
    encoder self;

    self.options = options;
    self.depth = 0;
    self.key_level = 0;
    rl_json_begin(&self.json, buf, options->cap);
    put(&self, value);
    walk(&self, 0);
    rl_json_end(&self.json);
    *wide_numbers |= self.json.wide_number;
}

void rl_encode_each(const rl_encode_options *options, PyObject *list, rl_buf *buf,
                    bool *wide_numbers)
{
    Py_ssize_t size;

    if (!PyList_CheckExact(list)) {
        rl_encode(options, list, buf, wide_numbers);
        return;
    }
    size = PyList_GET_SIZE(list);
    rl_buf_add_char(buf, '[');
    for (Py_ssize_t i = 0; i < size && i < PyList_GET_SIZE(list); i++) {
        PyObject *item = Py_NewRef(PyList_GET_ITEM(list, i));

        if (i > 0) {
            rl_buf_add_char(buf, ',');
        }
        rl_encode(options, item, buf, wide_numbers);
        Py_DECREF(item);
    }
    rl_buf_add_char(buf, ']');
}

void rl_encode_plain(PyObject *value, rl_buf *buf)
{
    PyObject *text = PyObject_Str(value);
    PyObject *bytes =
        text != NULL ? PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass") : NULL;

    if (bytes == NULL) {
        rl_errors_swallow();
        rl_buf_printf(buf, "<unserializable %.100s>", type_name(value));
    } else {
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
}
