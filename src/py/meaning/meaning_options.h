/* The options of a recorder that concern embeddings, Milvus and search. */
#ifndef RL_PY_MEANING_OPTIONS_H
#define RL_PY_MEANING_OPTIONS_H

#include "meaning/meaning.h"
#include "py/base/option_values.h"

#define RL_MEANING_OPTIONS 9
extern const rl_option rl_meaning_options[RL_MEANING_OPTIONS];

/* Reads the values of those options, in their order, into the configuration; with `postgres`
 * the migrations of pgvector too. 0, or -1 with ConfigError or MemoryError set; the caller
 * frees the configuration in both cases. */
int rl_meaning_read_options(rl_state *state, PyObject *const *values, bool postgres,
                            rl_meaning_config *config);

#endif
