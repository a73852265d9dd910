/* A graph as the row of a run. See graph.h. */
#include "core/json.h"
#include "record/graph/graph_state.h"

static void put_key(rl_json *json, const char *key)
{
    rl_json_key(json, key, strlen(key));
}

static void put_raw(rl_json *json, rl_text text)
{
    rl_json_raw(json, text.data != NULL ? text.data : "null",
                text.data != NULL ? text.len : 4);
}

static void put_text(rl_json *json, const char *key, rl_text text)
{
    put_key(json, key);
    if (text.data != NULL) {
        rl_json_text(json, text.data, text.len);
    } else {
        put_raw(json, text);
    }
}

static void put_int(rl_json *json, const char *key, int64_t value)
{
    put_key(json, key);
    rl_json_int(json, value);
}

static void put_tokens(rl_json *json, const rl_tokens *tokens)
{
    put_key(json, "tokens");
    if (tokens->given) {
        rl_json_open(json, '{');
        put_int(json, "input", tokens->input);
        put_int(json, "output", tokens->output);
        put_int(json, "total", tokens->total);
        rl_json_close(json);
    } else {
        rl_json_raw(json, "null", 4);
    }
}

/* Whether an earlier model has the same name. */
static bool is_repeated(const rl_graph *graph, const rl_model *models, size_t index)
{
    rl_text name = rl_graph_text(graph, models[index].name);
    bool found = false;

    for (size_t i = 0; i < index && !found; i++) {
        found = rl_same_text(rl_graph_text(graph, models[i].name), name);
    }
    return found;
}

/* The models of a node or, with `all`, of the run. */
static void put_models(rl_json *json, const rl_graph *graph, ptrdiff_t node, bool all)
{
    const rl_model *models = (const rl_model *)(const void *)graph->models.data;

    put_key(json, "models");
    rl_json_open(json, '[');
    for (size_t i = 0; i < graph->models.len / sizeof *models; i++) {
        if (all ? !is_repeated(graph, models, i) : models[i].node == node) {
            rl_text name = rl_graph_text(graph, models[i].name);

            rl_json_text(json, name.data, name.len);
        }
    }
    rl_json_close(json);
}

static void put_node(rl_json *json, const rl_graph *graph, ptrdiff_t index)
{
    static const rl_text none = {NULL, 0};
    const rl_node *log = rl_graph_node(graph, index);
    const char *outcome = rl_outcome_texts[log->outcome];
    char stamp[RL_TIME_TEXT];

    rl_json_open(json, '{');
    put_text(json, "node", rl_graph_text(graph, log->name));
    put_text(json, "status", (rl_text){outcome, strlen(outcome)});
    put_int(json, "step", log->step);
    put_int(json, "attempt", log->attempt);
    put_text(json, "parent",
             log->parent == RL_NO_NODE
                 ? none
                 : rl_graph_text(graph, rl_graph_node(graph, log->parent)->name));
    put_text(json, "error_type", rl_graph_text(graph, log->error_type));
    put_text(json, "error_text", rl_graph_text(graph, log->error_text));
    put_key(json, log->is_delta ? "inputs_delta" : "inputs");
    put_raw(json, rl_graph_text(graph, log->inputs));
    put_key(json, "outputs");
    put_raw(json, rl_graph_text(graph, log->outputs));
    rl_time_format(log->started_at, stamp);
    put_text(json, "started_at", (rl_text){stamp, RL_TIME_TEXT - 1});
    put_key(json, "duration_ms");
    if (log->ended_ns != 0) { /* to the microsecond, in milliseconds */
        rl_json_double(json, (double)((log->ended_ns - log->started_ns) / 1000) / 1000.0);
    } else {
        rl_json_raw(json, "null", 4);
    }
    put_int(json, "llm_calls", log->totals.llm_calls);
    put_int(json, "tool_calls", log->totals.tool_calls);
    put_tokens(json, &log->totals.tokens);
    put_models(json, graph, index, false);
    rl_json_close(json);
}

/* The text between the brackets of a JSON object or array. Any other text is returned
 * whole. */
static rl_text without_brackets(rl_text json)
{
    bool bracket = json.len >= 2 && (json.data[0] == '{' || json.data[0] == '[');

    return bracket ? (rl_text){json.data + 1, json.len - 2} : json;
}

/* The interrupts that LangGraph reported for the run, else those that ended nodes. */
static void put_interrupts(rl_json *json, const rl_graph *graph)
{
    const rl_slice *found = (const rl_slice *)(const void *)graph->interrupts.data;
    size_t count = graph->interrupts.len / sizeof *found;

    put_key(json, "interrupts");
    if (graph->reported.given) {
        put_raw(json, rl_graph_text(graph, graph->reported));
        return;
    }
    rl_json_open(json, '[');
    for (size_t i = 0; i < count; i++) {
        rl_text items = without_brackets(rl_graph_text(graph, found[i]));

        if (items.len > 0) {
            rl_json_raw(json, items.data, items.len);
        }
    }
    rl_json_close(json);
}

/* The user's metadata, with the interrupts and the sums of the run that are not empty. */
static void set_metadata(const rl_graph *graph, rl_run *run)
{
    rl_text user = without_brackets(rl_graph_text(graph, graph->metadata));
    const rl_totals *totals = &graph->totals;
    size_t at = rl_run_begin(run);
    rl_json json;

    rl_json_begin(&json, &run->arena, RL_BUF_MAX);
    rl_json_open(&json, '{');
    if (user.len > 0) {
        rl_json_raw(&json, user.data, user.len);
    }
    if (graph->interrupted) {
        put_interrupts(&json, graph);
    }
    if (graph->resumed) {
        put_key(&json, "resumed");
        rl_json_raw(&json, "true", 4);
    }
    if (totals->llm_calls > 0) {
        put_int(&json, "llm_calls", totals->llm_calls);
    }
    if (totals->tool_calls > 0) {
        put_int(&json, "tool_calls", totals->tool_calls);
    }
    if (totals->tokens.given) {
        put_tokens(&json, &totals->tokens);
    }
    if (graph->models.len > 0) {
        put_models(&json, graph, RL_NO_NODE, true);
    }
    rl_json_close(&json);
    rl_json_end(&json);
    if (run->arena.len - at > 2) {
        rl_run_end(run, RL_METADATA, at);
    } else {
        run->arena.len = at;
    }
}

static void set_node_logs(const rl_graph *graph, rl_run *run)
{
    size_t at = rl_run_begin(run);
    rl_json json;

    rl_json_begin(&json, &run->arena, RL_BUF_MAX);
    rl_json_open(&json, '[');
    for (ptrdiff_t i = 0; i < rl_graph_nodes(graph); i++) {
        put_node(&json, graph, i);
    }
    rl_json_close(&json);
    rl_json_end(&json);
    rl_run_end(run, RL_NODE_LOGS, at);
}

static void copy_text(rl_run *run, rl_column column, rl_text text)
{
    if (text.data != NULL) {
        rl_run_set(run, column, text.data, text.len);
    }
}

static void set_end(const rl_graph *graph, const rl_span_end *end, rl_run *run)
{
    uint64_t millis = (end->ended_ns - graph->started_ns + 500000) / 1000000;

    copy_text(run, RL_OUTPUTS, end->outputs);
    copy_text(run, RL_ERROR_TYPE, end->error_type);
    copy_text(run, RL_ERROR_TEXT, end->error_text);
    run->duration_ms = millis <= INT32_MAX ? (int64_t)millis : INT32_MAX;
    run->wide_numbers |= end->wide_numbers;
}

void rl_graph_write(const rl_graph *graph, const rl_span_end *end, rl_run *run)
{
    rl_outcome outcome = end != NULL ? end->outcome : RL_RUNNING;
    bool interrupted = graph->interrupted && outcome == RL_COMPLETED;
    const char *status = rl_outcome_texts[interrupted ? RL_INTERRUPTED : outcome];

    rl_run_reset(run);
    memcpy(run->id, graph->id, sizeof run->id);
    run->is_own = true;
    run->created_at = graph->started_at;
    run->started_at = graph->started_at;
    run->wide_numbers = graph->wide_numbers;
    copy_text(run, RL_WPK_ID, rl_graph_text(graph, graph->wpk_id));
    copy_text(run, RL_RUN_ID, rl_graph_text(graph, graph->run_id));
    copy_text(run, RL_THREAD_ID, rl_graph_text(graph, graph->thread_id));
    copy_text(run, RL_INPUTS, rl_graph_text(graph, graph->inputs));
    rl_run_set(run, RL_STATUS, status, strlen(status));
    rl_run_set(run, RL_OWNER, graph->process, strlen(graph->process));
    if (end != NULL) {
        set_end(graph, end, run);
    }
    set_node_logs(graph, run);
    set_metadata(graph, run);
    run->arena.failed |= graph->arena.failed || graph->nodes.failed;
}
