/* The children of an open container, taken from the front and from the back.
 *
 * Threads: with the GIL. What is taken may run Python code: a container of the user's is
 * asked for it.
 */
#ifndef RL_PY_ENDS_H
#define RL_PY_ENDS_H

#include "py/encode/encoder.h"

typedef struct rl_ends {
    const rl_encoder *encoder;
    rl_frame *frame;
    PyObject *back;   /* owned: an iterator from the end, or NULL */
    Py_ssize_t size;  /* negative: not known */
    Py_ssize_t taken; /* from both ends */
    Py_ssize_t last;  /* the item at the back that was taken last, by its place */
    bool by_place;    /* the items at the back have places */
    bool more;        /* an iterator of unknown size had more than was written */
} rl_ends;

/* How many items a container has; -1 if that is not known. */
Py_ssize_t rl_ends_size(const rl_encoder *self, const rl_frame *frame);

/* The ends of the container of a frame, both borrowed. Nothing is taken yet. */
rl_ends rl_ends_of(const rl_encoder *self, rl_frame *frame);

/* An iterator from the end, for the kinds that have no places; NULL where there is none.
 * New reference. */
PyObject *rl_ends_reversed(const rl_encoder *self, const rl_frame *frame);

/* Takes the next child from the front: 1, or 0 at the end. New references; *value stays
 * NULL for a mapping. An exception of the user's may be set. */
int rl_ends_take_front(rl_ends *from, PyObject **key, PyObject **value);

/* The same from the back; by from->back, unless the kind has places. */
int rl_ends_take_back(rl_ends *from, PyObject **key, PyObject **value);

/* The next pair of an iterator over items, a tuple of two. New reference; NULL at the end,
 * or with an error set, as for an item that is no pair. */
PyObject *rl_ends_next_pair(PyObject *from);

/* Whether anything is left that was not taken: how many, -1 if that is not known, 0. */
Py_ssize_t rl_ends_left_out(rl_ends *from);

#endif
