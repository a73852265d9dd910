/* The open runs of graphs: the graphs that have started and not ended, with their node
 * logs.
 *
 * Plain C: the caller passes keys, texts and encoded payloads, and the run copies them
 * into its arena. A span is anything that has started under a key: a graph, a node, or
 * something inside a node that matters as the parent of other spans, or because calls are
 * counted.
 * Threads: every function from any thread, also with the GIL held, except those that may
 * wait: the table's lock is held to find, append and copy a bounded piece, never during
 * I/O.
 */
#ifndef RL_GRAPH_H
#define RL_GRAPH_H

#include "core/delta.h"
#include "core/err.h"
#include "core/metrics.h"
#include "core/notice.h"
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

/* What the open runs of a recorder may take, and where the recorder counts and says what
 * it cost; borrowed, or NULL. */
typedef struct rl_memory {
    size_t limit; /* bytes; 0: any number */
    rl_metrics *metrics;
    rl_notices *notices;
} rl_memory;

/* The start of a graph's run; see also rl_span_start. */
typedef struct rl_graph_start {
    rl_text wpk_id, run_id, thread_id;
    rl_text metadata; /* the user's: a JSON object */
    bool resumed;     /* it continues from a checkpoint */
    rl_node_inputs node_inputs;
    uint64_t interval_ns; /* between writes while it is open; 0: at every event;
                             RL_LIVE_NEVER: only at its end */
    const void *recorder; /* the one whose worker writes it; only compared */
    rl_memory memory;     /* of all open runs of that recorder */
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

/* Writing an open run.
 *
 * A run is written in pieces: each is a row without node_logs, with what is new as parts.
 * A function that has written a piece into `run` takes what is new; the caller commits it
 * and then calls rl_graphs_wrote. Nothing else of that graph is written meanwhile. */

/* Writes a piece of one open graph of that recorder that has changed and was due before
 * that time. False when there is none; *next is then the time of the next one
 * (nanoseconds, monotonic clock). */
bool rl_graphs_write_due(rl_graphs *graphs, const void *recorder, uint64_t before,
                         rl_run *run, uint64_t *next);

/* The same for one that changed first before that time, whatever its interval, except
 * RL_LIVE_NEVER. May wait for pieces that other threads are committing. */
bool rl_graphs_write_changed(rl_graphs *graphs, const void *recorder, uint64_t before,
                             rl_run *run);

/* Writes a piece of the open graph of a span: RL_OK. RL_BUSY when another thread is
 * committing one; with `wait`, only when that takes very long. RL_CLOSED when nothing is
 * new, or the graph is not open. */
rl_status rl_graphs_write_one(rl_graphs *graphs, rl_key key, bool wait, rl_run *run);

/* Ends the commit of a piece. One that was not committed is written again later. */
void rl_graphs_wrote(rl_graphs *graphs, const rl_run *run, bool committed);

/* Taking memory back.
 *
 * Long before the limit of rl_memory, the runs that were touched least recently are
 * written even before their time, and what is written leaves memory. */
typedef enum rl_pressure {
    RL_PRESSURE_NONE,
    RL_PRESSURE_HIGH, /* the worker should take some back */
    RL_PRESSURE_FULL, /* so should the caller */
} rl_pressure;

rl_pressure rl_graphs_pressure(rl_graphs *graphs, const void *recorder);

typedef enum rl_relief {
    RL_RELIEF_NONE,  /* there is enough memory, or nothing to take back */
    RL_RELIEF_FREED, /* some was taken back; call again */
    RL_RELIEF_WRITE, /* first commit the piece in `run`, of about `bytes` */
} rl_relief;

/* One step (which is no write if `bytes` is 0), until half of the limit (or, with `deep`,
 * three quarters of it) is free. After a commit that failed, what is not stored is
 * dropped instead for a while: of such payloads the run keeps the size. */
rl_relief rl_graphs_relieve(rl_graphs *graphs, const void *recorder, bool deep,
                            size_t bytes, rl_run *run);

/* Takes a graph out of the table, with all its spans; NULL when it is not open. Owned by
 * the caller, who frees it with rl_graph_free. */
rl_graph *rl_graphs_take(rl_graphs *graphs, rl_key key);

/* Whether no piece of a graph that was taken is being committed. With `wait`, waits for
 * that, and true. Call it before the functions below. */
bool rl_graphs_settle(rl_graphs *graphs, rl_graph *graph, bool wait);

/* Whether writing the graph takes so long that the GIL should be released. */
bool rl_graph_is_large(const rl_graph *graph);

/* Writes a piece of a graph that was taken, if it has more to write than one row should
 * hold; rl_graph_wrote ends it. */
bool rl_graph_write_excess(rl_graph *graph, rl_run *run);
void rl_graph_wrote(rl_graph *graph, bool committed);

/* Writes the end of a graph that was taken into `run`, which is reset.
 * run->arena.failed when there is no memory. */
void rl_graph_write(rl_graph *graph, const rl_span_end *end, rl_run *run);
void *rl_graph_owner(const rl_graph *graph);
void rl_graph_free(rl_graph *graph); /* not its owner */

#endif
