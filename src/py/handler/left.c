/* Calls of which no end is told. See left.h. */
#include "py/handler/left.h"

#include "core/fork.h"
#include "py/handler/caller.h"
#include "py/handler/ends.h"
#include "py/handler/event.h"

/* The callback of a weak reference: the manager has died. `call`: the handler and the
 * run_id. */
static PyObject *end_call(PyObject *call, PyObject *reference)
{
    PyObject *object = PyTuple_GET_ITEM(call, 0), *kwargs = NULL;
    rl_state *state = rl_state_of_type(Py_TYPE(object));
    rl_handler *self = state != NULL ? rl_handler_data(state, object) : NULL;
    rl_raised raised = {NULL};

    (void)reference;
    if (self != NULL && self->generation == rl_fork_generation()) {
        kwargs = PyDict_New();
        if (kwargs != NULL && rl_event_put(state, kwargs, RL_NAME_run_id,
                                           Py_NewRef(PyTuple_GET_ITEM(call, 1))) == 0) {
            rl_ends_record(state, self, &raised, NULL, NULL, kwargs);
        }
    }
    rl_raised_absorb(&raised);
    Py_XDECREF(kwargs);
    return rl_raised_finish(&raised, Py_NewRef(Py_None));
}

static PyMethodDef end_call_method = {"end_call", end_call, METH_O, NULL};

/* A weak reference to the manager that ends the call. New reference, NULL with an error
 * set. */
static PyObject *refer_to(const rl_state *state, rl_handler *self, PyObject *manager,
                          PyObject *run_id)
{
    PyObject *call = PyTuple_Pack(2, rl_handler_object(state, self), run_id);
    PyObject *callback = call != NULL ? PyCFunction_New(&end_call_method, call) : NULL;
    PyObject *reference = callback != NULL ? PyWeakref_NewRef(manager, callback) : NULL;

    Py_XDECREF(callback);
    Py_XDECREF(call);
    return reference;
}

void rl_left_watch(rl_state *state, rl_handler *self, rl_raised *raised, PyObject *kwargs)
{
    PyObject *run_id = rl_event_get(state, raised, kwargs, RL_NAME_run_id);
    PyObject *manager = rl_caller_of_call(), *reference = NULL;

    if (manager != NULL && run_id != NULL) {
        if (self->watched == NULL) {
            self->watched = PyDict_New();
        }
        reference = refer_to(state, self, manager, run_id);
        if (self->watched != NULL && reference != NULL) {
            (void)PyDict_SetItem(self->watched, run_id, reference);
        }
    }
    rl_raised_absorb(raised);
    Py_XDECREF(reference);
    Py_XDECREF(manager);
    Py_XDECREF(run_id);
}
