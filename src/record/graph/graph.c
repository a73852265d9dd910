/* What events add to one open run. See graph_state.h. */
#include "core/alloc.h"
#include "core/uuid.h"
#include "record/graph/graph_state.h"

#include <stdio.h>

/* Bytes of payloads in one run. Of later payloads only the size is recorded. */
#define MAX_PAYLOADS ((size_t)64 << 20)

const char *const rl_outcome_texts[] = {"running", "completed", "failed", "interrupted",
                                        "cancelled"};

rl_slice rl_graph_copy_text(rl_graph *graph, rl_text text)
{
    rl_slice slice = {graph->arena.len, text.len, false};

    rl_buf_add(&graph->arena, text.data, text.len);
    slice.given = text.data != NULL && !graph->arena.failed;
    return slice;
}

static bool has_room(const rl_graph *graph, size_t len)
{
    return graph->arena.len < MAX_PAYLOADS && len < MAX_PAYLOADS;
}

static rl_slice copy_payload(rl_graph *graph, rl_text json)
{
    char marker[48];

    if (json.data != NULL && !has_room(graph, json.len)) {
        json.len =
            (size_t)snprintf(marker, sizeof marker, "\"<cut: %zu bytes>\"", json.len);
        json.data = marker;
    }
    return rl_graph_copy_text(graph, json);
}

static rl_scope *add_scope(rl_graph *graph, rl_text ns)
{
    rl_scope *scope = rl_calloc(1, sizeof *scope);

    if (scope != NULL) {
        rl_snapshot_init(&scope->snapshot);
        scope->ns = rl_graph_copy_text(graph, ns);
        scope->next = graph->scopes;
        graph->scopes = scope;
    }
    return scope;
}

rl_graph *rl_graph_new(const rl_span_start *start, const rl_graph_start *given)
{
    rl_graph *graph = rl_calloc(1, sizeof *graph);
    const rl_text inputs = {start->inputs.text, start->inputs.len};
    rl_scope *scope;
    rl_err ignored;

    if (graph == NULL) {
        return NULL;
    }
    rl_buf_init(&graph->arena, RL_BUF_MAX);
    rl_buf_init(&graph->nodes, RL_BUF_MAX);
    rl_buf_init(&graph->models, RL_BUF_MAX);
    rl_buf_init(&graph->interrupts, RL_BUF_MAX);
    graph->owner = given->owner;
    graph->recorder = given->recorder;
    graph->sink = start->sink;
    graph->object = start->object;
    graph->node_inputs = given->node_inputs;
    graph->interval_ns = given->interval_ns;
    graph->resumed = given->resumed;
    graph->wide_numbers = start->wide_numbers;
    graph->wpk_id = rl_graph_copy_text(graph, given->wpk_id);
    graph->run_id = rl_graph_copy_text(graph, given->run_id);
    graph->thread_id = rl_graph_copy_text(graph, given->thread_id);
    graph->metadata = rl_graph_copy_text(graph, given->metadata);
    graph->inputs = copy_payload(graph, inputs);
    scope = add_scope(graph, start->ns); /* of the run's own graph */
    graph->started_at = rl_time_now();
    if (scope == NULL || graph->arena.failed ||
        rl_uuid7(graph->started_at, graph->id, &ignored) != RL_OK) {
        rl_graph_free(graph);
        return NULL;
    }
    if (graph->inputs.len == inputs.len) { /* else the payload was cut */
        rl_snapshot_take(&scope->snapshot, &start->inputs, graph->inputs.at,
                         RL_SINCE_INPUTS);
    }
    graph->started_ns = rl_monotonic_ns();
    graph->written_ns = graph->started_ns;
    graph->changed = true;
    return graph;
}

void rl_graph_free(rl_graph *graph)
{
    if (graph == NULL) {
        return;
    }
    while (graph->spans != NULL) {
        rl_span *span = graph->spans;

        graph->spans = span->next_in_graph;
        rl_free(span);
    }
    while (graph->scopes != NULL) {
        rl_scope *scope = graph->scopes;

        graph->scopes = scope->next;
        rl_snapshot_free(&scope->snapshot);
        rl_free(scope);
    }
    rl_buf_free(&graph->arena);
    rl_buf_free(&graph->nodes);
    rl_buf_free(&graph->models);
    rl_buf_free(&graph->interrupts);
    rl_free(graph);
}

void *rl_graph_owner(const rl_graph *graph)
{
    return graph->owner;
}

/* The number of a node's attempt: LangGraph retries a node under the same namespace,
 * after an attempt that did not complete. */
static int64_t attempt_of(const rl_graph *graph, rl_text ns)
{
    int64_t attempt = 1;

    for (ptrdiff_t i = 0; graph->unfinished_attempts > 0 && i < rl_graph_nodes(graph);
         i++) {
        attempt += rl_same_text(rl_graph_text(graph, rl_graph_node(graph, i)->ns), ns);
    }
    return attempt;
}

/* The scope of a node: its namespace without the last part, so "outer:id" of
 * "outer:id|node:id". NULL when there is no memory. */
static rl_scope *scope_of(rl_graph *graph, rl_text ns)
{
    rl_scope *scope = graph->scopes;

    while (ns.len > 0 && ns.data[ns.len - 1] != '|') {
        ns.len--;
    }
    ns.len -= ns.len > 0;
    while (scope != NULL && !rl_same_text(rl_graph_text(graph, scope->ns), ns)) {
        scope = scope->next;
    }
    return scope != NULL ? scope : add_scope(graph, ns);
}

/* Records a node's inputs, as a delta if that is shorter. Inputs that were sent to a node
 * are not the graph's state, so the next inputs are not compared with them. */
static void record_inputs(rl_graph *graph, const rl_span_start *start, rl_node *log,
                          ptrdiff_t index)
{
    const rl_object *inputs = &start->inputs;
    const bool is_state = !start->pushed;
    rl_scope *scope = NULL;

    if (graph->node_inputs == RL_INPUTS_DELTA && inputs->members != NULL &&
        has_room(graph, inputs->len)) {
        scope = scope_of(graph, start->ns);
    }
    log->inputs.at = graph->arena.len;
    log->is_delta = scope != NULL && rl_snapshot_delta(&scope->snapshot, inputs,
                                                       &graph->arena, is_state, index);
    if (log->is_delta) {
        log->inputs.len = graph->arena.len - log->inputs.at;
        log->inputs.given = !graph->arena.failed;
    } else if (graph->node_inputs != RL_INPUTS_NONE) {
        log->inputs = copy_payload(graph, (rl_text){inputs->text, inputs->len});
        if (scope != NULL && is_state) {
            rl_snapshot_take(&scope->snapshot, inputs, log->inputs.at, index);
        }
    }
}

ptrdiff_t rl_graph_add_node(rl_graph *graph, ptrdiff_t parent, rl_slice ns,
                            const rl_span_start *start)
{
    ptrdiff_t index = rl_graph_nodes(graph);
    rl_node log = {
        .ns = ns,
        .step = start->step,
        .parent = parent,
        .attempt = attempt_of(graph, start->ns),
    };

    log.name = rl_graph_copy_text(graph, start->name);
    record_inputs(graph, start, &log, index);
    log.started_at = rl_time_now();
    log.started_ns = rl_monotonic_ns();
    rl_buf_add(&graph->nodes, &log, sizeof log);
    return index;
}

void rl_graph_end_node(rl_graph *graph, ptrdiff_t index, const rl_span_end *end)
{
    rl_node *log = rl_graph_node(graph, index);
    rl_slice interrupts;

    log->outcome = end->outcome;
    log->ended_ns = end->ended_ns;
    log->outputs = copy_payload(graph, end->outputs);
    log->error_type = rl_graph_copy_text(graph, end->error_type);
    log->error_text = rl_graph_copy_text(graph, end->error_text);
    graph->wide_numbers |= end->wide_numbers;
    graph->unfinished_attempts += end->outcome != RL_COMPLETED;
    /* an interrupt ends all enclosing nodes; the outermost one lists it */
    if (end->outcome == RL_INTERRUPTED && log->parent == RL_NO_NODE) {
        graph->interrupted = true;
        interrupts = copy_payload(graph, end->interrupts);
        if (interrupts.given) {
            rl_buf_add(&graph->interrupts, &interrupts, sizeof interrupts);
        }
    }
}

static void count(rl_totals *totals, rl_call call)
{
    totals->llm_calls += call == RL_CALL_LLM;
    totals->tool_calls += call == RL_CALL_TOOL;
}

void rl_graph_count_call(rl_graph *graph, ptrdiff_t node, rl_call call)
{
    count(&graph->totals, call);
    if (node != RL_NO_NODE && !graph->nodes.failed) {
        count(&rl_graph_node(graph, node)->totals, call);
    }
}

static void add_tokens(rl_tokens *to, const rl_tokens *tokens)
{
    to->given = true;
    to->input += tokens->input;
    to->output += tokens->output;
    to->total += tokens->total;
}

static void add_model(rl_graph *graph, ptrdiff_t node, rl_text name)
{
    const rl_model *models = (const rl_model *)(const void *)graph->models.data;
    size_t size = graph->models.len / sizeof *models;
    rl_model model = {.node = node};

    for (size_t i = 0; i < size; i++) {
        if (models[i].node == node &&
            rl_same_text(rl_graph_text(graph, models[i].name), name)) {
            return;
        }
    }
    model.name = rl_graph_copy_text(graph, name);
    rl_buf_add(&graph->models, &model, sizeof model);
}

void rl_graph_end_call(rl_graph *graph, const rl_span *span, const rl_span_end *end)
{
    rl_text model = end->model.len > 0 ? end->model : rl_graph_text(graph, span->model);
    char name[256];

    if (end->tokens.given) {
        add_tokens(&graph->totals.tokens, &end->tokens);
        if (span->node != RL_NO_NODE && !graph->nodes.failed) {
            add_tokens(&rl_graph_node(graph, span->node)->totals.tokens, &end->tokens);
        }
    }
    if (span->call == RL_CALL_LLM && model.len > 0 && model.len <= sizeof name) {
        memcpy(name, model.data, model.len); /* add_model may reallocate the arena */
        add_model(graph, span->node, (rl_text){name, model.len});
    }
}
