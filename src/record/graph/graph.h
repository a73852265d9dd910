/* The open runs of graphs: the graphs that have started and not ended, with their node
 * logs.
 *
 * Plain C: the caller passes keys, texts and encoded payloads, and the run copies them
 * into its arena. A span is anything that has started under a key: a graph, a node, or
 * something inside a node that matters as the parent of other spans, or because calls are
 * counted.
 * Threads: every function from any thread, also with the GIL held: the table's lock is
 * held to find, append and copy, never during I/O.
 */
#ifndef RL_GRAPH_H
#define RL_GRAPH_H

#include "core/delta.h"
#include "core/err.h"
#include "core/run.h"
#include "core/value.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A span: the 128 bits of the UUID that LangChain gives it, and the handler that was
 * called. LangChain may call several handlers for one UUID. */
typedef struct rl_key {
    uint64_t high, low;
    const void *handler; /* only compared */
} rl_key;

/* A borrowed text; data may be NULL when there is none. */
typedef struct rl_text {
    const char *data;
    size_t len;
} rl_text;

typedef enum rl_span_kind {
    RL_SPAN_NONE, /* not recorded, with all that it contains */
    RL_SPAN_GRAPH,
    RL_SPAN_NODE,
    RL_SPAN_INNER, /* inside a node or graph, without a log of its own */
} rl_span_kind;

typedef enum rl_outcome {
    RL_RUNNING,
    RL_COMPLETED,
    RL_FAILED,
    RL_INTERRUPTED,
    RL_CANCELLED,
} rl_outcome;

extern const char *const rl_outcome_texts[];

/* What an inner span counts as, in its node and in the run. */
typedef enum rl_call {
    RL_CALL_NONE,
    RL_CALL_LLM,
    RL_CALL_TOOL,
} rl_call;

/* How the inputs of nodes are recorded. */
typedef enum rl_node_inputs {
    RL_INPUTS_DELTA,
    RL_INPUTS_FULL,
    RL_INPUTS_NONE,
} rl_node_inputs;

#define RL_LIVE_NEVER UINT64_MAX

/* The start of a graph's run; see also rl_span_start. */
typedef struct rl_graph_start {
    rl_text wpk_id, run_id, thread_id;
    rl_text metadata; /* the user's: a JSON object */
    bool resumed;     /* it continues from a checkpoint */
    rl_node_inputs node_inputs;
    uint64_t interval_ns; /* between writes while it is open; 0: at every event;
                             RL_LIVE_NEVER: only at its end */
    const void *recorder; /* the one whose worker writes it; only compared */
    void *owner;          /* the caller's, see rl_graph_owner */
} rl_graph_start;

/* The start of any span. */
typedef struct rl_span_start {
    rl_key key, parent;
    bool has_parent;
    bool is_graph;    /* LangGraph says that it is a graph's run, maybe inside a node */
    bool is_root;     /* or the first graph that runs inside a node */
    const void *sink; /* the recorder: it records a run from one handler only */
    /* the inputs: the same object for all handlers of one run, another one for another
     * run with the same UUID */
    const void *object;
    bool hidden; /* tagged "langsmith:hidden" */
    bool pushed; /* a node whose inputs were sent to it, and are not the graph's state */
    rl_call call;
    rl_text ns;   /* the checkpoint namespace, or none */
    rl_text name; /* of a node; the model of an LLM call */
    int64_t step; /* of a node */
    rl_object inputs;
    rl_values values;  /* of the inputs; the graph takes references */
    bool wide_numbers; /* of the inputs; see rl_run */
} rl_span_start;

typedef struct rl_tokens {
    bool given;
    int64_t input, output, total;
} rl_tokens;

/* The end of any span. */
typedef struct rl_span_end {
    rl_outcome outcome;
    uint64_t ended_ns; /* monotonic clock, taken before the outputs were encoded */
    rl_text outputs;   /* JSON */
    rl_values values;  /* of the outputs; the graph takes references */
    rl_text error_type, error_text;
    rl_text interrupts; /* a JSON array: the interrupts that ended a node */
    rl_tokens tokens;   /* of an LLM call */
    rl_text model;
    bool wide_numbers;
} rl_span_end;

/* The open run that a span belongs to. */
typedef struct rl_found {
    void *owner; /* of rl_graph_start; NULL when there is no run */
    bool other;  /* another handler records this span */
    rl_key root; /* the graph's own span */
    rl_node_inputs node_inputs;
    bool at_once; /* the run is written at every event */
} rl_found;

typedef struct rl_graphs rl_graphs;
typedef struct rl_graph rl_graph;

/* The process's table, which takes part in forks; NULL when there is no memory. It is
 * never freed: threads may use it until the process ends. */
rl_graphs *rl_graphs_shared(void);

/* A table of the caller's own; NULL when there is no memory. */
rl_graphs *rl_graphs_new(void);
/* Frees a table with all open runs; calls `release` with the owner of each. */
void rl_graphs_free(rl_graphs *graphs, void (*release)(void *owner));

/* Whether the open runs were started before a fork: the parent process records them. The
 * child must discard them before any other call; `release` is called with the owner of
 * each. */
bool rl_graphs_is_inherited(const rl_graphs *graphs);
void rl_graphs_discard_inherited(rl_graphs *graphs, void (*release)(void *owner));

/* Classifies a start (without its name and the later members): a graph, if LangGraph says
 * so and there is no namespace, or if it is the first graph inside something that is not
 * recorded; a node, if its namespace differs from the parent's; else an inner span, if
 * the parent is open. RL_SPAN_NONE otherwise, and for a span that this handler (it may be
 * listed twice) or another handler of the same recorder has open. *found: the run that
 * the span belongs to, if any. */
rl_span_kind rl_graphs_classify(rl_graphs *graphs, const rl_span_start *start,
                                rl_found *found);

/* Opens a span of the kind that rl_graphs_classify returned; its time begins now. `graph`
 * is NULL unless the span is a graph. RL_NOMEM also when its parent has ended since, or
 * another thread has opened its key. */
rl_status rl_graphs_start(rl_graphs *graphs, rl_span_kind kind,
                          const rl_span_start *start, const rl_graph_start *graph);

/* The kind of an open span, or RL_SPAN_NONE. *found as above; `other` is also true for a
 * span that another handler has ended a moment ago. */
rl_span_kind rl_graphs_find(rl_graphs *graphs, rl_key key, rl_found *found);

/* Ends a node or an inner span; false when there is no such open span. */
bool rl_graphs_end(rl_graphs *graphs, rl_key key, const rl_span_end *end);

/* Marks the graph of an open span as interrupted, by these interrupts (a JSON array),
 * even if it ends as completed; or as resumed. */
void rl_graphs_interrupt(rl_graphs *graphs, rl_key key, rl_text interrupts);
void rl_graphs_resume(rl_graphs *graphs, rl_key key);

/* Takes a graph out of the table, with all its spans; NULL when it is not open. Owned by
 * the caller, who frees it with rl_graph_free. */
rl_graph *rl_graphs_take(rl_graphs *graphs, rl_key key);

/* Takes the oldest graph if the table is over its limits, else NULL. Owned by the
 * caller. */
rl_graph *rl_graphs_take_excess(rl_graphs *graphs);

/* Writes into `run` one open graph of that recorder that has changed since its last write
 * and whose interval has passed (with `all`: whatever its interval, except
 * RL_LIVE_NEVER). False when there is none; *next is then the time of the next one
 * (nanoseconds, monotonic clock). */
bool rl_graphs_write_next(rl_graphs *graphs, const void *recorder, bool all, rl_run *run,
                          uint64_t *next);

/* Writes the open graph of a span into `run`, changed or not; false when it is not
 * open. */
bool rl_graphs_write_one(rl_graphs *graphs, rl_key key, rl_run *run);

/* Writes a graph that was taken out of the table into `run`, which is reset: with its
 * end, or (NULL) as a running one. run->arena.failed when there is no memory. */
void rl_graph_write(const rl_graph *graph, const rl_span_end *end, rl_run *run);
void *rl_graph_owner(const rl_graph *graph);
void rl_graph_free(rl_graph *graph); /* not its owner */

#endif
