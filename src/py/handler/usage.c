/* Tokens and models. See usage.h. */
#include "py/handler/usage.h"

#include "py/encode/encode.h"
#include "py/handler/event.h"

#include <math.h>

#define COUNT_MAX 1e15 /* of a float, which has all whole numbers up to there */

/* LangChain's names first, then those of providers: OpenAI, Bedrock, Google, watsonx and
 * Ollama. Integrations that give no usage_metadata hand over what their provider says. */
static const rl_usage_names forms[] = {
    {RL_NAME_input_tokens, RL_NAME_output_tokens, RL_NAME_total_tokens},
    {RL_NAME_prompt_tokens, RL_NAME_completion_tokens, RL_NAME_total_tokens},
    {RL_NAME_inputTokens, RL_NAME_outputTokens, RL_NAME_totalTokens},
    {RL_NAME_prompt_token_count, RL_NAME_candidates_token_count,
     RL_NAME_total_token_count},
    {RL_NAME_input_token_count, RL_NAME_generated_token_count, RL_NAME_total_token_count},
    {RL_NAME_prompt_eval_count, RL_NAME_eval_count, RL_NAME_total_tokens},
};

PyObject *rl_usage_count(PyObject *value)
{
    double number =
        value != NULL && PyFloat_CheckExact(value) ? PyFloat_AS_DOUBLE(value) : 0.5;

    return number == floor(number) && number >= 0 && number < COUNT_MAX
               ? PyLong_FromDouble(number)
               : Py_XNewRef(value);
}

/* A count; 0 when it is missing or no positive whole number. */
static int64_t count_of(PyObject *value)
{
    int overflow = 0;
    long long count = 0;

    if (value != NULL && PyLong_Check(value)) {
        count = PyLong_AsLongLongAndOverflow(value, &overflow);
    } else if (value != NULL && PyFloat_CheckExact(value)) {
        double number = PyFloat_AS_DOUBLE(value);

        count = number > 0 && number < COUNT_MAX && number == floor(number)
                    ? (long long)number
                    : 0;
    }
    return overflow == 0 && count > 0 ? count : 0;
}

static int64_t read_count(const rl_state *state, rl_raised *raised, PyObject *dict,
                          rl_name name)
{
    PyObject *value = rl_event_get(state, raised, dict, name);
    int64_t count = count_of(value);

    Py_XDECREF(value);
    return count;
}

/* Copies a member under another name, if there is one. 0, or -1 with an error set. */
static int rename_member(const rl_state *state, rl_raised *raised, PyObject *from,
                         rl_name name, PyObject *to, rl_name as)
{
    return rl_event_put(state, to, as, rl_event_get(state, raised, from, name));
}

/* The details of OpenAI's own form, under LangChain's names; as rl_usage_details. */
static PyObject *older_details(const rl_state *state, rl_raised *raised, PyObject *usage,
                               bool of_output)
{
    PyObject *old = rl_event_get(state, raised, usage,
                                 of_output ? RL_NAME_completion_tokens_details
                                           : RL_NAME_prompt_tokens_details);
    PyObject *made = old != NULL && PyDict_Check(old) ? PyDict_New() : NULL;

    if (made != NULL) {
        int rc = of_output ? rename_member(state, raised, old, RL_NAME_reasoning_tokens,
                                           made, RL_NAME_reasoning)
                           : rename_member(state, raised, old, RL_NAME_cached_tokens,
                                           made, RL_NAME_cache_read);

        rc |=
            rename_member(state, raised, old, RL_NAME_audio_tokens, made, RL_NAME_audio);
        if (rc < 0 || PyDict_GET_SIZE(made) == 0) {
            Py_CLEAR(made);
        }
    }
    Py_XDECREF(old);
    return made;
}

PyObject *rl_usage_details(const rl_state *state, rl_raised *raised, PyObject *usage,
                           bool of_output)
{
    PyObject *details = rl_event_get(state, raised, usage,
                                     of_output ? RL_NAME_output_token_details
                                               : RL_NAME_input_token_details);

    return details != NULL ? details : older_details(state, raised, usage, of_output);
}

bool rl_usage_is_cached(const rl_state *state, rl_raised *raised, PyObject *usage)
{
    PyObject *cost = rl_event_get(state, raised, usage, RL_NAME_total_cost);
    bool cached = cost != NULL && PyLong_CheckExact(cost) && PyObject_Not(cost) == 1;

    Py_XDECREF(cost);
    return cached;
}

static void add_detail(rl_raised *raised, rl_tokens *tokens, bool of_output,
                       const char *name, size_t len, int64_t count)
{
    if (!rl_tokens_add_detail(tokens, of_output, name, len, count)) {
        PyErr_NoMemory();
        rl_raised_absorb(raised);
    }
}

/* Adds the parts of the input, or of the output, that have a count. Nothing here runs code
 * of the user's while the dict is walked. */
static void add_details(const rl_state *state, rl_raised *raised, PyObject *usage,
                        bool of_output, rl_tokens *tokens)
{
    PyObject *details = rl_usage_details(state, raised, usage, of_output), *key, *value;
    Py_ssize_t at = 0, len;

    while (details != NULL && PyDict_Check(details) &&
           PyDict_Next(details, &at, &key, &value)) {
        int64_t count = count_of(value);

        if (count > 0 && PyUnicode_Check(key)) {
            const char *name = PyUnicode_AsUTF8AndSize(key, &len);

            rl_raised_absorb(raised); /* a surrogate: no name of a provider's */
            add_detail(raised, tokens, of_output, name, name != NULL ? (size_t)len : 0,
                       count);
        }
    }
    rl_raised_absorb(raised);
    Py_XDECREF(details);
}

#define CACHED_ANSWERS "cached_answers"

static void add_cached(rl_raised *raised, rl_tokens *tokens, bool of_output,
                       int64_t count)
{
    if (count > 0) {
        add_detail(raised, tokens, of_output, CACHED_ANSWERS, sizeof CACHED_ANSWERS - 1,
                   count);
    }
}

/* Adds the usage of one generation, or of all; false when it has no counts. */
static bool add_usage(const rl_state *state, rl_raised *raised, PyObject *dict,
                      const rl_usage_names *names, rl_tokens *tokens)
{
    int64_t input = read_count(state, raised, dict, names->input);
    int64_t output = read_count(state, raised, dict, names->output);
    int64_t total = read_count(state, raised, dict, names->total);
    rl_tokens one;

    if (dict == NULL || (input == 0 && output == 0 && total == 0)) {
        return false;
    }
    one = (rl_tokens){.input = input, .output = output, .total = total};
    if (total == 0) {
        one.total = input <= INT64_MAX - output ? input + output : INT64_MAX;
    }
    (void)rl_tokens_add(tokens, &one); /* without details it can't fail */
    if (rl_usage_is_cached(state, raised, dict)) {
        add_cached(raised, tokens, false, input);
        add_cached(raised, tokens, true, output);
    } else {
        add_details(state, raised, dict, false, tokens);
        add_details(state, raised, dict, true, tokens);
    }
    return true;
}

/* The names by which a dict has a count of the input or the output, else of all tokens;
 * NULL if it has none. */
static const rl_usage_names *names_in(const rl_state *state, rl_raised *raised,
                                      PyObject *dict)
{
    const rl_usage_names *of_all = NULL;

    for (size_t i = 0; dict != NULL && i < sizeof forms / sizeof *forms; i++) {
        if (read_count(state, raised, dict, forms[i].input) > 0 ||
            read_count(state, raised, dict, forms[i].output) > 0) {
            return &forms[i];
        }
        if (of_all == NULL && read_count(state, raised, dict, forms[i].total) > 0) {
            of_all = &forms[i];
        }
    }
    return of_all;
}

/* The usage in what a provider says of an answer (stolen, or NULL): in a member of its own,
 * or beside others. New reference, or NULL. */
static PyObject *find_usage(const rl_state *state, rl_raised *raised, PyObject *facts,
                            const rl_usage_names **names)
{
    static const rl_name members[] = {RL_NAME_token_usage, RL_NAME_usage,
                                      RL_NAME_usage_metadata};
    PyObject *usage = NULL;

    for (size_t i = 0; i < sizeof members / sizeof *members && usage == NULL; i++) {
        usage = rl_event_get(state, raised, facts, members[i]);
        *names = names_in(state, raised, usage);
        if (*names == NULL) {
            Py_CLEAR(usage);
        }
    }
    if (usage == NULL) {
        *names = names_in(state, raised, facts);
        usage = *names != NULL ? Py_NewRef(facts) : NULL;
    }
    Py_XDECREF(facts);
    return usage;
}

PyObject *rl_usage_of(const rl_state *state, rl_raised *raised, PyObject *generation,
                      const rl_usage_names **names)
{
    PyObject *message = rl_event_attribute(state, raised, generation, RL_NAME_message);
    PyObject *usage = NULL;

    *names = &forms[0];
    if (message != NULL) {
        usage = rl_event_attribute(state, raised, message, RL_NAME_usage_metadata);
    }
    if (usage == NULL && message != NULL) {
        usage = find_usage(
            state, raised,
            rl_event_attribute(state, raised, message, RL_NAME_response_metadata), names);
    }
    if (usage == NULL) {
        usage = find_usage(
            state, raised,
            rl_event_attribute(state, raised, generation, RL_NAME_generation_info),
            names);
    }
    Py_XDECREF(message);
    return usage;
}

PyObject *rl_usage_of_all(const rl_state *state, rl_raised *raised, PyObject *result,
                          const rl_usage_names **names)
{
    return find_usage(state, raised,
                      rl_event_attribute(state, raised, result, RL_NAME_llm_output),
                      names);
}

static void take_model(const rl_state *state, rl_raised *raised, PyObject *dict,
                       PyObject **model)
{
    PyObject *name = rl_event_get(state, raised, dict, RL_NAME_model_name);

    if (name == NULL) {
        name = rl_event_get(state, raised, dict, RL_NAME_model);
    }
    if (*model == NULL && name != NULL && PyUnicode_Check(name) &&
        PyUnicode_GET_LENGTH(name) > 0) {
        *model = rl_encode_name(name);
    }
    Py_XDECREF(name);
}

/* The first generation of one prompt. */
static void read_generation(const rl_state *state, rl_raised *raised,
                            PyObject *generation, rl_tokens *tokens, PyObject **model)
{
    const rl_usage_names *names;
    PyObject *message = rl_event_attribute(state, raised, generation, RL_NAME_message);
    PyObject *usage = rl_usage_of(state, raised, generation, &names), *response = NULL;

    if (message != NULL) {
        response = rl_event_attribute(state, raised, message, RL_NAME_response_metadata);
    }
    (void)(usage != NULL && add_usage(state, raised, usage, names, tokens));
    take_model(state, raised, response, model);
    Py_XDECREF(response);
    Py_XDECREF(usage);
    Py_XDECREF(message);
}

void rl_usage_read(const rl_state *state, rl_raised *raised, PyObject *result,
                   rl_span_end *end, PyObject **model)
{
    const rl_usage_names *names;
    PyObject *generations =
        rl_event_attribute(state, raised, result, RL_NAME_generations);
    PyObject *output = rl_event_attribute(state, raised, result, RL_NAME_llm_output),
             *usage;

    *model = NULL;
    for (Py_ssize_t i = 0; generations != NULL && PyList_Check(generations) &&
                           i < PyList_GET_SIZE(generations);
         i++) {
        PyObject *one = PyList_GET_ITEM(generations, i);

        if (PyList_Check(one) && PyList_GET_SIZE(one) > 0) {
            PyObject *first = Py_NewRef(PyList_GET_ITEM(one, 0));

            read_generation(state, raised, first, &end->tokens, model);
            Py_DECREF(first);
        }
    }
    if (!end->tokens.given) {
        usage = rl_usage_of_all(state, raised, result, &names);
        (void)(usage != NULL && add_usage(state, raised, usage, names, &end->tokens));
        Py_XDECREF(usage);
    }
    take_model(state, raised, output, model);
    end->model = rl_event_text(*model);
    Py_XDECREF(output);
    Py_XDECREF(generations);
}
