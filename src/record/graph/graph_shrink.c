/* What leaves memory while a run is open. See graph_state.h. The texts that stay are
 * copied into a new arena: where texts of a run lie side by side, none can be freed
 * alone. */
#include "core/alloc.h"
#include "record/graph/graph_state.h"

#include <stdio.h>
#include <stdlib.h>

#define WORTH ((size_t)4096) /* bytes: to free less is not worth it */
#define SHORT ((size_t)64)   /* bytes: payloads that are never dropped */

/* A graph that is being copied. */
typedef struct copying {
    rl_graph *graph;
    rl_buf arena, nodes, dirty, left; /* left: of rl_gone_node */
    ptrdiff_t gone;
    uint64_t dropped;
} copying;

static void move_text(copying *to, rl_slice *slice)
{
    size_t at = to->arena.len;

    if (slice->given) {
        rl_buf_add(&to->arena, to->graph->arena.data + slice->at, slice->len);
    }
    slice->at = at;
}

/* Moves a payload; one that is to be dropped leaves its size. */
static void move_payload(copying *to, rl_slice *slice, bool drop)
{
    char mark[48];

    if (!slice->given || !drop) {
        move_text(to, slice);
        return;
    }
    slice->at = to->arena.len;
    slice->len =
        (size_t)snprintf(mark, sizeof mark, "\"<dropped: %zu bytes>\"", slice->len);
    rl_buf_add(&to->arena, mark, slice->len);
    to->dropped++;
}

/* Moves members of an object, in whose place there can be no mark. */
static void move_members(copying *to, rl_slice *slice, bool drop)
{
    if (drop && slice->given && slice->len > SHORT) {
        slice->given = false;
        to->dropped++;
    }
    move_text(to, slice);
}

/* Moves a traceback in the same way: it is no JSON. */
static void move_traceback(copying *to, rl_slice *slice, bool drop)
{
    char mark[48];

    if (!slice->given || !drop || slice->len <= SHORT) {
        move_text(to, slice);
        return;
    }
    slice->at = to->arena.len;
    slice->len = (size_t)snprintf(mark, sizeof mark, "<dropped: %zu bytes>", slice->len);
    rl_buf_add(&to->arena, mark, slice->len);
    to->dropped++;
}

/* Moves the texts of a node log. Later inputs were compared with those that are dropped,
 * so all deltas are dropped with them. */
static void move_node(copying *to, rl_node *log, bool drop)
{
    rl_slice *texts[] = {&log->name, &log->error_type, &log->error_text, &log->parent};
    bool is_call = log->kind != RL_LOG_NODE, drop_members = is_call && drop;
    bool drop_inputs = drop && (log->is_delta || log->inputs.len > SHORT);

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        move_text(to, texts[i]);
    }
    move_members(to, &log->ns, drop_members);
    move_payload(to, &log->inputs, drop_inputs);
    move_members(to, &log->more, drop_members);
    move_payload(to, &log->outputs, drop && log->outputs.len > SHORT);
    move_traceback(to, &log->error_traceback, drop);
    log->is_delta = log->is_delta && !drop_inputs;
}

static int compare_places(const void *one, const void *other)
{
    const ptrdiff_t *a = one, *b = other;

    return (*a > *b) - (*a < *b);
}

/* The places of the nodes that have open spans, in order: they are named again. */
static bool list_open(const rl_graph *graph, rl_buf *open)
{
    for (const rl_ring *at = graph->spans.after; at != &graph->spans; at = at->after) {
        const rl_span *span = RL_RING_OF(at, rl_span, in_graph);

        if (span->node != RL_NO_NODE) {
            rl_buf_add(open, &span->node, sizeof span->node);
        }
        if (span->log != RL_NO_NODE) {
            rl_buf_add(open, &span->log, sizeof span->log);
        }
    }
    if (open->len > 0) {
        qsort(open->data, open->len / sizeof(ptrdiff_t), sizeof(ptrdiff_t),
              compare_places);
    }
    return !open->failed;
}

static bool is_open(const rl_buf *open, ptrdiff_t place)
{
    return open->len > 0 && bsearch(&place, open->data, open->len / sizeof place,
                                    sizeof place, compare_places) != NULL;
}

/* Copies the nodes that stay: those that are running, in use, or not stored. Their old
 * places stay in the copies' `index` order. */
static void copy_nodes(copying *to, const rl_buf *open, bool drop)
{
    rl_graph *graph = to->graph;

    for (ptrdiff_t i = 0; i < rl_graph_nodes(graph); i++) {
        rl_node log = *rl_graph_node(graph, i);
        ptrdiff_t place = (ptrdiff_t)(to->nodes.len / sizeof log);

        if (log.stored && log.ended_ns != 0 && !is_open(open, i)) {
            if (log.kind == RL_LOG_NODE && log.outcome != RL_COMPLETED) {
                rl_graph_note_gone(graph, &log, &to->left);
            }
            to->gone++;
            continue;
        }
        move_node(to, &log, drop && !log.stored);
        rl_buf_add(&to->nodes, &log, sizeof log);
        if (log.dirty) {
            rl_buf_add(&to->dirty, &place, sizeof place);
        }
    }
}

/* The place of a node among the copies. */
static ptrdiff_t place_of(const copying *to, ptrdiff_t index)
{
    const rl_node *nodes = (const rl_node *)(const void *)to->nodes.data;
    size_t low = 0, high = to->nodes.len / sizeof *nodes;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (nodes[middle].index < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return (ptrdiff_t)low;
}

/* Moves what the next inputs are compared with; what was dropped is no longer the base of
 * anything. */
static void move_snapshot(copying *to, rl_snapshot *snapshot, bool drop)
{
    if (drop) {
        snapshot->since = RL_SINCE_NOTHING;
        snapshot->entries.len = 0;
    }
    to->graph->extra -= snapshot->entries.cap + snapshot->tails.cap;
    rl_snapshot_detach(snapshot, to->graph->arena.data, &to->arena);
    to->graph->extra += snapshot->entries.cap + snapshot->tails.cap;
}

/* Moves the names of what is left of logs that have left memory. */
static void move_left(copying *to)
{
    rl_gone_node *left = (rl_gone_node *)(void *)to->left.data;

    for (size_t i = 0; i < to->left.len / sizeof *left; i++) {
        move_text(to, &left[i].name);
        move_text(to, &left[i].parent);
    }
}

static size_t left_bytes(const rl_buf *buf)
{
    const rl_gone_node *left = (const rl_gone_node *)(const void *)buf->data;
    size_t sum = 0;

    for (size_t i = 0; i < buf->len / sizeof *left; i++) {
        sum += left[i].name.len + left[i].parent.len;
    }
    return sum;
}

/* What the spans and the graph itself refer to. Nothing may fail from here on: the room
 * was reserved. */
static void move_rest(copying *to, bool drop)
{
    rl_graph *graph = to->graph;
    rl_slice *texts[] = {&graph->wpk_id,   &graph->run_id,   &graph->thread_id,
                         &graph->metadata, &graph->reported, &graph->paused,
                         &graph->paused_by};
    rl_slice *interrupts = (rl_slice *)(void *)graph->interrupts.data;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        move_text(to, texts[i]);
    }
    for (size_t i = 0; i < graph->interrupts.len / sizeof *interrupts; i++) {
        move_text(to, &interrupts[i]);
    }
    move_left(to);
    if (graph->inputs_stored) {
        graph->inputs_gone |= graph->inputs.given;
        graph->inputs.given = false;
    } else {
        move_payload(to, &graph->inputs, drop && graph->inputs.len > SHORT);
    }
    for (rl_ring *at = graph->spans.after; at != &graph->spans; at = at->after) {
        rl_span *span = RL_RING_OF(at, rl_span, in_graph);

        move_text(to, &span->ns);
        move_text(to, &span->name);
        if (span->node != RL_NO_NODE) {
            span->node = place_of(to, rl_graph_node(graph, span->node)->index);
        }
        if (span->log != RL_NO_NODE) {
            span->log = place_of(to, rl_graph_node(graph, span->log)->index);
        }
        if (span->snapshot != NULL) {
            move_snapshot(to, span->snapshot, drop);
        }
    }
}

static size_t shorter(size_t len, bool drop)
{
    return drop && len > SHORT ? SHORT : len;
}

/* The bytes of the spans' and the graph's own texts. */
static size_t rest_bytes(const rl_graph *graph, bool drop)
{
    const rl_slice *interrupts = (const rl_slice *)(const void *)graph->interrupts.data;
    size_t sum = graph->wpk_id.len + graph->run_id.len + graph->thread_id.len +
                 graph->metadata.len + graph->reported.len + graph->paused.len +
                 graph->paused_by.len + SHORT;

    sum += graph->inputs_stored ? 0 : shorter(graph->inputs.len, drop);
    for (size_t i = 0; i < graph->interrupts.len / sizeof *interrupts; i++) {
        sum += interrupts[i].len;
    }
    for (const rl_ring *at = graph->spans.after; at != &graph->spans; at = at->after) {
        const rl_span *span = RL_RING_OF(at, rl_span, in_graph);

        sum += span->ns.len + span->name.len;
        sum += span->snapshot != NULL ? rl_snapshot_detached_size(span->snapshot) : 0;
    }
    return sum;
}

static void replace(rl_buf *buf, rl_buf *by)
{
    rl_buf_free(buf);
    rl_buf_trim(by);
    *buf = *by;
    rl_buf_init(by, RL_BUF_MAX);
}

/* Frees the sums of the nodes that do not stay. */
static void free_sums(rl_graph *graph, const rl_buf *open)
{
    for (ptrdiff_t i = 0; i < rl_graph_nodes(graph); i++) {
        rl_node *log = rl_graph_node(graph, i);

        if (log->kind == RL_LOG_NODE && log->stored && log->ended_ns != 0 &&
            !is_open(open, i)) {
            rl_graph_free_sums(graph, log);
        }
    }
}

static bool is_worth_it(const rl_graph *graph, bool drop)
{
    size_t stays = rest_bytes(graph, drop);

    for (ptrdiff_t i = 0; i < rl_graph_nodes(graph); i++) {
        const rl_node *log = rl_graph_node(graph, i);

        if (!log->stored || log->ended_ns == 0) {
            stays += sizeof *log + log->name.len + log->error_text.len + log->ns.len +
                     log->more.len + shorter(log->inputs.len, drop) +
                     shorter(log->outputs.len, drop) +
                     shorter(log->error_traceback.len, drop);
        }
    }
    return graph->arena.len + graph->nodes.len > WORTH + 2 * stays ||
           (drop && graph->new_values != NULL);
}

static uint64_t drop_values(rl_graph *graph)
{
    size_t before = graph->values.count;

    rl_graph_drop_values(graph, SIZE_MAX, true);
    return before - graph->values.count;
}

ptrdiff_t rl_graph_shrink(rl_graph *graph, bool drop)
{
    copying to = {.graph = graph};
    rl_buf open;
    ptrdiff_t gone = -1;

    rl_buf_init(&to.arena, RL_BUF_MAX);
    rl_buf_init(&to.nodes, RL_BUF_MAX);
    rl_buf_init(&to.dirty, RL_BUF_MAX);
    rl_buf_init(&to.left, RL_BUF_MAX);
    rl_buf_init(&open, RL_BUF_MAX);
    if (graph->arena.failed || graph->nodes.failed || !is_worth_it(graph, drop) ||
        !list_open(graph, &open)) {
        goto out;
    }
    rl_buf_add(&to.left, graph->gone.data, graph->gone.len);
    copy_nodes(&to, &open, drop);
    if (to.nodes.failed || to.dirty.failed || to.left.failed ||
        !rl_buf_reserve(&to.arena, rest_bytes(graph, drop) + left_bytes(&to.left))) {
        goto out;
    }
    free_sums(graph, &open);
    move_rest(&to, drop);
    replace(&graph->arena, &to.arena);
    replace(&graph->nodes, &to.nodes);
    replace(&graph->dirty, &to.dirty);
    replace(&graph->gone, &to.left);
    graph->dirty_from = 0;
    graph->dirty_taken = 0;
    graph->nodes_gone |= to.gone > 0;
    if (drop) {
        to.dropped += drop_values(graph);
        rl_graph_forget_messages(graph);
    }
    if (to.dropped > 0 && graph->memory.metrics != NULL) {
        rl_metric_add(&graph->memory.metrics->handler_dropped, to.dropped);
    }
    gone = to.gone;
out:
    rl_buf_free(&to.arena);
    rl_buf_free(&to.nodes);
    rl_buf_free(&to.dirty);
    rl_buf_free(&to.left);
    rl_buf_free(&open);
    return gone;
}
