/* The type Recorder over the core's recorder, and what the handler needs of it. */
#ifndef RL_PY_RECORDER_H
#define RL_PY_RECORDER_H

#include "py/encode.h"
#include "record/meaning.h"
#include "record/recorder.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef struct rl_py_recorder {
    PyObject_HEAD rl_recorder *core; /* owned; NULL until __init__ is done */
    rl_meaning *meaning;             /* its companion, which it owns */
    bool default_path;
    /* of the handlers that record here */
    atomic_uint_fast64_t handler_errors, handler_ignored, handler_evicted, open_runs;
    bool failing; /* the last graph could not be kept, and that was logged */
} rl_py_recorder;

/* Makes the types Recorder and PreparedRun and adds them to the module. */
int rl_recorder_add_types(PyObject *module, rl_state *state);

/* The options of the encoder for runs of this recorder. */
rl_encode_options rl_recorder_encoding(rl_state *state, const rl_py_recorder *self);

/* Passes on to Python's logging what has come up in the core since. Changes no exception. */
void rl_recorder_tell(rl_py_recorder *self);

/* Commits a sealed run: with the GIL kept where that is quick, else without it. */
rl_status rl_recorder_commit(rl_py_recorder *self, rl_run *run, rl_durability durability,
                             rl_err *err);

#endif
