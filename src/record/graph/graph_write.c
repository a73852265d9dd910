/* A graph as the row of a run and its parts. See graph.h and graph_state.h. */
#include "record/graph/graph_json.h"
#include "record/graph/graph_state.h"

#include <stdio.h>

/* The metadata of an open run have its sums, which change often. Beyond SHORT bytes they
 * are written again only with PER_METADATA times as many bytes of parts. */
#define SHORT ((size_t)1024)
#define PER_METADATA 10

#define EXCESS ((size_t)8 << 20) /* bytes of parts that one row should not exceed */

/* The text between the brackets of a JSON object or array. Any other text is returned
 * whole. */
static rl_text without_brackets(rl_text json)
{
    bool bracket = json.len >= 2 && (json.data[0] == '{' || json.data[0] == '[');

    return bracket ? (rl_text){json.data + 1, json.len - 2} : json;
}

/* How the run ended, or that it is running: then `end` is NULL. */
static rl_outcome outcome_of(const rl_graph *graph, const rl_span_end *end)
{
    if (end == NULL) {
        return RL_RUNNING;
    }
    return graph->interrupted && end->outcome == RL_COMPLETED ? RL_INTERRUPTED
                                                              : end->outcome;
}

/* The interrupts that LangGraph reported for the run, else those that ended nodes. */
static void put_interrupts(rl_json *json, const rl_graph *graph)
{
    const rl_slice *found = (const rl_slice *)(const void *)graph->interrupts.data;
    size_t count = graph->interrupts.len / sizeof *found;

    rl_put_key(json, "interrupts");
    if (graph->reported.given) {
        rl_put_raw(json, rl_graph_text(graph, graph->reported));
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

/* The user's metadata, with the interrupts and the sums of the run that are not empty.
 * `end`: of the run, or NULL. */
static void set_metadata(rl_graph *graph, const rl_span_end *end, rl_run *run)
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
        rl_put_key(&json, "resumed");
        rl_json_raw(&json, "true", 4);
    }
    if (totals->llm_calls > 0) {
        rl_put_int(&json, "llm_calls", totals->llm_calls);
    }
    if (totals->tool_calls > 0) {
        rl_put_int(&json, "tool_calls", totals->tool_calls);
    }
    if (totals->tokens.given) {
        rl_graph_put_tokens(&json, &totals->tokens);
    }
    if (graph->all_models.first != NULL) {
        rl_graph_put_models(&json, &graph->all_models);
    }
    rl_graph_put_totals(&json, graph, outcome_of(graph, end), end);
    rl_json_close(&json);
    rl_json_end(&json);
    graph->metadata_len = run->arena.len - at;
    rl_run_end(run, RL_METADATA, at);
}

static void set_node_logs(const rl_graph *graph, rl_run *run)
{
    size_t at = rl_run_begin(run);
    rl_json json;

    rl_json_begin(&json, &run->arena, RL_BUF_MAX);
    rl_json_open(&json, '[');
    for (ptrdiff_t i = 0; i < rl_graph_nodes(graph); i++) {
        if (rl_graph_node(graph, i)->kind == RL_LOG_NODE) {
            rl_graph_put_node(&json, graph, rl_graph_node(graph, i), true);
        }
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
    if (!graph->is_plain) { /* else its one node has it */
        copy_text(run, RL_ERROR_TRACEBACK, end->error_traceback);
    }
    run->duration_ms = millis <= INT32_MAX ? (int64_t)millis : INT32_MAX;
    run->wide_numbers |= end->wide_numbers;
}

/* The row without its payloads. */
static void begin_row(const rl_graph *graph, const rl_span_end *end, rl_run *run)
{
    const char *status = rl_outcome_texts[outcome_of(graph, end)];

    rl_run_reset(run);
    memcpy(run->id, graph->id, sizeof run->id);
    run->is_own = true;
    run->created_at = graph->started_at;
    run->started_at = graph->started_at;
    run->wide_numbers = graph->wide_numbers;
    copy_text(run, RL_WPK_ID, rl_graph_text(graph, graph->wpk_id));
    copy_text(run, RL_RUN_ID, rl_graph_text(graph, graph->run_id));
    copy_text(run, RL_THREAD_ID, rl_graph_text(graph, graph->thread_id));
    rl_run_set(run, RL_STATUS, status, strlen(status));
    rl_run_set(run, RL_OWNER, graph->process, strlen(graph->process));
}

static void put_node_part(rl_json *json, const rl_graph *graph, const rl_node *log)
{
    char name[24];

    (void)snprintf(name, sizeof name, "n%010td", log->index);
    rl_put_key(json, name);
    rl_graph_put_part(json, graph, log);
}

static size_t dirty_count(const rl_graph *graph)
{
    return graph->dirty.len / sizeof(ptrdiff_t);
}

/* Writes the node logs that are new, until there are `bytes` of parts. */
static void take_nodes(rl_graph *graph, size_t bytes, const rl_run *run, rl_piece *piece)
{
    const ptrdiff_t *places = (const ptrdiff_t *)(const void *)graph->dirty.data;
    size_t at = graph->dirty_from;

    while (at < dirty_count(graph) && run->arena.len - piece->at < bytes) {
        rl_node *log = rl_graph_node(graph, places[at]);

        if (log->dirty) {
            put_node_part(&piece->json, graph, log);
            log->dirty = false;
            log->is_behind = false;
            piece->has_nodes = true;
        }
        at++;
    }
    graph->dirty_taken = at;
}

/* Takes the values that are new, until there are `bytes` of them. Returns how many bytes
 * that are. */
static size_t take_values(rl_graph *graph, size_t bytes, rl_piece *piece)
{
    rl_kept *kept = graph->new_values;
    size_t sum = 0;

    while (kept != NULL && sum < bytes && piece->count < RL_PIECE_VALUES) {
        piece->values[piece->count++] = rl_value_ref(kept->value);
        sum += kept->value->len;
        kept = kept->next;
    }
    graph->values_taken = piece->count;
    graph->value_bytes_taken = sum;
    return sum;
}

static bool is_metadata_due(const rl_graph *graph)
{
    return graph->metadata_changed &&
           (graph->metadata_len <= SHORT ||
            graph->since_metadata / PER_METADATA >= graph->metadata_len);
}

bool rl_graph_has_new(const rl_graph *graph)
{
    return !rl_graph_is_empty(graph) &&
           (!graph->inputs_stored || graph->new_values != NULL ||
            graph->dirty_from < dirty_count(graph) || is_metadata_due(graph));
}

bool rl_graph_has_more(const rl_graph *graph)
{
    return !rl_graph_is_empty(graph) &&
           (graph->dirty_taken < dirty_count(graph) ||
            graph->new_value_bytes > graph->value_bytes_taken);
}

bool rl_graph_begin_piece(rl_graph *graph, size_t bytes, rl_run *run, rl_piece *piece)
{
    size_t taken;

    if (rl_graph_is_empty(graph)) {
        return false;
    }
    piece->count = 0;
    piece->has_nodes = false;
    graph->header_taken = !graph->inputs_stored;
    graph->metadata_taken = graph->header_taken || is_metadata_due(graph);
    begin_row(graph, NULL, run);
    if (graph->header_taken) {
        copy_text(run, RL_INPUTS, rl_graph_text(graph, graph->inputs));
    }
    if (graph->metadata_taken) {
        set_metadata(graph, NULL, run);
        graph->metadata_changed = false;
        graph->since_metadata = 0;
    }
    piece->at = rl_run_begin(run);
    rl_json_begin(&piece->json, &run->arena, RL_BUF_MAX);
    rl_json_open(&piece->json, '{');
    taken = take_values(graph, bytes, piece); /* no node log comes before its values */
    graph->dirty_taken = graph->dirty_from;
    if (taken < bytes && piece->count < RL_PIECE_VALUES) {
        take_nodes(graph, bytes - taken, run, piece);
    }
    run->arena.failed |= graph->arena.failed || graph->nodes.failed;
    graph->since_metadata += run->arena.len - piece->at + taken;
    graph->parts_tried |= piece->has_nodes;
    graph->writing = graph->header_taken || graph->metadata_taken || piece->count > 0 ||
                     graph->dirty_taken > graph->dirty_from;
    return graph->writing;
}

void rl_graph_end_piece(rl_run *run, rl_piece *piece)
{
    for (size_t i = 0; i < piece->count; i++) {
        rl_put_key(&piece->json, piece->values[i]->name);
        rl_json_raw(&piece->json, piece->values[i]->json, piece->values[i]->len);
        rl_value_unref(piece->values[i]);
    }
    rl_json_close(&piece->json);
    rl_json_end(&piece->json);
    if (piece->count > 0 || piece->has_nodes) {
        rl_run_end_parts(run, piece->at, RL_PARTS_ADD);
    } else {
        run->arena.len = piece->at;
    }
}

/* Forgets the places that were written, at little cost for each. */
static void trim_dirty(rl_graph *graph)
{
    size_t rest = dirty_count(graph) - graph->dirty_from;

    if (graph->dirty_from > rest) {
        memmove(graph->dirty.data,
                graph->dirty.data + graph->dirty_from * sizeof(ptrdiff_t),
                rest * sizeof(ptrdiff_t));
        graph->dirty.len = rest * sizeof(ptrdiff_t);
        graph->dirty_from = 0;
    }
}

void rl_graph_wrote(rl_graph *graph, bool committed)
{
    const ptrdiff_t *places = (const ptrdiff_t *)(const void *)graph->dirty.data;

    for (size_t at = graph->dirty_from; at < graph->dirty_taken; at++) {
        rl_node *log = rl_graph_node(graph, places[at]);

        if (committed) {
            log->stored = !log->dirty;
        } else {
            log->dirty = true;
        }
    }
    if (committed) {
        graph->dirty_from = graph->dirty_taken;
        trim_dirty(graph);
        rl_graph_drop_values(graph, graph->values_taken, false);
        graph->inputs_stored |= graph->header_taken;
    } else {
        graph->metadata_changed |= graph->metadata_taken;
    }
    graph->dirty_taken = graph->dirty_from;
    graph->values_taken = 0;
    graph->value_bytes_taken = 0;
    graph->writing = false;
}

bool rl_graph_write_excess(rl_graph *graph, rl_run *run)
{
    rl_piece piece;
    bool excess =
        graph->new_value_bytes > EXCESS ||
        (graph->nodes_gone && graph->arena.len > EXCESS && rl_graph_has_new(graph));

    excess = excess && rl_graph_begin_piece(graph, EXCESS / 2, run, &piece);
    if (excess) {
        rl_graph_end_piece(run, &piece);
    }
    return excess;
}

/* Lists the node logs whose parts lack sums, and the calls whose end did not come. */
static void mark_behind(rl_graph *graph)
{
    for (ptrdiff_t i = 0; i < rl_graph_nodes(graph); i++) {
        const rl_node *log = rl_graph_node(graph, i);

        if (log->is_behind || (log->kind != RL_LOG_NODE && log->ended_ns == 0)) {
            rl_graph_mark_dirty(graph, i);
        }
    }
}

/* The parts of the last row: what is not stored yet, and what becomes of the node logs
 * that are. */
static void set_parts(rl_graph *graph, rl_run *run)
{
    rl_parts_use use = graph->nodes_gone    ? RL_PARTS_JOIN
                       : graph->parts_tried ? RL_PARTS_END
                                            : RL_PARTS_ADD;
    rl_piece piece = {.at = rl_run_begin(run)};

    if (use == RL_PARTS_ADD && graph->new_values == NULL) {
        return;
    }
    rl_json_begin(&piece.json, &run->arena, RL_BUF_MAX);
    rl_json_open(&piece.json, '{');
    for (const rl_kept *kept = graph->new_values; kept != NULL; kept = kept->next) {
        rl_put_key(&piece.json, kept->name);
        rl_json_raw(&piece.json, kept->value->json, kept->value->len);
    }
    if (graph->nodes_gone) {
        mark_behind(graph);
        take_nodes(graph, SIZE_MAX, run, &piece);
    }
    rl_json_close(&piece.json);
    rl_json_end(&piece.json);
    rl_run_end_parts(run, piece.at, use);
}

void rl_graph_write(rl_graph *graph, const rl_span_end *end, rl_run *run)
{
    graph->is_ending = true;
    rl_graph_add_values(graph, end->values);
    begin_row(graph, end, run);
    if (!graph->inputs_gone) {
        copy_text(run, RL_INPUTS, rl_graph_text(graph, graph->inputs));
    }
    set_end(graph, end, run);
    if (!graph->nodes_gone) {
        set_node_logs(graph, run);
    }
    set_metadata(graph, end, run);
    set_parts(graph, run);
    run->arena.failed |= graph->arena.failed || graph->nodes.failed;
}
