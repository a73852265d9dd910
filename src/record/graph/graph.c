/* What events add to one open run. See graph_state.h. */
#include "core/alloc.h"
#include "core/hash.h"
#include "core/uuid.h"
#include "record/graph/graph_state.h"

#include <stdio.h>

/* Bytes of the payloads in one run's node logs: PostgreSQL's jsonb takes 256 MiB. Of
 * later payloads that are larger than RL_SMALL_PAYLOAD only the size is recorded. */
#define MAX_PAYLOADS ((size_t)128 << 20)
#define MAX_VALUES ((size_t)512 << 20) /* bytes of the values of one run */
#define LARGE ((size_t)256 * 1024)

const char *const rl_outcome_texts[] = {"running", "completed", "failed", "interrupted",
                                        "cancelled"};

rl_slice rl_graph_copy_text(rl_graph *graph, rl_text text)
{
    rl_slice slice = {graph->arena.len, text.len, false};

    rl_buf_add(&graph->arena, text.data, text.len);
    slice.given = text.data != NULL && !graph->arena.failed;
    return slice;
}

bool rl_graph_has_room(const rl_graph *graph, size_t len)
{
    return len <= MAX_PAYLOADS && graph->payload_bytes <= MAX_PAYLOADS - len;
}

rl_slice rl_graph_copy_payload(rl_graph *graph, rl_text json)
{
    char marker[48];

    if (json.data != NULL && json.len > RL_SMALL_PAYLOAD &&
        !rl_graph_has_room(graph, json.len)) {
        json.len =
            (size_t)snprintf(marker, sizeof marker, "\"<cut: %zu bytes>\"", json.len);
        json.data = marker;
    }
    graph->payload_bytes += json.len;
    return rl_graph_copy_text(graph, json);
}

/* Copies a traceback, which counts as a payload: many nodes may fail. */
static rl_slice copy_traceback(rl_graph *graph, rl_text text)
{
    char mark[48];

    if (text.len > RL_SMALL_PAYLOAD && !rl_graph_has_room(graph, text.len)) {
        text.len = (size_t)snprintf(mark, sizeof mark, "<cut: %zu bytes>", text.len);
        text.data = mark;
    }
    graph->payload_bytes += text.len;
    return rl_graph_copy_text(graph, text);
}

static size_t snapshot_bytes(const rl_snapshot *snapshot)
{
    return snapshot != NULL
               ? sizeof *snapshot + snapshot->entries.cap + snapshot->tails.cap
               : 0;
}

size_t rl_span_bytes(const rl_span *span)
{
    return sizeof *span + snapshot_bytes(span->snapshot);
}

void rl_span_free(rl_span *span)
{
    if (span != NULL) {
        if (span->snapshot != NULL) {
            rl_snapshot_free(span->snapshot);
            rl_free(span->snapshot);
        }
        rl_free(span);
    }
}

size_t rl_graph_bytes(const rl_graph *graph)
{
    size_t buckets = graph->models.room + graph->attempts.room + graph->values.room +
                     graph->messages.room + graph->errors.room;

    return sizeof *graph + graph->arena.cap + graph->nodes.cap + graph->dirty.cap +
           graph->interrupts.cap + graph->gone.cap + buckets * sizeof(rl_link *) +
           graph->extra;
}

bool rl_graph_is_wrapper(const rl_graph *graph)
{
    return rl_graph_is_empty(graph) && graph->has_graphs;
}

bool rl_graph_is_large(const rl_graph *graph)
{
    return rl_graph_bytes(graph) > LARGE;
}

/* The state that the nodes below a span got last; NULL when there is no memory. */
static rl_snapshot *snapshot_of(rl_span *span)
{
    if (span->snapshot == NULL) {
        span->snapshot = rl_malloc(sizeof *span->snapshot);
        if (span->snapshot != NULL) {
            rl_snapshot_init(span->snapshot);
        }
    }
    return span->snapshot;
}

static void init_graph(rl_graph *graph)
{
    rl_ring_init(&graph->in_table);
    rl_ring_init(&graph->in_changed);
    rl_ring_init(&graph->in_touched);
    rl_ring_init(&graph->in_writing);
    rl_ring_init(&graph->spans);
    rl_buf_init(&graph->arena, RL_BUF_MAX);
    rl_buf_init(&graph->nodes, RL_BUF_MAX);
    rl_buf_init(&graph->dirty, RL_BUF_MAX);
    rl_buf_init(&graph->interrupts, RL_BUF_MAX);
    rl_buf_init(&graph->gone, RL_BUF_MAX);
}

rl_graph *rl_graph_new(const rl_span_start *start, const rl_graph_start *given,
                       rl_span *own)
{
    rl_graph *graph = rl_calloc(1, sizeof *graph);
    rl_err ignored;

    if (graph == NULL) {
        return NULL;
    }
    init_graph(graph);
    graph->owner = given->owner;
    graph->recorder = given->recorder;
    graph->memory = given->memory;
    if (start->place != NULL) {
        graph->place = *start->place;
    }
    graph->object = start->object;
    graph->node_inputs = given->node_inputs;
    graph->interval_ns = given->interval_ns;
    graph->resumed = given->resumed;
    graph->calls = given->calls;
    graph->is_plain = given->is_plain;
    graph->wide_numbers = start->wide_numbers;
    graph->wpk_id = rl_graph_copy_text(graph, given->wpk_id);
    graph->run_id = rl_graph_copy_text(graph, given->run_id);
    graph->thread_id = rl_graph_copy_text(graph, given->thread_id);
    graph->metadata = rl_graph_copy_text(graph, given->metadata);
    graph->inputs =
        rl_graph_copy_text(graph, (rl_text){start->inputs.text, start->inputs.len});
    graph->started_at = rl_time_now();
    if (graph->arena.failed || snapshot_of(own) == NULL ||
        rl_uuid7(graph->started_at, graph->id, &ignored) != RL_OK) {
        rl_graph_free(graph);
        return NULL;
    }
    rl_snapshot_take(own->snapshot, &start->inputs, graph->inputs.at, RL_SINCE_INPUTS);
    graph->started_ns = rl_monotonic_ns();
    return graph;
}

static void free_table(rl_table *table)
{
    rl_link *link;
    size_t at = 0;

    while ((link = rl_table_any(table, &at)) != NULL) {
        rl_table_remove(table, link);
        rl_free(link);
    }
    rl_table_free(table);
}

/* Most nodes have no sums of tokens. */
static void free_tokens(rl_graph *graph)
{
    ptrdiff_t nodes = graph->totals.tokens.detail_count > 0 ? rl_graph_nodes(graph) : 0;

    for (ptrdiff_t i = 0; i < nodes; i++) {
        if (rl_graph_node(graph, i)->kind == RL_LOG_NODE) {
            rl_tokens_free(&rl_graph_node(graph, i)->totals.tokens);
        }
    }
    rl_tokens_free(&graph->totals.tokens);
}

void rl_graph_free(rl_graph *graph)
{
    rl_ring *ring;

    if (graph == NULL) {
        return;
    }
    while ((ring = rl_ring_first(&graph->spans)) != NULL) {
        rl_ring_remove(ring);
        rl_span_free(RL_RING_OF(ring, rl_span, in_graph));
    }
    rl_graph_drop_values(graph, SIZE_MAX, false);
    free_tokens(graph);
    free_table(&graph->models);
    free_table(&graph->attempts);
    free_table(&graph->values);
    free_table(&graph->messages);
    rl_graph_free_errors(graph);
    rl_buf_free(&graph->arena);
    rl_buf_free(&graph->nodes);
    rl_buf_free(&graph->dirty);
    rl_buf_free(&graph->interrupts);
    rl_buf_free(&graph->gone);
    rl_free(graph);
}

void *rl_graph_owner(const rl_graph *graph)
{
    return graph->owner;
}

/* Values */

static rl_kept *find_value(const rl_graph *graph, const char *name, uint64_t hash)
{
    rl_link *link = rl_table_first(&graph->values, hash);

    while (link != NULL && strcmp(((rl_kept *)link)->name, name) != 0) {
        link = rl_table_next(link);
    }
    return (rl_kept *)link;
}

static void refuse_value(rl_graph *graph)
{
    if (graph->memory.metrics != NULL) {
        rl_metric_add(&graph->memory.metrics->handler_dropped, 1);
    }
    if (!graph->values_logged) {
        graph->values_logged = true;
        rl_notices_add(graph->memory.notices, RL_NOTICE_WARNING,
                       "a graph's run has more than %zu MiB of large values: of the "
                       "others only the size is recorded",
                       MAX_VALUES >> 20);
    }
}

static void add_value(rl_graph *graph, rl_value *value)
{
    uint64_t hash = rl_hash(value->name, sizeof value->name - 1);
    rl_kept *kept;

    if (find_value(graph, value->name, hash) != NULL) {
        return;
    }
    if (value->len > MAX_VALUES - graph->value_bytes) {
        refuse_value(graph);
        return;
    }
    kept = rl_calloc(1, sizeof *kept);
    if (kept == NULL || !rl_table_add(&graph->values, &kept->link, hash)) {
        rl_free(kept);
        graph->arena.failed = true;
        return;
    }
    memcpy(kept->name, value->name, sizeof kept->name);
    kept->value = rl_value_ref(value);
    if (graph->new_values == NULL) {
        graph->new_values = kept;
    } else {
        graph->last_value->next = kept;
    }
    graph->last_value = kept;
    graph->value_bytes += value->len;
    graph->new_value_bytes += value->len;
    graph->extra += sizeof *kept + value->len;
}

void rl_graph_add_values(rl_graph *graph, rl_values values)
{
    for (size_t i = 0; i < values.count; i++) {
        add_value(graph, values.list[i]);
    }
}

void rl_graph_drop_values(rl_graph *graph, size_t count, bool forget)
{
    for (size_t i = 0; i < count && graph->new_values != NULL; i++) {
        rl_kept *kept = graph->new_values;
        size_t len = kept->value->len;

        graph->new_values = kept->next;
        kept->next = NULL;
        rl_value_unref(kept->value);
        kept->value = NULL;
        graph->extra -= len;
        graph->new_value_bytes -= len;
        if (forget) {
            graph->value_bytes -= len;
            graph->extra -= sizeof *kept;
            rl_table_remove(&graph->values, &kept->link);
            rl_free(kept);
        }
    }
}

/* Attempts */

static rl_attempt *find_attempt(const rl_graph *graph, rl_text ns)
{
    rl_link *link = rl_table_first(&graph->attempts, rl_text_hash(ns));

    while (link != NULL &&
           !rl_same_text((rl_text){((rl_attempt *)link)->ns, ((rl_attempt *)link)->len},
                         ns)) {
        link = rl_table_next(link);
    }
    return (rl_attempt *)link;
}

/* Remembers the first attempt under a namespace. */
static void add_attempt(rl_graph *graph, rl_text ns)
{
    rl_attempt *attempt = rl_malloc(sizeof *attempt + ns.len);

    if (attempt == NULL ||
        !rl_table_add(&graph->attempts, &attempt->link, rl_text_hash(ns))) {
        rl_free(attempt);
        graph->arena.failed = true;
        return;
    }
    attempt->number = 1;
    attempt->index = graph->next_index;
    attempt->len = ns.len;
    if (ns.len > 0) {
        memcpy(attempt->ns, ns.data, ns.len);
    }
    graph->extra += sizeof *attempt + ns.len;
}

/* The number of the attempt of a node whose log comes next: LangGraph retries a node under
 * the same namespace, after an attempt that did not complete. One that has timed out ends
 * only after the next has begun. */
static int64_t begin_attempt(rl_graph *graph, rl_text ns)
{
    rl_attempt *attempt = find_attempt(graph, ns);

    if (attempt == NULL) {
        add_attempt(graph, ns);
        return 1;
    }
    rl_graph_note_retry(graph, attempt->index);
    graph->retries++;
    graph->late_node = PTRDIFF_MAX; /* the one that was found may be the attempt before */
    attempt->index = graph->next_index;
    return ++attempt->number;
}

/* Forgets the attempts of a node that has completed. */
static void end_attempts(rl_graph *graph, const rl_node *log)
{
    rl_attempt *attempt = find_attempt(graph, rl_graph_text(graph, log->ns));

    if (log->outcome == RL_COMPLETED && attempt != NULL) {
        graph->extra -= sizeof *attempt + attempt->len;
        rl_table_remove(&graph->attempts, &attempt->link);
        rl_free(attempt);
    }
}

/* Node logs */

void rl_graph_mark_dirty(rl_graph *graph, ptrdiff_t place)
{
    rl_node *log = rl_graph_node(graph, place);

    log->stored = false;
    if (!log->dirty) {
        log->dirty = true;
        rl_buf_add(&graph->dirty, &place, sizeof place);
        graph->arena.failed |= graph->dirty.failed;
    }
}

/* Records a node's inputs, as a delta if that is shorter. Inputs that were sent to a node
 * are not the graph's state, so the next inputs are not compared with them. */
static void record_inputs(rl_graph *graph, rl_span *parent, const rl_span_start *start,
                          rl_node *log)
{
    const rl_object *inputs = &start->inputs;
    const bool is_state = !start->pushed;
    rl_snapshot *snapshot = NULL;

    graph->extra -= snapshot_bytes(parent->snapshot);
    if (graph->node_inputs == RL_INPUTS_DELTA && inputs->members != NULL &&
        rl_graph_has_room(graph, inputs->len)) {
        snapshot = snapshot_of(parent);
    }
    log->inputs.at = graph->arena.len;
    log->is_delta = snapshot != NULL && rl_snapshot_delta(snapshot, inputs, &graph->arena,
                                                          is_state, log->number);
    if (log->is_delta) {
        log->inputs.len = graph->arena.len - log->inputs.at;
        log->inputs.given = !graph->arena.failed;
        graph->payload_bytes += log->inputs.len;
    } else if (graph->node_inputs != RL_INPUTS_NONE) {
        log->inputs = rl_graph_copy_payload(graph, (rl_text){inputs->text, inputs->len});
        if (snapshot != NULL && is_state) {
            rl_snapshot_take(snapshot, inputs, log->inputs.at, log->number);
        }
    }
    graph->extra += snapshot_bytes(parent->snapshot);
}

ptrdiff_t rl_graph_add_log(rl_graph *graph, rl_node *log)
{
    ptrdiff_t place = rl_graph_nodes(graph);

    log->index = graph->next_index++;
    log->started_at = rl_time_now();
    log->started_ns = rl_monotonic_ns();
    if (graph->nodes.cap - graph->nodes.len < sizeof *log) {
        /* by half, as most of it is copied; what is not used yet takes no memory */
        (void)rl_buf_reserve(&graph->nodes, sizeof *log + graph->nodes.len / 2);
    }
    rl_buf_add(&graph->nodes, log, sizeof *log);
    if (!graph->nodes.failed) {
        rl_graph_mark_dirty(graph, place);
    }
    return place;
}

static bool is_node(const rl_graph *graph, ptrdiff_t place, rl_text ns)
{
    const rl_node *log = rl_graph_node(graph, place);

    return log->kind == RL_LOG_NODE && rl_same_text(rl_graph_text(graph, log->ns), ns);
}

ptrdiff_t rl_graph_find_node(rl_graph *graph, rl_text ns)
{
    const ptrdiff_t count = graph->nodes.failed ? 0 : rl_graph_nodes(graph);
    ptrdiff_t place = count - 1;

    if (graph->late_node < count && is_node(graph, graph->late_node, ns)) {
        place = graph->late_node; /* many tasks may be late in one node */
    }
    while (place >= 0 && !is_node(graph, place, ns)) {
        place--;
    }
    if (place >= 0) {
        graph->late_node = place;
    }
    return place >= 0 ? place : RL_NO_NODE;
}

ptrdiff_t rl_graph_add_node(rl_graph *graph, rl_span *parent, rl_slice ns,
                            const rl_span_start *start)
{
    ptrdiff_t around =
        start->late.data != NULL ? rl_graph_find_node(graph, start->late) : parent->node;
    rl_node log = {
        .number = graph->next_node++,
        .ns = ns,
        .step = start->step,
        .within = RL_NO_NODE,
        .is_inner = around != RL_NO_NODE,
        .attempt = begin_attempt(graph, start->ns),
        .first = RL_NO_NODE,
        .last = RL_NO_NODE,
    };

    if (log.is_inner && !graph->nodes.failed) {
        log.parent = rl_graph_node(graph, around)->name;
        log.within = rl_graph_node(graph, around)->number;
    }
    graph->paused.given = false; /* the run went on */
    graph->metadata_changed = true;
    log.name = rl_graph_copy_text(graph, start->name);
    record_inputs(graph, parent, start, &log);
    return rl_graph_add_log(graph, &log);
}

/* Adds the log of a hidden node, without its inputs: they were not encoded. */
static void add_hidden_node(rl_graph *graph, rl_span *span)
{
    rl_node log = {
        .number = graph->next_node++,
        .name = span->name,
        .ns = span->ns,
        .step = span->step,
        .within = RL_NO_NODE,
        .attempt = begin_attempt(graph, rl_graph_text(graph, span->ns)),
        .first = RL_NO_NODE,
        .last = RL_NO_NODE,
    };

    graph->paused.given = false;
    graph->metadata_changed = true;
    span->node = rl_graph_add_log(graph, &log);
    span->kind = RL_SPAN_NODE;
    if (!graph->nodes.failed) {
        rl_graph_node(graph, span->node)->started_at = span->started_at;
        rl_graph_node(graph, span->node)->started_ns = span->started_ns;
    }
}

void rl_graph_reveal(rl_graph *graph, rl_span *span)
{
    if (span->within != NULL && span->within->node == RL_NO_NODE) {
        add_hidden_node(graph, span->within);
    }
    if (span->within != NULL && span->node == RL_NO_NODE) {
        span->node = span->within->node;
    }
}

/* Whether a node was cancelled while an interrupt was on its way through it, from a node
 * within it: the consumer of the stream has left at the interrupt. */
static bool was_pausing(const rl_graph *graph, const rl_node *log, const rl_span_end *end)
{
    rl_text inner = rl_graph_text(graph, graph->paused);
    rl_text outer = rl_graph_text(graph, log->ns);

    return end->outcome == RL_CANCELLED && outer.len > 0 && inner.len > outer.len &&
           inner.data[outer.len] == '|' && memcmp(inner.data, outer.data, outer.len) == 0;
}

/* An interrupt ends all enclosing nodes; the outermost one lists it. */
static void pause_at(rl_graph *graph, const rl_node *log, rl_slice interrupts)
{
    if (log->is_inner) {
        graph->paused = log->ns;
        graph->paused_by = interrupts;
        return;
    }
    graph->interrupted = true;
    graph->metadata_changed = true;
    if (interrupts.given) {
        rl_buf_add(&graph->interrupts, &interrupts, sizeof interrupts);
    }
}

void rl_graph_end_node(rl_graph *graph, ptrdiff_t place, const rl_span_end *end)
{
    rl_node *log = rl_graph_node(graph, place);
    const bool pausing = was_pausing(graph, log, end);

    log->outcome = pausing ? RL_INTERRUPTED : end->outcome;
    log->ended_ns = end->ended_ns;
    log->outputs = rl_graph_copy_payload(graph, end->outputs);
    if (!pausing) {
        log->error_type = rl_graph_copy_text(graph, end->error_type);
        log->error_text = rl_graph_copy_text(graph, end->error_text);
        log->error_traceback = copy_traceback(graph, end->error_traceback);
        rl_graph_note_error(graph, log->within, end->error_key);
    }
    graph->wide_numbers |= end->wide_numbers;
    graph->metadata_changed = true;
    end_attempts(graph, log);
    if (log->outcome == RL_INTERRUPTED) {
        pause_at(graph, log,
                 pausing ? graph->paused_by
                         : rl_graph_copy_payload(graph, end->interrupts));
    } else if (log->outcome == RL_CANCELLED && !log->is_inner) {
        graph->cut = true;
    }
    if (log->outcome != RL_COMPLETED) {
        rl_graph_cancel_calls(graph, log);
    }
    rl_graph_mark_dirty(graph, place);
}
