/* Special values, each by the kind of its type. See special_values.h and convert.h. */
#include "py/encode/special_values.h"

#include "core/redact_text.h"
#include "py/base/errors.h"
#include "py/base/imports.h"
#include "py/base/raised.h"
#include "py/encode/convert.h"
#include "py/encode/error_text.h"
#include "py/encode/fit.h"

#define SNAPSHOT_MAX 65536 /* items */
#define ARRAY_MAX 65536    /* elements of an array that is walked */

/* References to an object that occurs once: that of what contains it, and the encoder's.
 */
#define OWN_REFERENCES 2

static bool finds_secret(const rl_encoder *self, const char *data, size_t len)
{
    bool found;
    rl_buf out;

    rl_buf_init(&out, RL_BUF_MAX);
    found = rl_redact_text(self->options->redact, data, len, RL_BYTES, 0, len, &out);
    rl_buf_free(&out);
    return found;
}

/* Whether bytes are a text that has a secret in it, as far as they may be stored: at both
 * ends. Those whose value is in the cache were searched before. */
static bool has_secret(const rl_encoder *self, PyObject *value, const Py_buffer *view)
{
    rl_text_cache *cache = rl_encoder_cache(self);
    const char *data = view->buf;
    const size_t len = (size_t)view->len;
    const size_t stored =
        self->options->values != NULL ? self->options->max_value : self->cap;
    const size_t most = stored + RL_REDACT_CONTEXT;

    if (cache != NULL && rl_text_cache_value(cache, value) != NULL) {
        return false;
    }
    if (len <= 2 * most) {
        return finds_secret(self, data, len);
    }
    return finds_secret(self, data, most) || finds_secret(self, data + len - most, most);
}

static void put_base64(rl_encoder *self, PyObject *value)
{
    rl_source source = {.units = RL_BASE64};
    PyObject *copy = NULL;
    Py_buffer view;

    if (PyMemoryView_Check(value) &&
        !PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(value), 'C')) {
        value = copy = PyBytes_FromObject(value);
    }
    if (value == NULL || PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) < 0) {
        Py_XDECREF(copy);
        rl_encoder_absorb(self);
        rl_put_marker(self, "<unserializable memoryview>");
        return;
    }
    source.data = view.buf;
    source.count = (size_t)view.len;
    if (has_secret(self, value, &view)) {
        rl_put_marker(self, RL_REDACTED);
    } else {
        rl_put_source(self, &source, false, PyBytes_CheckExact(value) ? value : NULL);
    }
    PyBuffer_Release(&view);
    Py_XDECREF(copy);
}

/* The message is the exception's text; where that would be too long, what it would be
 * made of. */
static void push_exception(rl_encoder *self, PyObject *value)
{
    const size_t left = self->fitting ? self->end - self->json.buf->len : RL_ERROR_SAID;
    PyObject *names = Py_BuildValue("(ss)", "error", "message");
    PyObject *message =
        names != NULL ? rl_error_said(value, left < RL_ERROR_SAID ? left : RL_ERROR_SAID)
                      : NULL;
    PyObject *values =
        message != NULL ? Py_BuildValue("(sN)", rl_type_name(value), message) : NULL;

    if (values == NULL) {
        rl_put_failure(self, value);
    } else if (rl_encoder_push(self, FRAME_FIELDS, value, values, 2) == 0) {
        self->frames[self->depth - 1].names = Py_NewRef(names);
    }
    Py_XDECREF(names);
}

/* Writes an item of a numeric buffer; false when the format is not known. */
static bool put_item(rl_encoder *self, const char *item, char format)
{
    switch (format) {
#define INTEGER(code, ctype)                       \
    case code: {                                   \
        ctype number;                              \
        memcpy(&number, item, sizeof number);      \
        rl_json_int(&self->json, (int64_t)number); \
        return true;                               \
    }
#define REAL(code, ctype)                            \
    case code: {                                     \
        ctype number;                                \
        memcpy(&number, item, sizeof number);        \
        rl_json_double(&self->json, (double)number); \
        return true;                                 \
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

/* Fitting: the first and the last numbers of an array, with a mark between them. Each
 * takes less room than the mark. */
static void put_ends(rl_encoder *self, const Py_buffer *view, char format)
{
    rl_buf *buf = self->json.buf, *lens = &self->children;
    const char *first = view->buf, *last = first + view->shape[0] * view->strides[0];
    const size_t end = self->end - 1 - RL_FIT_MARK, lens_at = lens->len;
    const size_t half = buf->len + (end - buf->len) / 2;
    Py_ssize_t left = view->shape[0];
    size_t start, len;

    for (; left > 0 && buf->len + RL_FIT_MARK <= half; left--) {
        (void)put_item(self, first, format);
        first += view->strides[0];
    }
    start = buf->len;
    for (; left > 0 && buf->len + RL_FIT_MARK <= end && !lens->failed; left--) {
        len = buf->len;
        last -= view->strides[0];
        (void)put_item(self, last, format);
        len = buf->len - len;
        rl_buf_add(lens, &len, sizeof len);
    }
    if (left > 0) {
        len = buf->len;
        self->elided = true;
        rl_fit_mark(&self->json, false, left);
        len = buf->len - len;
        rl_buf_add(lens, &len, sizeof len);
    }
    buf->failed |= lens->failed;
    if (!buf->failed) {
        rl_fit_reverse(buf, start, (const size_t *)(const void *)(lens->data + lens_at),
                       (lens->len - lens_at) / sizeof len, &self->scratch);
        lens->len = lens_at;
    }
}

/* A one-dimensional array of numbers, read in place. */
static bool put_vector(rl_encoder *self, PyObject *array, const Py_buffer *view)
{
    const char *item = view->buf;
    char format = view->format != NULL ? view->format[0] : 'B';

    if (view->format != NULL && view->format[1] != '\0') {
        return false; /* another byte order, or a structure */
    }
    if (strchr("bBhHiIlqfd?", format) == NULL) {
        return false;
    }
    if (rl_encoder_push(self, FRAME_ITERATOR, array, NULL, view->shape[0]) < 0) {
        return true;
    }
    if (self->fitting) {
        put_ends(self, view, format);
        self->json.over = false;
    } else {
        for (Py_ssize_t i = 0; i < view->shape[0] && !rl_encoder_stopped(self); i++) {
            (void)put_item(self, item, format);
            item += view->strides[0];
        }
    }
    rl_encoder_pop(self);
    return true;
}

/* Pushes the container that a conversion gave (stolen; NULL with an error set). */
static void push_converted(rl_encoder *self, rl_frame_kind kind, PyObject *owner,
                           PyObject *items)
{
    if (items == NULL) {
        rl_put_failure(self, owner);
    } else {
        rl_encoder_push(self, kind, owner, items,
                        PyList_Check(items) ? PyList_GET_SIZE(items) : PY_SSIZE_T_MAX);
    }
}

/* What an iterator (stolen, or NULL) gives, as a list. *goes_on is set if it gives more
 * than SNAPSHOT_MAX items: it may never end. New reference; NULL with an error set. */
static PyObject *snapshot_of(PyObject *iterator, bool *goes_on)
{
    PyObject *list = iterator != NULL ? PyList_New(0) : NULL, *item = NULL;

    while (list != NULL && !*goes_on && (item = PyIter_Next(iterator)) != NULL) {
        *goes_on = PyList_GET_SIZE(list) == SNAPSHOT_MAX;
        if (PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_DECREF(item);
    }
    if (PyErr_Occurred()) {
        *goes_on = false;
        Py_CLEAR(list);
    }
    Py_XDECREF(iterator);
    return list;
}

/* Sets, deques and other lists: as they are now, or walked as they are if a copy would
 * take long. */
static void push_snapshot(rl_encoder *self, PyObject *value)
{
    Py_ssize_t size = PyObject_Size(value);
    bool goes_on = size > SNAPSHOT_MAX;
    PyObject *list =
        size >= 0 && !goes_on ? snapshot_of(PyObject_GetIter(value), &goes_on) : NULL;

    if (goes_on) {
        Py_XDECREF(list);
        push_converted(self, FRAME_ITERATOR, value, PyObject_GetIter(value));
    } else {
        push_converted(self, FRAME_LIST, value, list);
    }
}

/* What a label says of a value; a label of several levels is a tuple. */
static bool label_hides(const rl_redact *redact, PyObject *label, PyObject *value)
{
    Py_ssize_t len = 0;
    const char *text = NULL;
    bool hides = false;

    if (PyUnicode_Check(label)) {
        text = PyUnicode_AsUTF8AndSize(label, &len);
        PyErr_Clear(); /* it has lone surrogates */
    } else if (PyBytes_Check(label)) {
        text = PyBytes_AS_STRING(label);
        len = PyBytes_GET_SIZE(label);
    } else if (PyTuple_CheckExact(label)) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(label) && !hides; i++) {
            PyObject *part = PyTuple_GET_ITEM(label, i);

            hides = !PyTuple_Check(part) && label_hides(redact, part, value);
        }
    }
    return hides || (text != NULL &&
                     rl_is_hidden(rl_redact_name(redact, text, (size_t)len), value));
}

/* hides(label, value) of runlog/_describe.py. The capsule's context is the rules, for as
 * long as they live. */
static PyObject *hides(PyObject *capsule, PyObject *const *args, Py_ssize_t count)
{
    const rl_redact *redact = PyCapsule_GetContext(capsule);

    if (redact == NULL || count != 2) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError, "hides was called out of place");
        }
        return NULL;
    }
    return PyBool_FromLong(label_hides(redact, args[0], args[1]));
}

/* is_own(error): whether an exception is the value's own, and not the program's. */
static PyObject *is_own(PyObject *capsule, PyObject *error)
{
    (void)capsule;
    return PyBool_FromLong(!PyExceptionInstance_Check(error) ||
                           rl_raised_error_is_own(error));
}

static PyMethodDef hides_method = {"hides", (PyCFunction)(void (*)(void))hides,
                                   METH_FASTCALL, NULL};
static PyMethodDef is_own_method = {"is_own", is_own, METH_O, NULL};

/* What is stored for a table, an array or an image; NULL with an error set. */
static PyObject *describe(const rl_encoder *self, PyObject *value)
{
    PyObject *module = rl_import("runlog._describe"), *result = NULL;
    PyObject *capsule = PyCapsule_New(&hides_method, NULL, NULL);
    PyObject *hide = NULL, *own = NULL;

    if (module != NULL && capsule != NULL &&
        PyCapsule_SetContext(capsule, (void *)(uintptr_t)self->options->redact) == 0) {
        hide = PyCFunction_New(&hides_method, capsule);
        own = PyCFunction_New(&is_own_method, NULL);
    }
    if (hide != NULL && own != NULL) {
        result = PyObject_CallMethod(module, "describe", "OOO", value, hide, own);
    }
    if (capsule != NULL) { /* in case that the callable was kept */
        (void)PyCapsule_SetContext(capsule, NULL);
    }
    Py_XDECREF(own);
    Py_XDECREF(hide);
    Py_XDECREF(capsule);
    Py_XDECREF(module);
    return result;
}

/* Whether an array has so many elements, or such ones, that it is described only. */
static bool needs_description(rl_encoder *self, PyObject *array)
{
    PyObject *size = PyObject_GetAttrString(array, "size");
    PyObject *dtype = PyObject_GetAttrString(array, "dtype");
    PyObject *names = dtype != NULL ? PyObject_GetAttrString(dtype, "names") : NULL;
    bool needs =
        (size != NULL && PyLong_Check(size) && PyLong_AsLong(size) > ARRAY_MAX) ||
        (names != NULL && names != Py_None);

    Py_XDECREF(names);
    Py_XDECREF(dtype);
    Py_XDECREF(size);
    rl_encoder_absorb(self);
    return needs;
}

/* Returns as rl_put_special does. */
static PyObject *put_array(rl_encoder *self, PyObject *array)
{
    PyObject *list;
    Py_buffer view;
    bool done = false;
    int dimensions = 0;

    if (PyObject_GetBuffer(array, &view, PyBUF_RECORDS_RO) == 0) {
        dimensions = view.ndim;
        done = dimensions == 1 && put_vector(self, array, &view);
        PyBuffer_Release(&view);
    } else { /* arrays of dates, for example, have no buffer */
        rl_encoder_absorb(self);
    }
    if (done) {
        return NULL;
    }
    if (dimensions > 1 || PyObject_Size(array) > 0) { /* rows are arrays again */
        push_converted(self, FRAME_ITERATOR, array, PyObject_GetIter(array));
        return NULL;
    }
    rl_encoder_absorb(self); /* one without dimensions has no size */
    list = PyObject_CallMethod(array, "tolist", NULL);
    if (list != NULL && PyList_CheckExact(list)) {
        push_converted(self, FRAME_LIST, array, list);
        return NULL;
    }
    if (list != NULL && Py_TYPE(list) != Py_TYPE(array)) {
        return list; /* no dimensions: a scalar */
    }
    Py_XDECREF(list);
    rl_put_failure(self, array);
    return NULL;
}

/* A field of an object; one that is not set, or whose property raises, is marked, and
 * *failed grows. New reference; NULL with an error set. */
static PyObject *field_of(rl_encoder *self, PyObject *value, PyObject *name,
                          Py_ssize_t *failed)
{
    PyObject *field =
        rl_encoder_is_broken_off(self) ? NULL : PyObject_GetAttr(value, name);

    if (field == NULL) {
        rl_encoder_absorb(self);
        (*failed)++;
        field = PyUnicode_FromFormat("<unserializable %.100s>", rl_type_name(value));
    }
    return field;
}

/* The fields are read before anything is written: all may fail. The caller holds the
 * names. */
static void push_fields(rl_encoder *self, PyObject *value, PyObject *names)
{
    Py_ssize_t count = PyTuple_GET_SIZE(names), failed = 0;
    PyObject *values = PyTuple_New(count);

    for (Py_ssize_t i = 0; i < count && values != NULL; i++) {
        PyObject *field = field_of(self, value, PyTuple_GET_ITEM(names, i), &failed);

        if (field == NULL) {
            Py_CLEAR(values);
        } else {
            PyTuple_SET_ITEM(values, i, field);
        }
    }
    if (values == NULL || (failed > 0 && failed == count)) {
        Py_XDECREF(values);
        rl_put_failure(self, value);
    } else if (rl_encoder_push(self, FRAME_FIELDS, value, values, count) == 0) {
        self->frames[self->depth - 1].names = Py_NewRef(names);
    }
}

/* A pydantic model that dumps just its fields: they are in its __dict__, extra values in
 * __pydantic_extra__. */
static void push_vars(rl_encoder *self, PyObject *value)
{
    const rl_state *state = self->options->state;
    PyObject *vars = PyObject_GetAttr(value, state->vars);
    PyObject *extra = vars != NULL ? PyObject_GetAttr(value, state->extra) : NULL;
    PyObject *all = vars;

    if (vars != NULL && !PyDict_CheckExact(vars)) {
        Py_CLEAR(vars);
        all = NULL;
        PyErr_SetString(PyExc_TypeError, "__dict__ is no dict");
    }
    if (extra != NULL && PyDict_Check(extra) && PyDict_GET_SIZE(extra) > 0 &&
        vars != NULL) {
        all = PyDict_Copy(vars);
        if (all != NULL && PyDict_Update(all, extra) < 0) {
            Py_CLEAR(all);
        }
        Py_DECREF(vars);
    }
    Py_XDECREF(extra);
    if (all == NULL) {
        rl_put_failure(self, value);
    } else {
        rl_encoder_absorb(self); /* only pydantic sets __pydantic_extra__ */
        rl_encoder_push(self, FRAME_DICT, value, all, PyDict_GET_SIZE(all));
    }
}

/* The result of a model's own dump (stolen), walked in the model's place. Returns as
 * rl_put_special does. */
static PyObject *push_dump(rl_encoder *self, PyObject *value, PyObject *dump)
{
    if (dump != NULL && PyDict_CheckExact(dump)) {
        rl_encoder_push(self, FRAME_DICT, value, dump, PyDict_GET_SIZE(dump));
    } else if (dump != NULL && PyList_CheckExact(dump)) {
        rl_encoder_push(self, FRAME_LIST, value, dump, PyList_GET_SIZE(dump));
    } else if (dump != NULL && Py_TYPE(dump) != Py_TYPE(value)) {
        return dump; /* a RootModel of a scalar */
    } else {
        Py_XDECREF(dump);
        rl_put_failure(self, value);
    }
    return NULL;
}

/* The result of a conversion to text (stolen; NULL with an error set). */
static void put_converted_text(rl_encoder *self, PyObject *value, PyObject *text)
{
    if (text != NULL && PyUnicode_Check(text)) {
        rl_put_text(self, text, false);
    } else if (text != NULL && PyBytes_Check(text)) {
        put_base64(self, text); /* the pattern of a regular expression over bytes */
    } else {
        rl_put_failure(self, value);
    }
    Py_XDECREF(text);
}

static void put_seconds(rl_encoder *self, PyObject *value)
{
    PyObject *seconds = PyObject_CallMethod(value, "total_seconds", NULL);

    if (seconds != NULL && PyFloat_Check(seconds)) {
        rl_json_double(&self->json, PyFloat_AS_DOUBLE(seconds));
    } else {
        rl_put_failure(self, value);
    }
    Py_XDECREF(seconds);
}

/* An Enum's value or a numpy scalar's item (stolen; NULL with an error set), returned to
 * be written in its place. The item of a long double is a long double again: it becomes
 * text. */
static PyObject *replace_by(rl_encoder *self, PyObject *value, PyObject *other)
{
    if (other == NULL) {
        rl_put_failure(self, value);
    } else if (Py_TYPE(other) == Py_TYPE(value)) {
        put_converted_text(self, value, PyObject_Str(value));
        Py_CLEAR(other);
    }
    return other;
}

/* A mapping is read key by key. What a dict of the user's shows is what its items() says.
 */
static void push_mapping(rl_encoder *self, PyObject *value)
{
    PyObject *items =
        PyDict_Check(value) ? PyObject_CallMethod(value, "items", NULL) : NULL;

    if (items != NULL) {
        push_converted(self, FRAME_ITEMS, value, PyObject_GetIter(items));
        Py_DECREF(items);
    } else {
        push_converted(self, FRAME_KEYS, value,
                       PyDict_Check(value) ? NULL : PyObject_GetIter(value));
    }
}

/* Opens a value of one of the kinds that are walked as they are. */
static void push_container(rl_encoder *self, PyObject *value, rl_kind_of_value kind,
                           PyObject *fields)
{
    switch (kind) {
    case RL_AS_DICT:
        rl_encoder_push(self, FRAME_DICT, value, NULL, PyDict_GET_SIZE(value));
        break;
    case RL_AS_MAPPING:
        push_mapping(self, value);
        break;
    case RL_AS_LIST:
        rl_encoder_push(self, FRAME_LIST, value, NULL, PyList_GET_SIZE(value));
        break;
    case RL_AS_TUPLE:
        rl_encoder_push(self, FRAME_TUPLE, value, NULL, PyTuple_GET_SIZE(value));
        break;
    case RL_AS_SNAPSHOT:
        push_snapshot(self, value);
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
    default:
        break;
    }
}

static PyObject *convert(rl_encoder *self, PyObject *value, rl_kind_of_value kind,
                         PyObject *fields)
{
    switch (kind) {
    case RL_AS_STR:
        rl_put_text(self, value, false);
        break;
    case RL_AS_INT:
        rl_put_int(self, value);
        break;
    case RL_AS_FLOAT:
        rl_json_double(&self->json, PyFloat_AS_DOUBLE(value));
        break;
    case RL_AS_BASE64:
        put_base64(self, value);
        break;
    case RL_AS_DUMP:
    case RL_AS_OWN_DUMP:
    case RL_AS_OLD_DUMP:
        return push_dump(self, value, rl_convert_dump(value, kind));
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
        return replace_by(self, value, PyObject_GetAttrString(value, "value"));
    case RL_AS_ITEM:
        return replace_by(self, value, PyObject_CallMethod(value, "item", NULL));
    case RL_AS_ARRAY:
        return needs_description(self, value)
                   ? push_dump(self, value, describe(self, value))
                   : put_array(self, value);
    case RL_AS_SUMMARY:
        return push_dump(self, value, describe(self, value));
    case RL_AS_EXCEPTION:
        push_exception(self, value);
        break;
    case RL_AS_NAME:
    case RL_AS_TYPE_NAME:
        put_converted_text(self, value,
                           rl_convert_name(self->options->raised, value, kind));
        break;
    default:
        push_container(self, value, kind, fields);
        break;
    }
    return NULL;
}

/* Writes an object whose text is known already: that text, or a mark. Of a payload that
 * is too long, copies take a quarter at most. */
static void put_again(rl_encoder *self, PyObject *value, const rl_link *link)
{
    rl_buf *buf = self->json.buf;
    const rl_buf *from = self->fitting ? &self->texts : buf;
    size_t room = (self->fitting ? self->end : self->json.limit) - buf->len;
    char text[160];

    if (link->len > 0 && (!self->fitting || self->copied + link->len <= self->cap / 4) &&
        self->depth + link->height < RL_JSON_DEPTH && (size_t)link->len + 1 <= room &&
        rl_buf_reserve(buf, link->len + 1)) {
        memcpy(buf->data + buf->len, from->data + link->at, link->len);
        buf->len += link->len;
        self->copied += link->len;
        if (self->deepest < self->depth + link->height) {
            self->deepest = self->depth + link->height;
        }
        rl_buf_add_char(buf, ',');
        rl_json_done(&self->json);
    } else {
        self->elided = true;
        PyOS_snprintf(text, sizeof text, "<again: %.100s>", rl_type_name(value));
        rl_put_marker(self, text);
    }
}

/* Whether an object of which something was left out has much more room this time. */
static bool has_more_room(const rl_encoder *self, const rl_link *link)
{
    return self->fitting && link->room > 0 &&
           (self->end - self->json.buf->len) / 2 >= link->room;
}

/* Whether converting a value of this kind is left to the value's own class. */
static bool runs_users_code(rl_kind_of_value kind)
{
    return kind == RL_AS_DUMP || kind == RL_AS_OWN_DUMP || kind == RL_AS_OLD_DUMP ||
           kind == RL_AS_MAPPING || kind == RL_AS_ITERATOR || kind == RL_AS_EXCEPTION ||
           kind == RL_AS_SUMMARY;
}

/* Converts a value of a kind, see rl_put_special. */
static PyObject *put_kind(rl_encoder *self, PyObject *value, rl_kind_of_value kind,
                          PyObject *fields)
{
    PyObject *other;
    bool is_linked = kind == RL_AS_FIELDS || kind == RL_AS_VARS || kind == RL_AS_DUMP ||
                     kind == RL_AS_OWN_DUMP || kind == RL_AS_OLD_DUMP ||
                     kind == RL_AS_MAPPING || kind == RL_AS_SNAPSHOT;

    if (is_linked && Py_REFCNT(value) > OWN_REFERENCES && self->depth < RL_JSON_DEPTH &&
        !rl_encoder_is_open(self, value)) {
        self->link = rl_links_find(&self->links, value);
        if (self->link >= 0) {
            const rl_link *link = rl_links_at(&self->links, self->link);

            if (link->state == RL_LINK_KNOWN && !has_more_room(self, link)) {
                self->link = -1;
                put_again(self, value, link);
                return NULL;
            }
        }
    }
    other = convert(self, value, kind, fields);
    self->link = -1; /* if a marker or a scalar stands for it */
    return other;
}

PyObject *rl_put_special(rl_encoder *self, PyObject *value)
{
    bool was_broken_off = rl_encoder_is_broken_off(self);
    PyObject *fields = NULL, *other = NULL;
    rl_kind_of_value kind = rl_convert_kind(self->options->state, self->options->raised,
                                            Py_TYPE(value), &fields);

    if (rl_encoder_is_broken_off(self) && (!was_broken_off || runs_users_code(kind))) {
        rl_put_failure(self, value);
    } else {
        other = put_kind(self, value, kind, fields);
    }
    Py_XDECREF(fields);
    return other;
}
