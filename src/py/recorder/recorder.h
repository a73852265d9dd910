/* The struct of a Recorder, over the core's recorder, and functions on it for the other
 * files of the extension. Its type is in recorder_type.h. Threads: with the GIL.
 */
#ifndef RL_PY_RECORDER_H
#define RL_PY_RECORDER_H

#include "py/encode/encode_options.h"
#include "record/recorder/recorder.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef struct rl_py_recorder {
    PyObject_HEAD rl_recorder *core;    /* owned; NULL until __init__ is done */
    rl_companion *companions[RL_WINGS]; /* of the wings; borrowed from the core */
    bool default_path;                  /* the path of the SQLite file was not set */
    /* counts of the handlers that record here */
    atomic_uint_fast64_t handler_errors, handler_ignored, handler_unrecognised, open_runs;
    bool failing; /* the last graph could not be committed, and that was logged */
    bool unrecognised_logged; /* that a handler saw no graph was logged */
    rl_place place;           /* see rl_py_recorder_place */
    bool placed;              /* it will not change */
} rl_py_recorder;

/* The state of the module; NULL with RuntimeError set when __init__ was not called. */
rl_state *rl_py_recorder_state(rl_py_recorder *self);

/* The options by which runs of this recorder are encoded. They borrow from the recorder,
 * and `raised`. */
rl_encode_options rl_py_recorder_encoding(rl_state *state, const rl_py_recorder *self,
                                          rl_raised *raised);

/* The database that it writes to; borrowed. Cheap but for the first time. */
const rl_place *rl_py_recorder_place(rl_py_recorder *self);

/* Hands the core's notices since the last call to Python's logging. An exception that is
 * set stays set; one of logging's is absorbed. */
void rl_py_recorder_log_notices(rl_py_recorder *self, rl_raised *raised);

/* What a method of a recorder ends with, after whatever it has waited for: logs the
 * notices and handles signals. Returns the result (stolen; NULL with an error set), or
 * NULL with what belongs to the program. */
PyObject *rl_py_recorder_finish(rl_py_recorder *self, rl_raised *raised,
                                PyObject *result);

/* Commits a sealed run: with the GIL held where that is fast, else without it. No code of
 * the user's runs. */
rl_status rl_py_recorder_write(rl_py_recorder *self, rl_run *run,
                               rl_durability durability, rl_err *err);

#endif
