/* The ends of calls: what is recorded of their results. See call.h. Threads: with the GIL;
 * exceptions are absorbed.
 */
#ifndef RL_PY_CALL_END_H
#define RL_PY_CALL_END_H

#include "py/handler/payloads.h"

/* The outputs of a call that is a run of its own; of a result that is no LLMResult the result
 * itself. New reference. */
PyObject *rl_call_outputs(const rl_state *state, rl_raised *raised, rl_call call,
                          PyObject *result);

/* The pieces of an end: what the call returned, if that is recorded, and other members. */
typedef struct rl_call_end {
    rl_piece output, members;
} rl_call_end;

/* Appends what is recorded of a result: of a model an LLMResult, or a generation. `result`
 * may be NULL. */
void rl_call_add_end(rl_payloads *to, rl_call call, rl_calls calls, PyObject *result,
                     rl_call_end *pieces);

/* Lets an end borrow the pieces, once nothing more is appended. */
void rl_call_use_end(const rl_payloads *from, const rl_call_end *pieces,
                     rl_span_end *end);

#endif
