/* The second attempt. See fit.h. */
#include "py/encode/fit.h"

#include "py/base/raised.h"
#include "py/encode/convert.h"
#include "py/encode/ends.h"

#include <stdlib.h>

#define FEW 64                   /* children that are written by their size */
#define LARGEST_SHARE 8          /* one of many takes at most an eighth of the budget */
#define VALUE_MIN ((size_t)56)   /* room for any value: a mark, or a text that is cut */
#define MEMBER_MIN ((size_t)120) /* the same with a key */
#define REDACTED_KEY ((size_t)4096) /* bytes: no longer key is compared */
#define LARGE ((size_t)-1)

/* A child of a container of few. */
typedef struct child {
    PyObject *key, *value; /* owned; key: NULL in an array */
    size_t size;           /* about: bytes of a text, items of a container */
    unsigned char rank;    /* 0: scalars and short texts, 1: containers, 2: long texts */
    unsigned char place;   /* among the children */
    size_t len;            /* bytes written */
} child;

static void fit_value(rl_encoder *self, PyObject *value, size_t end);

static size_t room_to(const rl_encoder *self, size_t end)
{
    size_t len = self->json.buf->len;

    return end > len ? end - len : 0;
}

void rl_fit_mark(rl_json *json, bool is_object, Py_ssize_t left_out)
{
    const char *what = is_object ? "members" : "elements";
    char count[32] = "more", text[64];

    if (left_out >= 0) {
        PyOS_snprintf(count, sizeof count, "%zd", left_out);
    }
    PyOS_snprintf(text, sizeof text, is_object ? "%s %s" : "<cut: %s %s>", count, what);
    json->limit = SIZE_MAX; /* there is room: the caller has kept it free */
    if (is_object) {
        rl_json_key(json, "<cut>", 5);
    }
    rl_json_text(json, text, strlen(text));
}

void rl_fit_reverse(rl_buf *buf, size_t from, const size_t *lens, size_t count,
                    rl_buf *scratch)
{
    size_t end = buf->len;

    if (count < 2 || buf->failed) {
        return;
    }
    rl_buf_reset(scratch, RL_BUF_MAX);
    rl_buf_add(scratch, buf->data + from, end - from);
    if (scratch->failed) {
        buf->failed = true;
        return;
    }
    for (size_t i = 0, at = 0; i < count; i++) {
        memcpy(buf->data + end - at - lens[i], scratch->data + at, lens[i]);
        at += lens[i];
    }
}

/* What a key that has to be cut says of its value. */
static rl_secrecy judge_long_key(rl_encoder *self, PyObject *key)
{
    rl_buf *buf = self->json.buf;
    size_t at = buf->len;
    rl_secrecy found = RL_SHOWN;

    if (PyUnicode_CheckExact(key) &&
        PyUnicode_GET_LENGTH(key) < (Py_ssize_t)REDACTED_KEY) {
        self->json.limit = SIZE_MAX;
        self->json.over = false;
        found = self->puts->key(self, key);
        buf->len = at;
    }
    return found;
}

/* Writes a key of at most half of the room to `end`, at least RL_CUT_MIN; returns what it
 * says of its value. */
static rl_secrecy fit_key(rl_encoder *self, PyObject *key, size_t end)
{
    rl_json *json = &self->json;
    size_t room = room_to(self, end) / 2, at = json->buf->len;
    size_t most = room < RL_CUT_MIN + 2 ? RL_CUT_MIN + 2 : room;
    rl_secrecy secrecy =
        PyUnicode_CheckExact(key) && (size_t)PyUnicode_GET_LENGTH(key) + 3 > most
            ? judge_long_key(self, key)
            : RL_SHOWN;
    rl_secrecy written;

    self->end = at + most;
    json->limit = self->end + json->depth;
    json->over = false;
    written = self->puts->key(self, key);
    return written > secrecy ? written : secrecy;
}

/* A value that a mapping has under a key. New reference; NULL with an error set. */
static PyObject *fetch(const rl_frame *frame, PyObject *key)
{
    return PyObject_GetItem(frame->owner, key);
}

/* Writes a child, in room for at least VALUE_MIN or MEMBER_MIN. `value` may be NULL: then
 * the frame's mapping has it. */
static void fit_child(rl_encoder *self, const rl_frame *frame, PyObject *key,
                      PyObject *value, size_t end)
{
    PyObject *fetched = NULL;

    if (key != NULL && rl_is_hidden(fit_key(self, key, end), value)) {
        self->json.limit = SIZE_MAX; /* MEMBER_MIN has room for it */
        rl_put_marker(self, RL_REDACTED);
        return;
    }
    if (value == NULL) {
        value = fetched = fetch(frame, key);
    }
    if (value != NULL) {
        fit_value(self, value, end);
    } else {
        self->end = end;
        self->json.limit = end + self->json.depth;
        rl_put_failure(self, frame->owner);
    }
    Py_XDECREF(fetched);
}

/* Writes one of many children, in at most `share` bytes. False, with nothing written,
 * when it is whole only in more room than there is left: it is then among those that are
 * left out, unless it is the first. */
static bool fit_one(rl_encoder *self, rl_ends *from, PyObject *key, PyObject *value,
                    size_t most, size_t share, bool first)
{
    const size_t at = self->json.buf->len;
    const bool elided = self->elided, tight = room_to(self, most) < share;
    bool written = true;

    self->elided = false;
    fit_child(self, from->frame, key, value, tight ? most : at + share);
    if (self->elided && tight && !first && !self->json.buf->failed) {
        self->json.buf->len = at;
        Py_CLEAR(self->keys); /* other containers may begin where those in it began */
        from->taken--;
        from->more = true;
        written = false;
    }
    self->elided = self->elided || elided;
    return written;
}

/* Writes children from the front until the text has reached `half`. */
static void fit_front(rl_encoder *self, rl_ends *from, size_t half, size_t end,
                      size_t share)
{
    size_t least = rl_frame_is_object(from->frame->kind) ? MEMBER_MIN : VALUE_MIN;
    PyObject *key, *value;
    bool going = true;

    if (share < least) {
        share = least;
    }
    while (going && !self->json.buf->failed && self->json.buf->len < half) {
        bool last = from->size >= 0 && from->taken + 1 == from->size;
        size_t most = last ? end + RL_FIT_MARK : end; /* no mark will be needed */

        if (room_to(self, most) < least || !rl_ends_take_front(from, &key, &value)) {
            break;
        }
        going = fit_one(self, from, key, value, most, share, from->taken == 1);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    if (PyErr_Occurred()) { /* the iterator has raised */
        rl_encoder_absorb(self);
        from->more = true;
    }
}

/* Writes children from the back, and the mark before them. */
static void fit_back(rl_encoder *self, rl_ends *from, size_t end, size_t share)
{
    bool is_object = rl_frame_is_object(from->frame->kind);
    size_t least = is_object ? MEMBER_MIN : VALUE_MIN, lens_at = self->children.len;
    rl_buf *buf = self->json.buf;
    size_t start = buf->len, at;
    bool going = true;
    PyObject *key, *value;
    Py_ssize_t out;

    if (share < least) {
        share = least;
    }
    while (going && !buf->failed && (from->by_place || from->back != NULL)) {
        size_t most = from->taken + 1 == from->size ? end + RL_FIT_MARK : end;

        if (room_to(self, most) < least || !rl_ends_take_back(from, &key, &value)) {
            break;
        }
        at = buf->len;
        going = fit_one(self, from, key, value, most, share, start == at);
        at = buf->len - at;
        rl_buf_add(&self->children, &at, sizeof at);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    rl_encoder_absorb(self); /* of an iterator: the container was changed meanwhile */
    out = rl_ends_left_out(from);
    self->elided |= out != 0;
    if (out != 0 && !buf->failed) {
        at = buf->len;
        rl_fit_mark(&self->json, is_object, out);
        at = buf->len - at;
        rl_buf_add(&self->children, &at, sizeof at);
    }
    buf->failed |= self->children.failed;
    if (!buf->failed) {
        rl_fit_reverse(buf, start,
                       (const size_t *)(const void *)(self->children.data + lens_at),
                       (self->children.len - lens_at) / sizeof at, &self->scratch);
        self->children.len = lens_at;
    }
}

/* A container of many children, or of one whose size is not known. */
static void fit_many(rl_encoder *self, rl_frame *frame, size_t end)
{
    rl_ends from = rl_ends_of(self, frame);
    size_t share = room_to(self, end) / LARGEST_SHARE, len = self->json.buf->len;

    end -= RL_FIT_MARK;
    if (from.size >= 0 && !from.by_place) {
        from.back = rl_ends_reversed(self, frame);
    }
    fit_front(self, &from,
              from.by_place || from.back != NULL ? len + room_to(self, end) / 2 : end,
              end, share);
    fit_back(self, &from, end, share);
    Py_XDECREF(from.back);
}

/* Whether a text will be a value, of which only a mark is written. */
static bool is_value(const rl_encoder *self, size_t size)
{
    return self->options->values != NULL && size >= RL_VALUE_FROM;
}

/* About how large a value is, and in which order it is to be written. */
static void measure(rl_encoder *self, child *one, size_t share)
{
    PyTypeObject *type = Py_TYPE(one->value);
    PyObject *fields = NULL;
    rl_kind_of_value kind = RL_AS_INT;

    if (type == &PyUnicode_Type) {
        kind = RL_AS_STR;
    } else if (type == &PyDict_Type) {
        kind = RL_AS_DICT;
    } else if (type == &PyList_Type) {
        kind = RL_AS_LIST;
    } else if (type == &PyTuple_Type) {
        kind = RL_AS_TUPLE;
    } else if (one->value != Py_None && type != &PyLong_Type && type != &PyFloat_Type &&
               type != &PyBool_Type) {
        kind =
            rl_convert_kind(self->options->state, self->options->raised, type, &fields);
    }
    one->rank = 1;
    switch (kind) {
    case RL_AS_STR:
        one->size = (size_t)PyUnicode_GET_LENGTH(one->value);
        one->rank = one->size < share || is_value(self, one->size) ? 0 : 2;
        break;
    case RL_AS_BASE64:
        one->size = PyMemoryView_Check(one->value) ? LARGE : (size_t)Py_SIZE(one->value);
        one->rank = one->size < share / 4 * 3 || is_value(self, one->size) ? 0 : 2;
        break;
    case RL_AS_DICT:
        one->size = (size_t)PyDict_GET_SIZE(one->value);
        break;
    case RL_AS_LIST:
    case RL_AS_TUPLE:
        one->size = (size_t)Py_SIZE(one->value);
        break;
    case RL_AS_FIELDS:
        one->size = (size_t)PyTuple_GET_SIZE(fields);
        break;
    case RL_AS_VARS:
    case RL_AS_DUMP:
    case RL_AS_OWN_DUMP:
    case RL_AS_OLD_DUMP:
        one->size = 8; /* or so */
        break;
    case RL_AS_MAPPING:
    case RL_AS_SNAPSHOT:
    case RL_AS_ITERATOR:
    case RL_AS_ARRAY:
    case RL_AS_EXCEPTION:
        one->size = LARGE;
        break;
    default: /* texts of which nobody makes long ones, and names */
        one->rank = 0;
        break;
    }
    Py_XDECREF(fields);
}

static int compare(const void *left, const void *right)
{
    const child *a = left, *b = right;

    if (a->rank != b->rank) {
        return a->rank < b->rank ? -1 : 1;
    }
    if (a->size != b->size) {
        return a->size < b->size ? -1 : 1;
    }
    return a->place < b->place ? -1 : 1;
}

/* Takes all children of the container, sorted. Returns how many. */
static size_t take_children(rl_encoder *self, rl_ends *from, size_t share)
{
    size_t at = self->children.len, count = 0;
    child one;

    while (count < FEW && rl_ends_take_front(from, &one.key, &one.value)) {
        one.size = 0;
        one.len = 0;
        one.place = (unsigned char)count;
        measure(self, &one, share);
        rl_buf_add(&self->children, &one, sizeof one);
        if (self->children.failed) {
            self->json.buf->failed = true;
            Py_XDECREF(one.key);
            Py_DECREF(one.value);
            break;
        }
        count++;
    }
    rl_encoder_absorb(self);
    if (count > 1) {
        qsort(self->children.data + at, count, sizeof one, compare);
    }
    return count;
}

/* Puts the children, whose texts begin at `from`, into their order. */
static void put_into_order(rl_encoder *self, const child *children, size_t count,
                           size_t from)
{
    rl_buf *buf = self->json.buf;
    size_t at[FEW], lens[FEW], sum = 0;
    bool sorted = true;

    for (size_t i = 0; i < count; i++) {
        at[children[i].place] = sum;
        lens[children[i].place] = children[i].len;
        sum += children[i].len;
        sorted = sorted && children[i].place == i;
    }
    if (sorted || buf->failed) {
        return;
    }
    rl_buf_reset(&self->scratch, RL_BUF_MAX);
    rl_buf_add(&self->scratch, buf->data + from, sum);
    if (self->scratch.failed) {
        buf->failed = true;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        memcpy(buf->data + from, self->scratch.data + at[i], lens[i]);
        from += lens[i];
    }
}

/* A container of few children, all of which fit somehow. */
static void fit_few(rl_encoder *self, rl_frame *frame, size_t end)
{
    rl_ends from = rl_ends_of(self, frame);
    rl_buf *buf = self->json.buf;
    size_t children_at = self->children.len, start = buf->len;
    size_t count = take_children(
        self, &from, from.size > 0 ? room_to(self, end) / (size_t)from.size : 0);

    for (size_t i = 0; i < count && !buf->failed; i++) {
        const child one =
            ((const child *)(const void *)(self->children.data + children_at))[i];
        size_t at = buf->len;

        fit_child(self, frame, one.key, one.value, at + room_to(self, end) / (count - i));
        ((child *)(void *)(self->children.data + children_at))[i].len = buf->len - at;
    }
    put_into_order(self, (const child *)(const void *)(self->children.data + children_at),
                   count, start);
    for (size_t i = 0; i < count; i++) {
        const child one =
            ((const child *)(const void *)(self->children.data + children_at))[i];

        Py_XDECREF(one.key);
        Py_XDECREF(one.value);
    }
    self->children.len = children_at;
}

/* A mapping of few members, which are fetched one at a time. */
static void fit_few_lazily(rl_encoder *self, rl_frame *frame, size_t end)
{
    rl_ends from = rl_ends_of(self, frame);
    PyObject *key, *value;

    while (!self->json.buf->failed && rl_ends_take_front(&from, &key, &value)) {
        size_t left = (size_t)(from.size - from.taken) + 1;

        fit_child(self, frame, key, value,
                  self->json.buf->len + room_to(self, end) / left);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    if (PyErr_Occurred()) { /* the iterator has raised */
        rl_encoder_absorb(self);
        from.more = true;
    }
    if (from.more) { /* there is room for what was not taken */
        self->elided = true;
        rl_fit_mark(&self->json, rl_frame_is_object(frame->kind), from.size - from.taken);
    }
}

/* What the innermost container has, in room up to `end`; closes it. */
static void fit_container(rl_encoder *self, size_t end)
{
    rl_frame *frame = &self->frames[self->depth - 1];
    Py_ssize_t size = rl_ends_size(self, frame);
    size_t least = rl_frame_is_object(frame->kind) ? MEMBER_MIN : VALUE_MIN;

    end--; /* the bracket takes the place of the last comma, and has one itself */
    if (size < 0 || size > FEW || (size_t)size * least > room_to(self, end)) {
        fit_many(self, frame, end);
    } else if (frame->kind == FRAME_KEYS || frame->kind == FRAME_ITEMS ||
               frame->kind == FRAME_ITERATOR) {
        fit_few_lazily(self, frame, end);
    } else {
        fit_few(self, frame, end);
    }
    self->json.over = false;
    rl_encoder_pop(self);
}

/* Writes a value with its comma so that the text ends at `end` or before; there is room
 * for VALUE_MIN. */
static void fit_value(rl_encoder *self, PyObject *value, size_t end)
{
    const unsigned depth = self->depth;
    rl_json *json = &self->json;
    size_t at = json->buf->len;
    char mark[48];

    self->end = end;
    json->limit = end + json->depth;
    json->over = false;
    self->puts->value(self, value);
    if (self->depth > depth) {
        fit_container(self, end);
    } else if (json->over) { /* a number of many digits */
        PyOS_snprintf(mark, sizeof mark, "<cut: %zu bytes>", json->buf->len - at - 1);
        json->buf->len = at;
        json->over = false;
        self->elided = true;
        rl_put_marker(self, mark);
    }
}

void rl_fit(rl_encoder *self, PyObject *value, const rl_fit_puts *puts)
{
    const unsigned key_level = self->key_level;
    rl_buf *buf = self->json.buf;

    buf->len = self->json.start;
    rl_encoder_drop_values(self);
    rl_encoder_end(self);
    rl_encoder_begin(self, self->options, self->outer, self->cap, buf);
    self->key_level = key_level;
    self->fitting = true;
    self->puts = puts;
    fit_value(self, value, buf->len + self->cap + 1);
}
