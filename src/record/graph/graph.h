/* The open runs of graphs: what has started and not yet ended, and the node logs so far.
 *
 * Plain C: events arrive as keys, texts and encoded payloads, which are copied into the
 * run's arena. A span is anything that has started under a key: a graph, a node, or
 * something inside of a node that only matters as the parent of others, or as a call that
 * counts.
 * Threads: every function from any thread; a lock is held only while something is looked up,
 * appended or written out, never over I/O, so that it may be taken with the GIL held.
 */
#ifndef RL_GRAPH_H
#define RL_GRAPH_H

#include "core/delta.h"
#include "core/err.h"
#include "core/run.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The 128 bits of the UUID that LangChain gives each run, and the handler that was told. */
typedef struct rl_key {
    uint64_t high, low;
    const void *handler;
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

/* What an inner span counts as, in the node around it and in the run. */
typedef enum rl_call {
    RL_CALL_NONE,
    RL_CALL_LLM,
    RL_CALL_TOOL,
} rl_call;

/* What is kept of a node's inputs. */
typedef enum rl_node_inputs {
    RL_INPUTS_DELTA,
    RL_INPUTS_FULL,
    RL_INPUTS_NONE,
} rl_node_inputs;

#define RL_LIVE_NEVER UINT64_MAX

/* What is known of a graph's run when it starts. */
typedef struct rl_graph_start {
    rl_text wpk_id, run_id, thread_id;
    rl_text metadata; /* the user's: a JSON object */
    bool resumed;     /* it goes on from a checkpoint */
    rl_node_inputs node_inputs;
    uint64_t interval_ns; /* how often it is written while it is open; or RL_LIVE_NEVER */
    const void *recorder; /* whose worker writes it */
    void *owner;          /* the caller's, handed back by rl_graph_owner */
} rl_graph_start;

/* What is known when something starts. */
typedef struct rl_span_start {
    rl_key key, parent;
    bool has_parent;
    bool is_graph;    /* LangGraph says that this is a graph's run, maybe within a node */
    bool is_root;     /* or the first of a graph that runs within a node */
    const void *sink; /* the recorder: of several handlers it keeps a run from one */
    const void *object; /* the inputs themselves: two handlers that are told of one run
                           get the same */
    bool hidden;        /* tagged "langsmith:hidden" */
    bool pushed; /* a node that was sent its inputs, instead of the graph's state */
    rl_call call;
    rl_text ns;   /* the checkpoint namespace, or none */
    rl_text name; /* of a node; the model's of an LLM call */
    int64_t step; /* of a node */
    rl_object inputs;
    bool wide_numbers;
} rl_span_start;

typedef struct rl_tokens {
    bool given;
    int64_t input, output, total;
} rl_tokens;

/* What is known when it ends. */
typedef struct rl_span_end {
    rl_outcome outcome;
    uint64_t ended_ns; /* the monotonic clock, before outputs were encoded */
    rl_text outputs;   /* JSON */
    rl_text error_type, error_text;
    rl_text interrupts; /* a JSON array: those that a node was interrupted by */
    rl_tokens tokens;   /* of an LLM call */
    rl_text model;
    bool wide_numbers;
} rl_span_end;

/* The open run that something belongs to. */
typedef struct rl_found {
    void *owner; /* of rl_graph_start; NULL when there is no run */
    bool other;  /* it is recorded, but from another handler */
    rl_key root; /* the graph's own span */
    rl_node_inputs node_inputs;
    bool at_once; /* it is to be written at every event */
} rl_found;

typedef struct rl_graphs rl_graphs;
typedef struct rl_graph rl_graph;

/* The process's own table, for which forks are looked after; NULL when there is no memory.
 * It is never freed: a thread may use it until the process ends. */
rl_graphs *rl_graphs_shared(void);

rl_graphs *rl_graphs_new(void); /* another one; NULL when there is no memory */
/* Frees it with all open runs; `release` is called with each run's owner. */
void rl_graphs_free(rl_graphs *graphs, void (*release)(void *owner));

/* Whether what is open was begun before a fork: it belongs to the parent, which ends it. Such
 * a table is emptied before anything else; `release` is called with each run's owner. */
bool rl_graphs_is_inherited(const rl_graphs *graphs);
void rl_graphs_discard_inherited(rl_graphs *graphs, void (*release)(void *owner));

/* Tells what a start would be (name and later fields are not looked at): a graph when
 * LangGraph says so and there is no namespace, or when it is the first of a graph whose
 * surroundings are not recorded; a node when the namespace differs from the parent's. What is
 * open already, in this handler (which may be listed twice) or in another of the same
 * recorder, gives RL_SPAN_NONE. *found: the run that it belongs to, if there is one. */
rl_span_kind rl_graphs_classify(rl_graphs *graphs, const rl_span_start *start,
                                rl_found *found);

/* Opens a span of the kind that rl_graphs_classify told; its time begins now. `graph` is
 * NULL but for a graph. RL_NOMEM also when, since then, its parent has ended or its key was
 * opened by another thread. */
rl_status rl_graphs_start(rl_graphs *graphs, rl_span_kind kind,
                          const rl_span_start *start, const rl_graph_start *graph);

/* The kind of an open span, or RL_SPAN_NONE; *found as above, where `other` is also what
 * another handler of the process has open, or has ended a moment ago. */
rl_span_kind rl_graphs_find(rl_graphs *graphs, rl_key key, rl_found *found);

/* Ends a node or an inner span; false when no such is open. */
bool rl_graphs_end(rl_graphs *graphs, rl_key key, const rl_span_end *end);

/* Marks an open graph as interrupted, whatever its end will say, by these (a JSON array);
 * or as resumed. */
void rl_graphs_interrupt(rl_graphs *graphs, rl_key key, rl_text interrupts);
void rl_graphs_resume(rl_graphs *graphs, rl_key key);

/* Takes a graph out of the table, with every span of it; NULL when it is not open. Owned
 * by the caller, who ends it with rl_graph_free. */
rl_graph *rl_graphs_take(rl_graphs *graphs, rl_key key);

/* Takes the oldest graph when there are more than the table is to hold, or NULL. */
rl_graph *rl_graphs_take_excess(rl_graphs *graphs);

/* Writes, as it stands, a graph of that recorder which has changed since it was written last,
 * and whose time for it has come (or, with `all`, any that is ever written). False when
 * there is none; then *next gets when to look again, on the monotonic clock. */
bool rl_graphs_write_next(rl_graphs *graphs, const void *recorder, bool all, rl_run *run,
                          uint64_t *next);

/* The same for one graph, whenever it was written. */
bool rl_graphs_write_one(rl_graphs *graphs, rl_key key, rl_run *run);

/* Writes a graph that was taken into a run, which is reset: with its end, or as it stands
 * (NULL). */
void rl_graph_write(const rl_graph *graph, const rl_span_end *end, rl_run *run);
void *rl_graph_owner(const rl_graph *graph);
void rl_graph_free(rl_graph *graph);

#endif
