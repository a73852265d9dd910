/* Inside the open runs, for the files that make them up: graphs.c (the table), graph.c
 * (what events add to one graph) and graph_write.c (a graph as a row). No other file
 * includes this header.
 */
#ifndef RL_GRAPH_STATE_H
#define RL_GRAPH_STATE_H

#include "record/graph/graph.h"

#define RL_NO_NODE (-1)

/* Sums over calls. */
typedef struct rl_totals {
    int64_t llm_calls, tool_calls;
    rl_tokens tokens;
} rl_totals;

/* A node log. Texts are slices of the graph's arena. Here and below, *_at are
 * microseconds since 1970, *_ns nanoseconds of the monotonic clock (0: not ended). */
typedef struct rl_node {
    rl_slice name, inputs, outputs, error_type, error_text, ns;
    bool is_delta; /* inputs are an inputs_delta */
    int64_t step, attempt;
    int64_t started_at;
    uint64_t started_ns, ended_ns;
    rl_outcome outcome;
    ptrdiff_t parent; /* the index of the enclosing node, or RL_NO_NODE */
    rl_totals totals;
} rl_node;

/* A model that a node called, listed once for each node; RL_NO_NODE: called outside of
 * nodes. */
typedef struct rl_model {
    rl_slice name;
    ptrdiff_t node;
} rl_model;

typedef struct rl_span {
    rl_key key;
    struct rl_span *next_in_bucket, *next_in_graph;
    rl_graph *graph;
    rl_span_kind kind;
    rl_call call;
    bool hidden;
    rl_slice ns, model;
    ptrdiff_t node; /* the index of the node itself, or of the enclosing one */
} rl_span;

/* The nodes of one graph within the run: of the run's own graph, or of one call of a
 * subgraph. The inputs of each are compared with those before it. */
typedef struct rl_scope {
    struct rl_scope *next;
    rl_slice ns; /* the common start of their namespaces */
    rl_snapshot snapshot;
} rl_scope;

struct rl_graph {
    rl_graph *older, *newer; /* in the table, by time of start */
    rl_key key;              /* of the graph's own span */
    void *owner;
    const void *recorder, *sink, *object;
    const char *process; /* borrowed from the table; for the column owner */
    rl_span *spans;      /* owned; the graph's own span is the last one */
    rl_scope *scopes;    /* owned; the scope of the run's own graph is the last one */
    rl_buf arena;
    rl_buf nodes;  /* of rl_node */
    rl_buf models; /* of rl_model */
    uint8_t id[16];
    rl_slice wpk_id, run_id, thread_id, metadata, inputs;
    rl_slice reported; /* the interrupts that LangGraph reported for the run */
    rl_buf interrupts; /* of rl_slice: the interrupts that ended nodes */
    int64_t started_at;
    uint64_t started_ns;
    unsigned unfinished_attempts; /* did not complete: LangGraph may retry the node */
    bool interrupted, resumed, wide_numbers;
    rl_totals totals;
    rl_node_inputs node_inputs;
    uint64_t interval_ns, written_ns;
    bool changed; /* since the last write */
    size_t bytes; /* counted in the table's sum */
};

/* In graph.c. The caller holds the table's lock, or the graph is not in the table. */

/* Makes a graph with copies of all texts; NULL when there is no memory. Owned by the
 * caller. */
rl_graph *rl_graph_new(const rl_span_start *start, const rl_graph_start *graph);

/* Adds a node log and returns its index. */
ptrdiff_t rl_graph_add_node(rl_graph *graph, ptrdiff_t parent, rl_slice ns,
                            const rl_span_start *start);
void rl_graph_end_node(rl_graph *graph, ptrdiff_t index, const rl_span_end *end);

/* Counts a call at its start; adds its tokens and model at its end. */
void rl_graph_count_call(rl_graph *graph, ptrdiff_t node, rl_call call);
void rl_graph_end_call(rl_graph *graph, const rl_span *span, const rl_span_end *end);

/* Copies a text into the arena; graph->arena.failed when there is no memory. */
rl_slice rl_graph_copy_text(rl_graph *graph, rl_text text);

static inline rl_text rl_graph_text(const rl_graph *graph, rl_slice slice)
{
    rl_text text = {slice.given ? graph->arena.data + slice.at : NULL, slice.len};

    return text;
}

static inline rl_node *rl_graph_node(const rl_graph *graph, ptrdiff_t index)
{
    return (rl_node *)(void *)graph->nodes.data + index;
}

static inline ptrdiff_t rl_graph_nodes(const rl_graph *graph)
{
    return (ptrdiff_t)(graph->nodes.len / sizeof(rl_node));
}

static inline bool rl_same_text(rl_text a, rl_text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

#endif
