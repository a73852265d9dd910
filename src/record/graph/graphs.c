/* The table of open runs. See graph.h. */
#include "core/alloc.h"
#include "core/fork.h"
#include "core/lock.h"
#include "record/graph/graph_state.h"
#include "record/owner.h"

#include <pthread.h>
#include <string.h>

rl_graphs *rl_graphs_new(void)
{
    rl_graphs *graphs = rl_calloc(1, sizeof *graphs);

    if (graphs != NULL) {
        rl_ring_init(&graphs->all);
        rl_ring_init(&graphs->lanes);
        rl_ring_init(&graphs->writing);
        pthread_mutex_init(&graphs->lock, NULL);
        rl_cond_init(&graphs->settled);
        rl_owner_self(graphs->process);
        graphs->generation = rl_fork_generation();
    }
    return graphs;
}

static void before_fork(void *ctx)
{
    pthread_mutex_lock(&((rl_graphs *)ctx)->lock);
}

static void after_fork(void *ctx)
{
    pthread_mutex_unlock(&((rl_graphs *)ctx)->lock);
}

static void after_fork_in_child(void *ctx)
{
    rl_graphs *graphs = ctx;

    rl_cond_init(&graphs->settled); /* no thread waits here */
    pthread_mutex_unlock(&graphs->lock);
}

static rl_graphs *shared;

static void make_shared(void)
{
    shared = rl_graphs_new();
    if (shared != NULL) {
        shared->member = (rl_fork_member){.prepare = before_fork,
                                          .parent = after_fork,
                                          .child = after_fork_in_child,
                                          .ctx = shared};
        rl_fork_join(&shared->member);
    }
}

rl_graphs *rl_graphs_shared(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, make_shared);
    return shared;
}

rl_span *rl_graphs_span(const rl_graphs *graphs, rl_key key)
{
    rl_span *span = (rl_span *)rl_table_first(&graphs->spans, rl_key_hash(key));

    while (span != NULL &&
           (!rl_same_uuid(span->key, key) || span->key.handler != key.handler)) {
        span = (rl_span *)rl_table_next(&span->link);
    }
    return span;
}

/* Whether another handler of the same database has a span open under the same UUID. A run
 * of another object is another run, to which the program gave that UUID. */
static bool has_twin(const rl_graphs *graphs, rl_key key, const rl_place *place,
                     const void *object)
{
    rl_span *span = place != NULL
                        ? (rl_span *)rl_table_first(&graphs->spans, rl_key_hash(key))
                        : NULL;

    while (span != NULL &&
           (!rl_same_uuid(span->key, key) || span->key.handler == key.handler ||
            (object != NULL && span->kind == RL_SPAN_GRAPH &&
             span->graph->object != object) ||
            !rl_same_place(&span->graph->place, place))) {
        span = (rl_span *)rl_table_next(&span->link);
    }
    return span != NULL;
}

/* Adds a graph to the table and to its recorder's lane. */
static bool link_graph(rl_graphs *graphs, rl_graph *graph)
{
    rl_lane *lane = rl_lane_find(&graphs->lanes, graph->recorder);

    if (lane == NULL) {
        lane = rl_lane_new(&graphs->lanes, graph->recorder, &graph->memory);
    }
    if (lane == NULL || !rl_lane_add(lane, graph)) {
        if (lane != NULL) {
            rl_lane_free(lane);
        }
        return false;
    }
    graph->process = graphs->process;
    rl_ring_add(&graphs->all, &graph->in_table);
    return true;
}

/* Takes a graph out of the table, with its spans. */
static void unlink_graph(rl_graphs *graphs, rl_graph *graph)
{
    rl_lane *lane = graph->lane;
    bool before = rl_lane_is_pressed(lane);

    for (const rl_ring *at = graph->spans.after; at != &graph->spans; at = at->after) {
        rl_table_remove(&graphs->spans, &RL_RING_OF(at, rl_span, in_graph)->link);
    }
    rl_ring_remove(&graph->in_table);
    lane->graphs++; /* it stays for a moment */
    rl_lane_remove(graph);
    lane->graphs--;
    rl_graphs_count_pressed(graphs, before, rl_lane_is_pressed(lane));
    rl_lane_free(lane);
}

void rl_graphs_mark(rl_graphs *graphs, rl_graph *graph)
{
    bool before = rl_lane_is_pressed(graph->lane);

    rl_lane_mark(graph);
    rl_graphs_count_pressed(graphs, before, rl_lane_is_pressed(graph->lane));
}

/* Takes all graphs out of the table, into the list. */
static void unlink_all(rl_graphs *graphs, rl_ring *list)
{
    rl_ring *ring;

    while ((ring = rl_ring_first(&graphs->all)) != NULL) {
        rl_graph *graph = RL_RING_OF(ring, rl_graph, in_table);

        unlink_graph(graphs, graph);
        rl_ring_remove(&graph->in_writing);
        rl_ring_add(list, &graph->in_table);
    }
}

static void free_all(rl_ring *list, void (*release)(void *owner))
{
    rl_ring *ring;

    while ((ring = rl_ring_first(list)) != NULL) {
        rl_graph *graph = RL_RING_OF(ring, rl_graph, in_table);

        rl_ring_remove(ring);
        release(graph->owner);
        rl_graph_free(graph);
    }
}

void rl_graphs_free(rl_graphs *graphs, void (*release)(void *owner))
{
    rl_ring list;

    if (graphs != NULL) {
        rl_ring_init(&list);
        unlink_all(graphs, &list);
        free_all(&list, release);
        pthread_cond_destroy(&graphs->settled);
        pthread_mutex_destroy(&graphs->lock);
        rl_table_free(&graphs->spans);
        rl_free(graphs);
    }
}

bool rl_graphs_is_inherited(const rl_graphs *graphs)
{
    return graphs->generation != rl_fork_generation();
}

void rl_graphs_discard_inherited(rl_graphs *graphs, void (*release)(void *owner))
{
    rl_ring inherited;

    rl_ring_init(&inherited);
    pthread_mutex_lock(&graphs->lock);
    unlink_all(graphs, &inherited);
    rl_ring_init(&graphs->writing); /* the parent's threads write */
    rl_owner_self(graphs->process);
    graphs->generation = rl_fork_generation();
    pthread_mutex_unlock(&graphs->lock);
    free_all(&inherited, release); /* unlocked: release may call into the table */
}

static rl_found found_by(const rl_span *span)
{
    const rl_graph *graph = span != NULL ? span->graph : NULL;
    rl_found found = {.node_inputs = RL_INPUTS_NONE, .calls = RL_CALLS_NONE};

    if (graph != NULL) {
        found.owner = graph->owner;
        found.root = graph->key;
        found.node_inputs = graph->node_inputs;
        found.calls = graph->calls;
        found.at_once = graph->interval_ns == 0;
        found.is_plain = graph->is_plain;
    }
    return found;
}

/* Whether another handler of the same database records the start. */
static bool is_recorded_elsewhere(const rl_graphs *graphs, const rl_span_start *start)
{
    return has_twin(graphs, start->key, start->place, start->object) ||
           (start->has_parent && has_twin(graphs, start->parent, start->place, NULL));
}

/* Whether a start is that of a node. */
static bool is_new_ns(const rl_span_start *start, const rl_span *parent)
{
    return start->ns.data != NULL &&
           !rl_same_text(start->ns, rl_graph_text(parent->graph, parent->ns));
}

/* Whether a node is itself hidden, and does not only have the tag of one around it. */
static bool is_hidden(const rl_span_start *start, const rl_span *parent)
{
    static const rl_text first = {"__start__", sizeof "__start__" - 1};

    return start->hidden && (!parent->hidden || rl_same_text(start->name, first));
}

rl_span_kind rl_graphs_classify(rl_graphs *graphs, const rl_span_start *start,
                                rl_found *found)
{
    rl_span_kind kind = RL_SPAN_NONE;
    const rl_span *own, *parent;

    pthread_mutex_lock(&graphs->lock);
    own = rl_graphs_span(graphs, start->key);
    parent =
        own == NULL && start->has_parent ? rl_graphs_span(graphs, start->parent) : NULL;
    *found = found_by(own != NULL ? own : parent);
    if (own != NULL) {
        found->again = own->kind == RL_SPAN_GRAPH && own->graph->object != start->object;
        found->other = true;
    } else if (start->is_graph && start->ns.data == NULL) {
        found->other = is_recorded_elsewhere(graphs, start);
        kind = found->other ? RL_SPAN_NONE : RL_SPAN_GRAPH;
    } else if (parent != NULL) {
        kind = is_new_ns(start, parent) && !is_hidden(start, parent) ? RL_SPAN_NODE
                                                                     : RL_SPAN_INNER;
    } else if (is_recorded_elsewhere(graphs, start)) {
        found->other = true;
    } else if (start->is_plain || (start->is_graph && start->is_root)) {
        kind = RL_SPAN_GRAPH;
    }
    pthread_mutex_unlock(&graphs->lock);
    return kind;
}

/* Notes the hidden node that a span is in, or is. */
static void note_hidden(rl_graph *graph, rl_span *span, const rl_span *parent,
                        const rl_span_start *start)
{
    span->within = parent->within;
    if (span->within != NULL) {
        span->within->inside++;
    } else if (span->kind == RL_SPAN_INNER && start->hidden &&
               parent->node == RL_NO_NODE && is_new_ns(start, parent)) {
        span->within = span;
        span->name = rl_graph_copy_text(graph, start->name);
        span->step = start->step;
        span->started_at = rl_time_now();
        span->started_ns = rl_monotonic_ns();
    }
}

/* A span has ended; if it is a hidden node, maybe before spans within it. */
static void leave_hidden(rl_span *ended)
{
    const rl_ring *spans = &ended->graph->spans;

    if (ended->within != NULL && ended->within != ended) {
        ended->within->inside--;
        return;
    }
    for (const rl_ring *at = spans->after; ended->inside > 0 && at != spans;
         at = at->after) {
        rl_span *span = RL_RING_OF(at, rl_span, in_graph);

        if (span != ended && span->within == ended) {
            span->node = span->node != RL_NO_NODE ? span->node : ended->node;
            span->within = NULL;
            ended->inside--;
        }
    }
}

/* Fills in a span, and adds it to its graph and to the table. `parent` is NULL for the
 * graph's own span. */
static void open_span(rl_graph *graph, rl_span *span, rl_span *parent,
                      const rl_span_start *start)
{
    span->key = start->key;
    span->graph = graph;
    span->call = start->call;
    if (parent != NULL && (span->kind == RL_SPAN_NODE || span->call != RL_CALL_NONE)) {
        rl_graph_reveal(graph, parent);
    }
    span->node = start->late.data != NULL ? rl_graph_find_node(graph, start->late)
                 : parent != NULL         ? parent->node
                                          : RL_NO_NODE;
    span->log = parent != NULL && span->kind == RL_SPAN_INNER ? parent->log : RL_NO_NODE;
    span->hidden = start->hidden || (parent != NULL && parent->hidden);
    /* a tool or a model has no namespace: it is in its parent's */
    span->ns = start->ns.data != NULL || parent == NULL
                   ? rl_graph_copy_text(graph, start->ns)
                   : parent->ns;
    if (parent != NULL) {
        note_hidden(graph, span, parent, start);
    }
    if (span->kind == RL_SPAN_NODE) {
        span->node = rl_graph_add_node(graph, parent, span->ns, start);
    } else if (parent == NULL && graph->is_plain) {
        rl_span_start node = *start;

        node.name = start->call_name;
        span->node = rl_graph_add_node(graph, span, span->ns, &node);
    }
    if (start->call != RL_CALL_NONE) {
        rl_graph_start_call(graph, span, start);
    }
    rl_graph_add_values(graph, start->values);
    graph->wide_numbers |= start->wide_numbers;
    rl_ring_add(&graph->spans, &span->in_graph);
    graph->extra += rl_span_bytes(span);
}

rl_status rl_graphs_start(rl_graphs *graphs, rl_span_kind kind,
                          const rl_span_start *start, const rl_graph_start *given)
{
    rl_span *span = rl_calloc(1, sizeof *span), *parent = NULL;
    rl_graph *fresh =
        given != NULL && span != NULL ? rl_graph_new(start, given, span) : NULL;
    rl_status status = RL_NOMEM;

    pthread_mutex_lock(&graphs->lock);
    parent = start->has_parent ? rl_graphs_span(graphs, start->parent) : NULL;
    if (given != NULL && parent != NULL) {
        parent->graph->has_graphs = true;
        parent = NULL;
    }
    if (span != NULL && (fresh != NULL || parent != NULL) &&
        rl_graphs_span(graphs, start->key) == NULL &&
        rl_table_add(&graphs->spans, &span->link, rl_key_hash(start->key))) {
        rl_graph *graph = fresh != NULL ? fresh : parent->graph;

        if (fresh != NULL && !link_graph(graphs, graph)) {
            rl_table_remove(&graphs->spans, &span->link);
        } else {
            span->kind = kind;
            if (fresh != NULL) {
                graph->key = start->key;
            }
            open_span(graph, span, parent, start);
            rl_graphs_mark(graphs, graph);
            span = NULL;
            fresh = NULL;
            status = RL_OK;
        }
    }
    pthread_mutex_unlock(&graphs->lock);
    rl_span_free(span);
    rl_graph_free(fresh);
    return status;
}

/* Remembers an ended span: LangChain calls the other handlers for the same end. */
static void remember_ended(rl_graphs *graphs, rl_key key)
{
    graphs->recent[graphs->next_recent] = key;
    graphs->next_recent = (graphs->next_recent + 1) % RL_RECENT;
}

/* Whether another handler has the span open, or has ended it a moment ago. */
static bool is_known(const rl_graphs *graphs, rl_key key)
{
    const rl_span *span = (rl_span *)rl_table_first(&graphs->spans, rl_key_hash(key));
    bool found;

    while (span != NULL && !rl_same_uuid(span->key, key)) {
        span = (rl_span *)rl_table_next(&span->link);
    }
    found = span != NULL;
    for (size_t i = 0; i < RL_RECENT && !found; i++) {
        found = rl_same_uuid(graphs->recent[i], key);
    }
    return found;
}

rl_span_kind rl_graphs_find(rl_graphs *graphs, rl_key key, rl_found *found)
{
    const rl_span *span;
    rl_span_kind kind;

    pthread_mutex_lock(&graphs->lock);
    span = rl_graphs_span(graphs, key);
    kind = span != NULL ? span->kind : RL_SPAN_NONE;
    *found = found_by(span);
    found->call = span != NULL ? span->call : RL_CALL_NONE;
    found->hidden = span != NULL && span->within == span;
    found->other = span == NULL && is_known(graphs, key);
    pthread_mutex_unlock(&graphs->lock);
    return kind;
}

static void end_span(const rl_span *span, const rl_span_end *end)
{
    rl_graph *graph = span->graph;

    if (span->kind == RL_SPAN_NODE && !graph->nodes.failed) {
        rl_graph_end_node(graph, span->node, end);
    } else if (span->call != RL_CALL_NONE) {
        rl_graph_end_call(graph, span, end);
    }
    rl_graph_add_values(graph, end->values);
}

void rl_graphs_reveal(rl_graphs *graphs, rl_key key)
{
    rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = rl_graphs_span(graphs, key);
    if (span != NULL) {
        rl_graph_reveal(span->graph, span);
    }
    pthread_mutex_unlock(&graphs->lock);
}

bool rl_graphs_end(rl_graphs *graphs, rl_key key, const rl_span_end *end)
{
    rl_span *span;
    bool found;

    pthread_mutex_lock(&graphs->lock);
    span = rl_graphs_span(graphs, key);
    if (span != NULL && span->kind == RL_SPAN_GRAPH) {
        span = NULL;
    }
    found = span != NULL;
    if (found) {
        end_span(span, end);
        rl_ring_remove(&span->in_graph);
        leave_hidden(span);
        rl_table_remove(&graphs->spans, &span->link);
        span->graph->extra -= rl_span_bytes(span);
        remember_ended(graphs, key);
        rl_graphs_mark(graphs, span->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
    rl_span_free(span);
    return found;
}

bool rl_graphs_has_call(rl_graphs *graphs, rl_key around, const rl_key *call)
{
    const rl_span *outer, *span;
    bool found = false;

    pthread_mutex_lock(&graphs->lock);
    outer = rl_graphs_span(graphs, around);
    for (const rl_ring *at = outer != NULL ? outer->graph->spans.after : NULL;
         at != NULL && at != &outer->graph->spans && !found; at = at->after) {
        span = RL_RING_OF(at, rl_span, in_graph);
        found = span != outer && span->call == RL_CALL_LLM &&
                (outer->kind == RL_SPAN_GRAPH || span->node == outer->node) &&
                (call == NULL || rl_same_uuid(span->key, *call));
    }
    pthread_mutex_unlock(&graphs->lock);
    return found;
}

void rl_graphs_stream(rl_graphs *graphs, rl_key key)
{
    const rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = rl_graphs_span(graphs, key);
    if (span != NULL && span->call == RL_CALL_LLM && span->log != RL_NO_NODE &&
        !span->graph->nodes.failed) {
        rl_node *log = rl_graph_node(span->graph, span->log);

        if (log->first_token_ns == 0) {
            log->first_token_ns = rl_monotonic_ns();
        }
    }
    pthread_mutex_unlock(&graphs->lock);
}

void rl_graphs_event(rl_graphs *graphs, rl_key key, rl_text name, rl_text data,
                     rl_values values)
{
    rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = rl_graphs_span(graphs, key);
    if (span != NULL) {
        rl_graph_reveal(span->graph, span);
        rl_graph_add_event(span->graph, span, name, data);
        rl_graph_add_values(span->graph, values);
        rl_graphs_mark(graphs, span->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
}

bool rl_graphs_knows_error(rl_graphs *graphs, rl_key key, const rl_error_keys *error)
{
    const rl_span *span;
    bool known = false;

    pthread_mutex_lock(&graphs->lock);
    span = rl_graphs_span(graphs, key);
    if (span != NULL && !span->graph->nodes.failed) {
        int64_t node = span->node != RL_NO_NODE
                           ? rl_graph_node(span->graph, span->node)->number
                           : RL_NO_NODE;

        known = rl_graph_knows_error(span->graph, node, error);
    }
    pthread_mutex_unlock(&graphs->lock);
    return known;
}

void rl_graphs_progress(rl_graphs *graphs, rl_key key, bool *whole, bool *interrupted)
{
    const rl_span *span;

    *whole = false;
    *interrupted = false;
    pthread_mutex_lock(&graphs->lock);
    span = rl_graphs_span(graphs, key);
    if (span != NULL && span->kind == RL_SPAN_GRAPH) {
        const rl_ring *spans = &span->graph->spans;

        *interrupted = span->graph->interrupted;
        *whole = !span->graph->cut;
        for (const rl_ring *at = spans->after; at != spans && *whole; at = at->after) {
            *whole = RL_RING_OF(at, rl_span, in_graph)->kind != RL_SPAN_NODE;
        }
    }
    pthread_mutex_unlock(&graphs->lock);
}

void rl_graphs_interrupt(rl_graphs *graphs, rl_key key, rl_text interrupts)
{
    rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = rl_graphs_span(graphs, key);
    if (span != NULL) {
        span->graph->interrupted = true;
        span->graph->metadata_changed = true;
        span->graph->reported = rl_graph_copy_text(span->graph, interrupts);
        rl_graphs_mark(graphs, span->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
}

void rl_graphs_resume(rl_graphs *graphs, rl_key key)
{
    rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = rl_graphs_span(graphs, key);
    if (span != NULL) {
        span->graph->resumed = true;
        span->graph->metadata_changed = true;
        rl_graphs_mark(graphs, span->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
}

rl_graph *rl_graphs_take(rl_graphs *graphs, rl_key key)
{
    rl_graph *graph = NULL;
    rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = rl_graphs_span(graphs, key);
    if (span != NULL && span->kind == RL_SPAN_GRAPH) {
        graph = span->graph;
        unlink_graph(graphs, graph);
        remember_ended(graphs, key);
    }
    pthread_mutex_unlock(&graphs->lock);
    return graph;
}
