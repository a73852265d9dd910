/* The open runs of graphs: what has started and not yet ended, and the node logs so far.
 *
 * Plain C: events arrive as keys, texts and encoded payloads, which are copied into the
 * run's arena. A span is anything that has started under a key: a graph, a node, or
 * something inside of a node that only matters as the parent of others.
 * Threads: every function from any thread; a lock is held only while something is looked up
 * or appended, never over I/O, so that it may be taken with the GIL held.
 */
#ifndef RL_GRAPH_H
#define RL_GRAPH_H

#include "core/err.h"
#include "core/run.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The 128 bits of the UUID that LangChain gives each run. */
typedef struct rl_key {
    uint64_t high, low;
} rl_key;

/* A borrowed text; data may be NULL when there is none. */
typedef struct rl_text {
    const char *data;
    size_t len;
} rl_text;

typedef enum rl_span_kind {
    RL_SPAN_NONE, /* not to be recorded, nor what is in it */
    RL_SPAN_GRAPH,
    RL_SPAN_NODE,
    RL_SPAN_INNER,
} rl_span_kind;

typedef enum rl_outcome {
    RL_RUNNING,
    RL_COMPLETED,
    RL_FAILED,
    RL_INTERRUPTED,
    RL_CANCELLED,
} rl_outcome;

extern const char *const rl_outcome_texts[];

/* What is known when something starts. */
typedef struct rl_span_start {
    rl_key key, parent;
    bool has_parent;
    bool is_graph; /* LangGraph says that this is a graph's run */
    bool hidden;   /* tagged "langsmith:hidden" */
    rl_text ns;    /* the checkpoint namespace, or none */
    rl_text name;
    int64_t step;   /* of a node */
    rl_text inputs; /* JSON */
    /* of a graph */
    rl_text wpk_id, run_id, thread_id, metadata; /* metadata: JSON */
    void *owner; /* the caller's, handed back by rl_graph_owner */
} rl_span_start;

/* What is known when it ends. */
typedef struct rl_span_end {
    rl_outcome outcome;
    uint64_t ended_ns; /* the monotonic clock, before outputs were encoded */
    rl_text outputs;   /* JSON */
    rl_text error_type, error_text;
    bool wide_numbers;
} rl_span_end;

typedef struct rl_graphs rl_graphs;
typedef struct rl_graph rl_graph;

rl_graphs *rl_graphs_new(void); /* NULL when there is no memory */
/* Frees it with all open runs; `release` is called with each run's owner. */
void rl_graphs_free(rl_graphs *graphs, void (*release)(void *owner));

/* In the child of a fork, before anything else: a thread that had the table locked is in the
 * parent. What is open belongs to the parent as well. */
void rl_graphs_after_fork(rl_graphs *graphs);

/* Tells what a start would be (name and later fields are not looked at): a graph when
 * LangGraph says so and there is no namespace; a node when the namespace differs from the
 * parent's. A key that is open already gives RL_SPAN_NONE: a handler may be listed twice. */
rl_span_kind rl_graphs_classify(rl_graphs *graphs, const rl_span_start *start);

/* Opens a span of the kind that rl_graphs_classify told; its time begins now. RL_NOMEM also
 * when, since then, its parent has ended or its key was opened by another thread. */
rl_status rl_graphs_start(rl_graphs *graphs, rl_span_kind kind,
                          const rl_span_start *start, bool wide_numbers);

/* The kind of an open span, or RL_SPAN_NONE. */
rl_span_kind rl_graphs_find(rl_graphs *graphs, rl_key key);

/* Ends a node or an inner span; false when no such is open. */
bool rl_graphs_end(rl_graphs *graphs, rl_key key, const rl_span_end *end);

/* Marks an open graph as interrupted, whatever its end will say. */
void rl_graphs_interrupt(rl_graphs *graphs, rl_key key);

/* Takes a graph out of the table, with every span of it; NULL when it is not open. Owned
 * by the caller, who ends it with rl_graph_free. */
rl_graph *rl_graphs_take(rl_graphs *graphs, rl_key key);

/* Writes a graph that was taken, with its end, into a run, which is reset. */
void rl_graph_finish(const rl_graph *graph, const rl_span_end *end, rl_run *run);
void *rl_graph_owner(const rl_graph *graph);
void rl_graph_free(rl_graph *graph);

#endif
