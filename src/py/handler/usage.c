/* Tokens and models. See usage.h. */
#include "py/handler/usage.h"

#include "py/encode/encode.h"
#include "py/handler/event.h"

/* A count; 0 when it is missing or no positive int. */
static int64_t read_count(const rl_state *state, rl_raised *raised, PyObject *dict,
                          rl_name name)
{
    PyObject *value = rl_event_get(state, raised, dict, name);
    int overflow = 0;
    long long count = 0;

    if (value != NULL && PyLong_Check(value)) {
        count = PyLong_AsLongLongAndOverflow(value, &overflow);
    }
    Py_XDECREF(value);
    return overflow == 0 && count > 0 ? count : 0;
}

/* Adds one call's usage; false when the dict has no counts. */
static bool add_usage(const rl_state *state, rl_raised *raised, PyObject *dict,
                      const rl_name names[3], rl_tokens *tokens)
{
    int64_t input = read_count(state, raised, dict, names[0]);
    int64_t output = read_count(state, raised, dict, names[1]);
    int64_t total = read_count(state, raised, dict, names[2]);

    if (dict == NULL || (input == 0 && output == 0 && total == 0)) {
        return false;
    }
    tokens->given = true;
    tokens->input += input;
    tokens->output += output;
    tokens->total += total > 0 ? total : input + output;
    return true;
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
    static const rl_name names[] = {RL_NAME_input_tokens, RL_NAME_output_tokens,
                                    RL_NAME_total_tokens};
    PyObject *message = rl_event_attribute(state, raised, generation, RL_NAME_message);
    PyObject *usage = NULL, *response = NULL;

    if (message != NULL) {
        usage = rl_event_attribute(state, raised, message, RL_NAME_usage_metadata);
        response = rl_event_attribute(state, raised, message, RL_NAME_response_metadata);
    }
    (void)add_usage(state, raised, usage, names, tokens);
    take_model(state, raised, response, model);
    Py_XDECREF(response);
    Py_XDECREF(usage);
    Py_XDECREF(message);
}

void rl_usage_read(const rl_state *state, rl_raised *raised, PyObject *result,
                   rl_span_end *end, PyObject **model)
{
    static const rl_name names[] = {RL_NAME_prompt_tokens, RL_NAME_completion_tokens,
                                    RL_NAME_total_tokens};
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
        usage = rl_event_get(state, raised, output, RL_NAME_token_usage);
        (void)add_usage(state, raised, usage, names, &end->tokens);
        Py_XDECREF(usage);
    }
    take_model(state, raised, output, model);
    end->model = rl_event_text(*model);
    Py_XDECREF(output);
    Py_XDECREF(generations);
}
