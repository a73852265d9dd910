/* The options of a recorder: keyword arguments, else the environment, else defaults. */
#ifndef RL_PY_OPTIONS_H
#define RL_PY_OPTIONS_H

#include "py/base/state.h"
#include "record/recorder.h"

#include <stdbool.h>

#define RL_MAX_PAYLOAD ((size_t)1 << 20) /* bytes; the default */
#define RL_POSTGRES_TIMEOUT 5.0          /* seconds */
#define RL_POSTGRES_POOL 4               /* connections for reads */

typedef struct rl_options {
    rl_config config;
    bool default_path; /* nobody has chosen the SQLite file */
} rl_options;

/* Fills options from kwargs (a dict or NULL) and the environment, and loads the
 * migrations. 0, or -1 with TypeError (unknown keyword) or ConfigError, which names the
 * option and its variable. The caller frees options->config with rl_config_free in both
 * cases. */
int rl_options_read(rl_state *state, PyObject *kwargs, rl_options *options);

/* Read one of the encoder's two options, as rl_options_read does. 0, or -1 with
 * ConfigError. */
int rl_options_redact(rl_state *state, PyObject *value, rl_redact *redact);
int rl_options_max_payload(rl_state *state, PyObject *value, size_t *bytes);

#endif
