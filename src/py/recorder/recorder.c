/* Functions on a Recorder for the other files of the extension. See recorder.h. */
#include "py/recorder/recorder.h"

#include "py/base/imports.h"
#include "record/recorder/place.h"

rl_state *rl_py_recorder_state(rl_py_recorder *self)
{
    rl_state *state = rl_state_of_type(Py_TYPE(self));

    if (state != NULL && self->core == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Recorder.__init__ was not called");
        state = NULL;
    }
    return state;
}

rl_encode_options rl_py_recorder_encoding(rl_state *state, const rl_py_recorder *self,
                                          rl_raised *raised)
{
    const rl_config *config = rl_recorder_config(self->core);
    rl_encode_options options = {.state = state,
                                 .raised = raised,
                                 .redact = &config->redact,
                                 .cap = config->max_payload,
                                 .max_value = config->max_value,
                                 .spent_ns = &rl_recorder_metrics(self->core)->encode_ns};

    return options;
}

const rl_place *rl_py_recorder_place(rl_py_recorder *self)
{
    if (!self->placed) {
        self->placed = rl_place_find(rl_recorder_config(self->core), &self->place);
    }
    return &self->place;
}

/* Logging runs the user's code, which may log runs and so come back in here. Its
 * exceptions are absorbed, and one that is being raised already stays. */
void rl_py_recorder_log_notices(rl_py_recorder *self, rl_raised *raised)
{
    PyObject *type, *value, *traceback, *module, *result;
    rl_notice notice;

    while (rl_recorder_take_notice(self->core, &notice)) {
        PyErr_Fetch(&type, &value, &traceback);
        module = rl_import("runlog.recorder");
        result = module != NULL ? PyObject_CallMethod(module, "_log_notice", "is",
                                                      notice.level, notice.text)
                                : NULL;
        Py_XDECREF(module);
        Py_XDECREF(result);
        if (result == NULL) {
            rl_raised_absorb(raised);
        }
        PyErr_Restore(type, value, traceback);
    }
}

/* Bytes of a run; a larger one takes milliseconds. */
#define QUICK ((size_t)256 * 1024)

/* Giving up the GIL beside a busy Python thread costs milliseconds, a write to the page
 * cache 50 us: so that write is tried first, with the GIL. With an fsync or a server to
 * wait for, or with a large run, the GIL is always given up. No lock is held meanwhile.
 */
rl_status rl_py_recorder_write(rl_py_recorder *self, rl_run *run,
                               rl_durability durability, rl_err *err)
{
    rl_status status = RL_BUSY;

    if (durability == RL_JOURNAL && run->arena.len <= QUICK) {
        status = rl_recorder_try_write(self->core, run, durability, err);
    }
    if (status == RL_BUSY) {
        Py_BEGIN_ALLOW_THREADS
        status = rl_recorder_write(self->core, run, durability, err);
        Py_END_ALLOW_THREADS
    }
    return status;
}

PyObject *rl_py_recorder_finish(rl_py_recorder *self, rl_raised *raised, PyObject *result)
{
    rl_py_recorder_log_notices(self, raised);
    result = rl_raised_finish(raised, result);
    if (result != NULL && PyErr_CheckSignals() < 0) {
        Py_CLEAR(result);
    }
    return result;
}
