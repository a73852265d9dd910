/* The tokens that a call of a model used, and the model's name. Threads: with the GIL. */
#ifndef RL_PY_USAGE_H
#define RL_PY_USAGE_H

#include "py/base/raised.h"
#include "py/base/state.h"
#include "record/graph/graph.h"

/* The names of the input's, the output's and all tokens in the usage that providers report. */
typedef struct rl_usage_names {
    rl_name input, output, total;
} rl_usage_names;

/* A count as an int: some providers give floats. Other values as they are. New reference;
 * NULL for NULL, or with an error set. */
PyObject *rl_usage_count(PyObject *value);

/* The usage of a generation: the usage_metadata of its message, else what the message's
 * response_metadata or the generation_info have in a form of a provider's. New reference, and
 * *names; NULL if there is none. */
PyObject *rl_usage_of(const rl_state *state, rl_raised *raised, PyObject *generation,
                      const rl_usage_names **names);

/* The same of all generations together, in a result's llm_output. */
PyObject *rl_usage_of_all(const rl_state *state, rl_raised *raised, PyObject *result,
                          const rl_usage_names **names);

/* The parts of the input, or of the output, of a usage_metadata or of an older token_usage,
 * whose names become those of the former; a new reference to a dict, or NULL, maybe with an
 * error set. */
PyObject *rl_usage_details(const rl_state *state, rl_raised *raised, PyObject *usage,
                           bool of_output);

/* Whether LangChain's cache gave the answer: its usage then says that it cost nothing. */
bool rl_usage_is_cached(const rl_state *state, rl_raised *raised, PyObject *usage);

/* Reads an LLMResult: the usage of its generations, else that of all together.
 * Several generations of one prompt share its usage, so only the first of each prompt
 * counts. Of the tokens of a cached answer the only detail is "cached_answers", as nothing
 * of them is billed. The caller frees end->tokens. *model gets a new reference to the
 * model's name, or NULL; end->model borrows it. Values that are not of the types that
 * LangChain gives them are left out. */
void rl_usage_read(const rl_state *state, rl_raised *raised, PyObject *result,
                   rl_span_end *end, PyObject **model);

#endif
