/* The table of open runs. See graph.h. */
#include "core/alloc.h"
#include "core/fork.h"
#include "record/graph/graph_state.h"
#include "record/owner.h"

#include <pthread.h>

/* Limits of the table: a stream that its program abandons never ends. */
#define MAX_GRAPHS ((size_t)10000)
#define MAX_BYTES ((size_t)256 << 20)
#define RECENT 64 /* ended spans that are remembered for other handlers */

struct rl_graphs {
    pthread_mutex_t lock;
    rl_span **buckets; /* owned; chains of open spans */
    size_t size;       /* a power of two */
    size_t spans, graphs, bytes;
    rl_graph *oldest, *newest;
    rl_key recent[RECENT]; /* the last spans that ended, in a ring */
    size_t next_recent;
    char process[RL_OWNER_TEXT];
    unsigned generation; /* rl_fork_generation of the process that opened the graphs */
    rl_fork_member member;
};

rl_graphs *rl_graphs_new(void)
{
    rl_graphs *graphs = rl_calloc(1, sizeof *graphs);

    if (graphs != NULL) {
        graphs->size = 64;
        graphs->buckets = rl_calloc(graphs->size, sizeof(rl_span *));
        if (graphs->buckets == NULL) {
            rl_free(graphs);
            return NULL;
        }
        pthread_mutex_init(&graphs->lock, NULL);
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

static rl_graphs *shared;

static void make_shared(void)
{
    shared = rl_graphs_new();
    if (shared != NULL) {
        shared->member = (rl_fork_member){.prepare = before_fork,
                                          .parent = after_fork,
                                          .child = after_fork,
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

/* Both halves count: UUIDs of version 7 that are made together differ in the low one
 * only. */
static size_t bucket_of(const rl_graphs *graphs, rl_key key)
{
    uint64_t mixed = (key.low ^ key.high) * UINT64_C(0x9E3779B97F4A7C15);

    return (size_t)(mixed >> 32) & (graphs->size - 1);
}

static bool same_uuid(rl_key a, rl_key b)
{
    return a.low == b.low && a.high == b.high;
}

static rl_span *find(const rl_graphs *graphs, rl_key key)
{
    rl_span *span = graphs->buckets[bucket_of(graphs, key)];

    while (span != NULL &&
           (!same_uuid(span->key, key) || span->key.handler != key.handler)) {
        span = span->next_in_bucket;
    }
    return span;
}

/* The span that another handler of the same recorder has open under the same UUID. */
static rl_span *find_twin(const rl_graphs *graphs, rl_key key, const void *sink)
{
    rl_span *span = graphs->buckets[bucket_of(graphs, key)];

    while (span != NULL &&
           (!same_uuid(span->key, key) || span->key.handler == key.handler ||
            span->graph->sink != sink)) {
        span = span->next_in_bucket;
    }
    return span;
}

/* Doubles the table. Without memory the chains grow longer instead. */
static void grow(rl_graphs *graphs)
{
    size_t before = graphs->size;
    rl_span **old = graphs->buckets;
    rl_span **buckets = rl_calloc(before * 2, sizeof *buckets);

    if (buckets == NULL) {
        return;
    }
    graphs->buckets = buckets;
    graphs->size = before * 2;
    for (size_t i = 0; i < before; i++) {
        while (old[i] != NULL) {
            rl_span *span = old[i];
            rl_span **bucket = &buckets[bucket_of(graphs, span->key)];

            old[i] = span->next_in_bucket;
            span->next_in_bucket = *bucket;
            *bucket = span;
        }
    }
    rl_free(old);
}

static void insert(rl_graphs *graphs, rl_span *span)
{
    rl_span **bucket;

    if (graphs->spans >= graphs->size) {
        grow(graphs);
    }
    bucket = &graphs->buckets[bucket_of(graphs, span->key)];
    span->next_in_bucket = *bucket;
    *bucket = span;
    graphs->spans++;
}

static void unlink_span(rl_graphs *graphs, const rl_span *span)
{
    rl_span **at = &graphs->buckets[bucket_of(graphs, span->key)];

    while (*at != span) {
        at = &(*at)->next_in_bucket;
    }
    *at = span->next_in_bucket;
    graphs->spans--;
}

static void link_graph(rl_graphs *graphs, rl_graph *graph)
{
    graph->process = graphs->process;
    graph->older = graphs->newest;
    if (graphs->newest != NULL) {
        graphs->newest->newer = graph;
    } else {
        graphs->oldest = graph;
    }
    graphs->newest = graph;
    graphs->graphs++;
}

/* Takes a graph out of the table, with its spans. */
static void unlink_graph(rl_graphs *graphs, rl_graph *graph)
{
    for (const rl_span *span = graph->spans; span != NULL; span = span->next_in_graph) {
        unlink_span(graphs, span);
    }
    if (graph->older != NULL) {
        graph->older->newer = graph->newer;
    } else {
        graphs->oldest = graph->newer;
    }
    if (graph->newer != NULL) {
        graph->newer->older = graph->older;
    } else {
        graphs->newest = graph->older;
    }
    graphs->graphs--;
    graphs->bytes -= graph->bytes;
}

/* Records that an event has changed a graph. */
static void mark_changed(rl_graphs *graphs, rl_graph *graph)
{
    size_t bytes = graph->arena.cap + graph->nodes.cap;

    graphs->bytes += bytes - graph->bytes;
    graph->bytes = bytes;
    graph->changed = true;
}

/* Takes all graphs out of the table. Returns the oldest; `newer` leads to the others. */
static rl_graph *unlink_all(rl_graphs *graphs)
{
    rl_graph *first = graphs->oldest;

    while (graphs->oldest != NULL) {
        unlink_graph(graphs, graphs->oldest);
    }
    return first;
}

static void free_all(rl_graph *graph, void (*release)(void *owner))
{
    while (graph != NULL) {
        rl_graph *next = graph->newer;

        release(graph->owner);
        rl_graph_free(graph);
        graph = next;
    }
}

void rl_graphs_free(rl_graphs *graphs, void (*release)(void *owner))
{
    if (graphs != NULL) {
        free_all(unlink_all(graphs), release);
        pthread_mutex_destroy(&graphs->lock);
        rl_free(graphs->buckets);
        rl_free(graphs);
    }
}

bool rl_graphs_is_inherited(const rl_graphs *graphs)
{
    return graphs->generation != rl_fork_generation();
}

void rl_graphs_discard_inherited(rl_graphs *graphs, void (*release)(void *owner))
{
    rl_graph *inherited;

    pthread_mutex_lock(&graphs->lock);
    inherited = unlink_all(graphs);
    rl_owner_self(graphs->process);
    graphs->generation = rl_fork_generation();
    pthread_mutex_unlock(&graphs->lock);
    free_all(inherited, release); /* unlocked: release may call into the table */
}

static rl_found found_by(const rl_span *span)
{
    const rl_graph *graph = span != NULL ? span->graph : NULL;
    rl_found found = {NULL, false, {0, 0, NULL}, RL_INPUTS_NONE, false};

    if (graph != NULL) {
        found.owner = graph->owner;
        found.root = graph->key;
        found.node_inputs = graph->node_inputs;
        found.at_once = graph->interval_ns == 0;
    }
    return found;
}

/* Whether another handler of the same recorder records the start. */
static bool is_recorded_elsewhere(const rl_graphs *graphs, const rl_span_start *start)
{
    const rl_span *twin = find_twin(graphs, start->key, start->sink);

    if (twin != NULL && twin->kind == RL_SPAN_GRAPH) {
        /* another object: another run to which the program gave the same UUID */
        return twin->graph->object == start->object;
    }
    return twin != NULL ||
           (start->has_parent && find_twin(graphs, start->parent, start->sink) != NULL);
}

rl_span_kind rl_graphs_classify(rl_graphs *graphs, const rl_span_start *start,
                                rl_found *found)
{
    rl_span_kind kind = RL_SPAN_NONE;
    const rl_span *own, *parent;

    pthread_mutex_lock(&graphs->lock);
    own = find(graphs, start->key);
    parent = own == NULL && start->has_parent ? find(graphs, start->parent) : NULL;
    *found = found_by(own != NULL ? own : parent);
    if (own != NULL) {
        found->other = true;
    } else if (start->is_graph && start->ns.data == NULL) {
        found->other = is_recorded_elsewhere(graphs, start);
        kind = found->other ? RL_SPAN_NONE : RL_SPAN_GRAPH;
    } else if (parent != NULL) {
        bool new_ns = start->ns.data != NULL &&
                      !rl_same_text(start->ns, rl_graph_text(parent->graph, parent->ns));

        kind = new_ns && !start->hidden && !parent->hidden ? RL_SPAN_NODE : RL_SPAN_INNER;
    } else if (is_recorded_elsewhere(graphs, start)) {
        found->other = true;
    } else if (start->is_graph && start->is_root) {
        kind = RL_SPAN_GRAPH;
    }
    pthread_mutex_unlock(&graphs->lock);
    return kind;
}

/* Fills in a span, and adds it to its graph and to the table. `parent` is NULL for the
 * graph's own span. */
static void open_span(rl_graphs *graphs, rl_graph *graph, rl_span *span,
                      const rl_span *parent, const rl_span_start *start)
{
    span->key = start->key;
    span->graph = graph;
    span->call = start->call;
    span->node = parent != NULL ? parent->node : RL_NO_NODE;
    span->hidden = start->hidden || (parent != NULL && parent->hidden);
    /* a tool or a model has no namespace: it is in its parent's */
    span->ns = start->ns.data != NULL || parent == NULL
                   ? rl_graph_copy_text(graph, start->ns)
                   : parent->ns;
    if (span->kind == RL_SPAN_NODE) {
        span->node = rl_graph_add_node(graph, span->node, span->ns, start);
    } else if (start->call != RL_CALL_NONE) {
        rl_graph_count_call(graph, span->node, start->call);
        span->model = rl_graph_copy_text(graph, start->name);
    }
    graph->wide_numbers |= start->wide_numbers;
    span->next_in_graph = graph->spans;
    graph->spans = span;
    insert(graphs, span);
}

rl_status rl_graphs_start(rl_graphs *graphs, rl_span_kind kind,
                          const rl_span_start *start, const rl_graph_start *given)
{
    rl_span *span = rl_calloc(1, sizeof *span);
    rl_graph *fresh = given != NULL ? rl_graph_new(start, given) : NULL;
    rl_status status = RL_NOMEM;
    const rl_span *parent = NULL;

    pthread_mutex_lock(&graphs->lock);
    if (given == NULL) {
        parent = start->has_parent ? find(graphs, start->parent) : NULL;
    }
    if (span != NULL && (fresh != NULL || parent != NULL) &&
        find(graphs, start->key) == NULL) {
        rl_graph *graph = fresh != NULL ? fresh : parent->graph;

        span->kind = kind;
        if (fresh != NULL) {
            graph->key = start->key;
            link_graph(graphs, graph);
        }
        open_span(graphs, graph, span, parent, start);
        mark_changed(graphs, graph);
        span = NULL;
        fresh = NULL;
        status = RL_OK;
    }
    pthread_mutex_unlock(&graphs->lock);
    rl_free(span);
    rl_graph_free(fresh);
    return status;
}

/* Remembers an ended span: LangChain calls the other handlers for the same end. */
static void remember_ended(rl_graphs *graphs, rl_key key)
{
    graphs->recent[graphs->next_recent] = key;
    graphs->next_recent = (graphs->next_recent + 1) % RECENT;
}

/* Whether another handler has the span open, or has ended it a moment ago. */
static bool is_known(const rl_graphs *graphs, rl_key key)
{
    const rl_span *span = graphs->buckets[bucket_of(graphs, key)];
    bool found;

    while (span != NULL && !same_uuid(span->key, key)) {
        span = span->next_in_bucket;
    }
    found = span != NULL;
    for (size_t i = 0; i < RECENT && !found; i++) {
        found = same_uuid(graphs->recent[i], key);
    }
    return found;
}

rl_span_kind rl_graphs_find(rl_graphs *graphs, rl_key key, rl_found *found)
{
    const rl_span *span;
    rl_span_kind kind;

    pthread_mutex_lock(&graphs->lock);
    span = find(graphs, key);
    kind = span != NULL ? span->kind : RL_SPAN_NONE;
    *found = found_by(span);
    found->other = span == NULL && is_known(graphs, key);
    pthread_mutex_unlock(&graphs->lock);
    return kind;
}

static void end_span(const rl_span *span, const rl_span_end *end)
{
    if (span->kind == RL_SPAN_NODE && !span->graph->nodes.failed) {
        rl_graph_end_node(span->graph, span->node, end);
    } else if (span->call != RL_CALL_NONE) {
        rl_graph_end_call(span->graph, span, end);
    }
}

bool rl_graphs_end(rl_graphs *graphs, rl_key key, const rl_span_end *end)
{
    rl_span *span, **at;
    bool found;

    pthread_mutex_lock(&graphs->lock);
    span = find(graphs, key);
    if (span != NULL && span->kind == RL_SPAN_GRAPH) {
        span = NULL;
    }
    found = span != NULL;
    if (found) {
        end_span(span, end);
        for (at = &span->graph->spans; *at != span; at = &(*at)->next_in_graph) {
        }
        *at = span->next_in_graph;
        unlink_span(graphs, span);
        remember_ended(graphs, key);
        mark_changed(graphs, span->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
    rl_free(span);
    return found;
}

void rl_graphs_interrupt(rl_graphs *graphs, rl_key key, rl_text interrupts)
{
    rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = find(graphs, key);
    if (span != NULL) {
        span->graph->interrupted = true;
        span->graph->reported = rl_graph_copy_text(span->graph, interrupts);
        mark_changed(graphs, span->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
}

void rl_graphs_resume(rl_graphs *graphs, rl_key key)
{
    rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = find(graphs, key);
    if (span != NULL) {
        span->graph->resumed = true;
        mark_changed(graphs, span->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
}

rl_graph *rl_graphs_take(rl_graphs *graphs, rl_key key)
{
    rl_graph *graph = NULL;
    rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = find(graphs, key);
    if (span != NULL && span->kind == RL_SPAN_GRAPH) {
        graph = span->graph;
        unlink_graph(graphs, graph);
        remember_ended(graphs, key);
    }
    pthread_mutex_unlock(&graphs->lock);
    return graph;
}

rl_graph *rl_graphs_take_excess(rl_graphs *graphs)
{
    rl_graph *graph = NULL;

    pthread_mutex_lock(&graphs->lock);
    if (graphs->graphs > MAX_GRAPHS ||
        (graphs->bytes > MAX_BYTES && graphs->graphs > 1)) {
        graph = graphs->oldest;
        unlink_graph(graphs, graph);
    }
    pthread_mutex_unlock(&graphs->lock);
    return graph;
}

static void write_now(rl_graph *graph, rl_run *run)
{
    rl_graph_write(graph, NULL, run);
    graph->changed = false;
    graph->written_ns = rl_monotonic_ns();
}

/* Whether a graph is written at intervals (or with `all` at all), not only at its
 * events. */
static bool is_watched(const rl_graph *graph, bool all)
{
    return graph->interval_ns != RL_LIVE_NEVER && (graph->interval_ns > 0 || all);
}

bool rl_graphs_write_next(rl_graphs *graphs, const void *recorder, bool all, rl_run *run,
                          uint64_t *next)
{
    uint64_t now = rl_monotonic_ns();
    rl_graph *graph;

    *next = RL_LIVE_NEVER;
    if (rl_graphs_is_inherited(graphs)) {
        return false;
    }
    pthread_mutex_lock(&graphs->lock);
    for (graph = graphs->oldest; graph != NULL; graph = graph->newer) {
        if (graph->recorder == recorder && is_watched(graph, all)) {
            uint64_t when = graph->written_ns + graph->interval_ns;

            if (graph->changed && (all || when <= now)) {
                break;
            }
            when = when > now ? when : now + graph->interval_ns;
            *next = when < *next ? when : *next;
        }
    }
    if (graph != NULL) {
        write_now(graph, run);
    }
    pthread_mutex_unlock(&graphs->lock);
    return graph != NULL;
}

bool rl_graphs_write_one(rl_graphs *graphs, rl_key key, rl_run *run)
{
    rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = find(graphs, key);
    if (span != NULL) {
        write_now(span->graph, run);
    }
    pthread_mutex_unlock(&graphs->lock);
    return span != NULL;
}
