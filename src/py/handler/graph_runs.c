/* The runs of graphs on their way to a recorder. See graph_runs.h. */
#include "py/handler/graph_runs.h"

#include "py/base/raised.h"

void rl_graph_runs_count_error(const rl_handler *self)
{
    if (self->last != NULL) {
        rl_metric_add(&((rl_py_recorder *)self->last)->handler_errors, 1);
    }
}

void rl_graph_runs_count_ignored(const rl_handler *self)
{
    if (self->last != NULL) {
        rl_metric_add(&((rl_py_recorder *)self->last)->handler_ignored, 1);
    }
}

static void log_failure(rl_state *state, rl_raised *raised, const char *reason)
{
    PyObject *result = PyObject_CallFunction(state->handler.log, "s", reason);

    Py_XDECREF(result);
    if (result == NULL) {
        rl_raised_absorb(raised);
    }
}

void rl_graph_runs_report(rl_state *state, rl_handler *self, rl_raised *raised)
{
    PyObject *type, *value, *traceback, *text;
    const char *reason;

    PyErr_Fetch(&type, &value, &traceback);
    text = value != NULL ? PyObject_Str(value) : NULL;
    reason = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    rl_raised_absorb(raised); /* of the text */
    rl_graph_runs_count_error(self);
    if (!state->handler.failing) {
        state->handler.failing = true;
        log_failure(state, raised, reason != NULL ? reason : "a graph can't be recorded");
    }
    PyErr_Restore(type, value, traceback);
    rl_raised_absorb(raised);
    Py_XDECREF(text);
}

PyObject *rl_graph_runs_recorder(rl_state *state, const rl_handler *self)
{
    PyObject *recorder = self->recorder != NULL
                             ? Py_NewRef(self->recorder)
                             : PyObject_CallNoArgs(state->handler.default_recorder);

    if (recorder != NULL && (!PyObject_TypeCheck(recorder, state->recorder_type) ||
                             ((rl_py_recorder *)recorder)->core == NULL)) {
        PyErr_SetString(PyExc_TypeError, "recorder must be a Recorder");
        Py_CLEAR(recorder);
    }
    return recorder;
}

/* Gives up an open graph's reference to its recorder. */
static void release_owner(void *owner)
{
    rl_py_recorder *recorder = owner;

    atomic_fetch_sub(&recorder->open_runs, 1);
    Py_DECREF(recorder);
}

void rl_graph_runs_after_fork(rl_handler *self)
{
    rl_graphs_discard_inherited(self->graphs, release_owner);
}

/* Commits with the durability of graphs. */
static rl_status commit_to(rl_py_recorder *recorder, rl_run *run, rl_err *err)
{
    rl_durability durability = rl_recorder_config(recorder->core)->graph_runs;

    return rl_py_recorder_write(recorder, run, durability, err);
}

/* Commits a graph's run. When the program has closed the default recorder since the graph
 * began, the new default recorder takes the run; and when that one has been closed
 * meanwhile, the next. */
static rl_status commit_run(rl_state *state, const rl_handler *self, rl_raised *raised,
                            rl_py_recorder *recorder, rl_run *run, rl_err *err)
{
    rl_status status = rl_run_seal(run, err);
    PyObject *last = Py_NewRef(recorder);
    bool has_next = self->recorder == NULL;

    if (status == RL_OK) {
        status = commit_to(recorder, run, err);
    }
    while (status == RL_CLOSED && has_next) {
        PyObject *next = rl_graph_runs_recorder(state, self);

        if (next == NULL) {
            rl_raised_absorb(raised);
        }
        /* the same one: its own close() was called, not the module's */
        has_next = next != NULL && next != last;
        if (has_next) {
            status = commit_to((rl_py_recorder *)next, run, err);
        }
        Py_XSETREF(last, next);
    }
    Py_XDECREF(last);
    return status;
}

/* Commits a run, or a piece of an open one. A failure is counted, and logged once until a
 * run can be committed again. Logging runs the user's code, so it comes last. */
static bool record_run(rl_state *state, const rl_handler *self, rl_raised *raised,
                       rl_py_recorder *recorder, rl_run *run, bool is_piece)
{
    rl_err err;
    bool committed = commit_run(state, self, raised, recorder, run, &err) == RL_OK;

    if (is_piece) {
        rl_graphs_wrote(self->graphs, run, committed);
    }
    rl_py_recorder_log_notices(recorder, raised);
    if (committed) {
        recorder->failing = false;
        return true;
    }
    rl_metric_add(&recorder->handler_errors, 1);
    if (!recorder->failing) {
        recorder->failing = true;
        log_failure(state, raised, err.text);
    }
    return false;
}

/* Writes the end of a graph into the run; first, pieces of a very large one, and without
 * the GIL whatever takes more than a moment. */
static void write_end(const rl_handler *self, const rl_py_recorder *recorder,
                      rl_graph *graph, const rl_span_end *end, rl_run *run)
{
    rl_durability durability = rl_recorder_config(recorder->core)->graph_runs;
    bool committed = true;
    rl_err ignored;

    if (!rl_graph_is_large(graph) && rl_graphs_settle(self->graphs, graph, false)) {
        rl_graph_write(graph, end, run);
        return;
    }
    Py_BEGIN_ALLOW_THREADS(void)
    rl_graphs_settle(self->graphs, graph, true);
    while (committed && rl_graph_write_excess(graph, run)) {
        committed = rl_run_seal(run, &ignored) == RL_OK &&
                    rl_recorder_write(recorder->core, run, durability, &ignored) == RL_OK;
        rl_graph_wrote(graph, committed);
    }
    rl_graph_write(graph, end, run);
    Py_END_ALLOW_THREADS
}

static void free_graph(rl_graph *graph)
{
    if (rl_graph_is_large(graph)) {
        Py_BEGIN_ALLOW_THREADS
        rl_graph_free(graph);
        Py_END_ALLOW_THREADS
    } else {
        rl_graph_free(graph);
    }
}

void rl_graph_runs_finish(rl_state *state, const rl_handler *self, rl_raised *raised,
                          rl_graph *graph, const rl_span_end *end)
{
    rl_py_recorder *recorder = rl_graph_owner(graph);
    bool is_run = !rl_graph_is_wrapper(graph);
    rl_run *run = is_run ? rl_state_take_run(state) : NULL;

    if (is_run && run == NULL) {
        rl_raised_absorb(raised);
        rl_graph_runs_count_error(self);
    } else if (is_run) {
        write_end(self, recorder, graph, end, run);
        (void)record_run(state, self, raised, recorder, run, false);
        rl_state_give_run(state, run);
    }
    free_graph(graph);
    release_owner(recorder);
}

void rl_graph_runs_relieve(const rl_handler *self, rl_raised *raised,
                           rl_py_recorder *recorder)
{
    switch (rl_graphs_pressure(self->graphs, recorder->core)) {
    case RL_PRESSURE_NONE:
        break;
    case RL_PRESSURE_HIGH:
        rl_recorder_relieve(recorder->core, self->graphs, false);
        break;
    case RL_PRESSURE_FULL:
        Py_BEGIN_ALLOW_THREADS
        rl_recorder_relieve(recorder->core, self->graphs, true);
        Py_END_ALLOW_THREADS
        rl_py_recorder_log_notices(recorder, raised);
        break;
    }
}

/* Writes a piece, and waits for another thread's only without the GIL. */
static rl_status write_piece(const rl_handler *self, rl_key root, rl_run *run)
{
    rl_status status = rl_graphs_write_one(self->graphs, root, false, run);

    if (status == RL_BUSY) {
        Py_BEGIN_ALLOW_THREADS
        status = rl_graphs_write_one(self->graphs, root, true, run);
        Py_END_ALLOW_THREADS
    }
    return status;
}

void rl_graph_runs_write(rl_state *state, const rl_handler *self, rl_raised *raised,
                         const rl_found *found)
{
    rl_run *run = rl_state_take_run(state);
    PyObject *recorder = Py_NewRef(found->owner);
    const rl_key root = found->root;

    if (run == NULL) {
        rl_raised_absorb(raised);
        rl_graph_runs_count_error(self);
    } else {
        while (write_piece(self, root, run) == RL_OK &&
               record_run(state, self, raised, (rl_py_recorder *)recorder, run, true)) {
        }
    }
    rl_state_give_run(state, run);
    Py_DECREF(recorder);
}
