/* The types Recorder and PreparedRun. See recorder_type.h.
 *
 * Arguments become C values with the GIL held, then the core is called without it.
 */
#include "py/recorder/recorder_type.h"

#include "py/base/errors.h"
#include "py/base/raised.h"
#include "py/recorder/fields.h"
#include "py/recorder/gauges.h"
#include "py/recorder/listing.h"
#include "py/recorder/options.h"
#include "py/recorder/query.h"
#include "py/recorder/recorder.h"
#include "py/recorder/space.h"
#include "py/recorder/stats.h"
#include "py/recorder/thread.h"

#include <math.h>
#include <structmember.h>

/* An encoded run that is still to be committed. */
typedef struct prepared_run {
    PyObject_HEAD rl_run *run; /* owned; NULL once it is committed */
    PyObject *wpk_id, *run_id;
} prepared_run;

static int recorder_init(rl_py_recorder *self, PyObject *args, PyObject *kwargs)
{
    rl_state *state = rl_state_of_type(Py_TYPE(self));
    rl_recorder *core = NULL;
    rl_options options;
    rl_err err;

    if (state == NULL) {
        return -1;
    }
    if (self->core != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Recorder.__init__ was called twice");
        return -1;
    }
    if (PyTuple_GET_SIZE(args) != 0) {
        PyErr_SetString(PyExc_TypeError, "Recorder() takes keyword arguments only");
        return -1;
    }
    if (rl_options_read(state, kwargs, &options) < 0) {
        rl_options_free(&options);
        return -1;
    }
    if (self->core != NULL) { /* by the user's code, which options may run */
        rl_options_free(&options);
        PyErr_SetString(PyExc_RuntimeError, "Recorder.__init__ was called twice");
        return -1;
    }
    for (int i = 0; i + 1 < RL_WINGS; i++) {
        options.companions[i]->next = options.companions[i + 1];
    }
    self->default_path = options.default_path && options.config.postgres_dsn == NULL;
    if (rl_recorder_new(&options.config, options.companions[0], &core, &err) != RL_OK) {
        rl_errors_raise(state, &err);
        return -1;
    }
    self->core = core;
    memcpy(self->companions, options.companions, sizeof self->companions);
    return 0;
}

static int recorder_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

#if PY_VERSION_HEX < 0x030D0000
#define Py_IsFinalizing _Py_IsFinalizing
#endif

/* The exit hook has closed every recorder that existed then. A daemon thread may have
 * made one since: it is closed at once, and the runs in its journal wait for the next
 * start. */
static void recorder_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    rl_recorder *core = ((rl_py_recorder *)self)->core;

    PyObject_GC_UnTrack(self);
    if (core != NULL && Py_IsFinalizing()) {
        rl_recorder_close(core, 0);
        rl_recorder_free(core);
    } else {
        Py_BEGIN_ALLOW_THREADS /* forwarding the journal may take a while */
        rl_recorder_free(core);
        Py_END_ALLOW_THREADS
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *recorder_log_run(rl_py_recorder *self, PyObject *mapping)
{
    rl_state *state = rl_py_recorder_state(self);
    rl_run *run = state != NULL ? rl_state_take_run(state) : NULL;
    PyObject *wpk_id = NULL, *run_id = NULL;
    rl_raised raised = {NULL};
    rl_encode_options options;
    rl_err err;

    if (run == NULL) {
        return NULL;
    }
    options = rl_py_recorder_encoding(state, self, &raised);
    if (rl_fields_read(&options, mapping, run, &wpk_id, &run_id) == 0) {
        rl_durability durability = rl_recorder_config(self->core)->log_runs;

        if (rl_py_recorder_write(self, run, durability, &err) != RL_OK) {
            Py_CLEAR(run_id);
            rl_errors_raise(state, &err);
        }
    }
    rl_state_give_run(state, run);
    Py_XDECREF(wpk_id);
    return rl_py_recorder_finish(self, &raised, run_id);
}

static PyObject *recorder_prepare(rl_py_recorder *self, PyObject *mapping)
{
    rl_state *state = rl_py_recorder_state(self);
    prepared_run *prepared = NULL;
    rl_raised raised = {NULL};
    rl_encode_options options;
    rl_err ignored;

    if (state != NULL) {
        prepared =
            (prepared_run *)state->prepared_type->tp_alloc(state->prepared_type, 0);
    }
    if (prepared == NULL) {
        return NULL;
    }
    prepared->run = rl_state_take_run(state);
    if (prepared->run != NULL) {
        options = rl_py_recorder_encoding(state, self, &raised);
        if (rl_fields_read(&options, mapping, prepared->run, &prepared->wpk_id,
                           &prepared->run_id) < 0) {
            Py_CLEAR(prepared);
        }
    } else {
        Py_CLEAR(prepared);
    }
    if (prepared != NULL && rl_raised_any(&raised)) { /* nobody else would commit it */
        (void)rl_py_recorder_write(self, prepared->run,
                                   rl_recorder_config(self->core)->log_runs, &ignored);
    }
    return rl_raised_finish(&raised, (PyObject *)prepared);
}

static PyObject *recorder_commit(rl_py_recorder *self, PyObject *arg)
{
    rl_state *state = rl_py_recorder_state(self);
    prepared_run *prepared = (prepared_run *)arg;
    PyObject *run_id = NULL;
    rl_raised raised = {NULL};
    rl_run *run;
    rl_err err;

    if (state == NULL) {
        return NULL;
    }
    if (!Py_IS_TYPE(arg, state->prepared_type)) {
        PyErr_Format(PyExc_TypeError, "prepared must be a PreparedRun, not %s",
                     Py_TYPE(arg)->tp_name);
        return NULL;
    }
    run = prepared->run;
    if (run == NULL) {
        rl_errors_invalid(state, "prepared", "was committed already", NULL);
        return NULL;
    }
    prepared->run = NULL; /* so that no other thread commits it at the same time */
    if (rl_py_recorder_write(self, run, rl_recorder_config(self->core)->log_runs, &err) ==
        RL_OK) {
        rl_state_give_run(state, run);
        run_id = Py_NewRef(prepared->run_id);
    } else {
        prepared->run = run; /* it may be tried again */
        rl_errors_raise(state, &err);
    }
    return rl_py_recorder_finish(self, &raised, run_id);
}

/* The methods of query.c and others, with this recorder's core. */
#define QUERY_METHOD(name, function)                                                  \
    static PyObject *name(rl_py_recorder *self, PyObject *args, PyObject *kwargs)     \
    {                                                                                 \
        rl_state *state = rl_py_recorder_state(self);                                 \
        rl_raised raised = {NULL};                                                    \
                                                                                      \
        return state != NULL                                                          \
                   ? rl_py_recorder_finish(self, &raised,                             \
                                           function(state, self->core, args, kwargs)) \
                   : NULL;                                                            \
    }
QUERY_METHOD(recorder_get_runs, rl_query_get_runs)
QUERY_METHOD(recorder_get_run, rl_query_get_run)
QUERY_METHOD(recorder_whole_runs, rl_query_whole_runs)
QUERY_METHOD(recorder_list_runs, rl_listing_list_runs)
QUERY_METHOD(recorder_count_runs, rl_listing_count_runs)
QUERY_METHOD(recorder_gauges, rl_gauges_get)
QUERY_METHOD(recorder_delete_runs, rl_query_delete_runs)
QUERY_METHOD(recorder_prune, rl_query_prune)
QUERY_METHOD(recorder_reclaim, rl_space_reclaim)
QUERY_METHOD(recorder_rewrite, rl_space_rewrite)
QUERY_METHOD(recorder_build_indexes, rl_space_build_indexes)
QUERY_METHOD(recorder_thread_runs, rl_thread_get_runs)
#undef QUERY_METHOD

/* Nanoseconds of the monotonic clock at which `timeout` seconds (None: never) are
 * over. */
static int deadline(rl_state *state, PyObject *timeout, uint64_t *end)
{
    double seconds = 0.0;

    *end = (uint64_t)INT64_MAX;
    if (timeout == NULL || timeout == Py_None) {
        return 0;
    }
    if ((PyFloat_Check(timeout) || PyLong_Check(timeout)) && !PyBool_Check(timeout)) {
        seconds = PyFloat_AsDouble(timeout);
        if (seconds >= 0.0) { /* false for NaN, and if it is too large for a double */
            if (seconds < 1e9) {
                *end = rl_monotonic_ns() + (uint64_t)(seconds * 1e9);
            }
            return 0;
        }
        if (!rl_raised_is_own()) {
            return -1;
        }
    }
    return rl_errors_invalid(state, "timeout",
                             "must be None or a number of seconds, 0 or more", timeout);
}

/* Ctrl-C is checked for after each step of waiting. */
#define FLUSH_STEP_NS UINT64_C(200000000)

static PyObject *recorder_flush(rl_py_recorder *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    rl_state *state = rl_py_recorder_state(self);
    PyObject *timeout = NULL, *going;
    rl_raised raised = {NULL};
    rl_status status;
    uint64_t end;
    rl_err err;

    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|O:flush", names, &timeout) ||
        deadline(state, timeout, &end) < 0) {
        return NULL;
    }
    do {
        uint64_t step = rl_monotonic_ns() + FLUSH_STEP_NS;

        Py_BEGIN_ALLOW_THREADS
        status = rl_recorder_flush(self->core, step < end ? step : end, &err);
        Py_END_ALLOW_THREADS
        going = rl_py_recorder_finish(self, &raised, Py_NewRef(Py_True));
        Py_XDECREF(going);
    } while (going != NULL && status == RL_TIMEOUT && rl_monotonic_ns() < end);
    if (going == NULL) {
        return NULL;
    }
    if (status != RL_OK && status != RL_TIMEOUT) {
        return rl_errors_raise(state, &err);
    }
    return PyBool_FromLong(status == RL_OK);
}

static PyObject *close_until(rl_py_recorder *self, uint64_t end)
{
    rl_raised raised = {NULL};

    Py_BEGIN_ALLOW_THREADS
    rl_recorder_close(self->core, end);
    Py_END_ALLOW_THREADS
    return rl_py_recorder_finish(self, &raised, Py_NewRef(Py_None));
}

static PyObject *recorder_close(rl_py_recorder *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    rl_state *state = rl_py_recorder_state(self);
    PyObject *timeout = NULL;
    uint64_t end;

    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|O:close", names, &timeout) ||
        deadline(state, timeout, &end) < 0) {
        return NULL;
    }
    if (timeout == NULL || timeout == Py_None) {
        end = rl_monotonic_ns() + RL_CLOSE_NS;
    }
    return close_until(self, end);
}

/* For the exit hook: all recorders share one deadline, which may have passed. */
static PyObject *recorder_close_within(rl_py_recorder *self, PyObject *seconds)
{
    double left = PyFloat_AsDouble(seconds);

    if (rl_py_recorder_state(self) == NULL || (left == -1.0 && PyErr_Occurred())) {
        return NULL;
    }
    return close_until(self, rl_monotonic_ns() + (uint64_t)(int64_t)(left * 1e9));
}

/* For whoever only reads. */
static PyObject *recorder_open_existing(rl_py_recorder *self, PyObject *args)
{
    (void)args;
    if (rl_py_recorder_state(self) == NULL) {
        return NULL;
    }
    rl_recorder_open_existing(self->core);
    Py_RETURN_NONE;
}

static PyObject *recorder_exit(rl_py_recorder *self, PyObject *args)
{
    (void)args;
    return rl_py_recorder_state(self) != NULL
               ? close_until(self, rl_monotonic_ns() + RL_CLOSE_NS)
               : NULL;
}

static PyObject *recorder_stats(rl_py_recorder *self, PyObject *args)
{
    rl_state *state = rl_py_recorder_state(self);
    PyObject *stats = NULL;
    rl_raised raised = {NULL};

    (void)args;
    if (state != NULL) {
        stats = rl_py_recorder_finish(self, &raised, rl_stats_get(state, self));
    }
    return stats;
}

static PyObject *recorder_enter(PyObject *self, PyObject *args)
{
    (void)args;
    return Py_NewRef(self);
}

static PyMethodDef recorder_methods[] = {
    {"log_run", (PyCFunction)recorder_log_run, METH_O,
     "log_run(run)\n--\n\nKeep one run; return its run_id once it is committed."},
    {"prepare", (PyCFunction)recorder_prepare, METH_O,
     "prepare(run)\n--\n\nValidate and encode a run now, to commit it later."},
    {"commit", (PyCFunction)recorder_commit, METH_O,
     "commit(prepared)\n--\n\nCommit a prepared run, once; return its run_id."},
    {"get_runs_by_wpk_id", (PyCFunction)(void (*)(void))recorder_get_runs,
     METH_VARARGS | METH_KEYWORDS,
     "get_runs_by_wpk_id(wpk_id, limit=20, offset=0)\n--\n\n"
     "The runs of a workflow, newest first: (run_id, status, duration_ms, created_at)."},
    {"get_run", (PyCFunction)(void (*)(void))recorder_get_run,
     METH_VARARGS | METH_KEYWORDS,
     "get_run(run_id, wpk_id=None)\n--\n\nThe whole run as a dict, or None."},
    {"list_runs", (PyCFunction)(void (*)(void))recorder_list_runs,
     METH_VARARGS | METH_KEYWORDS,
     "list_runs(*, wpk_id=None, status=None, thread_id=None, tag=None, metadata=None, "
     "error=None, node=None, since=None, until=None, limit=20, after=None, "
     "run_id=None)\n--\n\nA page "
     "of runs, newest first."},
    {"_count_runs", (PyCFunction)(void (*)(void))recorder_count_runs,
     METH_VARARGS | METH_KEYWORDS,
     "_count_runs(*, wpk_id=None, status=None, thread_id=None, tag=None, metadata=None, "
     "error=None, node=None, since=None, until=None, spans=1)\n--\n\n"
     "(begin, end, complete, rows) for count_runs."},
    {"_gauges", (PyCFunction)(void (*)(void))recorder_gauges,
     METH_VARARGS | METH_KEYWORDS,
     "_gauges(workflows)\n--\n\n"
     "The runs that are open, those that are lost, and the newest run of workflows."},
    {"_whole_runs", (PyCFunction)(void (*)(void))recorder_whole_runs,
     METH_VARARGS | METH_KEYWORDS,
     "_whole_runs(ids)\n--\n\n"
     "The runs with these ids, newest first, and how many bytes they took."},
    {"_thread_runs", (PyCFunction)(void (*)(void))recorder_thread_runs,
     METH_VARARGS | METH_KEYWORDS,
     "_thread_runs(thread_id, wpk_id, limit)\n--\n\n"
     "The runs of a thread, newest first, for get_thread."},
    {"delete_runs", (PyCFunction)(void (*)(void))recorder_delete_runs,
     METH_VARARGS | METH_KEYWORDS,
     "delete_runs(*, wpk_id=None, run_id=None, status=None, thread_id=None, tag=None, "
     "metadata=None, before=None)\n"
     "--\n\nDelete the runs that match all given filters; return their number."},
    {"_prune", (PyCFunction)(void (*)(void))recorder_prune, METH_VARARGS | METH_KEYWORDS,
     "_prune(progress, **filters)\n--\n\n"
     "Delete runs as delete_runs does, give their space back, and call progress(runs so "
     "far) meanwhile; return how many runs and bytes that were."},
    {"_reclaim", (PyCFunction)(void (*)(void))recorder_reclaim,
     METH_VARARGS | METH_KEYWORDS,
     "_reclaim(seconds)\n--\n\nGive free space of the SQLite file back for that long."},
    {"_build_indexes", (PyCFunction)(void (*)(void))recorder_build_indexes,
     METH_VARARGS | METH_KEYWORDS,
     "_build_indexes()\n--\n\nApply the migrations that were left for later."},
    {"_rewrite", (PyCFunction)(void (*)(void))recorder_rewrite,
     METH_VARARGS | METH_KEYWORDS,
     "_rewrite()\n--\n\nWrite the SQLite file anew, without its free space."},
    {"flush", (PyCFunction)(void (*)(void))recorder_flush, METH_VARARGS | METH_KEYWORDS,
     "flush(timeout=None)\n--\n\nWait until everything handed over is in the database."},
    {"close", (PyCFunction)(void (*)(void))recorder_close, METH_VARARGS | METH_KEYWORDS,
     "close(timeout=None)\n--\n\nWait for the commits that have started, forward the "
     "journal for up to `timeout` seconds (4 by default), then close the database."},
    {"_close_within", (PyCFunction)recorder_close_within, METH_O,
     "_close_within(seconds)\n--\n\nClose as close() does; the seconds may be negative."},
    {"_open_existing", (PyCFunction)recorder_open_existing, METH_NOARGS,
     "_open_existing()\n--\n\nFrom now on create no SQLite file that is not there."},
    {"stats", (PyCFunction)recorder_stats, METH_NOARGS,
     "stats()\n--\n\nCounters of this recorder."},
    {"__enter__", recorder_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)recorder_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef recorder_members[] = {
    {"default_path", T_BOOL, offsetof(rl_py_recorder, default_path), READONLY,
     "Whether SQLite is the store, in the default file."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot recorder_slots[] = {
    {Py_tp_doc, "Keeps runs in SQLite, or in PostgreSQL when it is given a DSN."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, recorder_init},
    {Py_tp_traverse, recorder_traverse},
    {Py_tp_dealloc, recorder_dealloc},
    {Py_tp_methods, recorder_methods},
    {Py_tp_members, recorder_members},
    {0, NULL},
};

static PyType_Spec recorder_spec = {
    .name = "runlog._runlog.Recorder",
    .basicsize = sizeof(rl_py_recorder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = recorder_slots,
};

static int prepared_traverse(PyObject *self, visitproc visit, void *arg)
{
    prepared_run *prepared = (prepared_run *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(prepared->wpk_id); /* of a subclass of str, it may lead back */
    Py_VISIT(prepared->run_id);
    return 0;
}

static int prepared_clear(PyObject *self)
{
    prepared_run *prepared = (prepared_run *)self;

    Py_CLEAR(prepared->wpk_id);
    Py_CLEAR(prepared->run_id);
    return 0;
}

static void prepared_dealloc(PyObject *self)
{
    prepared_run *prepared = (prepared_run *)self;
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    rl_run_free(prepared->run);
    (void)prepared_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef prepared_members[] = {
    {"wpk_id", T_OBJECT, offsetof(prepared_run, wpk_id), READONLY, NULL},
    {"run_id", T_OBJECT, offsetof(prepared_run, run_id), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot prepared_slots[] = {
    {Py_tp_doc, "A run that was encoded and not yet committed."},
    {Py_tp_traverse, prepared_traverse},
    {Py_tp_clear, prepared_clear},
    {Py_tp_dealloc, prepared_dealloc},
    {Py_tp_members, prepared_members},
    {0, NULL},
};

static PyType_Spec prepared_spec = {
    .name = "runlog._runlog.PreparedRun",
    .basicsize = sizeof(prepared_run),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = prepared_slots,
};

int rl_recorder_type_add(PyObject *module, rl_state *state)
{
    state->recorder_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &recorder_spec, NULL);
    state->prepared_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &prepared_spec, NULL);
    if (state->recorder_type == NULL || state->prepared_type == NULL) {
        return -1;
    }
    return PyModule_AddType(module, state->recorder_type) < 0 ||
                   PyModule_AddType(module, state->prepared_type) < 0
               ? -1
               : 0;
}

int rl_recorder_type_extend(rl_state *state, PyMethodDef *methods)
{
    PyObject *type = (PyObject *)state->recorder_type;
    int rc = 0;

    for (PyMethodDef *method = methods; method->ml_name != NULL && rc == 0; method++) {
        PyObject *descriptor = PyDescr_NewMethod(state->recorder_type, method);

        rc = descriptor != NULL
                 ? PyObject_SetAttrString(type, method->ml_name, descriptor)
                 : -1;
        Py_XDECREF(descriptor);
    }
    return rc;
}
