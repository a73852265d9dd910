/* The logs of nodes, calls and events as JSON. See graph_state.h. */
#include "record/graph/graph_json.h"
#include "record/graph/graph_state.h"

/* The parts of the input or of the output, if there are any. */
static void put_details(rl_json *json, const rl_tokens *tokens, bool of_output)
{
    size_t count = 0;

    for (size_t i = 0; i < tokens->detail_count; i++) {
        const rl_detail *detail = &tokens->details[i];

        if (detail->is_output == of_output) {
            if (count++ == 0) {
                rl_put_key(json, of_output ? "output_details" : "input_details");
                rl_json_open(json, '{');
            }
            rl_json_key(json, detail->name, detail->len);
            rl_json_int(json, detail->count);
        }
    }
    if (count > 0) {
        rl_json_close(json);
    }
}

void rl_graph_put_tokens(rl_json *json, const rl_tokens *tokens)
{
    rl_put_key(json, "tokens");
    if (tokens->given) {
        rl_json_open(json, '{');
        rl_put_int(json, "input", tokens->input);
        rl_put_int(json, "output", tokens->output);
        rl_put_int(json, "total", tokens->total);
        put_details(json, tokens, false);
        put_details(json, tokens, true);
        rl_json_close(json);
    } else {
        rl_json_raw(json, "null", 4);
    }
}

void rl_graph_put_models(rl_json *json, const rl_models *models)
{
    rl_put_key(json, "models");
    rl_json_open(json, '[');
    for (const rl_model *model = models->first; model != NULL; model = model->next) {
        rl_json_text(json, model->name, model->len);
    }
    rl_json_close(json);
}

/* Members of an object, without its braces. */
static void put_members(rl_json *json, rl_text members)
{
    if (members.len > 0) {
        rl_json_raw(json, members.data, members.len);
    }
}

static void put_time(rl_json *json, const char *key, int64_t time)
{
    char stamp[RL_TIME_TEXT];

    rl_time_format(time, stamp);
    rl_put_text(json, key, (rl_text){stamp, RL_TIME_TEXT - 1});
}

/* A duration to the microsecond, in milliseconds. */
static void put_millis(rl_json *json, const char *key, uint64_t from, uint64_t to)
{
    rl_put_key(json, key);
    rl_json_double(json, (double)((to - from) / 1000) / 1000.0);
}

static void put_event(rl_json *json, const rl_graph *graph, const rl_node *log)
{
    rl_put_text(json, "name", rl_graph_text(graph, log->name));
    rl_put_key(json, "data");
    rl_put_raw(json, rl_graph_text(graph, log->outputs));
    put_time(json, "at", log->started_at);
}

#define SEARCH_MAX ((int64_t)16 << 20) /* bytes that are searched for one node */

/* A call, without the members that have no value: the reader adds these. `node`: the
 * outputs of its node, if they stand beside it. */
static void put_call(rl_json *json, const rl_graph *graph, const rl_node *log,
                     rl_text node)
{
    /* of a call whose end did not come nothing more will be known */
    rl_outcome outcome =
        graph->is_ending && log->outcome == RL_RUNNING ? RL_CANCELLED : log->outcome;

    rl_put_text(json, "name", rl_graph_text(graph, log->name));
    if (log->enclosing >= 0) {
        rl_put_int(json, "parent", log->enclosing);
    }
    rl_put_text(json, "status",
                (rl_text){rl_outcome_texts[outcome], strlen(rl_outcome_texts[outcome])});
    if (log->error_type.given) {
        rl_put_text(json, "error_type", rl_graph_text(graph, log->error_type));
        rl_put_text(json, "error_text", rl_graph_text(graph, log->error_text));
    }
    put_time(json, "started_at", log->started_at);
    if (log->ended_ns != 0) {
        put_millis(json, "duration_ms", log->started_ns, log->ended_ns);
    }
    if (log->parent.given) {
        rl_put_text(json, "model", rl_graph_text(graph, log->parent));
    }
    put_members(json, rl_graph_text(graph, log->ns));
    if (log->inputs.given) {
        rl_put_key(json, log->is_text ? "prompt" : "messages");
        rl_put_raw(json, rl_graph_text(graph, log->inputs));
    }
    if (log->first_token_ns != 0) {
        put_millis(json, "first_token_ms", log->started_ns, log->first_token_ns);
    }
    put_members(json, rl_graph_text(graph, log->more));
    if (log->outputs.given) {
        rl_graph_put_output(json, node, log->kind, rl_graph_text(graph, log->outputs));
    }
}

static const char *const kind_texts[] = {[RL_LOG_LLM] = "llm",
                                         [RL_LOG_TOOL] = "tool",
                                         [RL_LOG_RETRIEVER] = "retriever",
                                         [RL_LOG_EVENT] = "event"};

/* A call or event as a log of its own, which says to which node it belongs. */
static void put_alone(rl_json *json, const rl_graph *graph, const rl_node *log)
{
    rl_json_open(json, '{');
    rl_put_key(json, "$of");
    rl_json_open(json, '[');
    rl_json_int(json, log->of);
    rl_json_int(json, log->at);
    rl_json_close(json);
    rl_put_text(json, "kind",
                (rl_text){kind_texts[log->kind], strlen(kind_texts[log->kind])});
    if (log->kind == RL_LOG_EVENT) {
        put_event(json, graph, log);
    } else {
        put_call(json, graph, log, (rl_text){NULL, 0});
    }
    rl_json_close(json);
}

/* The calls or the events of a node. */
static void put_within(rl_json *json, const rl_graph *graph, const rl_node *node,
                       bool events)
{
    rl_text outputs = rl_graph_text(graph, node->outputs);
    const rl_node *log;

    if ((int64_t)outputs.len * node->calls > SEARCH_MAX) {
        outputs.data = NULL;
    }
    rl_put_key(json, events ? "events" : "calls");
    rl_json_open(json, '[');
    for (ptrdiff_t at = graph->nodes_gone ? RL_NO_NODE : node->first; at != RL_NO_NODE;
         at = log->next) {
        log = rl_graph_node(graph, at);
        if ((log->kind == RL_LOG_EVENT) != events) {
            continue;
        }
        rl_json_open(json, '{');
        if (events) {
            put_event(json, graph, log);
        } else {
            const char *kind = kind_texts[log->kind];

            rl_put_text(json, "kind", (rl_text){kind, strlen(kind)});
            put_call(json, graph, log, outputs);
        }
        rl_json_close(json);
    }
    rl_json_close(json);
}

/* A node log. `whole`: with its calls and events, which are else logs of their own. */
void rl_graph_put_node(rl_json *json, const rl_graph *graph, const rl_node *log,
                       bool whole)
{
    const char *outcome = rl_outcome_texts[log->outcome];

    rl_json_open(json, '{');
    rl_put_text(json, "node", rl_graph_text(graph, log->name));
    rl_put_text(json, "status", (rl_text){outcome, strlen(outcome)});
    rl_put_int(json, "step", log->step);
    rl_put_int(json, "attempt", log->attempt);
    rl_put_text(json, "parent", rl_graph_text(graph, log->parent));
    rl_put_text(json, "error_type", rl_graph_text(graph, log->error_type));
    rl_put_text(json, "error_text", rl_graph_text(graph, log->error_text));
    rl_put_text(json, "error_traceback", rl_graph_text(graph, log->error_traceback));
    rl_put_key(json, log->is_delta ? "inputs_delta" : "inputs");
    rl_put_raw(json, rl_graph_text(graph, log->inputs));
    rl_put_key(json, "outputs");
    rl_put_raw(json, rl_graph_text(graph, log->outputs));
    put_time(json, "started_at", log->started_at);
    if (log->ended_ns != 0) {
        put_millis(json, "duration_ms", log->started_ns, log->ended_ns);
    } else {
        rl_put_key(json, "duration_ms");
        rl_json_raw(json, "null", 4);
    }
    rl_put_int(json, "llm_calls", log->totals.llm_calls);
    rl_put_int(json, "tool_calls", log->totals.tool_calls);
    rl_graph_put_tokens(json, &log->totals.tokens);
    rl_graph_put_models(json, &log->models);
    if (graph->calls != RL_CALLS_NONE && whole) {
        put_within(json, graph, log, false);
        put_within(json, graph, log, true);
    } else {
        rl_put_key(json, "calls");
        rl_json_raw(json, "[]", 2);
        rl_put_key(json, "events");
        rl_json_raw(json, "[]", 2);
    }
    rl_json_close(json);
}

void rl_graph_put_part(rl_json *json, const rl_graph *graph, const rl_node *log)
{
    if (log->kind == RL_LOG_NODE) {
        rl_graph_put_node(json, graph, log, false);
    } else {
        put_alone(json, graph, log);
    }
}
