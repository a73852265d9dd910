/* What the calls and events of a node add to an open run. See graph_state.h. */
#include "core/alloc.h"
#include "record/graph/graph_state.h"

/* The node of a call, or NULL. One that has ended already is written again; one that is
 * running is not, as its inputs may be long. */
static rl_node *sums_of_node(rl_graph *graph, ptrdiff_t place)
{
    rl_node *log = NULL;

    graph->metadata_changed = true;
    if (place != RL_NO_NODE && !graph->nodes.failed) {
        log = rl_graph_node(graph, place);
        log->is_behind = true;
        if (log->ended_ns != 0) {
            rl_graph_mark_dirty(graph, place);
        }
    }
    return log;
}

static void count(rl_totals *totals, rl_call call)
{
    totals->llm_calls += call == RL_CALL_LLM;
    totals->tool_calls += call == RL_CALL_TOOL;
}

static void add_tokens(rl_graph *graph, rl_tokens *to, const rl_tokens *tokens)
{
    graph->extra -= rl_tokens_bytes(to);
    if (!rl_tokens_add(to, tokens)) {
        graph->arena.failed = true;
    }
    graph->extra += rl_tokens_bytes(to);
}

/* Adds a model to the list of a node, or of the run, unless it has the name already. */
static void add_model(rl_graph *graph, rl_models *models, ptrdiff_t node, rl_text name)
{
    uint64_t hash =
        rl_text_hash(name) ^ (uint64_t)(node + 1) * UINT64_C(0x9E3779B97F4A7C15);
    const rl_link *link;
    rl_model *model;

    for (link = rl_table_first(&graph->models, hash); link != NULL;
         link = rl_table_next(link)) {
        const rl_model *known = (const rl_model *)link;

        if (known->node == node &&
            rl_same_text((rl_text){known->name, known->len}, name)) {
            return;
        }
    }
    model = rl_malloc(sizeof *model + name.len);
    if (model == NULL || !rl_table_add(&graph->models, &model->link, hash)) {
        rl_free(model);
        graph->arena.failed = true;
        return;
    }
    model->next = NULL;
    model->node = node;
    model->len = name.len;
    memcpy(model->name, name.data, name.len);
    graph->extra += sizeof *model + name.len;
    if (models->first == NULL) {
        models->first = model;
    } else {
        models->last->next = model;
    }
    models->last = model;
}

void rl_graph_free_sums(rl_graph *graph, rl_node *node)
{
    rl_models *models = &node->models;

    while (models->first != NULL) {
        rl_model *model = models->first;

        models->first = model->next;
        graph->extra -= sizeof *model + model->len;
        rl_table_remove(&graph->models, &model->link);
        rl_free(model);
    }
    models->last = NULL;
    graph->extra -= rl_tokens_bytes(&node->totals.tokens);
    rl_tokens_free(&node->totals.tokens);
}

/* Adds a log to those of its node. */
static ptrdiff_t add_to_node(rl_graph *graph, ptrdiff_t of, rl_node *log)
{
    ptrdiff_t place = RL_NO_NODE;
    rl_node *node;

    log->next = RL_NO_NODE;
    if (!graph->nodes.failed) {
        log->of = rl_graph_node(graph, of)->number;
        log->at = rl_graph_node(graph, of)->calls;
        place = rl_graph_add_log(graph, log);
    }
    if (!graph->nodes.failed) {
        node = rl_graph_node(graph, of);
        node->calls += log->kind != RL_LOG_EVENT;
        if (node->last == RL_NO_NODE) {
            node->first = place;
        } else if (!graph->nodes_gone) {
            rl_graph_node(graph, node->last)->next = place;
        }
        node->last = place;
    }
    return place;
}

/* Copies members of an object, in whose place there can be no mark: large ones for which
 * the run has no room are left out. */
static rl_slice copy_members(rl_graph *graph, rl_text members)
{
    if (members.len > RL_SMALL_PAYLOAD && !rl_graph_has_room(graph, members.len)) {
        members = (rl_text){NULL, 0};
    }
    return rl_graph_copy_payload(graph, members);
}

/* Opens the log of a call within a node. `around`: the place of the call around it. */
static ptrdiff_t open_log(rl_graph *graph, ptrdiff_t of, ptrdiff_t around, rl_slice model,
                          const rl_span_start *start)
{
    rl_node log = {
        .kind = (rl_log_kind)(start->call - RL_CALL_LLM + RL_LOG_LLM),
        .name = rl_graph_copy_text(graph, start->call_name),
        .ns = copy_members(graph, start->members),
        .parent = model,
        .enclosing = around != RL_NO_NODE ? rl_graph_node(graph, around)->at : -1,
    };

    if (start->prompt != NULL) {
        log.is_text = start->prompt->is_text;
        log.inputs = rl_graph_put_prompt(graph, of, start->prompt);
    }
    return add_to_node(graph, of, &log);
}

void rl_graph_start_call(rl_graph *graph, rl_span *span, const rl_span_start *start)
{
    bool is_counted = start->call != RL_CALL_RETRIEVER;
    rl_node *sums = is_counted ? sums_of_node(graph, span->node) : NULL;

    if (is_counted) {
        count(&graph->totals, start->call);
    }
    if (sums != NULL) {
        count(&sums->totals, start->call);
    }
    if (start->call == RL_CALL_LLM) {
        span->name = rl_graph_copy_text(graph, start->name);
    }
    if (graph->calls != RL_CALLS_NONE && span->node != RL_NO_NODE &&
        !graph->nodes.failed) {
        span->log = open_log(graph, span->node, span->log, span->name, start);
    }
}

/* Ends the log of a call. */
static void end_log(rl_graph *graph, ptrdiff_t place, const rl_span_end *end)
{
    rl_node *log = rl_graph_node(graph, place);

    log->outcome = end->outcome;
    log->ended_ns = end->ended_ns;
    log->outputs = rl_graph_copy_payload(graph, end->outputs);
    log->more = copy_members(graph, end->members);
    rl_graph_offer_answers(graph, log);
    log->error_type = rl_graph_copy_text(graph, end->error_type);
    log->error_text = rl_graph_copy_text(graph, end->error_text);
    if (end->model.len > 0 &&
        !rl_same_text(end->model, rl_graph_text(graph, log->parent))) {
        log->parent = rl_graph_copy_text(graph, end->model);
    }
    graph->wide_numbers |= end->wide_numbers;
    rl_graph_mark_dirty(graph, place);
}

void rl_graph_cancel_calls(rl_graph *graph, const rl_node *node)
{
    ptrdiff_t at = graph->nodes_gone ? RL_NO_NODE : node->first;

    while (at != RL_NO_NODE) {
        rl_node *log = rl_graph_node(graph, at);

        if (log->ended_ns == 0) {
            log->outcome = RL_CANCELLED;
            log->ended_ns = node->ended_ns;
            rl_graph_mark_dirty(graph, at);
        }
        at = log->next;
    }
}

void rl_graph_end_call(rl_graph *graph, const rl_span *span, const rl_span_end *end)
{
    rl_text model = end->model.len > 0 ? end->model : rl_graph_text(graph, span->name);
    bool is_counted = span->call != RL_CALL_RETRIEVER;
    rl_node *sums = is_counted ? sums_of_node(graph, span->node) : NULL;

    if (end->tokens.given) {
        add_tokens(graph, &graph->totals.tokens, &end->tokens);
        if (sums != NULL) {
            add_tokens(graph, &sums->totals.tokens, &end->tokens);
        }
    }
    if (span->call == RL_CALL_LLM && model.len > 0 && model.len <= 256) {
        add_model(graph, &graph->all_models, RL_NO_NODE, model);
        if (sums != NULL) {
            add_model(graph, &sums->models, sums->index, model);
        }
    }
    if (graph->calls != RL_CALLS_NONE && span->log != RL_NO_NODE &&
        !graph->nodes.failed) {
        end_log(graph, span->log, end);
    }
}

void rl_graph_end_root(rl_graph *graph, const rl_span_end *end,
                       const rl_span_end *of_call)
{
    const rl_span *span = RL_RING_OF(graph->spans.after, rl_span, in_graph);

    if (span->call != RL_CALL_NONE) {
        rl_graph_end_call(graph, span, of_call);
    }
    if (graph->is_plain && span->node != RL_NO_NODE && !graph->nodes.failed) {
        rl_graph_end_node(graph, span->node, end);
    }
}

void rl_graph_add_event(rl_graph *graph, const rl_span *span, rl_text name, rl_text data)
{
    rl_node log = {.kind = RL_LOG_EVENT, .outcome = RL_COMPLETED, .enclosing = -1};
    ptrdiff_t place;

    if (graph->calls == RL_CALLS_NONE || span->node == RL_NO_NODE) {
        return;
    }
    log.name = rl_graph_copy_text(graph, name);
    log.outputs = rl_graph_copy_payload(graph, data);
    place = add_to_node(graph, span->node, &log);
    if (!graph->nodes.failed) {
        rl_graph_node(graph, place)->ended_ns = rl_graph_node(graph, place)->started_ns;
    }
}
