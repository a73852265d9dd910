/* The options of a recorder: keyword arguments, else the environment, else defaults. */
#ifndef RL_PY_OPTIONS_H
#define RL_PY_OPTIONS_H

#include "py/base/state.h"
#include "record/recorder/companion.h"
#include "record/recorder/config.h"

#include <stdbool.h>

#define RL_MAX_PAYLOAD ((size_t)1 << 20) /* bytes; the default */
#define RL_MAX_VALUE ((size_t)16 << 20)  /* the same */
#define RL_MAX_MEMORY (256LL << 20)      /* bytes; the default */
#define RL_POSTGRES_TIMEOUT 5.0          /* seconds */
#define RL_POSTGRES_POOL 4               /* connections for reads */

typedef struct rl_options {
    rl_config config;
    rl_companion *companions[RL_WINGS]; /* of the wings; owned */
    bool default_path;                  /* the path of the SQLite file was not set */
} rl_options;

/* Fills options from kwargs (a dict or NULL) and the environment, and loads the
 * migrations. 0, or -1 with TypeError (unknown keyword) or ConfigError, which names the
 * option and its variable. The caller frees options with rl_options_free in both
 * cases, unless a recorder now owns their members. */
int rl_options_read(rl_state *state, PyObject *kwargs, rl_options *options);
void rl_options_free(rl_options *options); /* the members, not the struct */

/* Read an option of the encoder; NULL is its default. 0, or -1 with ConfigError. */
int rl_options_redact(rl_state *state, PyObject *value, rl_redact *redact);
int rl_options_max_payload(rl_state *state, PyObject *value, size_t *bytes);
int rl_options_max_value(rl_state *state, PyObject *value, size_t *bytes);

/* The module's function dsn_has_secrets(dsn), see _runlog.pyi. */
PyObject *rl_options_dsn_has_secrets(PyObject *module, PyObject *dsn);

#endif
