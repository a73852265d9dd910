/* Inside the open runs: what graphs.c, which finds them, graph.c, which adds to one, and
 * graph_write.c, which writes one out, share. Nobody else includes it.
 */
#ifndef RL_GRAPH_STATE_H
#define RL_GRAPH_STATE_H

#include "record/graph/graph.h"

#define RL_NO_NODE (-1)

/* What calls add up to. */
typedef struct rl_totals {
    int64_t llm_calls, tool_calls;
    rl_tokens tokens;
} rl_totals;

/* A node log. Texts are slices of the graph's arena. */
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

/* A model that was called, once for each node; RL_NO_NODE: outside of any. */
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
    ptrdiff_t node; /* its own index for a node, else that of the enclosing one */
} rl_span;

/* The nodes of one graph within the run: the run's own, or a subgraph called once. */
typedef struct rl_scope {
    struct rl_scope *next;
    rl_slice ns; /* what their namespaces have in common */
    rl_snapshot snapshot;
} rl_scope;

struct rl_graph {
    rl_graph *older, *newer; /* in the table */
    rl_key key;              /* of its own span */
    void *owner;
    const void *recorder, *sink, *object;
    const char *process; /* the table's */
    rl_span *spans;      /* owned; the graph's own is the last of the list */
    rl_scope *scopes;    /* owned; the run's own is the last */
    rl_buf arena;
    rl_buf nodes;  /* of rl_node */
    rl_buf models; /* of rl_model */
    uint8_t id[16];
    rl_slice wpk_id, run_id, thread_id, metadata, inputs;
    rl_slice told;     /* the interrupts that LangGraph told of */
    rl_buf interrupts; /* of rl_slice: those that nodes ended by */
    int64_t started_at;
    uint64_t started_ns;
    unsigned unfinished_attempts; /* nodes that did not complete, so may be tried again */
    bool interrupted, resumed, wide_numbers;
    rl_totals totals;
    rl_node_inputs node_inputs;
    uint64_t interval_ns, written_ns;
    bool changed; /* since it was written */
    size_t bytes; /* as the table has counted it */
};

/* graph.c; the caller has the graph to itself. */

/* A new graph with a copy of what it starts with, or NULL. */
rl_graph *rl_graph_new(const rl_span_start *start, const rl_graph_start *graph);

/* Adds a node log: its index. */
ptrdiff_t rl_graph_add_node(rl_graph *graph, ptrdiff_t parent, rl_slice ns,
                            const rl_span_start *start);
void rl_graph_end_node(rl_graph *graph, ptrdiff_t index, const rl_span_end *end);

/* Counts a call that has begun, and what is known when it ends. */
void rl_graph_count_call(rl_graph *graph, ptrdiff_t node, rl_call call);
void rl_graph_end_call(rl_graph *graph, const rl_span *span, const rl_span_end *end);

/* Copies a text into the arena. */
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
