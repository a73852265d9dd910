/* Filters of a query whose text has to be made: ids that are no text, and metadata.
 * Threads: with the GIL. Ownership: the query borrows the texts, so they live until
 * rl_filters_clear.
 */
#ifndef RL_PY_FILTERS_H
#define RL_PY_FILTERS_H

#include "core/buf.h"
#include "py/base/state.h"

typedef struct rl_filters {
    PyObject *ids[2]; /* owned: a run_id and a thread_id */
    size_t count;
    PyObject *statuses; /* owned tuple, or NULL */
    rl_buf metadata;
} rl_filters;

void rl_filters_init(rl_filters *filters);
void rl_filters_clear(rl_filters *filters);

/* Ids: text, or what is stored as text: a uuid.UUID, and for a thread an int. None (or a
 * NULL): *out is NULL. 0, or -1 with a ValidationError. One of each at most. */
int rl_filters_run_id(rl_filters *filters, rl_state *state, PyObject *value,
                      const char **out);
int rl_filters_thread_id(rl_filters *filters, rl_state *state, PyObject *value,
                         const char **out);

/* A dict of members that the metadata must have, as JSON: the keys are text, and the
 * values are scalars. None (or a NULL) and an empty dict: *out is NULL. 0, or -1 with a
 * ValidationError. */
int rl_filters_metadata(rl_filters *filters, rl_state *state, PyObject *value,
                        const char **out);

/* One status or several: text, or a list, tuple or set of texts, at most `room`, of which
 * each is put into `out` once. None (or a NULL): *count is 0. 0, or -1 with a
 * ValidationError. */
int rl_filters_statuses(rl_filters *filters, rl_state *state, PyObject *value,
                        const char **out, size_t room, size_t *count);

/* Text that is not empty. None (or a NULL): *out is NULL. */
int rl_filters_search(rl_state *state, const char *field, PyObject *value,
                      const char **out);

#endif
