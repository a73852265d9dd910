/* The encoder's walk over containers and keys. See walk.h. */
#include "py/encode/walk.h"

#include "core/redact_text.h"
#include "py/base/errors.h"
#include "py/base/raised.h"
#include "py/encode/ends.h"
#include "py/encode/fit.h"
#include "py/encode/special_values.h"

#define KEY_LEVELS 2 /* containers as keys within keys */
#define REPLACED_MAX \
    100              /* values that stand for one another: an Enum of an Enum of ... */
#define KEY_PLACES 4 /* of a key in the table of those that are known */
#define NO_HASH UINT64_MAX /* of a key: not known */
#define SHORT_TEXT 32      /* characters, as rl_copy_clean_inside takes */
#define RL_INLINE inline __attribute__((always_inline)) /* once for each walk */

/* Whether a str is of a few ASCII characters. Most keys and many values are. */
static inline bool is_short(PyObject *text)
{
    const PyASCIIObject *ascii = (const PyASCIIObject *)text;

    return PyUnicode_IS_COMPACT_ASCII(text) && ascii->length <= SHORT_TEXT;
}

/* The characters of such a str. The object's header is before them. */
static inline const char *chars_of(PyObject *text)
{
    return (const char *)((const PyASCIIObject *)text + 1);
}

/* Puts the quotes around such a text, which was written to out + 1, and `tail` after
 * it. */
static inline void end_short(rl_encoder *self, size_t len, char *out, char tail)
{
    out[0] = '"';
    out[len + 1] = '"';
    out[len + 2] = tail;
    self->json.buf->len += len + 3;
}

/* Writes a str. */
static inline void put_str(rl_encoder *self, PyObject *text)
{
    char *out = is_short(text) ? rl_encoder_place(self) : NULL;
    const size_t len = (size_t)((const PyASCIIObject *)text)->length;
    rl_seen seen = RL_SEEN_DIRTY;

    if (out != NULL) {
        seen = rl_copy_and_look(out + 1, chars_of(text), len);
    }
    if (seen == RL_SEEN_NOTHING || (seen == RL_SEEN_SUSPECT && !self->searches)) {
        end_short(self, len, out, ',');
    } else {
        rl_put_text(self, text, false); /* which searches it for secrets */
    }
}

/* Writes an int; most have few digits. */
static inline void put_int(rl_encoder *self, PyObject *value)
{
    long number = 0;
    char *out = rl_int_is_small(value, &number) ? rl_encoder_place(self) : NULL;

    if (out != NULL) {
        const size_t len = rl_put_i64(out, number);

        out[len] = ',';
        self->json.buf->len += len + 1;
    } else {
        rl_put_int(self, value);
    }
}

/* Opens a dict, a list or a tuple, which has its items itself. */
static inline void open_plain(rl_encoder *self, rl_frame_kind kind, PyObject *owner,
                              Py_ssize_t size)
{
    char *out =
        self->link < 0 && self->depth < RL_JSON_DEPTH ? rl_encoder_place(self) : NULL;
    rl_frame *frame = &self->frames[self->depth];

    if (out == NULL || rl_encoder_is_open(self, owner)) {
        (void)rl_encoder_push(self, kind, owner, NULL, size);
        return;
    }
    frame->owner = Py_NewRef(owner);
    frame->items = owner;
    frame->names = NULL;
    frame->at = 0;
    frame->left = size;
    frame->link = -1;
    frame->start = self->json.buf->len;
    frame->kind = kind;
    self->depth++;
    self->json.depth++;
    if (self->depth > self->deepest) {
        self->deepest = self->depth;
    }
    *out = kind == FRAME_DICT ? '{' : '[';
    self->json.buf->len++;
}

/* Closes it, or a container of such items that was made of a value: a set, a model. */
static inline void close_plain(rl_encoder *self, const rl_frame *top, char bracket)
{
    if (top->link >= 0 || top->items != top->owner) {
        rl_encoder_pop(self);
    } else {
        self->depth--;
        rl_json_close_with(&self->json, bracket);
        Py_DECREF(top->owner);
    }
}

/* Writes one of the three values that are words. */
static inline void put_word(rl_encoder *self, const char *word, size_t len)
{
    char *out = rl_encoder_place(self);

    if (out != NULL) {
        memcpy(out, word, len);
        out[len] = ',';
        self->json.buf->len += len + 1;
    } else {
        rl_json_raw(&self->json, word, len);
    }
}

/* Writes a value of one of JSON's own types, or opens it as a container; false for values
 * of other types. Runs no Python code: a borrowed `value` stays alive. */
static RL_INLINE bool put_plain(rl_encoder *self, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);

    if (type == &PyUnicode_Type) {
        put_str(self, value);
    } else if (type == &PyLong_Type) {
        put_int(self, value);
    } else if (type == &PyFloat_Type) {
        rl_json_double(&self->json, PyFloat_AS_DOUBLE(value));
    } else if (type == &PyDict_Type) {
        open_plain(self, FRAME_DICT, value, PyDict_GET_SIZE(value));
    } else if (type == &PyList_Type) {
        open_plain(self, FRAME_LIST, value, PyList_GET_SIZE(value));
    } else if (type == &PyTuple_Type) {
        open_plain(self, FRAME_TUPLE, value, PyTuple_GET_SIZE(value));
    } else if (value == Py_None) {
        put_word(self, "null", 4);
    } else if (value == Py_True) {
        put_word(self, "true", 4);
    } else if (value == Py_False) {
        put_word(self, "false", 5);
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
static RL_INLINE void put(rl_encoder *self, PyObject *value)
{
    if (!put_plain(self, value)) {
        put_special(self, value);
    }
}

/* The same, out of line. */
static void put_any(rl_encoder *self, PyObject *value)
{
    put(self, value);
}

static void encode_key(const rl_encoder *outer, PyObject *key, rl_buf *buf);

/* Whether the dict that is being written has a text among its keys, beside a key that is
 * written as that text. */
static bool has_beside(const rl_encoder *self, PyObject *key, PyObject *text)
{
    const rl_frame *top = self->depth > 0 ? &self->frames[self->depth - 1] : NULL;
    PyObject *dict = NULL;
    bool has = false;

    if (top != NULL && !PyUnicode_Check(key) && !rl_encoder_is_broken_off(self)) {
        dict = top->kind == FRAME_DICT ? top->items : top->owner;
    }
    if (dict != NULL && PyDict_Check(dict)) { /* an equal key is the same one */
        Py_INCREF(dict);
        has = PyDict_Contains(dict, text) == 1 &&
              PyObject_RichCompareBool(key, text, Py_EQ) == 0;
        Py_DECREF(dict);
        rl_encoder_absorb(self);
    }
    return has;
}

/* Whether the container that is being written has had another key with this text, which is
 * remembered. Ints have different ones. */
static bool was_written(rl_encoder *self, PyObject *key, const char *text, size_t len)
{
    const size_t start = self->depth > 0 ? self->frames[self->depth - 1].start : 0;
    PyObject *number = NULL;
    uint64_t hash[2];
    int found = 0;

    if (PyLong_CheckExact(key) || PyBool_Check(key) || key == Py_None) {
        return false;
    }
    rl_value_hash(text, len, hash);
    self->keys = self->keys != NULL ? self->keys : PySet_New(NULL);
    number = PyLong_FromUnsignedLongLong(hash[0] ^ start * UINT64_C(0x9E3779B97F4A7C15));
    if (self->keys != NULL && number != NULL) {
        found = PySet_Contains(self->keys, number);
    }
    if (found == 0 && self->keys != NULL && number != NULL) {
        (void)PySet_Add(self->keys, number);
    }
    Py_XDECREF(number);
    PyErr_Clear(); /* no memory: both keys are written alike */
    return found == 1;
}

/* Whether another key of the container has the text of this one: 1 and "1", or two objects
 * of a class. */
static bool is_told_apart(rl_encoder *self, PyObject *key, const rl_buf *text)
{
    PyObject *name = PyUnicode_DecodeUTF8(text->data, (Py_ssize_t)text->len, "replace");
    bool same = name != NULL && has_beside(self, key, name);

    Py_XDECREF(name);
    PyErr_Clear();
    return was_written(self, key, text->data, text->len) || same;
}

/* A key that is not a text: its JSON, as text. A second encoder writes it to a separate
 * buffer, as the JSON must be escaped again. One whose text another key has, too, gets a
 * mark; what the text says of the value without it is returned then. */
static rl_secrecy put_other_key(rl_encoder *self, PyObject *key)
{
    rl_source source = {.units = RL_UTF8};
    rl_secrecy secrecy = RL_SHOWN;
    rl_buf buf;

    if (self->key_level == KEY_LEVELS) {
        rl_json_key(&self->json, "<too deep>", 10);
        return RL_SHOWN;
    }
    rl_buf_init(&buf, RL_BUF_MAX);
    encode_key(self, key, &buf);
    if (!buf.failed && buf.data[0] == '"') {
        buf.len = rl_unescape(buf.data, buf.data + 1, buf.len - 2);
    }
    if (!buf.failed && is_told_apart(self, key, &buf)) {
        secrecy = rl_redact_name(self->options->redact, buf.data, buf.len);
        rl_buf_printf(&buf, " <again: %zu>", ++self->same_keys);
    }
    if (buf.failed) {
        self->json.buf->failed = true;
    } else {
        source.data = buf.data;
        source.count = buf.len;
        rl_put_source(self, &source, true, NULL);
    }
    rl_buf_free(&buf);
    return secrecy;
}

/* Where a key that was judged is remembered, if it is no secret and its value is stored:
 * by its hash, which a str has once it was in a dict. Of a table of so few places some keys
 * want the same one, so the places beside it will do as well. */
static inline uint64_t *place_of_key(const rl_encoder *self, uint64_t hash,
                                     unsigned other)
{
    return &self->plain_keys[hash % RL_PLAIN_KEYS ^ other];
}

static bool is_beside(const rl_encoder *self, uint64_t hash)
{
    const uint64_t known = hash ^ self->salt;

    return *place_of_key(self, hash, 1) == known ||
           *place_of_key(self, hash, 2) == known || *place_of_key(self, hash, 3) == known;
}

/* In a free place, so that no two keys take each other's in turns; else in its own. */
static void remember_key(const rl_encoder *self, uint64_t hash)
{
    unsigned other = 0;

    while (other < KEY_PLACES && *place_of_key(self, hash, other) != 0) {
        other++;
    }
    *place_of_key(self, hash, other % KEY_PLACES) = hash ^ self->salt;
}

/* Whether a key is known to hide nothing. */
static inline bool is_known(const rl_encoder *self, uint64_t hash)
{
    return *place_of_key(self, hash, 0) == (hash ^ self->salt) || !self->judges;
}

/* Replaces a key, the end of the buffer from a place on, if it is a secret: by a mark of
 * its own, so that two of them stay two. */
static bool hide_key(rl_encoder *self, size_t at)
{
    rl_buf *buf = self->json.buf;
    uint64_t name[2];
    bool hidden;

    if (!self->searches || !rl_buf_reserve(buf, RL_WINDOW) ||
        !rl_text_suspects(buf->data + at, buf->len - at)) {
        return false;
    }
    rl_value_hash(buf->data + at, buf->len - at, name);
    hidden = rl_redact_tail(self->options->redact, buf, at, true);
    if (hidden) {
        rl_buf_printf(buf, "-%06x\":", (unsigned)(name[0] & 0xFFFFFF));
        if (!self->fitting) {
            rl_json_done(&self->json);
        }
    }
    return hidden;
}

/* Judges the key that was written at a place. */
static rl_secrecy judge_key(rl_encoder *self, size_t at, uint64_t hash)
{
    const bool known = hash != NO_HASH && !self->fitting;
    rl_buf *buf = self->json.buf;
    rl_secrecy secrecy;

    /* judged as it was written: past the cap nothing is stored anyway */
    if (buf->len < at + 2 || self->json.over || buf->failed ||
        (known && is_beside(self, hash))) {
        return RL_SHOWN;
    }
    buf->len -= 2;
    secrecy = rl_redact_name(self->options->redact, buf->data + at, buf->len - at);
    if (!hide_key(self, at)) {
        buf->len += 2;
        if (secrecy == RL_SHOWN && known) {
            remember_key(self, hash);
        }
    }
    return secrecy;
}

/* Writes a key that is no text at a place, and judges it. Of bytes the name is what they
 * are, not their base64. */
static rl_secrecy put_and_judge(rl_encoder *self, PyObject *key, size_t at)
{
    rl_secrecy secrecy, of_key = RL_SHOWN, of_bytes = RL_SHOWN;

    Py_INCREF(key); /* converting it may run Python code, which may drop it */
    secrecy = put_other_key(self, key);
    if (self->judges) {
        of_key = judge_key(self, at, NO_HASH);
    }
    if (self->judges && PyBytes_Check(key)) {
        of_bytes = rl_redact_name(self->options->redact, PyBytes_AS_STRING(key),
                                  (size_t)PyBytes_GET_SIZE(key));
    }
    Py_DECREF(key);
    secrecy = of_key > secrecy ? of_key : secrecy;
    return of_bytes > secrecy ? of_bytes : secrecy;
}

/* Writes a key that is short and known to hide nothing. False, with nothing written, for
 * any other one. Runs no Python code. */
static RL_INLINE bool put_known_key(rl_encoder *self, PyObject *key)
{
    const PyASCIIObject *text = (const PyASCIIObject *)key;
    char *out;

    if (!PyUnicode_CheckExact(key) || !is_short(key) ||
        !is_known(self, (uint64_t)text->hash)) {
        return false;
    }
    out = rl_encoder_place(self);
    if (out == NULL ||
        !rl_copy_clean_inside(out + 1, chars_of(key), (size_t)text->length)) {
        return false;
    }
    end_short(self, (size_t)text->length, out, ':');
    return true;
}

/* Writes a key; returns what it says of the value that belongs to it. */
static rl_secrecy put_any_key(rl_encoder *self, PyObject *key)
{
    const size_t at = self->json.buf->len + 1;
    uint64_t hash;

    if (put_known_key(self, key)) {
        return RL_SHOWN;
    }
    if (!PyUnicode_CheckExact(key)) {
        return put_and_judge(self, key, at);
    }
    hash = (uint64_t)((PyASCIIObject *)key)->hash;
    rl_put_text(self, key, true);
    return is_known(self, hash) ? RL_SHOWN : judge_key(self, at, hash);
}

static const rl_fit_puts fit_puts = {put_any, put_any_key};

static void put_pair(rl_encoder *self, PyObject *key, PyObject *value)
{
    Py_INCREF(
        value); /* converting the key may run Python code, which may drop the value */
    if (rl_is_hidden(put_any_key(self, key), value)) {
        rl_put_marker(self, RL_REDACTED);
    } else {
        put_any(self, value);
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
        if (put_known_key(self, key)) {
            put(self, value);
        } else {
            put_pair(self, key, value);
        }
        if (self->depth != depth) {
            return;
        }
    }
    close_plain(self, top, '}');
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
    close_plain(self, top, ']');
}

/* Ends the innermost container, whose iterator has ended. If that has raised, a marker
 * stands for the container, and the objects in it are not known. */
static void end_iterator(rl_encoder *self, rl_frame *top)
{
    const size_t start = top->start;
    PyObject *owner = NULL;

    if (PyErr_Occurred()) {
        owner = Py_NewRef(top->owner);
        rl_encoder_absorb(self);
    }
    rl_encoder_pop(self);
    if (owner != NULL) {
        self->json.buf->len = start;
        rl_links_forget(&self->links, start);
        rl_put_failure(self, owner);
        Py_DECREF(owner);
    }
}

/* Whether to ask the innermost container, an object of the user's, for no more. What has
 * been written of it stays, with a mark. */
static bool leaves_rest(rl_encoder *self)
{
    bool leaves = rl_encoder_is_broken_off(self);

    if (leaves) {
        rl_json_key(&self->json, "<cut>", 5);
        rl_put_marker(self, "more members");
        self->elided = true;
    }
    return leaves;
}

/* A mapping may make its values when it is asked for them: none is asked for that is not
 * written. */
static void walk_keys(rl_encoder *self, rl_frame *top)
{
    const unsigned depth = self->depth;

    while (!rl_encoder_stopped(self) && !leaves_rest(self)) {
        PyObject *key = PyIter_Next(top->items), *value = NULL;

        if (key == NULL) {
            end_iterator(self, top);
            return;
        }
        if (put_any_key(self, key) != RL_SHOWN) {
            rl_put_marker(self, RL_REDACTED);
        } else if (!rl_encoder_stopped(self)) {
            value = PyObject_GetItem(top->owner, key);
            if (value != NULL) {
                put_any(self, value);
            } else {
                rl_put_failure(self, top->owner);
            }
        }
        Py_XDECREF(value);
        Py_DECREF(key);
        if (self->depth != depth) {
            return;
        }
    }
    rl_encoder_pop(self);
}

static void walk_items(rl_encoder *self, rl_frame *top)
{
    const unsigned depth = self->depth;

    while (!rl_encoder_stopped(self) && !leaves_rest(self)) {
        PyObject *pair = rl_ends_next_pair(top->items);

        if (pair == NULL) {
            end_iterator(self, top);
            return;
        }
        put_pair(self, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
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
        bool broken_off = rl_encoder_is_broken_off(self);
        PyObject *item = broken_off ? NULL : PyIter_Next(top->items);

        if (item == NULL) {
            if (broken_off || PyErr_Occurred()) {
                rl_put_failure(self, top->owner);
            }
            break;
        }
        put_any(self, item);
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

        put_pair(self, PyTuple_GET_ITEM(top->names, at),
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
        case FRAME_KEYS:
            walk_keys(self, top);
            break;
        case FRAME_ITEMS:
            walk_items(self, top);
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

/* For other files. In this one the compiler fits a function of its own into each walk,
 * which is 1 % of the instructions of a small payload. */
void rl_walk_put(rl_encoder *self, PyObject *value)
{
    put_any(self, value);
}

rl_secrecy rl_walk_put_key(rl_encoder *self, PyObject *key)
{
    return put_any_key(self, key);
}

void rl_walk(rl_encoder *self, unsigned base)
{
    walk(self, base);
}

void rl_walk_fit(rl_encoder *self, PyObject *value)
{
    if (self->json.over && !self->json.buf->failed) {
        rl_fit(self, value, &fit_puts);
    }
}

void rl_walk_value(rl_encoder *self, PyObject *value)
{
    put_any(self, value);
    walk(self, 0);
    rl_walk_fit(self, value);
    rl_json_end(&self->json);
}

static void encode_key(const rl_encoder *outer, PyObject *key, rl_buf *buf)
{
    rl_encode_options options = *outer->options;
    rl_encoder self;

    options.values = NULL; /* a key stays where it is */
    rl_encoder_begin(&self, &options, NULL, outer->cap, buf);
    self.key_level = outer->key_level + 1;
    rl_walk_value(&self, key);
    rl_encoder_end(&self);
}
