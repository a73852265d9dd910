/* The open runs of graphs. See graph.h. */
#include "record/graph.h"

#include "core/alloc.h"
#include "core/json.h"

#include <pthread.h>
#include <string.h>

#define NO_NODE (-1)

const char *const rl_outcome_texts[] = {"running", "completed", "failed", "interrupted",
                                        "cancelled"};

/* A node log. Texts are slices of the graph's arena. */
typedef struct node {
    rl_slice name, inputs, outputs, error_type, error_text, ns;
    int64_t step, attempt;
    int64_t started_at;
    uint64_t started_ns, ended_ns;
    rl_outcome outcome;
    ptrdiff_t parent; /* the index of the enclosing node, or NO_NODE */
} node;

typedef struct span {
    rl_key key;
    struct span *next_in_bucket, *next_in_graph;
    rl_graph *graph;
    rl_span_kind kind;
    bool hidden;
    rl_slice ns;
    ptrdiff_t node; /* its own index for a node, else that of the enclosing one */
} span;

struct rl_graph {
    void *owner;
    span *spans; /* owned; the graph's own is the last of the list */
    rl_buf arena;
    rl_buf nodes; /* of node */
    rl_slice wpk_id, run_id, thread_id, metadata, inputs;
    int64_t started_at;
    uint64_t started_ns;
    unsigned unfinished_attempts; /* nodes that did not complete, so may be tried again */
    bool interrupted, wide_numbers;
};

struct rl_graphs {
    pthread_mutex_t lock;
    span **buckets; /* owned; chains of open spans */
    size_t size;    /* a power of two */
    size_t count;
};

rl_graphs *rl_graphs_new(void)
{
    rl_graphs *graphs = rl_calloc(1, sizeof *graphs);

    if (graphs != NULL) {
        graphs->size = 64;
        graphs->buckets = rl_calloc(graphs->size, sizeof *graphs->buckets);
        if (graphs->buckets == NULL) {
            rl_free(graphs);
            return NULL;
        }
        pthread_mutex_init(&graphs->lock, NULL);
    }
    return graphs;
}

void rl_graph_free(rl_graph *graph)
{
    span *next;

    if (graph != NULL) {
        for (span *one = graph->spans; one != NULL; one = next) {
            next = one->next_in_graph;
            rl_free(one);
        }
        rl_buf_free(&graph->arena);
        rl_buf_free(&graph->nodes);
        rl_free(graph);
    }
}

void rl_graphs_free(rl_graphs *graphs, void (*release)(void *owner))
{
    if (graphs == NULL) {
        return;
    }
    for (size_t i = 0; i < graphs->size; i++) {
        while (graphs->buckets[i] != NULL) {
            span *one = graphs->buckets[i];

            /* any span leads to its graph, and taking that removes all of its spans */
            while (one->kind != RL_SPAN_GRAPH) {
                one = one->next_in_graph;
            }
            rl_graph *graph = rl_graphs_take(graphs, one->key);

            release(graph->owner);
            rl_graph_free(graph);
        }
    }
    pthread_mutex_destroy(&graphs->lock);
    rl_free(graphs->buckets);
    rl_free(graphs);
}

void rl_graphs_after_fork(rl_graphs *graphs)
{
    pthread_mutex_init(&graphs->lock, NULL);
}

/* UUIDs of version 7 differ in their low half; those of version 4 everywhere. */
static size_t bucket_of(const rl_graphs *graphs, rl_key key)
{
    uint64_t mixed = (key.low ^ key.high) * UINT64_C(0x9E3779B97F4A7C15);

    return (size_t)(mixed >> 32) & (graphs->size - 1);
}

static span *find(const rl_graphs *graphs, rl_key key)
{
    span *one = graphs->buckets[bucket_of(graphs, key)];

    while (one != NULL && (one->key.low != key.low || one->key.high != key.high)) {
        one = one->next_in_bucket;
    }
    return one;
}

/* Doubles the table; where there is no memory the chains just grow longer. */
static void grow(rl_graphs *graphs)
{
    rl_graphs bigger = {.size = graphs->size * 2};

    bigger.buckets = rl_calloc(bigger.size, sizeof *bigger.buckets);
    if (bigger.buckets == NULL) {
        return;
    }
    for (size_t i = 0; i < graphs->size; i++) {
        while (graphs->buckets[i] != NULL) {
            span *one = graphs->buckets[i];
            span **bucket = &bigger.buckets[bucket_of(&bigger, one->key)];

            graphs->buckets[i] = one->next_in_bucket;
            one->next_in_bucket = *bucket;
            *bucket = one;
        }
    }
    rl_free(graphs->buckets);
    graphs->buckets = bigger.buckets;
    graphs->size = bigger.size;
}

static void insert(rl_graphs *graphs, span *one)
{
    span **bucket;

    if (graphs->count >= graphs->size) {
        grow(graphs);
    }
    bucket = &graphs->buckets[bucket_of(graphs, one->key)];
    one->next_in_bucket = *bucket;
    *bucket = one;
    graphs->count++;
}

static void unlink_span(rl_graphs *graphs, const span *one)
{
    span **at = &graphs->buckets[bucket_of(graphs, one->key)];

    while (*at != one) {
        at = &(*at)->next_in_bucket;
    }
    *at = one->next_in_bucket;
    graphs->count--;
}

/* Copies a text into the graph's arena. */
static rl_slice keep(rl_graph *graph, rl_text text)
{
    rl_slice slice = {graph->arena.len, text.len, false};

    rl_buf_add(&graph->arena, text.data, text.len);
    slice.given = text.data != NULL && !graph->arena.failed;
    return slice;
}

static rl_text text_of(const rl_graph *graph, rl_slice slice)
{
    rl_text text = {slice.given ? graph->arena.data + slice.at : NULL, slice.len};

    return text;
}

static bool same_text(rl_text a, rl_text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

rl_span_kind rl_graphs_classify(rl_graphs *graphs, const rl_span_start *start)
{
    rl_span_kind kind = RL_SPAN_NONE;
    const span *parent;

    pthread_mutex_lock(&graphs->lock);
    if (find(graphs, start->key) == NULL) {
        parent = start->has_parent ? find(graphs, start->parent) : NULL;
        if (start->is_graph && start->ns.data == NULL) {
            kind = RL_SPAN_GRAPH;
        } else if (parent != NULL) {
            bool moved = start->ns.data != NULL &&
                         !same_text(start->ns, text_of(parent->graph, parent->ns));

            kind =
                moved && !start->hidden && !parent->hidden ? RL_SPAN_NODE : RL_SPAN_INNER;
        }
    }
    pthread_mutex_unlock(&graphs->lock);
    return kind;
}

static rl_graph *new_graph(const rl_span_start *start)
{
    rl_graph *graph = rl_calloc(1, sizeof *graph);

    if (graph != NULL) {
        rl_buf_init(&graph->arena, RL_BUF_MAX);
        rl_buf_init(&graph->nodes, RL_BUF_MAX);
        graph->owner = start->owner;
        graph->wpk_id = keep(graph, start->wpk_id);
        graph->run_id = keep(graph, start->run_id);
        graph->thread_id = keep(graph, start->thread_id);
        graph->metadata = keep(graph, start->metadata);
        graph->inputs = keep(graph, start->inputs);
        graph->started_at = rl_time_now();
        graph->started_ns = rl_monotonic_ns();
    }
    return graph;
}

static node *node_at(const rl_graph *graph, ptrdiff_t index)
{
    return (node *)(void *)graph->nodes.data + index;
}

static ptrdiff_t node_count(const rl_graph *graph)
{
    return (ptrdiff_t)(graph->nodes.len / sizeof(node));
}

/* A retry starts anew under the same namespace, after an attempt that did not complete. */
static int64_t attempt_of(const rl_graph *graph, rl_text ns)
{
    int64_t attempt = 1;

    for (ptrdiff_t i = 0; graph->unfinished_attempts > 0 && i < node_count(graph); i++) {
        attempt += same_text(text_of(graph, node_at(graph, i)->ns), ns);
    }
    return attempt;
}

static void add_node(rl_graph *graph, span *one, ptrdiff_t parent,
                     const rl_span_start *start)
{
    node log = {
        .step = start->step, .parent = parent, .attempt = attempt_of(graph, start->ns)};

    log.name = keep(graph, start->name);
    log.inputs = keep(graph, start->inputs);
    log.ns = one->ns;
    one->node = node_count(graph);
    log.started_at = rl_time_now();
    log.started_ns = rl_monotonic_ns();
    rl_buf_add(&graph->nodes, &log, sizeof log);
}

rl_status rl_graphs_start(rl_graphs *graphs, rl_span_kind kind,
                          const rl_span_start *start, bool wide_numbers)
{
    span *one = rl_calloc(1, sizeof *one);
    rl_graph *fresh = kind == RL_SPAN_GRAPH ? new_graph(start) : NULL;
    rl_status status = RL_NOMEM;
    const span *parent = NULL;

    pthread_mutex_lock(&graphs->lock);
    if (kind != RL_SPAN_GRAPH) {
        parent = start->has_parent ? find(graphs, start->parent) : NULL;
    }
    if (one != NULL && (fresh != NULL || parent != NULL) &&
        find(graphs, start->key) == NULL) {
        rl_graph *graph = fresh != NULL ? fresh : parent->graph;

        one->key = start->key;
        one->kind = kind;
        one->graph = graph;
        one->node = parent != NULL ? parent->node : NO_NODE;
        one->hidden = start->hidden || (parent != NULL && parent->hidden);
        /* what has no namespace of its own, a tool or a model, is in its parent's */
        one->ns = start->ns.data != NULL || parent == NULL ? keep(graph, start->ns)
                                                           : parent->ns;
        if (kind == RL_SPAN_NODE) {
            add_node(graph, one, one->node, start);
        }
        graph->wide_numbers |= wide_numbers;
        one->next_in_graph = graph->spans;
        graph->spans = one;
        insert(graphs, one);
        one = NULL;
        fresh = NULL;
        status = RL_OK;
    }
    pthread_mutex_unlock(&graphs->lock);
    rl_free(one);
    rl_graph_free(fresh);
    return status;
}

rl_span_kind rl_graphs_find(rl_graphs *graphs, rl_key key)
{
    const span *one;
    rl_span_kind kind;

    pthread_mutex_lock(&graphs->lock);
    one = find(graphs, key);
    kind = one != NULL ? one->kind : RL_SPAN_NONE;
    pthread_mutex_unlock(&graphs->lock);
    return kind;
}

static void end_node(rl_graph *graph, ptrdiff_t index, const rl_span_end *end)
{
    node *log = node_at(graph, index);

    log->outcome = end->outcome;
    log->ended_ns = end->ended_ns;
    log->outputs = keep(graph, end->outputs);
    log->error_type = keep(graph, end->error_type);
    log->error_text = keep(graph, end->error_text);
    graph->wide_numbers |= end->wide_numbers;
    graph->unfinished_attempts += end->outcome != RL_COMPLETED;
    graph->interrupted |= end->outcome == RL_INTERRUPTED && log->parent == NO_NODE;
}

bool rl_graphs_end(rl_graphs *graphs, rl_key key, const rl_span_end *end)
{
    span *one, **at;

    pthread_mutex_lock(&graphs->lock);
    one = find(graphs, key);
    if (one != NULL && one->kind == RL_SPAN_GRAPH) {
        one = NULL;
    }
    if (one != NULL) {
        if (one->kind == RL_SPAN_NODE && !one->graph->nodes.failed) {
            end_node(one->graph, one->node, end);
        }
        for (at = &one->graph->spans; *at != one; at = &(*at)->next_in_graph) {
        }
        *at = one->next_in_graph;
        unlink_span(graphs, one);
    }
    pthread_mutex_unlock(&graphs->lock);
    rl_free(one);
    return one != NULL;
}

void rl_graphs_interrupt(rl_graphs *graphs, rl_key key)
{
    span *one;

    pthread_mutex_lock(&graphs->lock);
    one = find(graphs, key);
    if (one != NULL) {
        one->graph->interrupted = true;
    }
    pthread_mutex_unlock(&graphs->lock);
}

rl_graph *rl_graphs_take(rl_graphs *graphs, rl_key key)
{
    rl_graph *graph = NULL;
    span *one;

    pthread_mutex_lock(&graphs->lock);
    one = find(graphs, key);
    if (one != NULL && one->kind == RL_SPAN_GRAPH) {
        graph = one->graph;
        for (one = graph->spans; one != NULL; one = one->next_in_graph) {
            unlink_span(graphs, one);
        }
    }
    pthread_mutex_unlock(&graphs->lock);
    return graph;
}

static void put_key(rl_json *json, const char *key)
{
    rl_json_key(json, key, strlen(key));
}

static void put_text(rl_json *json, const char *key, rl_text text)
{
    put_key(json, key);
    if (text.data != NULL) {
        rl_json_text(json, text.data, text.len);
    } else {
        rl_json_raw(json, "null", 4);
    }
}

static void put_json(rl_json *json, const char *key, rl_text text)
{
    put_key(json, key);
    rl_json_raw(json, text.data != NULL ? text.data : "null",
                text.data != NULL ? text.len : 4);
}

static void put_node(rl_json *json, const rl_graph *graph, const node *log)
{
    static const rl_text none = {NULL, 0};
    const char *outcome = rl_outcome_texts[log->outcome];
    char stamp[RL_TIME_TEXT];

    rl_json_open(json, '{');
    put_text(json, "node", text_of(graph, log->name));
    put_text(json, "status", (rl_text){outcome, strlen(outcome)});
    put_key(json, "step");
    rl_json_int(json, log->step);
    put_key(json, "attempt");
    rl_json_int(json, log->attempt);
    put_text(json, "parent",
             log->parent == NO_NODE ? none
                                    : text_of(graph, node_at(graph, log->parent)->name));
    put_text(json, "error_type", text_of(graph, log->error_type));
    put_text(json, "error_text", text_of(graph, log->error_text));
    put_json(json, "inputs", text_of(graph, log->inputs));
    put_json(json, "outputs", text_of(graph, log->outputs));
    rl_time_format(log->started_at, stamp);
    put_text(json, "started_at", (rl_text){stamp, RL_TIME_TEXT - 1});
    put_key(json, "duration_ms");
    if (log->ended_ns != 0) { /* to the microsecond, in milliseconds */
        rl_json_double(json, (double)((log->ended_ns - log->started_ns) / 1000) / 1000.0);
    } else {
        rl_json_raw(json, "null", 4);
    }
    rl_json_close(json);
}

static void copy_text(rl_run *run, rl_column column, rl_text text)
{
    if (text.data != NULL) {
        rl_run_set(run, column, text.data, text.len);
    }
}

void rl_graph_finish(const rl_graph *graph, const rl_span_end *end, rl_run *run)
{
    bool paused = graph->interrupted && end->outcome == RL_COMPLETED;
    const char *outcome = rl_outcome_texts[paused ? RL_INTERRUPTED : end->outcome];
    uint64_t millis = (end->ended_ns - graph->started_ns + 500000) / 1000000;
    size_t at;
    rl_json json;

    rl_run_reset(run);
    copy_text(run, RL_WPK_ID, text_of(graph, graph->wpk_id));
    copy_text(run, RL_RUN_ID, text_of(graph, graph->run_id));
    copy_text(run, RL_THREAD_ID, text_of(graph, graph->thread_id));
    copy_text(run, RL_METADATA, text_of(graph, graph->metadata));
    copy_text(run, RL_INPUTS, text_of(graph, graph->inputs));
    copy_text(run, RL_OUTPUTS, end->outputs);
    copy_text(run, RL_ERROR_TYPE, end->error_type);
    copy_text(run, RL_ERROR_TEXT, end->error_text);
    rl_run_set(run, RL_STATUS, outcome, strlen(outcome));
    run->started_at = graph->started_at;
    run->duration_ms = millis <= INT32_MAX ? (int64_t)millis : INT32_MAX;
    run->wide_numbers = graph->wide_numbers || end->wide_numbers;
    at = rl_run_begin(run);
    rl_json_begin(&json, &run->arena, RL_BUF_MAX);
    rl_json_open(&json, '[');
    for (ptrdiff_t i = 0; i < node_count(graph); i++) {
        put_node(&json, graph, node_at(graph, i));
    }
    rl_json_close(&json);
    rl_json_end(&json);
    rl_run_end(run, RL_NODE_LOGS, at);
    run->arena.failed |= graph->arena.failed || graph->nodes.failed;
}

void *rl_graph_owner(const rl_graph *graph)
{
    return graph->owner;
}
