/* What an exception says. See error_text.h. */
#include "py/encode/error_text.h"

#include "core/alloc.h"

#include <string.h>

#define DEPTH_MAX 200    /* containers within one another */
#define INT_BITS 14000   /* about 4,300 digits, of which str() makes no more */
#define BITS_A_DIGIT 4   /* at most */
#define TEXT_QUOTES 2    /* characters beside those of a text */
#define ITEM_SEPARATOR 2 /* characters of ", " */
#define PAIR_SEPARATOR 4 /* and of ": " */

/* Whether a type makes the text of an exception from what parts_of gives. */
static bool is_made_of_parts(const PyTypeObject *type)
{
    PyObject *const kinds[] = {PyExc_BaseException, PyExc_KeyError, PyExc_ImportError,
                               PyExc_OSError, PyExc_SyntaxError};
    bool found = false;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !found; i++) {
        found = type->tp_str == ((PyTypeObject *)kinds[i])->tp_str;
    }
    return found;
}

/* What OSError's text is made of. New reference; NULL with an error set. */
static PyObject *parts_of_os_error(const PyOSErrorObject *error)
{
    PyObject *const fields[] = {error->myerrno, error->strerror, error->filename,
                                error->filename2};
    PyObject *list = PyList_New(0), *parts;

    for (size_t i = 0; i < sizeof fields / sizeof *fields && list != NULL; i++) {
        if (fields[i] != NULL && PyList_Append(list, fields[i]) < 0) {
            Py_CLEAR(list);
        }
    }
    parts = list != NULL && PyList_GET_SIZE(list) > 0 ? PyList_AsTuple(list)
            : list != NULL                            ? Py_NewRef(error->args)
                                                      : NULL;
    Py_XDECREF(list);
    return parts;
}

/* What the text of such an exception is made of: what it has as fields, or its arguments,
 * or the only one of these. New reference; NULL with an error set. */
static PyObject *parts_of(PyObject *error)
{
    const reprfunc make = Py_TYPE(error)->tp_str;
    PyObject *args = ((PyBaseExceptionObject *)error)->args, *parts = args;

    if (make == ((PyTypeObject *)PyExc_OSError)->tp_str) {
        return parts_of_os_error((const PyOSErrorObject *)error);
    }
    if (make == ((PyTypeObject *)PyExc_SyntaxError)->tp_str &&
        ((PySyntaxErrorObject *)error)->msg != NULL) {
        parts = ((PySyntaxErrorObject *)error)->msg;
    } else if (PyTuple_GET_SIZE(args) == 1) {
        parts = PyTuple_GET_ITEM(args, 0);
    }
    return Py_NewRef(parts);
}

static void take(Py_ssize_t *left, Py_ssize_t count)
{
    *left -= count < *left ? count : *left;
}

/* A container that is being counted. */
typedef struct within {
    const struct within *outer; /* NULL: none */
    const PyObject *value;
    unsigned depth;
} within;

static void count_value(PyObject *value, const within *outer, Py_ssize_t *left);

static void count_int(PyObject *value, Py_ssize_t *left)
{
    int overflow = 0;
    PyObject *bits = NULL;
    Py_ssize_t count = 0;

    (void)PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) {
        bits = PyObject_CallMethod((PyObject *)&PyLong_Type, "bit_length", "O", value);
        count = bits != NULL ? PyLong_AsSsize_t(bits) : 0;
        PyErr_Clear();
        Py_XDECREF(bits);
    }
    take(left, count > INT_BITS ? *left : 1 + count / BITS_A_DIGIT);
}

/* Counts a value that its container may lose meanwhile: an iterator is made for a set,
 * which may collect garbage, and so run code of the user's. */
static void count_held(PyObject *value, const within *in, Py_ssize_t *left)
{
    Py_INCREF(value);
    count_value(value, in, left);
    Py_DECREF(value);
}

static void count_list(PyObject *list, const within *in, Py_ssize_t *left)
{
    for (Py_ssize_t i = 0; *left > 0 && i < PyList_GET_SIZE(list); i++) {
        take(left, ITEM_SEPARATOR);
        count_held(PyList_GET_ITEM(list, i), in, left);
    }
}

static void count_tuple(PyObject *tuple, const within *in, Py_ssize_t *left)
{
    for (Py_ssize_t i = 0; *left > 0 && i < PyTuple_GET_SIZE(tuple); i++) {
        take(left, ITEM_SEPARATOR);
        count_held(PyTuple_GET_ITEM(tuple, i), in, left);
    }
}

static void count_dict(PyObject *dict, const within *in, Py_ssize_t *left)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;

    while (*left > 0 && PyDict_Next(dict, &at, &key, &value)) {
        Py_INCREF(value); /* counting the key may make the dict lose it */
        take(left, PAIR_SEPARATOR);
        count_held(key, in, left);
        count_value(value, in, left);
        Py_DECREF(value);
    }
}

/* A set with an __iter__ of its own is not asked: repr() will ask it. */
static void count_set(PyObject *set, const within *in, Py_ssize_t *left)
{
    const bool is_plain = Py_TYPE(set)->tp_iter == PySet_Type.tp_iter;
    PyObject *items = is_plain ? PyObject_GetIter(set) : NULL, *item;

    while (items != NULL && *left > 0 && (item = PyIter_Next(items)) != NULL) {
        take(left, ITEM_SEPARATOR);
        count_value(item, in, left);
        Py_DECREF(item);
    }
    PyErr_Clear();
    Py_XDECREF(items);
}

static bool is_open(const within *in, const PyObject *value)
{
    while (in != NULL && in->value != value) {
        in = in->outer;
    }
    return in != NULL;
}

/* The same for a value that may be a container, which is not open. */
static void count_container(PyObject *value, const within *in, Py_ssize_t *left)
{
    const reprfunc make = Py_TYPE(value)->tp_repr;

    if (make == PyList_Type.tp_repr) {
        count_list(value, in, left);
    } else if (make == PyTuple_Type.tp_repr) {
        count_tuple(value, in, left);
    } else if (make == PyDict_Type.tp_repr || make == PyODict_Type.tp_repr) {
        count_dict(value, in, left);
    } else if (make == PySet_Type.tp_repr) { /* and that of frozenset */
        count_set(value, in, left);
    } else if (make == ((PyTypeObject *)PyExc_BaseException)->tp_repr) {
        count_held(((PyBaseExceptionObject *)value)->args, in, left);
    } else {
        take(left, 1);
    }
}

/* Takes from *left the characters that repr() gives a value at least; nothing is left of
 * one that is nested too deep. Calls no method of the user's; the caller holds the value. */
static void count_value(PyObject *value, const within *outer, Py_ssize_t *left)
{
    const reprfunc make = Py_TYPE(value)->tp_repr;
    const within in = {outer, value, outer != NULL ? outer->depth + 1 : 0};

    if (make == PyUnicode_Type.tp_repr) {
        take(left, PyUnicode_GET_LENGTH(value) + TEXT_QUOTES);
    } else if (make == PyBytes_Type.tp_repr || make == PyByteArray_Type.tp_repr) {
        take(left, Py_SIZE(value) + TEXT_QUOTES);
    } else if (make == PyLong_Type.tp_repr) {
        count_int(value, left);
    } else if (in.depth > DEPTH_MAX) {
        *left = 0;
    } else if (!is_open(outer, value)) {
        count_container(value, &in, left);
    }
}

PyObject *rl_error_said(PyObject *error, size_t room)
{
    Py_ssize_t left = room < PY_SSIZE_T_MAX ? (Py_ssize_t)room + 1 : PY_SSIZE_T_MAX;
    PyObject *parts = NULL;

    if (!is_made_of_parts(Py_TYPE(error))) {
        return PyObject_Str(error);
    }
    parts = parts_of(error);
    if (parts == NULL) {
        return NULL;
    }
    count_value(parts, NULL, &left);
    if (left > 0) {
        Py_SETREF(parts, PyObject_Str(error));
    }
    return parts;
}

/* By what an exception is known: its only weak reference without a callback, which is the
 * same as long as somebody has it; else itself. New reference; NULL without memory. */
static PyObject *key_of(PyObject *error, bool *is_weak)
{
    PyObject *key;

    *is_weak = PyType_SUPPORTS_WEAKREFS(Py_TYPE(error));
    key = *is_weak ? PyWeakref_NewRef(error, NULL) : Py_NewRef(error);
    if (key == NULL) {
        PyErr_Clear();
    }
    return key;
}

const rl_error_text *rl_error_texts_find(const rl_error_texts *texts, PyObject *error,
                                         uint64_t salt)
{
    const rl_error_text *found = NULL;
    bool is_weak;
    PyObject *key = key_of(error, &is_weak);

    for (unsigned i = 0; i < RL_ERROR_TEXTS && key != NULL && found == NULL; i++) {
        const rl_error_text *one = &texts->list[i];

        found = one->of == key && one->salt == salt ? one : NULL;
    }
    Py_XDECREF(key); /* never the last one: that of a weak reference runs nothing */
    return found;
}

static void drop(rl_error_text *one)
{
    const rl_error_text old = *one;

    *one = (rl_error_text){NULL, NULL, 0, 0, false};
    rl_free(old.text);
    Py_XDECREF(old.of);
}

void rl_error_texts_add(rl_error_texts *texts, PyObject *error, uint64_t salt,
                        const char *text, size_t len)
{
    char *copy = rl_malloc(len + 1);
    bool is_weak = false;
    PyObject *of = copy != NULL ? key_of(error, &is_weak) : NULL;
    rl_error_text *one = &texts->list[texts->next];

    if (of == NULL) {
        rl_free(copy);
        return;
    }
    memcpy(copy, text, len);
    texts->next = (texts->next + 1) % RL_ERROR_TEXTS;
    drop(one);
    *one = (rl_error_text){of, copy, len, salt, is_weak};
}

void rl_error_texts_end_event(rl_error_texts *texts)
{
    for (unsigned i = 0; i < RL_ERROR_TEXTS; i++) {
        if (!texts->list[i].is_weak) {
            drop(&texts->list[i]);
        }
    }
}

void rl_error_texts_clear(rl_error_texts *texts)
{
    for (unsigned i = 0; i < RL_ERROR_TEXTS; i++) {
        drop(&texts->list[i]);
    }
}
