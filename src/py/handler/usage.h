/* The tokens that a call of a model used, and the model's name. Threads: with the GIL. */
#ifndef RL_PY_USAGE_H
#define RL_PY_USAGE_H

#include "py/base/raised.h"
#include "py/base/state.h"
#include "record/graph/graph.h"

/* Reads an LLMResult: usage_metadata of the messages, else llm_output["token_usage"].
 * Several generations of one prompt share its usage, so only the first of each prompt
 * counts. *model gets a new reference to the model's name, or NULL; end->model borrows
 * it. Values that are not of the types that LangChain gives them are left out. */
void rl_usage_read(const rl_state *state, rl_raised *raised, PyObject *result,
                   rl_span_end *end, PyObject **model);

#endif
