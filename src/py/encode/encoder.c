/* The encoder's state, and texts and ints. See encoder.h. */
#include "py/encode/encoder.h"

#include "py/base/errors.h"

#define DIGITS_MAX 4300 /* of an int in decimal, as in CPython */

#define MARK_HEAD ((size_t)200) /* bytes of a value that its mark shows */
#define MARK_MIN ((size_t)96)   /* the mark of a value, with its comma, without these */

/* The least room for a container that is not empty: brackets and a mark. */
#define CONTAINER_MIN ((size_t)48)

static const rl_buf no_buf = {.max = RL_BUF_MAX};

void rl_encoder_begin(rl_encoder *self, const rl_encode_options *options, PyObject *outer,
                      size_t cap, rl_buf *buf)
{
    self->options = options;
    self->cap = cap;
    self->depth = 0;
    self->deepest = 0;
    self->key_level = 0;
    self->fitting = false;
    self->puts = NULL;
    self->plain_keys = options->state->plain_keys;
    self->salt = options->redact->salt;
    self->judges = options->redact->rules != 0 || options->redact->hidden.count != 0;
    self->searches = rl_redact_reads_texts(options->redact);
    self->elided = false;
    self->easy = 0;
    self->end = 0;
    self->copied = 0;
    self->link = -1;
    self->values_at = options->values != NULL ? options->values->len : 0;
    self->outer = outer;
    self->keys = NULL;
    self->same_keys = 0;
    self->links = (rl_links){NULL, NULL, 0, 0};
    self->texts = no_buf;
    self->children = no_buf;
    self->scratch = no_buf;
    rl_json_begin(&self->json, buf, cap);
}

void rl_encoder_end(rl_encoder *self)
{
    if (self->links.list != NULL) {
        rl_links_free(&self->links);
    }
    Py_CLEAR(self->keys);
    if (self->fitting || self->scratch.data != NULL) { /* else all are empty */
        rl_buf_free(&self->texts);
        rl_buf_free(&self->children);
        rl_buf_free(&self->scratch);
    }
}

void rl_encoder_drop_values(rl_encoder *self)
{
    rl_buf *values = self->options->values;

    while (values != NULL && values->len > self->values_at) {
        rl_value *value;

        values->len -= sizeof value;
        memcpy(&value, values->data + values->len, sizeof value);
        *self->options->value_bytes -= value->len;
        rl_value_unref(value);
    }
}

bool rl_encoder_make_room(rl_encoder *self)
{
    const size_t kept = RL_EASY_ROOM + RL_JSON_DEPTH, limit = self->json.limit;
    rl_buf *buf = self->json.buf;
    size_t most = limit > kept ? limit - kept : 0;

    if (self->fitting || buf->failed || buf->len >= most ||
        !rl_buf_reserve(buf, RL_EASY_ROOM + 1)) {
        return false;
    }
    self->easy = buf->cap - RL_EASY_ROOM < most ? buf->cap - RL_EASY_ROOM : most;
    return true;
}

/* Stands for a container for which there is no room. */
static void put_size(rl_encoder *self, bool is_object, Py_ssize_t size)
{
    char text[64];

    if (size == PY_SSIZE_T_MAX) { /* not known */
        PyOS_snprintf(text, sizeof text, "<cut: all %s>",
                      is_object ? "members" : "elements");
    } else {
        PyOS_snprintf(text, sizeof text, "<cut: %zd %s>", size,
                      is_object ? "members" : "elements");
    }
    self->elided = true;
    rl_put_marker(self, text);
}

/* Whether a container may be opened; else its marker is written. */
static bool may_open(rl_encoder *self, bool is_object, PyObject *owner, Py_ssize_t size)
{
    if (rl_encoder_is_open(self, owner)) {
        rl_put_marker(self, "<cycle>");
    } else if (self->depth == RL_JSON_DEPTH) {
        rl_put_marker(self, "<too deep>");
    } else if (self->fitting && size > 0 &&
               self->end - self->json.buf->len < CONTAINER_MIN) {
        put_size(self, is_object, size);
    } else {
        return true;
    }
    return false;
}

int rl_encoder_push(rl_encoder *self, rl_frame_kind kind, PyObject *owner,
                    PyObject *items, Py_ssize_t size)
{
    bool is_object = rl_frame_is_object(kind);
    rl_frame *frame;

    if (!may_open(self, is_object, owner, size)) {
        Py_XDECREF(items);
        return -1;
    }
    frame = &self->frames[self->depth++];
    frame->owner = Py_NewRef(owner);
    frame->items = items != NULL ? items : owner;
    frame->names = NULL;
    frame->at = 0;
    frame->left = size;
    frame->start = self->json.buf->len;
    frame->link = self->link;
    if (frame->link >= 0) {
        rl_links_at(&self->links, frame->link)->state = RL_LINK_OPEN;
        frame->end = self->end;
        frame->deepest = self->deepest;
        frame->elided = self->elided;
        self->elided = false;
        self->deepest = self->depth;
        self->link = -1;
    } else if (self->depth > self->deepest) {
        self->deepest = self->depth;
    }
    frame->kind = kind;
    rl_json_open(&self->json, is_object ? '{' : '[');
    return 0;
}

/* Remembers the text of an object that is complete. */
static void end_link(rl_encoder *self, const rl_frame *frame)
{
    rl_link *link = rl_links_at(&self->links, frame->link);
    const rl_buf *buf = self->json.buf;
    size_t len = buf->len - 1 - frame->start;

    link->state = RL_LINK_KNOWN;
    link->room = self->elided ? (uint32_t)(frame->end - frame->start) : 0;
    self->elided |= frame->elided;
    link->height = (uint8_t)(self->deepest - self->depth);
    link->at = (uint32_t)frame->start; /* RL_BUF_MAX is less */
    link->len = len <= RL_LINK_COPIED ? (uint16_t)len : 0;
    if (self->fitting && link->len > 0) {
        link->at = (uint32_t)self->texts.len;
        if (link->at + len <= self->cap) {
            rl_buf_add(&self->texts, buf->data + frame->start, len);
        }
        link->len = (uint16_t)(self->texts.len - link->at);
    }
    if (frame->deepest > self->deepest) {
        self->deepest = frame->deepest;
    }
}

void rl_encoder_pop(rl_encoder *self)
{
    rl_frame *top = &self->frames[--self->depth];

    rl_json_close_with(&self->json, rl_frame_is_object(top->kind) ? '}' : ']');
    if (top->link >= 0 && !rl_encoder_stopped(self)) {
        end_link(self, top);
    }
    Py_XDECREF(top->names);
    if (top->items != top->owner) {
        Py_DECREF(top->items);
    }
    Py_DECREF(top->owner);
}

void rl_put_marker(rl_encoder *self, const char *text)
{
    const rl_source source = {.data = text, .count = strlen(text), .units = RL_UTF8};

    rl_put_source(self, &source, false, NULL);
}

void rl_put_failure(rl_encoder *self, PyObject *value)
{
    char text[160];

    rl_encoder_absorb(self);
    PyOS_snprintf(text, sizeof text, "<unserializable %.100s>", rl_type_name(value));
    rl_put_marker(self, text);
}

/* Not ASCII text, and whose UTF-8 CPython has not cached, is escaped from CPython's own
 * form (PEP 393), so that the user's objects do not grow by a UTF-8 copy. */
bool rl_source_of(PyObject *text, rl_source *source)
{
    static const rl_units units[] = {[PyUnicode_1BYTE_KIND] = RL_UCS1,
                                     [PyUnicode_2BYTE_KIND] = RL_UCS2,
                                     [PyUnicode_4BYTE_KIND] = RL_UCS4};
    const PyCompactUnicodeObject *compact = (const PyCompactUnicodeObject *)text;

    source->redact = NULL;
    if (PyUnicode_IS_COMPACT_ASCII(text)) {
        source->units = RL_UTF8;
        source->data = PyUnicode_1BYTE_DATA(text);
        source->count = (size_t)PyUnicode_GET_LENGTH(text);
        return true;
    }
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(text) < 0) {
        return false;
    }
#endif
    if (compact->utf8 != NULL) { /* cached if anyone has asked for it before */
        source->units = RL_UTF8;
        source->data = compact->utf8;
        source->count = (size_t)compact->utf8_length;
    } else {
        source->units = units[PyUnicode_KIND(text)];
        source->data = PyUnicode_DATA(text);
        source->count = (size_t)PyUnicode_GET_LENGTH(text);
    }
    return true;
}

/* Writes a text with its middle cut where the whole one did not fit. */
static void cut_text(rl_encoder *self, const rl_source *source, size_t at, char tail)
{
    rl_buf *buf = self->json.buf;

    self->json.over = false;
    self->elided = true;
    buf->len = at;
    rl_source_cut(buf, source, self->end - at - 1);
    rl_buf_add_char(buf, tail);
}

/* The JSON of a value in self->scratch, at most max_value bytes of it; false when it is
 * too short for a value. */
static bool write_value(rl_encoder *self, const rl_source *source)
{
    const size_t most = self->options->max_value;
    rl_buf *to = &self->scratch;
    rl_json json;

    rl_buf_reset(to, RL_BUF_MAX);
    rl_json_begin(&json, to, most);
    json.over = rl_source_least(source) + 2 > most;
    if (!json.over && rl_buf_reserve(to, rl_source_least(source) + 32)) {
        rl_source_put(&json, source, ',');
    }
    if (json.over) {
        to->len = 0;
        rl_source_cut(to, source, most);
    } else if (!to->failed) {
        to->len--;
    }
    return to->failed || to->len >= RL_VALUE_FROM;
}

/* Writes the mark of a value; false when there is no room for it. */
static bool put_mark(rl_encoder *self, const rl_value *value)
{
    const char *inside = value->json + 1;
    size_t head = rl_escaped_prefix(inside, value->len - 2, MARK_HEAD);
    rl_buf *buf = self->json.buf;
    const size_t room = self->fitting ? self->end - buf->len : SIZE_MAX;

    if (MARK_MIN + head > room) {
        if (MARK_MIN > room) {
            return false;
        }
        head = rl_escaped_prefix(inside, head, room - MARK_MIN);
    }
    rl_buf_printf(buf, "{\"$value\":\"%s\",\"bytes\":%zu,\"head\":\"", value->name,
                  value->len);
    rl_buf_add(buf, inside, head);
    rl_buf_add(buf, "\"},", 3);
    rl_json_done(&self->json);
    return true;
}

/* Writes the mark of a value, and adds it (stolen) to the values of the payload. */
static bool add_value(rl_encoder *self, rl_value *value)
{
    rl_buf *values = self->options->values;
    bool done = put_mark(self, value);

    if (done) {
        rl_buf_add(values, &value, sizeof value);
    }
    if (done && !values->failed) {
        *self->options->value_bytes += value->len;
    } else {
        rl_value_unref(value);
    }
    self->json.buf->failed |= values->failed;
    return done;
}

/* Whether a container around the place makes its items when it is asked for them. */
static bool is_in_mapping(const rl_encoder *self)
{
    bool found = false;

    for (unsigned i = 0; i < self->depth && !found; i++) {
        found = self->frames[i].kind == FRAME_KEYS || self->frames[i].kind == FRAME_ITEMS;
    }
    return found;
}

/* Bytes of values that the payload may have with one more, of `len` bytes. What a mapping
 * makes for the asking takes new memory, so there is as much of it as the payload may
 * have of text, or one value. */
static size_t most_values(const rl_encoder *self, size_t len)
{
    const size_t one = self->options->max_value;

    if (is_in_mapping(self)) {
        return len > self->cap ? len : self->cap;
    }
    return one > RL_VALUES_MAX ? one : RL_VALUES_MAX;
}

/* Writes a large text as a value; false, with nothing written, if it is no large one, or
 * too much for the payload. */
static bool put_value(rl_encoder *self, const rl_source *source, PyObject *owner)
{
    const rl_encode_options *options = self->options;
    rl_text_cache *cache = owner != NULL ? rl_encoder_cache(self) : NULL;
    rl_value *value = cache != NULL ? rl_text_cache_value(cache, owner) : NULL;
    bool known = value != NULL;
    size_t len = known ? value->len : rl_source_least(source);

    len = len < options->max_value ? len : options->max_value;
    if (*options->value_bytes + len > most_values(self, len)) {
        return false;
    }
    if (known) {
        return add_value(self, rl_value_ref(value));
    }
    if (!write_value(self, source)) {
        return false;
    }
    value =
        self->scratch.failed ? NULL : rl_value_new(self->scratch.data, self->scratch.len);
    if (value == NULL) {
        self->json.buf->failed = true;
        return true;
    }
    if (cache != NULL) {
        rl_text_cache_add_value(cache, owner, value);
    }
    return add_value(self, value);
}

void rl_put_source(rl_encoder *self, const rl_source *source, bool key, PyObject *owner)
{
    const size_t at = self->json.buf->len;
    const char tail = key ? ':' : ',';

    if (!key && self->options->values != NULL &&
        rl_source_least(source) >= RL_VALUE_FROM / RL_ESCAPE_MAX &&
        put_value(self, source, owner)) {
        return;
    }
    rl_source_put(&self->json, source, tail);
    if (self->json.over && self->fitting) {
        cut_text(self, source, at, tail);
    }
}

static void put_uncached_text(rl_encoder *self, PyObject *text, bool key)
{
    rl_json *json = &self->json;
    const size_t at = json->buf->len;
    rl_source source;

    if (PyUnicode_IS_COMPACT_ASCII(text) && !self->fitting &&
        PyUnicode_GET_LENGTH(text) < (Py_ssize_t)(RL_VALUE_FROM / RL_ESCAPE_MAX)) {
        (key ? rl_json_key_slow : rl_json_text_slow)(
            json, (const char *)PyUnicode_1BYTE_DATA(text),
            (size_t)PyUnicode_GET_LENGTH(text)); /* most texts: too short for a value */
        if (!key && self->searches) {
            rl_source_redact(json, at, self->options->redact);
        }
    } else if (rl_source_of(text, &source)) {
        source.redact = key ? NULL : self->options->redact; /* keys: see walk.c */
        rl_put_source(self, &source, key, PyUnicode_CheckExact(text) ? text : NULL);
    } else {
        rl_put_failure(self, text);
    }
}

/* A long text that may be in the cache. One that could be cut is not taken from it. */
static void put_long_text(rl_encoder *self, PyObject *text)
{
    rl_text_cache *cache = rl_encoder_cache(self);
    const rl_cached_text *cached = rl_text_cache_find(cache, text);
    rl_buf *buf = self->json.buf;
    size_t at = buf->len;

    if (cached != NULL && at + cached->len + self->depth < self->json.limit) {
        rl_json_raw(&self->json, cached->json, cached->len);
        return;
    }
    put_uncached_text(self, text, false);
    if (cached == NULL && !self->fitting && !rl_encoder_stopped(self) &&
        buf->data[at] == '"') {
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
    PyObject *digits;
    bool is_number;

    Py_INCREF(value); /* str() may raise: making an exception may collect garbage */
    digits = PyLong_Type.tp_repr(value);
    is_number = digits != NULL && PyUnicode_GET_LENGTH(digits) <= DIGITS_MAX + 1;
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
    Py_DECREF(value);
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
