/* What is recorded of a call's result. See call_end.h. */
#include "py/handler/call_end.h"

#include "py/handler/event.h"
#include "py/handler/usage.h"

/* The generations of an LLMResult in one list, or a list of what is no LLMResult; NULL
 * with an error set. For n answers LangChain gives one list of n. */
static PyObject *list_generations(const rl_state *state, rl_raised *raised,
                                  PyObject *result)
{
    PyObject *lists = rl_event_attribute(state, raised, result, RL_NAME_generations);
    PyObject *all = PyList_New(0);
    int rc = all != NULL ? 0 : -1;

    if (rc == 0 && (lists == NULL || !PyList_Check(lists))) {
        rc = PyList_Append(all, result);
        Py_CLEAR(lists);
    }
    for (Py_ssize_t i = 0; rc == 0 && lists != NULL && i < PyList_GET_SIZE(lists); i++) {
        PyObject *item = Py_NewRef(PyList_GET_ITEM(lists, i));

        rc = PyList_Check(item)
                 ? PyList_SetSlice(all, PyList_GET_SIZE(all), PyList_GET_SIZE(all), item)
                 : PyList_Append(all, item);
        Py_DECREF(item);
    }
    if (rc < 0) {
        Py_CLEAR(all);
    }
    Py_XDECREF(lists);
    return all;
}

/* What a generation says: the message of a chat model, or the text. New reference. */
static PyObject *answer_of(const rl_state *state, rl_raised *raised, PyObject *generation)
{
    PyObject *answer = rl_event_attribute(state, raised, generation, RL_NAME_message);

    if (answer == NULL) {
        answer = rl_event_attribute(state, raised, generation, RL_NAME_text);
    }
    return answer != NULL ? answer : Py_NewRef(generation);
}

/* Puts answers in the place of the generations. */
static int make_answers(const rl_state *state, rl_raised *raised, PyObject *generations)
{
    int rc = 0;

    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(generations); i++) {
        PyObject *generation = Py_NewRef(PyList_GET_ITEM(generations, i));

        rc = PyList_SetItem(generations, i, answer_of(state, raised, generation));
        Py_DECREF(generation);
    }
    return rc;
}

/* A member of a dict attribute; a new reference, or NULL. */
static PyObject *detail(const rl_state *state, rl_raised *raised, PyObject *object,
                        rl_name attribute, rl_name member)
{
    PyObject *dict = rl_event_attribute(state, raised, object, attribute);
    PyObject *value = rl_event_get(state, raised, dict, member);

    Py_XDECREF(dict);
    return value;
}

/* What OpenAI's Responses tell instead: why an answer is not whole, or that it is. */
static PyObject *status_of(const rl_state *state, rl_raised *raised, PyObject *answer)
{
    PyObject *incomplete = detail(state, raised, answer, RL_NAME_response_metadata,
                                  RL_NAME_incomplete_details);
    PyObject *status = rl_event_get(state, raised, incomplete, RL_NAME_reason);

    if (status == NULL) {
        status = detail(state, raised, answer, RL_NAME_response_metadata, RL_NAME_status);
    }
    Py_XDECREF(incomplete);
    return status;
}

/* Why the model ended. Providers name it differently. */
static PyObject *reason_of(const rl_state *state, rl_raised *raised, PyObject *generation,
                           PyObject *answer)
{
    PyObject *reason =
        detail(state, raised, generation, RL_NAME_generation_info, RL_NAME_finish_reason);

    if (reason == NULL) {
        reason = detail(state, raised, answer, RL_NAME_response_metadata,
                        RL_NAME_finish_reason);
    }
    if (reason == NULL) {
        reason =
            detail(state, raised, answer, RL_NAME_response_metadata, RL_NAME_stop_reason);
    }
    return reason != NULL ? reason : status_of(state, raised, answer);
}

/* Copies a count into another dict, under another name. */
static int put_count(const rl_state *state, rl_raised *raised, PyObject *from,
                     rl_name name, PyObject *to, rl_name as)
{
    PyObject *value = rl_event_get(state, raised, from, name);
    int rc = rl_event_put(state, to, as, rl_usage_count(value));

    Py_XDECREF(value);
    return rc;
}

/* The tokens by kind; a new reference, NULL if there are none, maybe with an error set. */
static PyObject *tokens_of(const rl_state *state, rl_raised *raised, PyObject *usage,
                           const rl_usage_names *names)
{
    PyObject *tokens = usage != NULL && PyDict_Check(usage) ? PyDict_New() : NULL;
    int rc = 0;

    if (tokens != NULL) {
        rc |= put_count(state, raised, usage, names->input, tokens, RL_NAME_input);
        rc |= put_count(state, raised, usage, names->output, tokens, RL_NAME_output);
        rc |= put_count(state, raised, usage, names->total, tokens, RL_NAME_total);
        rc |= rl_event_put(state, tokens, RL_NAME_input_details,
                           rl_usage_details(state, raised, usage, false));
        rc |= rl_event_put(state, tokens, RL_NAME_output_details,
                           rl_usage_details(state, raised, usage, true));
        if (rc < 0 || PyDict_GET_SIZE(tokens) == 0) {
            Py_CLEAR(tokens);
        }
    }
    return tokens;
}

/* Adds what the first generation says of the call. */
static int add_facts(const rl_state *state, rl_raised *raised, PyObject *result,
                     PyObject *generation, PyObject *dict)
{
    const rl_usage_names *names;
    PyObject *answer = answer_of(state, raised, generation);
    PyObject *usage = rl_usage_of(state, raised, generation, &names);
    PyObject *tokens = tokens_of(state, raised, usage, names);
    int rc = 0;

    if (rl_usage_is_cached(state, raised, usage)) {
        rc = rl_event_put(state, dict, RL_NAME_cached, Py_NewRef(Py_True));
    }
    if (tokens == NULL && !PyErr_Occurred()) {
        Py_XSETREF(usage, rl_usage_of_all(state, raised, result, &names));
        tokens = tokens_of(state, raised, usage, names);
    }
    rc |= rl_event_put(state, dict, RL_NAME_tokens, tokens);
    rc |= rl_event_put(state, dict, RL_NAME_finish_reason,
                       reason_of(state, raised, generation, answer));
    Py_XDECREF(usage);
    Py_DECREF(answer);
    return rc;
}

/* The members of the end of a model's call; *answers gets a new list of its answers, or
 * NULL. */
static PyObject *model_members(const rl_state *state, rl_raised *raised, PyObject *result,
                               PyObject **answers)
{
    PyObject *dict = PyDict_New();
    PyObject *generations = list_generations(state, raised, result), *first;
    int rc = dict != NULL ? 0 : -1;

    if (rc == 0 && generations != NULL && PyList_GET_SIZE(generations) > 0) {
        first = Py_NewRef(PyList_GET_ITEM(generations, 0));
        rc = add_facts(state, raised, result, first, dict);
        Py_DECREF(first);
        rc = rc == 0 ? make_answers(state, raised, generations) : rc;
        *answers = rc == 0 ? Py_NewRef(generations) : NULL;
    }
    Py_XDECREF(generations);
    return dict;
}

PyObject *rl_call_outputs(const rl_state *state, rl_raised *raised, rl_call call,
                          PyObject *result)
{
    PyObject *outputs =
        call == RL_CALL_LLM ? list_generations(state, raised, result) : NULL;

    if (outputs != NULL && make_answers(state, raised, outputs) == 0) {
        if (PyList_GET_SIZE(outputs) == 1) {
            Py_SETREF(outputs, Py_NewRef(PyList_GET_ITEM(outputs, 0)));
        }
        return outputs;
    }
    Py_XDECREF(outputs);
    rl_raised_absorb(raised);
    return Py_NewRef(result);
}

void rl_call_add_end(rl_payloads *to, rl_call call, rl_calls calls, PyObject *result,
                     rl_call_end *pieces)
{
    const rl_state *state = to->options.state;
    rl_raised *raised = to->options.raised;
    PyObject *dict = NULL, *output = NULL;

    if (result != NULL && call == RL_CALL_LLM) {
        dict = model_members(state, raised, result, &output);
    } else {
        output = Py_XNewRef(result);
    }
    pieces->members.at = to->buf.len;
    rl_payloads_add_members(to, dict);
    pieces->members.end = to->buf.len;
    pieces->output = (rl_piece){.at = to->buf.len, .end = to->buf.len};
    if (output != NULL && calls < RL_CALLS_SUMMARY) {
        pieces->output = rl_payloads_add_outputs(to, output);
    }
    Py_XDECREF(output);
}

void rl_call_use_end(const rl_payloads *from, const rl_call_end *pieces, rl_span_end *end)
{
    end->members = rl_payloads_text(from, pieces->members);
    if (pieces->output.end > pieces->output.at) {
        end->outputs = rl_payloads_text(from, pieces->output);
    }
}
