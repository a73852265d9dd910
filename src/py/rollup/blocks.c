/* Sums as Python objects. See blocks.h.
 *
 * A read of all workflows has ten thousand of them: so they are made without calls of their
 * __init__, which would take most of the time.
 */
#include "py/rollup/blocks.h"

#include "py/base/times.h"

/* An object under way: after a failure it is NULL, and nothing more is set. */
typedef struct making {
    PyObject *object;
} making;

static making begin(PyTypeObject *type)
{
    PyObject *none = PyTuple_New(0);
    making made = {none != NULL ? type->tp_new(type, none, NULL) : NULL};

    Py_XDECREF(none);
    return made;
}

/* Sets an attribute to a value (stolen; NULL: an error is set). */
static void set(making *made, PyObject *name, PyObject *value)
{
    if (made->object != NULL && (name == NULL || value == NULL ||
                                 PyObject_SetAttr(made->object, name, value) < 0)) {
        Py_CLEAR(made->object);
    }
    Py_XDECREF(name);
    Py_XDECREF(value);
}

/* The same for a key of a dict. */
static void put(making *made, PyObject *key, PyObject *value)
{
    if (made->object != NULL &&
        (key == NULL || value == NULL || PyDict_SetItem(made->object, key, value) < 0)) {
        Py_CLEAR(made->object);
    }
    Py_XDECREF(key);
    Py_XDECREF(value);
}

static PyObject *name(const char *text)
{
    return PyUnicode_InternFromString(text);
}

static PyObject *number(uint64_t value)
{
    return PyLong_FromUnsignedLongLong(value);
}

/* Recorded text need not be valid. */
static PyObject *text(rl_string value)
{
    return value.text != NULL
               ? PyUnicode_DecodeUTF8(value.text, (Py_ssize_t)value.len, "replace")
               : Py_NewRef(Py_None);
}

static PyObject *tokens_to(const rl_block_types *types, const rl_kinds *tokens)
{
    making made = begin(types->counter);

    for (size_t i = 0; i < tokens->used && made.object != NULL; i++) {
        if (tokens->kinds[i].count > 0) {
            put(&made, text(tokens->kinds[i].name), number(tokens->kinds[i].count));
        }
    }
    return made.object;
}

static PyObject *histogram_to(const rl_block_types *types, const rl_histogram *histogram)
{
    making counts = begin(types->counter);
    making made = begin(types->histogram);

    for (size_t i = 0; i < histogram->used && counts.object != NULL; i++) {
        if (histogram->buckets[i].count > 0) {
            put(&counts, number(histogram->buckets[i].place),
                number(histogram->buckets[i].count));
        }
    }
    set(&made, name("counts"), counts.object);
    set(&made, name("total"), number(histogram->total));
    return made.object;
}

static PyObject *outcomes_to(const rl_block_types *types, const rl_figures *figures)
{
    static const char *const outcomes[RL_OUTCOMES] = {
        "completed", "failed", "interrupted", "cancelled", "running", "other"};
    making made = begin(types->counter);

    for (size_t i = 0; i < RL_OUTCOMES && made.object != NULL; i++) {
        if (figures->outcomes[i] > 0) {
            put(&made, name(outcomes[i]), number(figures->outcomes[i]));
        }
    }
    return made.object;
}

static PyObject *calls_to(const rl_block_types *types, const rl_figures *figures)
{
    making made = begin(types->counter);

    if (figures->llm_calls > 0) {
        put(&made, name("llm"), number(figures->llm_calls));
    }
    if (figures->tool_calls > 0) {
        put(&made, name("tool"), number(figures->tool_calls));
    }
    return made.object;
}

static PyObject *figures_to(const rl_block_types *types, const rl_figures *figures)
{
    making made = begin(types->figures);

    set(&made, name("statuses"), outcomes_to(types, figures));
    set(&made, name("retries"), number(figures->retries));
    set(&made, name("retried"), number(figures->retried));
    set(&made, name("recovered"), number(figures->recovered));
    set(&made, name("waited_us"), number(figures->waited_us));
    set(&made, name("durations"), histogram_to(types, &figures->durations));
    set(&made, name("tokens"), tokens_to(types, &figures->tokens));
    set(&made, name("sizes"), histogram_to(types, &figures->sizes));
    set(&made, name("calls"), calls_to(types, figures));
    set(&made, name("repeats"), number(figures->repeats));
    set(&made, name("repeated_in"), text(figures->repeated_in));
    set(&made, name("slowest_us"), number(figures->slowest_us));
    set(&made, name("slowest_in"), text(figures->slowest_in));
    return made.object;
}

/* The nodes in the order of their numbers. */
static PyObject *nodes_to(const rl_block_types *types, const rl_sums *sums)
{
    making made = {PyDict_New()};
    unsigned after = 0;
    size_t left = sums->node_count;

    while (left > 0 && made.object != NULL) {
        unsigned next = UINT_MAX;

        for (size_t i = 0; i < sums->node_count; i++) {
            const rl_node *node = sums->nodes[i];

            if (node->number == after) {
                put(&made, text(node->name), figures_to(types, &node->figures));
                left--;
            } else if (node->number > after && node->number < next) {
                next = node->number;
            }
        }
        left = next == UINT_MAX ? 0 : left;
        after = next;
    }
    return made.object;
}

static PyObject *models_to(const rl_block_types *types, const rl_sums *sums)
{
    making made = {PyDict_New()};

    for (size_t i = 0; i < sums->model_count && made.object != NULL; i++) {
        making model = begin(types->model);

        set(&model, name("calls"), number(sums->models[i].calls));
        set(&model, name("tokens"), tokens_to(types, &sums->models[i].tokens));
        put(&made, text(sums->models[i].name), model.object);
    }
    return made.object;
}

static PyObject *failure_to(rl_state *state, const rl_block_types *types,
                            const rl_failure *failure)
{
    making made = begin(types->failure);
    PyObject *runs = PyList_New(0);

    for (size_t i = 0; i < RL_SUMS_EXAMPLES && runs != NULL; i++) {
        if (failure->examples[i].run.text != NULL) {
            PyObject *run = text(failure->examples[i].run);

            if (run == NULL || PyList_Append(runs, run) < 0) {
                Py_CLEAR(runs);
            }
            Py_XDECREF(run);
        }
    }
    set(&made, name("error"), text(failure->error));
    set(&made, name("node"), text(failure->node));
    set(&made, name("text"), text(failure->text));
    set(&made, name("number"), number(failure->number));
    set(&made, name("first"), rl_time_to(state, failure->first));
    set(&made, name("last"), rl_time_to(state, failure->last));
    set(&made, name("runs"), runs);
    return made.object;
}

static PyObject *failures_to(rl_state *state, const rl_block_types *types,
                             const rl_sums *sums)
{
    PyObject *list = PyList_New((Py_ssize_t)sums->failure_count);

    for (size_t i = 0; i < sums->failure_count && list != NULL; i++) {
        PyObject *failure = failure_to(state, types, &sums->failures[i]);

        if (failure == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, failure);
        }
    }
    return list;
}

static PyObject *paths_to(const rl_block_types *types, const rl_sums *sums)
{
    making made = {PyDict_New()};

    for (size_t i = 0; i < sums->way_count && made.object != NULL; i++) {
        making path = begin(types->path);
        char hash[17];

        PyOS_snprintf(hash, sizeof hash, "%016llx",
                      (unsigned long long)sums->ways[i].hash);
        set(&path, name("number"), number(sums->ways[i].number));
        set(&path, name("run"), text(sums->ways[i].run));
        put(&made, PyUnicode_FromString(hash), path.object);
    }
    return made.object;
}

PyObject *rl_block_to(rl_state *state, const rl_block_types *types, rl_string wpk_id,
                      uint64_t place, int64_t since, const rl_sums *sums)
{
    making made = begin(types->block);

    set(&made, name("workflow"), text(wpk_id));
    set(&made, name("since"), rl_time_to(state, since));
    set(&made, name("number"), number(place));
    set(&made, name("run"), figures_to(types, &sums->run));
    set(&made, name("nodes"), nodes_to(types, sums));
    set(&made, name("models"), models_to(types, sums));
    set(&made, name("models_left"), number(sums->models_left));
    set(&made, name("failures"), failures_to(state, types, sums));
    set(&made, name("failures_left"), number(sums->failures_left));
    set(&made, name("paths"), paths_to(types, sums));
    set(&made, name("paths_left"), number(sums->ways_left));
    return made.object;
}
