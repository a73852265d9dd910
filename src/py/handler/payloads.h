/* The payloads of one event: encoded into the handler's buffers, then handed over to the
 * table of open graphs as texts. Threads: with the GIL, which encoding may give up: it
 * may run the user's Python code, and other events of the same handler meanwhile.
 */
#ifndef RL_PY_PAYLOADS_H
#define RL_PY_PAYLOADS_H

#include "py/encode/encode_options.h"
#include "py/handler/handler_data.h"

typedef struct rl_payloads {
    rl_buf buf, members; /* lent by the handler; buf.failed: no memory */
    PyObject *recorder;  /* owned: its options must live while the user's code runs */
    rl_encode_options options;
    bool wide;          /* numbers for rl_json_widen were written */
    rl_buf values;      /* of rl_value *, owned: the large texts of inputs and outputs */
    size_t value_bytes; /* of all of them */
} rl_payloads;

/* A piece of the buffer, by offsets, as the buffer may move while it grows. */
typedef struct rl_piece {
    size_t at, end;
    bool is_object; /* whose members are in `members` */
} rl_piece;

/* Takes the handler's buffers, and gives them back. `recorder` is a Recorder; `raised`
 * must live as long. */
void rl_payloads_begin(rl_state *state, rl_handler *self, rl_raised *raised,
                       PyObject *recorder, rl_payloads *to);
void rl_payloads_end(rl_handler *self, rl_payloads *texts);

/* Appends the outputs of a node or graph, whose large texts become values. */
rl_piece rl_payloads_add_outputs(rl_payloads *to, PyObject *value);

/* The same for a list, of whose elements it adds an rl_element of core/split.h each to
 * `elements`. */
rl_piece rl_payloads_add_list(rl_payloads *to, PyObject *list, rl_buf *elements);

/* Append a value: as JSON, as plain text of at most `room` bytes, or as `node_inputs`
 * says (for RL_INPUTS_NONE not at all). Large texts of inputs become values. */
rl_piece rl_payloads_add_json(rl_payloads *to, PyObject *value);
rl_piece rl_payloads_add_plain(rl_payloads *to, PyObject *value, size_t room);
rl_piece rl_payloads_add_inputs(rl_payloads *to, PyObject *value,
                                rl_node_inputs node_inputs);

/* Appends the members of a dict (stolen), without braces. NULL, maybe with an error set,
 * has none. Large texts become values. */
void rl_payloads_add_members(rl_payloads *to, PyObject *dict);

/* Appends a value that many payloads of a run have: what is not short becomes one value,
 * whatever its type. */
void rl_payloads_add_shared(rl_payloads *to, PyObject *value);

/* A piece once nothing more is appended; it borrows from the buffer. */
rl_text rl_payloads_text(const rl_payloads *from, rl_piece where);
rl_object rl_payloads_object(const rl_payloads *from, rl_piece where);

/* The values of the inputs and outputs; they borrow from the payloads. */
rl_values rl_payloads_values(const rl_payloads *from);

#endif
