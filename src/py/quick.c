/* The encoder's quick path: dicts, lists and tuples of common scalars, which is what a state
 * is made of, are written without a look at the buffer's size or the cap at each of them.
 *
 * A window is opened in which a whole member fits for certain; in it, containers within one
 * another are gone through on the C stack, down to QUICK_LEVELS. Nothing of Python's runs
 * there, so borrowed references hold. The first value that is not common ends the path: the
 * containers that are open by then become the encoder's frames, and encode.c goes on.
 */
#include "py/encoder.h"

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

/* A text that was encoded before, copied to out; NULL when it was not. */
static char *quick_copy(const rl_encoder *self, char *out, const char *stop,
                        PyObject *value)
{
    const rl_cached_text *cached = rl_text_cache_find(self->options->cache, value);

    if (cached == NULL || out > stop || cached->len > (size_t)(stop - out)) {
        return NULL;
    }
    memcpy(out, cached->json, cached->len);
    return out + cached->len;
}

/* Escapes a text of any length and kind at out if there is room for it before stop. */
static char *quick_text(const rl_encoder *self, char *out, const char *stop,
                        PyObject *value)
{
    const PyCompactUnicodeObject *compact = (const PyCompactUnicodeObject *)value;
    const char *utf8 = NULL;
    size_t len, written;

#if PY_VERSION_HEX < 0x030C0000
    if (!PyUnicode_IS_READY(value)) { /* a form that 3.12 has no more */
        return NULL;
    }
#endif
    len = (size_t)PyUnicode_GET_LENGTH(value);
    if (self->options->cache != NULL && rl_text_cache_wants(value)) {
        return quick_copy(self, out, stop, value); /* else encode.c fills the cache */
    }
    if (PyUnicode_IS_COMPACT_ASCII(value)) {
        utf8 = (const char *)PyUnicode_1BYTE_DATA(value);
    } else if (compact->utf8 != NULL) { /* somebody has asked for it before */
        utf8 = compact->utf8;
        len = (size_t)compact->utf8_length;
    }
    if (out > stop || len > (size_t)(stop - out) / RL_ESCAPE_MAX) {
        return NULL;
    }
    written = utf8 != NULL ? rl_escape_utf8(out + 1, utf8, len)
                           : rl_escape_str(out + 1, value, 0, len);
    out[0] = '"';
    out[written + 1] = '"';
    return out + written + 2;
}

/* Writes a common scalar with its comma at out and returns where it ends; NULL, with
 * nothing written that counts, for any other value. Neither the buffer nor the cap are
 * looked at: that is the caller's, once for a whole member. Only texts are longer than
 * that, which must end before `stop`. */
static inline char *quick_scalar(const rl_encoder *self, char *out, const char *stop,
                                 PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    int64_t number;

    if (type == &PyUnicode_Type) {
        size_t len = (size_t)((PyASCIIObject *)value)->length;

        if (PyUnicode_IS_COMPACT_ASCII(value) && len <= QUICK_TEXT &&
            rl_copy_clean_inside(out + 1, (const char *)PyUnicode_1BYTE_DATA(value),
                                 len)) {
            out[0] = '"';
            out[len + 1] = '"';
            out += len + 2;
        } else {
            out = quick_text(self, out, stop, value);
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
    rl_pending end;   /* where they ended */
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
    quick->end.key = NULL;
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
    quick->end.key = NULL;
    quick->end.value = value;
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
            after_key != NULL ? quick_scalar(self, after_key, quick->stop, value) : NULL;

        if (end == NULL) {
            quick->out = after_key != NULL ? after_key : out;
            if (after_key == NULL) {
                quick->item = out;
                quick->end.key = key;
                quick->end.value = value;
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
        char *end =
            out <= quick->stop ? quick_scalar(self, out, quick->stop, value) : NULL;

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
static bool careful_next(rl_pending *next, place *in)
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

bool rl_quick_walk(rl_encoder *self, rl_frame *top, rl_pending *next)
{
    place in = {NULL, top->items, top->at, top->left, self->depth - 1, top->kind};
    window quick;
    bool ended;

    if (open_window(self, &quick)) {
        ended = quick_container(self, &quick, &in);
        close_window(self, &quick);
        *next = quick.end;
    } else {
        ended = !careful_next(next, &in);
    }
    top->at = in.at;
    top->left = in.left;
    return ended;
}
