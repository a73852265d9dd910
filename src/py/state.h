/* The module's state: its types, exceptions and what it keeps between calls.
 *
 * Threads: touched with the GIL only. Ownership: every pointer is owned by the state and
 * visited in the module's traverse.
 */
#ifndef RL_PY_STATE_H
#define RL_PY_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core/redact.h"
#include "core/run.h"

/* What the handler's type was made with; all NULL until then. */
typedef struct rl_handler_state {
    PyTypeObject *type;
    Py_ssize_t offset;                    /* of the handler's own data in an instance */
    PyObject *parent_command, *bubble_up; /* LangGraph's exceptions */
    PyObject *cancelled;                  /* a tuple of exceptions */
    PyObject *default_recorder;           /* () -> Recorder */
    PyObject *log;                        /* (message: str) -> None */
    int failing; /* the last graph found no recorder, and that was logged */
} rl_handler_state;

typedef struct rl_state {
    PyObject *runlog_error, *validation_error, *config_error, *closed_error, *store_error;
    PyTypeObject *recorder_type, *prepared_type, *page_type;
    rl_handler_state handler;
    PyObject *kinds;   /* dict: type -> (kind, field names or None), see convert.h */
    PyObject *mapping; /* collections.abc.Mapping */
    PyObject *loads;   /* json.loads, fetched at the first read */
    PyObject *datetime, *utc;           /* of datetime, fetched at the first time stamp */
    PyObject *column_names[RL_COLUMNS]; /* interned */
    rl_run *spare;                      /* a run kept for the next log_run, or NULL */
    rl_redact redact;                   /* the default keys, for encode_json */
} rl_state;

extern struct PyModuleDef rl_module;

/* The state of the module that defined `type` or a base of it. */
static inline rl_state *rl_state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &rl_module);

    return module != NULL ? PyModule_GetState(module) : NULL;
}

/* Takes a run to fill, owned by the caller; NULL with MemoryError set. */
rl_run *rl_state_take_run(rl_state *state);
/* Gives it back (stolen); NULL is fine. */
void rl_state_give_run(rl_state *state, rl_run *run);

#endif
