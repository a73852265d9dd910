/* The second attempt at a payload that is longer than its cap: it cuts large parts before
 * small ones, and the middle of a list.
 *
 * Each value gets a budget of bytes, and shares it among its children. In a container of
 * few children the small ones are written first, and each may take an even share of the
 * remaining budget; then they are put into their order. In a container of many children
 * the first ones are written until half of the budget is used, and the last ones until the
 * other half is, with a mark between them that counts the others.
 * So the cap bounds the work, whatever the size of the value.
 * Threads: with the GIL, which the user's conversions may give up.
 */
#ifndef RL_PY_FIT_H
#define RL_PY_FIT_H

#include "py/encode/encoder.h"

/* What the walk lends: both may run Python code, so the caller holds the object. */
typedef struct rl_fit_puts {
    /* writes a scalar, or opens a container */
    void (*value)(rl_encoder *self, PyObject *value);
    /* returns what the key says of the value that belongs to it */
    rl_secrecy (*key)(rl_encoder *self, PyObject *key);
} rl_fit_puts;

/* Removes the text of the value, and writes it again in at most self->cap bytes. */
void rl_fit(rl_encoder *self, PyObject *value, const rl_fit_puts *puts);

/* Pieces of text, written one after the other, to be put into another order: `lens` has
 * the size of each (size_t). */

/* Reverses the order of the pieces, the first of which begins at `from`. */
void rl_fit_reverse(rl_buf *buf, size_t from, const size_t *lens, size_t count,
                    rl_buf *scratch);

/* Writes the mark of `left_out` elements or members (-1: not known how many). */
void rl_fit_mark(rl_json *json, bool is_object, Py_ssize_t left_out);
#define RL_FIT_MARK ((size_t)40) /* bytes that the mark takes at most, with its comma */

#endif
