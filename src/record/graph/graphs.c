/* The table of open runs. See graph.h. */
#include "core/alloc.h"
#include "core/fork.h"
#include "record/graph/graph_state.h"
#include "record/owner.h"

#include <pthread.h>

/* What the table holds at most. Streams that were left hanging stay open for ever. */
#define GRAPHS ((size_t)10000)
#define BYTES ((size_t)256 << 20)
#define ENDED 64 /* ends that other handlers may still be told of */

struct rl_graphs {
    pthread_mutex_t lock;
    rl_span **buckets; /* owned; chains of open spans */
    size_t size;       /* a power of two */
    size_t spans, graphs, bytes;
    rl_graph *oldest, *newest;
    rl_key ended[ENDED]; /* the last ones, in a ring */
    size_t next_ended;
    char process[RL_OWNER_TEXT];
    unsigned generation; /* of forks, in which the graphs were begun */
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

/* UUIDs of version 7 differ in their low half; those of version 4 everywhere. */
static size_t bucket_of(const rl_graphs *graphs, rl_key key)
{
    uint64_t mixed = (key.low ^ key.high) * UINT64_C(0x9E3779B97F4A7C15);

    return (size_t)(mixed >> 32) & (graphs->size - 1);
}

static bool same_run(rl_key a, rl_key b)
{
    return a.low == b.low && a.high == b.high;
}

static rl_span *find(const rl_graphs *graphs, rl_key key)
{
    rl_span *one = graphs->buckets[bucket_of(graphs, key)];

    while (one != NULL && (!same_run(one->key, key) || one->key.handler != key.handler)) {
        one = one->next_in_bucket;
    }
    return one;
}

/* What another handler of the same recorder has open for the same run of LangChain's. */
static rl_span *find_twin(const rl_graphs *graphs, rl_key key, const void *sink)
{
    rl_span *one = graphs->buckets[bucket_of(graphs, key)];

    while (one != NULL && (!same_run(one->key, key) || one->key.handler == key.handler ||
                           one->graph->sink != sink)) {
        one = one->next_in_bucket;
    }
    return one;
}

/* Doubles the table; where there is no memory the chains just grow longer. */
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
            rl_span *one = old[i];
            rl_span **bucket = &buckets[bucket_of(graphs, one->key)];

            old[i] = one->next_in_bucket;
            one->next_in_bucket = *bucket;
            *bucket = one;
        }
    }
    rl_free(old);
}

static void insert(rl_graphs *graphs, rl_span *one)
{
    rl_span **bucket;

    if (graphs->spans >= graphs->size) {
        grow(graphs);
    }
    bucket = &graphs->buckets[bucket_of(graphs, one->key)];
    one->next_in_bucket = *bucket;
    *bucket = one;
    graphs->spans++;
}

static void unlink_span(rl_graphs *graphs, const rl_span *one)
{
    rl_span **at = &graphs->buckets[bucket_of(graphs, one->key)];

    while (*at != one) {
        at = &(*at)->next_in_bucket;
    }
    *at = one->next_in_bucket;
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

/* Takes a graph out, with all of its spans. */
static void unlink_graph(rl_graphs *graphs, rl_graph *graph)
{
    for (const rl_span *one = graph->spans; one != NULL; one = one->next_in_graph) {
        unlink_span(graphs, one);
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

/* An event has changed a graph. */
static void touch(rl_graphs *graphs, rl_graph *graph)
{
    size_t bytes = graph->arena.cap + graph->nodes.cap;

    graphs->bytes += bytes - graph->bytes;
    graph->bytes = bytes;
    graph->changed = true;
}

/* Takes all graphs out: the oldest, from which `newer` leads to the others. */
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
    free_all(inherited, release); /* whose code may come back here */
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

/* Whether a start is told by several handlers of one recorder, and another one has it. */
static bool is_others(const rl_graphs *graphs, const rl_span_start *start)
{
    const rl_span *twin = find_twin(graphs, start->key, start->sink);

    if (twin != NULL && twin->kind == RL_SPAN_GRAPH) { /* or another run of that id */
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
        found->other = is_others(graphs, start);
        kind = found->other ? RL_SPAN_NONE : RL_SPAN_GRAPH;
    } else if (parent != NULL) {
        bool moved = start->ns.data != NULL &&
                     !rl_same_text(start->ns, rl_graph_text(parent->graph, parent->ns));

        kind = moved && !start->hidden && !parent->hidden ? RL_SPAN_NODE : RL_SPAN_INNER;
    } else if (is_others(graphs, start)) {
        found->other = true;
    } else if (start->is_graph && start->is_root) {
        kind = RL_SPAN_GRAPH;
    }
    pthread_mutex_unlock(&graphs->lock);
    return kind;
}

/* A span of a graph that is in the table. `parent` is NULL for the graph's own. */
static void open_span(rl_graphs *graphs, rl_graph *graph, rl_span *one,
                      const rl_span *parent, const rl_span_start *start)
{
    one->key = start->key;
    one->graph = graph;
    one->call = start->call;
    one->node = parent != NULL ? parent->node : RL_NO_NODE;
    one->hidden = start->hidden || (parent != NULL && parent->hidden);
    /* what has no namespace of its own, a tool or a model, is in its parent's */
    one->ns = start->ns.data != NULL || parent == NULL
                  ? rl_graph_copy_text(graph, start->ns)
                  : parent->ns;
    if (one->kind == RL_SPAN_NODE) {
        one->node = rl_graph_add_node(graph, one->node, one->ns, start);
    } else if (start->call != RL_CALL_NONE) {
        rl_graph_count_call(graph, one->node, start->call);
        one->model = rl_graph_copy_text(graph, start->name);
    }
    graph->wide_numbers |= start->wide_numbers;
    one->next_in_graph = graph->spans;
    graph->spans = one;
    insert(graphs, one);
}

rl_status rl_graphs_start(rl_graphs *graphs, rl_span_kind kind,
                          const rl_span_start *start, const rl_graph_start *given)
{
    rl_span *one = rl_calloc(1, sizeof *one);
    rl_graph *fresh = given != NULL ? rl_graph_new(start, given) : NULL;
    rl_status status = RL_NOMEM;
    const rl_span *parent = NULL;

    pthread_mutex_lock(&graphs->lock);
    if (given == NULL) {
        parent = start->has_parent ? find(graphs, start->parent) : NULL;
    }
    if (one != NULL && (fresh != NULL || parent != NULL) &&
        find(graphs, start->key) == NULL) {
        rl_graph *graph = fresh != NULL ? fresh : parent->graph;

        one->kind = kind;
        if (fresh != NULL) {
            graph->key = start->key;
            link_graph(graphs, graph);
        }
        open_span(graphs, graph, one, parent, start);
        touch(graphs, graph);
        one = NULL;
        fresh = NULL;
        status = RL_OK;
    }
    pthread_mutex_unlock(&graphs->lock);
    rl_free(one);
    rl_graph_free(fresh);
    return status;
}

/* Notes what a handler has ended: the next in the list is told of the same end. */
static void note_ended(rl_graphs *graphs, rl_key key)
{
    graphs->ended[graphs->next_ended] = key;
    graphs->next_ended = (graphs->next_ended + 1) % ENDED;
}

/* Whether another handler has it open, or has ended it a moment ago. */
static bool is_known(const rl_graphs *graphs, rl_key key)
{
    const rl_span *one = graphs->buckets[bucket_of(graphs, key)];
    bool found;

    while (one != NULL && !same_run(one->key, key)) {
        one = one->next_in_bucket;
    }
    found = one != NULL;

    for (size_t i = 0; i < ENDED && !found; i++) {
        found = same_run(graphs->ended[i], key);
    }
    return found;
}

rl_span_kind rl_graphs_find(rl_graphs *graphs, rl_key key, rl_found *found)
{
    const rl_span *one;
    rl_span_kind kind;

    pthread_mutex_lock(&graphs->lock);
    one = find(graphs, key);
    kind = one != NULL ? one->kind : RL_SPAN_NONE;
    *found = found_by(one);
    found->other = one == NULL && is_known(graphs, key);
    pthread_mutex_unlock(&graphs->lock);
    return kind;
}

static void end_span(const rl_span *one, const rl_span_end *end)
{
    if (one->kind == RL_SPAN_NODE && !one->graph->nodes.failed) {
        rl_graph_end_node(one->graph, one->node, end);
    } else if (one->call != RL_CALL_NONE) {
        rl_graph_end_call(one->graph, one, end);
    }
}

bool rl_graphs_end(rl_graphs *graphs, rl_key key, const rl_span_end *end)
{
    rl_span *one, **at;

    pthread_mutex_lock(&graphs->lock);
    one = find(graphs, key);
    if (one != NULL && one->kind == RL_SPAN_GRAPH) {
        one = NULL;
    }
    if (one != NULL) {
        end_span(one, end);
        for (at = &one->graph->spans; *at != one; at = &(*at)->next_in_graph) {
        }
        *at = one->next_in_graph;
        unlink_span(graphs, one);
        note_ended(graphs, key);
        touch(graphs, one->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
    rl_free(one);
    return one != NULL;
}

void rl_graphs_interrupt(rl_graphs *graphs, rl_key key, rl_text interrupts)
{
    rl_span *one;

    pthread_mutex_lock(&graphs->lock);
    one = find(graphs, key);
    if (one != NULL) {
        one->graph->interrupted = true;
        one->graph->told = rl_graph_copy_text(one->graph, interrupts);
        touch(graphs, one->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
}

void rl_graphs_resume(rl_graphs *graphs, rl_key key)
{
    rl_span *one;

    pthread_mutex_lock(&graphs->lock);
    one = find(graphs, key);
    if (one != NULL) {
        one->graph->resumed = true;
        touch(graphs, one->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
}

rl_graph *rl_graphs_take(rl_graphs *graphs, rl_key key)
{
    rl_graph *graph = NULL;
    rl_span *one;

    pthread_mutex_lock(&graphs->lock);
    one = find(graphs, key);
    if (one != NULL && one->kind == RL_SPAN_GRAPH) {
        graph = one->graph;
        unlink_graph(graphs, graph);
        note_ended(graphs, key);
    }
    pthread_mutex_unlock(&graphs->lock);
    return graph;
}

rl_graph *rl_graphs_take_excess(rl_graphs *graphs)
{
    rl_graph *graph = NULL;

    pthread_mutex_lock(&graphs->lock);
    if (graphs->graphs > GRAPHS || (graphs->bytes > BYTES && graphs->graphs > 1)) {
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

/* Whether somebody has to look after a graph: not where each event writes it. */
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
            uint64_t due = graph->written_ns + graph->interval_ns;

            if (graph->changed && (all || due <= now)) {
                break;
            }
            due = due > now ? due : now + graph->interval_ns;
            *next = due < *next ? due : *next;
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
    rl_span *one;

    pthread_mutex_lock(&graphs->lock);
    one = find(graphs, key);
    if (one != NULL) {
        write_now(one->graph, run);
    }
    pthread_mutex_unlock(&graphs->lock);
    return one != NULL;
}
