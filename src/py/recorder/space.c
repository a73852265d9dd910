/* Free space for Python. See space.h. */
#include "py/recorder/space.h"

#include "core/clock.h"
#include "py/base/errors.h"
#include "record/recorder/space.h"

PyObject *rl_space_reclaim(rl_state *state, rl_recorder *core, PyObject *args,
                           PyObject *kwargs)
{
    static char *names[] = {"seconds", NULL};
    rl_reclaim reclaim = {0};
    double seconds;
    rl_status status;
    rl_err err;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "d:_reclaim", names, &seconds)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = rl_recorder_reclaim(core, &reclaim,
                                 rl_monotonic_ns() + (uint64_t)(seconds * 1e9), &err);
    Py_END_ALLOW_THREADS
    return status == RL_OK
               ? Py_BuildValue("(LLO)", (long long)reclaim.returned,
                               (long long)reclaim.left, reclaim.can ? Py_True : Py_False)
               : rl_errors_raise(state, &err);
}

/* Calls a function without arguments, without the GIL. */
static PyObject *run_alone(rl_state *state, rl_recorder *core, PyObject *args,
                           PyObject *kwargs, const char *format,
                           rl_status (*function)(rl_recorder *, rl_err *))
{
    static char *names[] = {NULL};
    rl_status status;
    rl_err err;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = function(core, &err);
    Py_END_ALLOW_THREADS
    return status == RL_OK ? Py_NewRef(Py_None) : rl_errors_raise(state, &err);
}

PyObject *rl_space_rewrite(rl_state *state, rl_recorder *core, PyObject *args,
                           PyObject *kwargs)
{
    return run_alone(state, core, args, kwargs, ":_rewrite", rl_recorder_rewrite);
}

PyObject *rl_space_build_indexes(rl_state *state, rl_recorder *core, PyObject *args,
                                 PyObject *kwargs)
{
    return run_alone(state, core, args, kwargs, ":_build_indexes",
                     rl_recorder_build_indexes);
}
