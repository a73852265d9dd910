/* Payloads, node logs and plain texts. See encode.h. */
#include "py/encode/encode.h"

#include "core/clock.h"
#include "core/delta.h"
#include "py/base/errors.h"
#include "py/base/raised.h"
#include "py/encode/fit.h"
#include "py/encode/walk.h"

#define LOG_CAPS 32  /* a node log longer than so many caps is cut as one payload */
#define LOGS_CAPS 64 /* and a list of them is cut at so many */

/* Encodes a value that is inside of `outer` (NULL: of nothing). */
static void encode_within(const rl_encode_options *options, PyObject *value,
                          PyObject *outer, size_t cap, rl_buf *buf, bool *wide_numbers)
{
    rl_encoder self;

    rl_encoder_begin(&self, options, outer, cap, buf);
    rl_walk_value(&self, value);
    *wide_numbers |= self.json.wide_number;
    rl_encoder_end(&self);
}

/* When an encoding begins, if anybody wants to know how long it takes; see count_time. */
static uint64_t begin_time(const rl_encode_options *options)
{
    return options->spent_ns != NULL ? rl_monotonic_ns() : 0;
}

static void count_time(const rl_encode_options *options, uint64_t begun)
{
    if (options->spent_ns != NULL) {
        rl_metric_add(options->spent_ns, rl_monotonic_ns() - begun);
    }
}

void rl_encode(const rl_encode_options *options, PyObject *value, rl_buf *buf,
               bool *wide_numbers)
{
    const uint64_t begun = begin_time(options);

    encode_within(options, value, NULL, options->cap, buf, wide_numbers);
    count_time(options, begun);
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
        if (rl_is_hidden(rl_walk_put_key(self, key), value)) {
            member.value_at = buf->len - start;
            rl_put_marker(self, RL_REDACTED);
        } else {
            member.value_at = buf->len - start;
            rl_walk_put(self, value);
            rl_walk(self, 1);
        }
        member.key_len = member.value_at - 1 - member.key_at;      /* without the colon */
        member.value_len = buf->len - 1 - start - member.value_at; /* nor the comma */
        rl_buf_add(members, &member, sizeof member);
        Py_DECREF(value);
        Py_DECREF(key);
    }
}

/* The same for the elements of an open list. */
static void walk_elements(rl_encoder *self, PyObject *list, size_t start,
                          rl_buf *elements)
{
    const rl_buf *buf = self->json.buf;
    Py_ssize_t left = PyList_GET_SIZE(list);

    for (Py_ssize_t i = 0; left-- > 0 && i < PyList_GET_SIZE(list); i++) {
        rl_element element = {.at = buf->len - start};

        if (rl_encoder_stopped(self)) {
            break;
        }
        rl_walk_put(self, PyList_GET_ITEM(list, i)); /* which holds it */
        rl_walk(self, 1);
        element.len = buf->len - 1 - start - element.at; /* without the comma */
        rl_buf_add(elements, &element, sizeof element);
    }
}

/* What a value of a type is cut into as it is encoded, and how its text would be. */
typedef struct parts {
    PyTypeObject *type;
    void (*walk)(rl_encoder *self, PyObject *value, size_t start, rl_buf *parts);
    bool (*split)(const char *text, size_t len, rl_buf *parts);
} parts;

/* Encodes a value; true if its text has such parts. */
static bool encode_parts(const rl_encode_options *options, const parts *kind,
                         PyObject *value, rl_buf *buf, rl_buf *found, bool *wide_numbers)
{
    const uint64_t begun = begin_time(options);
    size_t start = buf->len, found_at = found->len;
    bool known = false;
    rl_encoder self;

    rl_encoder_begin(&self, options, NULL, options->cap, buf);
    rl_walk_put(&self, value);
    if (self.depth == 1 && Py_IS_TYPE(value, kind->type)) {
        kind->walk(&self, value, start, found);
        rl_encoder_pop(&self);
        known = true;
    } else {
        rl_walk(&self, 0);
    }
    if (self.json.over && !buf->failed) {
        found->len = found_at;
        known = false;
        rl_walk_fit(&self, value);
    }
    rl_json_end(&self.json);
    *wide_numbers |= self.json.wide_number;
    rl_encoder_end(&self);
    count_time(options, begun);
    if (buf->failed || found->failed) {
        return false;
    }
    return known || kind->split(buf->data + start, buf->len - start, found);
}

bool rl_encode_members(const rl_encode_options *options, PyObject *value, rl_buf *buf,
                       rl_buf *members, bool *wide_numbers)
{
    const parts kind = {&PyDict_Type, walk_members, rl_object_split};

    return encode_parts(options, &kind, value, buf, members, wide_numbers);
}

void rl_encode_elements(const rl_encode_options *options, PyObject *value, rl_buf *buf,
                        rl_buf *elements, bool *wide_numbers)
{
    const parts kind = {&PyList_Type, walk_elements, rl_array_split};

    (void)encode_parts(options, &kind, value, buf, elements, wide_numbers);
}

/* One node log; the cap holds for each of its members. */
static void encode_log(const rl_encode_options *options, PyObject *log, rl_buf *buf,
                       bool *wide_numbers)
{
    const size_t start = buf->len;
    Py_ssize_t at = 0, left = PyDict_GET_SIZE(log);
    PyObject *key, *value;
    rl_encoder self;

    rl_buf_add_char(buf, '{');
    while (left-- > 0 && buf->len - start <= LOG_CAPS * options->cap &&
           PyDict_Next(log, &at, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        rl_encoder_begin(&self, options, log, options->cap, buf);
        if (rl_is_hidden(rl_walk_put_key(&self, key), value)) {
            rl_put_marker(&self, RL_REDACTED);
        } else {
            encode_within(options, value, log, options->cap, buf, wide_numbers);
            rl_buf_add_char(buf, ',');
        }
        rl_encoder_end(&self);
        Py_DECREF(value);
        Py_DECREF(key);
    }
    if (!buf->failed) {
        buf->len -= buf->data[buf->len - 1] == ',';
    }
    rl_buf_add_char(buf, '}');
    if (!buf->failed && buf->len - start > LOG_CAPS * options->cap) {
        buf->len = start;
        encode_within(options, log, NULL, options->cap, buf, wide_numbers);
    }
}

/* Appends the node log at a place, with a comma; false when there is none. */
static bool add_log(const rl_encode_options *options, PyObject *logs, Py_ssize_t at,
                    rl_buf *buf, bool *wide_numbers)
{
    PyObject *log;

    if (at >= PyList_GET_SIZE(logs) || buf->failed) {
        return false;
    }
    log = Py_NewRef(PyList_GET_ITEM(logs, at));
    if (PyDict_CheckExact(log)) {
        encode_log(options, log, buf, wide_numbers);
    } else {
        encode_within(options, log, logs, options->cap, buf, wide_numbers);
    }
    rl_buf_add_char(buf, ',');
    Py_DECREF(log);
    return true;
}

/* The logs from `first` on, of which those at the front give way to a mark: appends the
 * last ones until the list has `end` bytes. */
static void add_last_logs(const rl_encode_options *options, PyObject *logs,
                          Py_ssize_t first, size_t end, rl_buf *buf, bool *wide_numbers)
{
    Py_ssize_t at = PyList_GET_SIZE(logs);
    const size_t start = buf->len;
    rl_buf lens, scratch;
    size_t len = start;
    rl_json json;

    rl_buf_init(&lens, RL_BUF_MAX);
    rl_buf_init(&scratch, RL_BUF_MAX);
    while (at > first && buf->len < end &&
           add_log(options, logs, at - 1, buf, wide_numbers)) {
        len = buf->len - len;
        rl_buf_add(&lens, &len, sizeof len);
        len = buf->len;
        at--;
    }
    if (at > first && !buf->failed) {
        rl_json_begin(&json, buf, SIZE_MAX / 2);
        rl_fit_mark(&json, false, at - first);
        len = buf->len - len;
        rl_buf_add(&lens, &len, sizeof len);
    }
    buf->failed |= lens.failed;
    rl_fit_reverse(buf, start, (const size_t *)(const void *)lens.data,
                   lens.len / sizeof len, &scratch);
    rl_buf_free(&scratch);
    rl_buf_free(&lens);
}

void rl_encode_logs(const rl_encode_options *options, PyObject *logs, rl_buf *buf,
                    bool *wide_numbers)
{
    const size_t half = buf->len + LOGS_CAPS / 2 * options->cap;
    uint64_t begun;
    Py_ssize_t at = 0;

    if (!PyList_CheckExact(logs)) {
        rl_encode(options, logs, buf, wide_numbers);
        return;
    }
    begun = begin_time(options);
    rl_buf_add_char(buf, '[');
    while (buf->len < half && add_log(options, logs, at, buf, wide_numbers)) {
        at++;
    }
    if (at < PyList_GET_SIZE(logs)) {
        add_last_logs(options, logs, at, half + LOGS_CAPS / 2 * options->cap, buf,
                      wide_numbers);
    }
    if (!buf->failed) {
        buf->len -= buf->data[buf->len - 1] == ',';
    }
    rl_buf_add_char(buf, ']');
    count_time(options, begun);
}

/* Stands for a value whose conversion has raised, and absorbs the exception. */
static void put_failure(const rl_encode_options *options, PyObject *value, rl_buf *buf)
{
    rl_raised_absorb(options->raised);
    rl_buf_printf(buf, "<unserializable %.100s>", rl_type_name(value));
}

/* A value that is no exception; see rl_encode_plain. */
static void put_plain(const rl_encode_options *options, PyObject *value, size_t room,
                      rl_buf *buf)
{
    size_t at = buf->len;
    PyObject *text = NULL;
    rl_source source;
    bool wide = false;

    if (!PyUnicode_Check(value)) {
        encode_within(options, value, NULL, room, buf, &wide);
        if (!buf->failed && buf->data[at] == '"') {
            buf->len =
                at + rl_unescape(buf->data + at, buf->data + at + 1, buf->len - at - 2);
        }
        return;
    }
    text = PyUnicode_CheckExact(value) ? Py_NewRef(value) : PyObject_Str(value);
    if (text != NULL && rl_source_of(text, &source)) {
        source.redact = options->redact;
        rl_source_plain(buf, &source, room);
    } else {
        put_failure(options, value, buf);
    }
    Py_XDECREF(text);
}

/* The text of an exception. It is remembered if it is whole, or cut as an error text is.
 */
static void put_error(const rl_encode_options *options, PyObject *error, size_t room,
                      rl_buf *buf)
{
    const uint64_t salt = options->redact != NULL ? options->redact->salt : 0;
    const size_t at = buf->len;
    PyObject *said = rl_error_said(error, RL_PLAIN_ERROR);

    if (said != NULL) {
        put_plain(options, said, room, buf);
    } else {
        put_failure(options, error, buf);
    }
    if (options->errors != NULL && room == RL_PLAIN_ERROR && !buf->failed) {
        rl_error_texts_add(options->errors, error, salt, buf->data + at, buf->len - at);
    }
    Py_XDECREF(said);
}

void rl_encode_plain(const rl_encode_options *options, PyObject *value, size_t room,
                     rl_buf *buf)
{
    const uint64_t salt = options->redact != NULL ? options->redact->salt : 0;
    const bool is_error = PyExceptionInstance_Check(value);
    const rl_error_text *known = is_error && options->errors != NULL
                                     ? rl_error_texts_find(options->errors, value, salt)
                                     : NULL;
    rl_source source = {.units = RL_UTF8};

    if (known != NULL) {
        source.data = known->text;
        source.count = known->len;
        rl_source_plain(buf, &source, room);
    } else if (is_error) {
        put_error(options, value, room, buf);
    } else {
        put_plain(options, value, room, buf);
    }
}

PyObject *rl_encode_short(const rl_redact *redact, PyObject *text, size_t room)
{
    PyObject *kept = NULL;
    rl_source source;
    rl_buf buf;

    if (text == NULL || !PyUnicode_Check(text) ||
        PyUnicode_GET_LENGTH(text) <= (Py_ssize_t)(room / 4)) {
        return Py_XNewRef(text);
    }
    rl_buf_init(&buf, RL_BUF_MAX);
    if (rl_source_of(text, &source)) {
        source.redact = redact;
        rl_source_plain(&buf, &source, room);
        kept = buf.failed ? NULL
                          : PyUnicode_FromStringAndSize(buf.data, (Py_ssize_t)buf.len);
    }
    rl_buf_free(&buf);
    PyErr_Clear();
    return kept;
}

PyObject *rl_encode_name(PyObject *text)
{
    return rl_encode_short(NULL, text, RL_PLAIN_NAME);
}
