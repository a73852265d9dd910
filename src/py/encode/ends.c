/* A container from both ends. See ends.h. */
#include "py/encode/ends.h"

PyObject *rl_ends_next_pair(PyObject *from)
{
    PyObject *item = PyIter_Next(from), *pair = NULL;

    if (item != NULL && PyTuple_Check(item)) {
        pair = Py_NewRef(item);
    } else if (item != NULL && PyList_Check(item)) {
        pair = PyList_AsTuple(item);
    }
    if (item != NULL && (pair == NULL || PyTuple_GET_SIZE(pair) != 2)) {
        PyErr_SetString(PyExc_TypeError, "items() has given what is no pair");
        Py_CLEAR(pair);
    }
    Py_XDECREF(item);
    return pair;
}

/* Takes the next pair of an iterator. New references; NULL at its end. */
static void take_pair(PyObject *from, PyObject **key, PyObject **value)
{
    PyObject *pair = rl_ends_next_pair(from);

    if (pair != NULL) {
        *key = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
        *value = Py_NewRef(PyTuple_GET_ITEM(pair, 1));
    }
    Py_XDECREF(pair);
}

/* Whether the container is an object of the user's, which is asked for no more once the
 * program was interrupted. */
static bool leaves_rest(rl_ends *from)
{
    const rl_frame_kind kind = from->frame->kind;
    bool leaves = (kind == FRAME_KEYS || kind == FRAME_ITEMS || kind == FRAME_ITERATOR) &&
                  rl_encoder_is_broken_off(from->encoder);

    from->more |= leaves;
    return leaves;
}

int rl_ends_take_front(rl_ends *from, PyObject **key, PyObject **value)
{
    rl_frame *frame = from->frame;
    Py_ssize_t at = frame->at;

    *key = NULL;
    *value = NULL;
    if ((from->size >= 0 && from->taken >= from->size) || leaves_rest(from)) {
        return 0;
    }
    switch (frame->kind) {
    case FRAME_LIST:
        if (at < PyList_GET_SIZE(frame->items)) {
            *value = Py_NewRef(PyList_GET_ITEM(frame->items, at));
        }
        break;
    case FRAME_TUPLE:
        *value = at < PyTuple_GET_SIZE(frame->items)
                     ? Py_NewRef(PyTuple_GET_ITEM(frame->items, at))
                     : NULL;
        break;
    case FRAME_FIELDS:
        *key = Py_NewRef(PyTuple_GET_ITEM(frame->names, at));
        *value = Py_NewRef(PyTuple_GET_ITEM(frame->items, at));
        break;
    case FRAME_DICT:
        if (PyDict_Next(frame->items, &frame->at, key, value)) {
            Py_INCREF(*key);
            Py_INCREF(*value);
            from->taken++;
            return 1;
        }
        break;
    case FRAME_KEYS:
        *key = PyIter_Next(frame->items);
        break;
    case FRAME_ITERATOR:
        *value = PyIter_Next(frame->items);
        break;
    case FRAME_ITEMS:
        take_pair(frame->items, key, value);
        break;
    }
    if (*key == NULL && *value == NULL) {
        return 0;
    }
    frame->at++;
    from->taken++;
    return 1;
}

int rl_ends_take_back(rl_ends *from, PyObject **key, PyObject **value)
{
    rl_frame *frame = from->frame;

    *key = NULL;
    *value = NULL;
    if (from->taken >= from->size || leaves_rest(from)) {
        return 0;
    }
    if (from->by_place) {
        Py_ssize_t at = --from->last;

        if (frame->kind == FRAME_LIST) {
            *value = at < PyList_GET_SIZE(frame->items)
                         ? Py_NewRef(PyList_GET_ITEM(frame->items, at))
                         : NULL;
        } else {
            *value = Py_NewRef(PyTuple_GET_ITEM(frame->items, at));
        }
        if (frame->kind == FRAME_FIELDS) {
            *key = Py_NewRef(PyTuple_GET_ITEM(frame->names, at));
        }
    } else if (frame->kind == FRAME_DICT || frame->kind == FRAME_ITEMS) {
        take_pair(from->back, key, value);
    } else if (frame->kind == FRAME_KEYS) {
        *key = PyIter_Next(from->back);
    } else {
        *value = PyIter_Next(from->back);
    }
    if (*key == NULL && *value == NULL) {
        return 0;
    }
    from->taken++;
    return 1;
}

Py_ssize_t rl_ends_size(const rl_encoder *self, const rl_frame *frame)
{
    Py_ssize_t size = -1;

    switch (frame->kind) {
    case FRAME_LIST:
        size = PyList_GET_SIZE(frame->items);
        return frame->items == frame->owner && frame->left < size ? frame->left : size;
    case FRAME_TUPLE:
    case FRAME_FIELDS:
        return PyTuple_GET_SIZE(frame->items);
    case FRAME_DICT:
        return PyDict_GET_SIZE(frame->items);
    case FRAME_KEYS:
    case FRAME_ITEMS:
    case FRAME_ITERATOR:
        size = PyObject_Size(frame->owner);
        break;
    }
    if (size < 0) {
        rl_encoder_absorb(self);
    }
    return size;
}

PyObject *rl_ends_reversed(const rl_encoder *self, const rl_frame *frame)
{
    PyObject *items = NULL, *back = NULL;

    if (frame->kind == FRAME_DICT) {
        items = PyObject_CallMethod((PyObject *)&PyDict_Type, "items", "O", frame->items);
    } else if (frame->kind == FRAME_ITEMS) {
        items = PyObject_CallMethod(frame->owner, "items", NULL);
    } else {
        back = PyObject_CallOneArg((PyObject *)&PyReversed_Type, frame->owner);
    }
    if (items != NULL) {
        back = PyObject_CallOneArg((PyObject *)&PyReversed_Type, items);
        Py_DECREF(items);
    }
    if (back == NULL) {
        rl_encoder_absorb(self);
    }
    return back;
}

rl_ends rl_ends_of(const rl_encoder *self, rl_frame *frame)
{
    rl_ends from = {.encoder = self, .frame = frame, .size = rl_ends_size(self, frame)};

    from.by_place = frame->kind == FRAME_LIST || frame->kind == FRAME_TUPLE ||
                    frame->kind == FRAME_FIELDS;
    from.last = from.size;
    return from;
}

Py_ssize_t rl_ends_left_out(rl_ends *from)
{
    PyObject *key, *value;

    if (from->size >= 0) {
        return from->size - from->taken;
    }
    if (from->more) {
        return -1;
    }
    if (rl_ends_take_front(from, &key, &value) == 0) {
        rl_encoder_absorb(from->encoder);
        return from->more ? -1 : 0;
    }
    Py_XDECREF(key);
    Py_XDECREF(value);
    return -1;
}
