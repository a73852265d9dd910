/* The module's state. See state.h. */
#include "py/base/state.h"

/* clang-format off */
/* The objects that the state owns, but for arrays of names. */
#define OBJECTS(X) \
    X(runlog_error) X(validation_error) X(config_error) X(closed_error) X(store_error) \
    X(service_error) X(recorder_type) X(prepared_type) X(page_type) X(mapping) X(loads) \
    X(vars) X(extra) X(datetime) X(utc) X(handler.type) X(handler.parent_command) \
    X(handler.graph_interrupt) X(handler.bubble_up) X(handler.command) X(handler.uuid) \
    X(handler.cancelled) X(handler.default_recorder) X(handler.log) X(handler.state_when_left)
/* clang-format on */

rl_run *rl_state_take_run(rl_state *state)
{
    rl_run *run = state->spare;

    state->spare = NULL;
    if (run == NULL) {
        run = rl_run_new();
        if (run == NULL) {
            PyErr_NoMemory();
        }
    }
    return run;
}

void rl_state_give_run(rl_state *state, rl_run *run)
{
    if (run != NULL && state->spare == NULL) {
        rl_run_reset(run);
        state->spare = run;
    } else {
        rl_run_free(run);
    }
}

static int state_traverse(PyObject *module, visitproc visit, void *arg)
{
    rl_state *state = PyModule_GetState(module);

#define VISIT(object) Py_VISIT(state->object);
    OBJECTS(VISIT)
#undef VISIT
    return 0; /* the names are str, and the types are held weakly: they lead nowhere */
}

static int state_clear(PyObject *module)
{
    rl_state *state = PyModule_GetState(module);

#define CLEAR(object) Py_CLEAR(state->object);
    OBJECTS(CLEAR)
#undef CLEAR
    for (int i = 0; i < RL_ALL_COLUMNS; i++) {
        Py_CLEAR(state->column_names[i]);
    }
    for (size_t i = 0; i < RL_NAME_COUNT; i++) {
        Py_CLEAR(state->handler.names[i]);
    }
    rl_type_cache_clear(&state->kinds);
    rl_run_free(state->spare);
    state->spare = NULL;
    rl_redact_free(&state->redact);
    return 0;
}

static void state_free(void *module)
{
    (void)state_clear((PyObject *)module);
}

struct PyModuleDef rl_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "runlog._runlog",
    .m_doc = "The C extension behind runlog.",
    .m_size = sizeof(rl_state),
    .m_traverse = state_traverse,
    .m_clear = state_clear,
    .m_free = state_free,
};
