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

int rl_block_types_begin(rl_block_types *types)
{
#define TEXT_OF(name) #name,
    static const char *const texts[] = {RL_BLOCK_NAMES(TEXT_OF)};
#undef TEXT_OF
    int rc = 0;

    types->nothing = PyTuple_New(0);
    for (size_t i = 0; i < RL_BLOCK_NAME_COUNT; i++) {
        types->names[i] = PyUnicode_InternFromString(texts[i]);
        rc = types->names[i] != NULL ? rc : -1;
    }
    return types->nothing != NULL ? rc : -1;
}

void rl_block_types_end(rl_block_types *types)
{
    Py_CLEAR(types->nothing);
    for (size_t i = 0; i < RL_BLOCK_NAME_COUNT; i++) {
        Py_CLEAR(types->names[i]);
    }
}

static making begin(const rl_block_types *types, PyTypeObject *type)
{
    return (making){type->tp_new(type, types->nothing, NULL)};
}

/* Sets an attribute to a value (stolen; NULL: an error is set). */
static void set(making *made, PyObject *name, PyObject *value)
{
    if (made->object != NULL &&
        (value == NULL || PyObject_SetAttr(made->object, name, value) < 0)) {
        Py_CLEAR(made->object);
    }
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

/* The name of a kind of tokens. */
static PyObject *kind(const rl_block_types *types, rl_string value)
{
    static const rl_block_name usual[] = {RL_BLOCK_input, RL_BLOCK_output,
                                          RL_BLOCK_total};
    PyObject *found = NULL;

    for (size_t i = 0; i < sizeof usual / sizeof *usual && found == NULL; i++) {
        PyObject *one = types->names[usual[i]];

        if ((size_t)PyUnicode_GET_LENGTH(one) == value.len &&
            memcmp(PyUnicode_DATA(one), value.text, value.len) == 0) {
            found = Py_NewRef(one);
        }
    }
    return found != NULL ? found : text(value);
}

static PyObject *tokens_to(const rl_block_types *types, const rl_kinds *tokens)
{
    making made = begin(types, types->counter);

    for (size_t i = 0; i < tokens->used && made.object != NULL; i++) {
        if (tokens->kinds[i].count > 0) {
            put(&made, kind(types, tokens->kinds[i].name),
                number(tokens->kinds[i].count));
        }
    }
    return made.object;
}

static PyObject *histogram_to(const rl_block_types *types, const rl_histogram *histogram)
{
    making counts = begin(types, types->counter);
    making made = begin(types, types->histogram);

    for (size_t i = 0; i < histogram->used && counts.object != NULL; i++) {
        if (histogram->buckets[i].count > 0) {
            put(&counts, number(histogram->buckets[i].place),
                number(histogram->buckets[i].count));
        }
    }
    set(&made, types->names[RL_BLOCK_counts], counts.object);
    set(&made, types->names[RL_BLOCK_total], number(histogram->total));
    return made.object;
}

static PyObject *outcomes_to(const rl_block_types *types, const rl_figures *figures)
{
    static const rl_block_name outcomes[] = {RL_BLOCK_completed,   RL_BLOCK_failed,
                                             RL_BLOCK_interrupted, RL_BLOCK_cancelled,
                                             RL_BLOCK_running,     RL_BLOCK_other};
    making made = begin(types, types->counter);

    for (size_t i = 0; i < RL_OUTCOMES && made.object != NULL; i++) {
        if (figures->outcomes[i] > 0) {
            put(&made, Py_NewRef(types->names[outcomes[i]]),
                number(figures->outcomes[i]));
        }
    }
    return made.object;
}

static PyObject *calls_to(const rl_block_types *types, const rl_figures *figures)
{
    making made = begin(types, types->counter);

    if (figures->llm_calls > 0) {
        put(&made, Py_NewRef(types->names[RL_BLOCK_llm]), number(figures->llm_calls));
    }
    if (figures->tool_calls > 0) {
        put(&made, Py_NewRef(types->names[RL_BLOCK_tool]), number(figures->tool_calls));
    }
    return made.object;
}

static PyObject *figures_to(const rl_block_types *types, const rl_figures *figures)
{
    making made = begin(types, types->figures);

    set(&made, types->names[RL_BLOCK_statuses], outcomes_to(types, figures));
    set(&made, types->names[RL_BLOCK_retries], number(figures->retries));
    set(&made, types->names[RL_BLOCK_retried], number(figures->retried));
    set(&made, types->names[RL_BLOCK_recovered], number(figures->recovered));
    set(&made, types->names[RL_BLOCK_waited_us], number(figures->waited_us));
    set(&made, types->names[RL_BLOCK_durations],
        histogram_to(types, &figures->durations));
    set(&made, types->names[RL_BLOCK_tokens], tokens_to(types, &figures->tokens));
    set(&made, types->names[RL_BLOCK_sizes], histogram_to(types, &figures->sizes));
    set(&made, types->names[RL_BLOCK_calls], calls_to(types, figures));
    set(&made, types->names[RL_BLOCK_repeats], number(figures->repeats));
    set(&made, types->names[RL_BLOCK_repeated_in], text(figures->repeated_in));
    set(&made, types->names[RL_BLOCK_slowest_us], number(figures->slowest_us));
    set(&made, types->names[RL_BLOCK_slowest_in], text(figures->slowest_in));
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
        making model = begin(types, types->model);

        set(&model, types->names[RL_BLOCK_calls], number(sums->models[i].calls));
        set(&model, types->names[RL_BLOCK_tokens],
            tokens_to(types, &sums->models[i].tokens));
        put(&made, text(sums->models[i].name), model.object);
    }
    return made.object;
}

static PyObject *failure_to(rl_state *state, const rl_block_types *types,
                            const rl_failure *failure)
{
    making made = begin(types, types->failure);
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
    set(&made, types->names[RL_BLOCK_error], text(failure->error));
    set(&made, types->names[RL_BLOCK_node], text(failure->node));
    set(&made, types->names[RL_BLOCK_text], text(failure->text));
    set(&made, types->names[RL_BLOCK_number], number(failure->number));
    set(&made, types->names[RL_BLOCK_first], rl_time_to(state, failure->first));
    set(&made, types->names[RL_BLOCK_last], rl_time_to(state, failure->last));
    set(&made, types->names[RL_BLOCK_runs], runs);
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
        making path = begin(types, types->path);
        char hash[17];

        PyOS_snprintf(hash, sizeof hash, "%016llx",
                      (unsigned long long)sums->ways[i].hash);
        set(&path, types->names[RL_BLOCK_number], number(sums->ways[i].number));
        set(&path, types->names[RL_BLOCK_run], text(sums->ways[i].run));
        put(&made, PyUnicode_FromString(hash), path.object);
    }
    return made.object;
}

PyObject *rl_block_to(rl_state *state, const rl_block_types *types, rl_string wpk_id,
                      uint64_t place, int64_t since, const rl_sums *sums)
{
    making made = begin(types, types->block);

    set(&made, types->names[RL_BLOCK_workflow], text(wpk_id));
    set(&made, types->names[RL_BLOCK_since], rl_time_to(state, since));
    set(&made, types->names[RL_BLOCK_number], number(place));
    set(&made, types->names[RL_BLOCK_run], figures_to(types, &sums->run));
    set(&made, types->names[RL_BLOCK_nodes], nodes_to(types, sums));
    set(&made, types->names[RL_BLOCK_models], models_to(types, sums));
    set(&made, types->names[RL_BLOCK_models_left], number(sums->models_left));
    set(&made, types->names[RL_BLOCK_failures], failures_to(state, types, sums));
    set(&made, types->names[RL_BLOCK_failures_left], number(sums->failures_left));
    set(&made, types->names[RL_BLOCK_paths], paths_to(types, sums));
    set(&made, types->names[RL_BLOCK_paths_left], number(sums->ways_left));
    return made.object;
}
