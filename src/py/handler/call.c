/* What is recorded of calls. See call.h. */
#include "py/handler/call.h"

#include "py/encode/encode.h"
#include "py/handler/event.h"
#include "py/handler/metadata.h"

#include <string.h>

/* The parameters that a person would want to know. All others are left out: among them are
 * keys, headers and addresses. */
static bool is_parameter(PyObject *key)
{
    static const char *const names[] = {
        "temperature",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "top_p",
        "top_k",
        "stop",
        "stop_sequences",
        "seed",
        "n",
        "presence_penalty",
        "frequency_penalty",
        "tool_choice",
        "parallel_tool_calls",
        "reasoning",
        "reasoning_effort",
        "thinking",
        "effort",
        "verbosity",
        "logprobs",
        "top_logprobs",
        "service_tier",
        "num_predict",
        "num_ctx",
    };

    return rl_event_is_one_of(key, names, sizeof names / sizeof *names);
}

/* A new dict of the parameters; NULL if there are none, maybe with an error set. */
static PyObject *parameters_of(PyObject *given)
{
    PyObject *kept = PyDict_New(), *key, *value;
    Py_ssize_t at = 0;
    int rc = kept != NULL ? 0 : -1;

    while (rc == 0 && given != NULL && PyDict_Check(given) &&
           PyDict_Next(given, &at, &key, &value)) {
        if (value != Py_None && PyUnicode_CheckExact(key) && is_parameter(key)) {
            rc = PyDict_SetItem(kept, key, value);
        }
    }
    if (kept != NULL && (rc < 0 || PyDict_GET_SIZE(kept) == 0)) {
        Py_CLEAR(kept);
    }
    return kept;
}

/* The name of a tool that is offered: definitions of OpenAI's and Bedrock's forms have it
 * one level deeper. New reference, or NULL. */
static PyObject *name_of_tool(const rl_state *state, rl_raised *raised, PyObject *tool)
{
    static const rl_name deeper[] = {RL_NAME_function, RL_NAME_toolSpec};
    PyObject *name = rl_event_get(state, raised, tool, RL_NAME_name);

    for (size_t i = 0; i < sizeof deeper / sizeof *deeper && name == NULL; i++) {
        PyObject *inner = rl_event_get(state, raised, tool, deeper[i]);

        name = rl_event_get(state, raised, inner, RL_NAME_name);
        Py_XDECREF(inner);
    }
    if (name == NULL && PyDict_Check(tool)) { /* one of the provider's own */
        name = PyDict_GetItemString(tool, "type");
        Py_XINCREF(name);
    }
    if (name != NULL && !PyUnicode_Check(name)) {
        Py_CLEAR(name);
    }
    return name;
}

/* Adds the tools of a list of our own by their names: without their definitions in a
 * summary. */
static int add_tools(const rl_state *state, rl_raised *raised, PyObject *list,
                     bool summary, PyObject *to)
{
    int rc = 0;

    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(list); i++) {
        PyObject *tool = PyList_GET_ITEM(list, i);
        PyObject *name = name_of_tool(state, raised, tool);

        if (name == NULL) {
            name = PyUnicode_FromFormat("tool %zd", i);
        }
        rc = name != NULL ? PyDict_SetItem(to, name, summary ? Py_None : tool) : -1;
        Py_XDECREF(name);
    }
    return rc;
}

/* One list of all tools, of which Google's form has several in one. New reference, NULL
 * with an error set. */
static PyObject *flatten(const rl_state *state, rl_raised *raised, PyObject *list)
{
    PyObject *flat = PyList_New(0);
    int rc = flat != NULL ? 0 : -1;

    for (Py_ssize_t i = 0; rc == 0 && PyList_Check(list) && i < PyList_GET_SIZE(list);
         i++) {
        PyObject *tool = Py_NewRef(PyList_GET_ITEM(list, i));
        PyObject *several =
            rl_event_get(state, raised, tool, RL_NAME_function_declarations);

        if (several != NULL && PyList_Check(several)) {
            Py_ssize_t end = PyList_GET_SIZE(flat);

            rc = PyList_SetSlice(flat, end, end, several);
        } else {
            rc = PyList_Append(flat, tool);
        }
        Py_XDECREF(several);
        Py_DECREF(tool);
    }
    if (rc < 0) {
        Py_CLEAR(flat);
    }
    return flat;
}

/* The tools that a model is offered, by name. New reference; NULL if there are none, maybe
 * with an error set. */
static PyObject *tools_of(const rl_state *state, rl_raised *raised, PyObject *given,
                          bool summary)
{
    PyObject *list = rl_event_get(state, raised, given, RL_NAME_tools);
    PyObject *flat, *tools = NULL;

    if (list == NULL) { /* OpenAI's older form */
        list = rl_event_get(state, raised, given, RL_NAME_functions);
    }
    flat = list != NULL ? flatten(state, raised, list) : NULL;
    tools = flat != NULL && PyList_GET_SIZE(flat) > 0 ? PyDict_New() : NULL;
    if (tools != NULL && add_tools(state, raised, flat, summary, tools) < 0) {
        Py_CLEAR(tools);
    }
    Py_XDECREF(flat);
    Py_XDECREF(list);
    return tools;
}

/* The schema that with_structured_output was given, as JSON has it; new reference, or
 * NULL. */
static PyObject *schema_of(const rl_state *state, rl_raised *raised, PyObject *kwargs)
{
    PyObject *options = rl_event_get(state, raised, kwargs, RL_NAME_options);
    PyObject *format =
        rl_event_get(state, raised, options, RL_NAME_ls_structured_output_format);
    PyObject *schema = rl_event_get(state, raised, format, RL_NAME_schema);

    Py_XDECREF(format);
    Py_XDECREF(options);
    return schema;
}

/* The form that the answer is asked to have; new reference, or NULL. OpenAI's client has it
 * as a class if it was given one, and Anthropic's has it among other settings of the
 * output. */
static PyObject *format_of(const rl_state *state, rl_raised *raised, PyObject *kwargs,
                           PyObject *params)
{
    PyObject *format = rl_event_get(state, raised, params, RL_NAME_response_format);
    PyObject *schema = NULL;

    if (format == NULL) {
        format = rl_event_get(state, raised, params, RL_NAME_output_config);
    } else if (PyType_Check(format)) {
        schema = schema_of(state, raised, kwargs);
    }
    if (schema != NULL) {
        Py_SETREF(format, schema);
    }
    return format;
}

/* Appends `,"name":` and a value (stolen) that calls share, if there is one. */
static void add_shared(rl_payloads *to, const char *name, PyObject *value, size_t begin)
{
    if (value != NULL) {
        rl_buf_printf(&to->buf, "%s\"%s\":", to->buf.len > begin ? "," : "", name);
        rl_payloads_add_shared(to, value);
        Py_DECREF(value);
    } else {
        rl_raised_absorb(to->options.raised);
    }
}

static void add_model_members(rl_payloads *to, const rl_call_given *given, rl_calls calls,
                              PyObject *dict, size_t begin)
{
    const rl_state *state = to->options.state;
    rl_raised *raised = to->options.raised;
    PyObject *metadata = rl_event_get(state, raised, given->kwargs, RL_NAME_metadata);
    PyObject *params =
        rl_event_get(state, raised, given->kwargs, RL_NAME_invocation_params);
    int rc = 0;

    if (dict != NULL) {
        rc |= rl_event_put(state, dict, RL_NAME_provider,
                           rl_event_get(state, raised, metadata, RL_NAME_ls_provider));
        rc |= rl_event_put(state, dict, RL_NAME_params, parameters_of(params));
    }
    if (rc < 0) {
        rl_raised_absorb(raised);
    }
    rl_payloads_add_members(to, dict);
    add_shared(to, "tools", tools_of(state, raised, params, calls == RL_CALLS_SUMMARY),
               begin);
    if (calls != RL_CALLS_SUMMARY) {
        add_shared(to, "response_format", format_of(state, raised, given->kwargs, params),
                   begin);
    }
    Py_XDECREF(params);
    Py_XDECREF(metadata);
}

/* The arguments of a tool: the callback has them as a text and, since langchain-core 0.2,
 * as they are. */
static PyObject *arguments_of(const rl_state *state, rl_raised *raised,
                              const rl_call_given *given)
{
    PyObject *inputs = rl_event_get(state, raised, given->kwargs, RL_NAME_inputs);

    return inputs != NULL ? inputs : Py_XNewRef(given->subject);
}

/* The messages of a prompt, in a list: NULL with an error set. LangChain gives a list with
 * one list of them. What a program gives instead must not look like what is stored of
 * one. */
static PyObject *prompt_of(const rl_call_given *given)
{
    PyObject *subject = given->subject;

    if (!PyList_Check(subject)) {
        return Py_BuildValue("[O]", subject);
    }
    return !given->is_text && PyList_GET_SIZE(subject) == 1 &&
                   PyList_Check(PyList_GET_ITEM(subject, 0))
               ? Py_NewRef(PyList_GET_ITEM(subject, 0))
               : Py_NewRef(subject);
}

PyObject *rl_call_name(const rl_state *state, rl_raised *raised,
                       const rl_call_given *given)
{
    PyObject *name = rl_event_get(state, raised, given->kwargs, RL_NAME_name), *id;

    if (name == NULL) {
        name = rl_event_get(state, raised, given->described, RL_NAME_name);
    }
    if (name == NULL) {
        id = rl_event_get(state, raised, given->described, RL_NAME_id);
        if (id != NULL && PyList_Check(id) && PyList_GET_SIZE(id) > 0) {
            name = Py_NewRef(PyList_GET_ITEM(id, PyList_GET_SIZE(id) - 1));
        }
        Py_XDECREF(id);
    }
    return name;
}

static PyObject *other_members(const rl_encode_options *options, const rl_handler *self,
                               const rl_call_given *given, rl_calls calls)
{
    const rl_state *state = options->state;
    rl_raised *raised = options->raised;
    PyObject *dict = PyDict_New();
    int rc = dict != NULL ? 0 : -1;

    if (rc == 0 && given->call == RL_CALL_TOOL) {
        rc = rl_event_put(
            state, dict, RL_NAME_tool_call_id,
            rl_event_get(state, raised, given->kwargs, RL_NAME_tool_call_id));
        if (rc == 0 && calls != RL_CALLS_SUMMARY) {
            rc = rl_event_put(state, dict, RL_NAME_args,
                              arguments_of(state, raised, given));
        }
    } else if (rc == 0 && given->call == RL_CALL_RETRIEVER && calls != RL_CALLS_SUMMARY) {
        rc = rl_event_put(state, dict, RL_NAME_query, Py_NewRef(given->subject));
    }
    if (rc == 0) {
        rc = rl_metadata_of_call(options, self, given->kwargs, dict);
    }
    if (rc < 0) {
        rl_raised_absorb(raised);
    }
    return dict;
}

void rl_call_add_start(rl_payloads *to, const rl_handler *self,
                       const rl_call_given *given, rl_calls calls, rl_call_start *pieces)
{
    const rl_state *state = to->options.state;
    rl_raised *raised = to->options.raised;
    PyObject *name = rl_call_name(state, raised, given), *prompt, *members;

    memset(pieces, 0, sizeof *pieces);
    rl_buf_init(&pieces->split.elements, RL_BUF_MAX);
    rl_buf_init(&pieces->split.pieces, RL_BUF_MAX);
    pieces->name = (rl_piece){.at = to->buf.len, .end = to->buf.len};
    if (name != NULL) {
        pieces->name = rl_payloads_add_plain(to, name, RL_PLAIN_NAME);
        Py_DECREF(name);
    }
    members = other_members(&to->options, self, given, calls);
    pieces->members.at = to->buf.len;
    if (given->call == RL_CALL_LLM) {
        add_model_members(to, given, calls, members, pieces->members.at);
    } else {
        rl_payloads_add_members(to, members);
    }
    pieces->members.end = to->buf.len;
    if (given->call == RL_CALL_LLM && calls != RL_CALLS_SUMMARY) {
        prompt = prompt_of(given);
        if (prompt != NULL) {
            pieces->prompt = rl_payloads_add_list(to, prompt, &pieces->split.elements);
            Py_DECREF(prompt);
        } else {
            rl_raised_absorb(raised);
        }
        pieces->split.is_text = given->is_text;
        pieces->splits_prompt = calls == RL_CALLS_DELTA;
    }
}

void rl_call_use(const rl_payloads *from, rl_call_start *pieces, rl_span_start *start)
{
    start->call_name = rl_payloads_text(from, pieces->name);
    start->members = rl_payloads_text(from, pieces->members);
    if (pieces->prompt.end > pieces->prompt.at) {
        pieces->split.text = rl_payloads_text(from, pieces->prompt);
        if (pieces->splits_prompt) {
            rl_prompt_split(&pieces->split);
        }
        start->prompt = &pieces->split;
    }
}

void rl_call_clear(rl_call_start *pieces)
{
    rl_buf_free(&pieces->split.elements);
    rl_buf_free(&pieces->split.pieces);
}

PyObject *rl_call_inputs(const rl_state *state, rl_raised *raised,
                         const rl_call_given *given)
{
    bool is_query = given->call == RL_CALL_RETRIEVER;
    rl_name name = is_query         ? RL_NAME_query
                   : given->is_text ? RL_NAME_prompts
                                    : RL_NAME_messages;
    PyObject *inputs, *asked;

    if (given->call == RL_CALL_TOOL) {
        return arguments_of(state, raised, given);
    }
    asked = is_query ? Py_NewRef(given->subject) : prompt_of(given);
    inputs = asked != NULL ? PyDict_New() : NULL;
    if (inputs == NULL) {
        Py_XDECREF(asked);
    } else if (rl_event_put(state, inputs, name, asked) < 0) {
        Py_CLEAR(inputs);
    }
    return inputs;
}
