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
#include "record/graph/tokens.h"
#include "record/owner.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A span: the 128 bits of the UUID that LangChain gives it, and the handler that was
 * called. LangChain may call several handlers for one UUID. */
typedef struct rl_key {
    uint64_t high, low;
    const void *handler; /* only compared */
} rl_key;

static inline bool rl_same_uuid(rl_key a, rl_key b)
{
    return a.low == b.low && a.high == b.high;
}

/* A hash of the UUID. Both halves count: UUIDs of version 7 that are made together differ
 * in the low one only. */
static inline uint64_t rl_key_hash(rl_key key)
{
    uint64_t mixed = (key.low ^ key.high) * UINT64_C(0x9E3779B97F4A7C15);

    return mixed ^ mixed >> 32;
}

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

/* What an inner span is: a call of a model, a tool or a retriever has a log within that of
 * its node. */
typedef enum rl_call {
    RL_CALL_NONE,
    RL_CALL_LLM,
    RL_CALL_TOOL,
    RL_CALL_RETRIEVER,
} rl_call;

/* How calls are recorded. */
typedef enum rl_calls {
    RL_CALLS_DELTA,
    RL_CALLS_FULL,
    RL_CALLS_SUMMARY, /* without texts, arguments, outputs and documents */
    RL_CALLS_NONE,
} rl_calls;

/* The database that a recorder writes to: two recorders may have the same one. */
typedef struct rl_place {
    bool known;             /* there is a name */
    uint64_t name[2];       /* a hash of its path, or of what its DSN says */
    uint64_t device, inode; /* of a file that exists; else 0 */
} rl_place;

static inline bool rl_same_place(const rl_place *a, const rl_place *b)
{
    return (a->known && b->known && a->name[0] == b->name[0] &&
            a->name[1] == b->name[1]) ||
           (a->inode != 0 && a->inode == b->inode && a->device == b->device);
}

/* How the inputs of nodes are recorded. */
typedef enum rl_node_inputs {
    RL_INPUTS_DELTA,
    RL_INPUTS_FULL,
    RL_INPUTS_NONE,
} rl_node_inputs;

#define RL_LIVE_NEVER UINT64_MAX

/* An open run is first written after this time, or after its interval if that is shorter:
 * then a run whose process is killed has left a trace, and a short run is written once. */
#define RL_LIVE_FIRST_NS UINT64_C(20000000)

static inline uint64_t rl_live_first(uint64_t interval_ns)
{
    return interval_ns < RL_LIVE_FIRST_NS || interval_ns == RL_LIVE_NEVER
               ? interval_ns
               : RL_LIVE_FIRST_NS;
}

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
    bool is_plain;    /* it is no graph: its own log is that of its one node */
    rl_node_inputs node_inputs;
    rl_calls calls;
    uint64_t interval_ns; /* between writes while it is open; 0: at every event;
                             RL_LIVE_NEVER: only at its end */
    const void *recorder; /* the one whose worker writes it; only compared */
    rl_memory memory;     /* of all open runs of that recorder */
    void *owner;          /* the caller's, see rl_graph_owner */
} rl_graph_start;

/* A message of a prompt, by its offset into the prompt's text. */
typedef struct rl_asked {
    size_t at, len;
    uint64_t hash[2];
    struct rl_message *known; /* of messages.c, as the next one */
    int is;
} rl_asked;

/* What a model is asked. */
typedef struct rl_prompt {
    rl_text text;    /* a JSON array */
    bool is_text;    /* of the texts that a model of texts is given */
    rl_buf elements; /* of rl_element: the messages, or empty where they are not known;
                        owned */
    rl_buf pieces;   /* of rl_asked: empty if the prompt is to be stored whole; owned */
} rl_prompt;

/* Cuts a prompt into its messages, and hashes them. Without memory, or if the text is no
 * array, `pieces` is empty. The caller frees `elements` and `pieces`. */
void rl_prompt_split(rl_prompt *prompt);

/* The start of any span. */
typedef struct rl_span_start {
    rl_key key, parent;
    bool has_parent;
    bool is_graph;         /* it is a graph's run, or in one that is inside a node */
    bool is_root;          /* it is a graph's run, maybe inside a node */
    bool is_plain;         /* it is no graph's, but may be recorded as a run */
    const rl_place *place; /* borrowed: it records a run from one handler only; NULL: it
                              is unknown */
    /* the list of its tags, else its inputs: the same object for all handlers of one run,
     * another one for another run with the same UUID */
    const void *object;
    bool hidden; /* tagged "langsmith:hidden" */
    bool pushed; /* a node whose inputs were sent to it, and are not the graph's state */
    rl_call call;
    rl_text ns; /* the checkpoint namespace, or none */
    rl_text
        late; /* the namespace of the ended node that it belongs to: `parent` is then the
                     graph's span; or none */
    rl_text name; /* of a node; the model of an LLM call */
    rl_text call_name;
    rl_text members;         /* of a call: of a JSON object, without its braces */
    const rl_prompt *prompt; /* what a model is asked; borrowed, or NULL */
    int64_t step;            /* of a node */
    rl_object inputs;
    rl_values values;  /* of the inputs; the graph takes references */
    bool wide_numbers; /* of the inputs; see rl_run */
} rl_span_start;

/* By what an exception is known that passes from a node through those around it: a hash
 * of its address and of no, one, two... of its innermost frames. On its way it gets more
 * frames, all of them outer ones. */
#define RL_ERROR_FRAMES 64

typedef struct rl_error_keys {
    size_t count; /* one more than frames that were looked at */
    uint64_t list[RL_ERROR_FRAMES + 1];
} rl_error_keys;

/* The end of any span. */
typedef struct rl_span_end {
    rl_outcome outcome;
    uint64_t ended_ns; /* monotonic clock, taken before the outputs were encoded */
    rl_text outputs;   /* JSON */
    rl_text members;   /* of a call, as in rl_span_start */
    rl_values values;  /* of the outputs; the graph takes references */
    rl_text error_type, error_text;
    rl_text
        error_traceback; /* of a failed span that rl_graphs_knows_error did not know */
    uint64_t error_key;  /* the last of its keys, or 0: a node's is remembered */
    rl_text interrupts;  /* a JSON array: the interrupts that ended a node */
    rl_tokens tokens;    /* of an LLM call; the details stay the caller's */
    rl_text model;
    bool wide_numbers;
} rl_span_end;

/* The open run that a span belongs to. */
typedef struct rl_found {
    void *owner; /* of rl_graph_start; NULL when there is no run */
    bool other;  /* another handler records this span */
    bool again;  /* another open run of this handler has its key */
    rl_key root; /* the graph's own span */
    rl_node_inputs node_inputs;
    rl_calls calls;
    rl_call call;  /* of the span, by rl_graphs_find, as the next one */
    bool hidden;   /* it is a hidden node, with or without a log */
    bool at_once;  /* the run is written at every event */
    bool is_plain; /* the run is no graph's */
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

/* Classifies a start (without call_name and the later members): a graph, if LangGraph says
 * so and there is no namespace, or if it is the first graph inside something that is not
 * recorded; a node, if its namespace differs from the parent's and it is not hidden; else an
 * inner span, if the parent is open. A hidden node becomes one when something happens in it. RL_SPAN_NONE otherwise, and for a span that this handler (it may be
 * listed twice) or another handler of the same database has open. *found: the run that
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

/* Gives a hidden node its log, as it fails: it is of the kind RL_SPAN_NODE then. */
void rl_graphs_reveal(rl_graphs *graphs, rl_key key);

/* Ends a node or an inner span; false when there is no such open span. */
bool rl_graphs_end(rl_graphs *graphs, rl_key key, const rl_span_end *end);

/* Whether this call of a model, or any (NULL), is open in a node, or anywhere in a run:
 * `around` is the span of the node or the run. */
bool rl_graphs_has_call(rl_graphs *graphs, rl_key around, const rl_key *call);

/* Notes the first token of a model's answer. */
void rl_graphs_stream(rl_graphs *graphs, rl_key key);

/* Adds an event of the user's to the node of an open span. `name`: a text; `data`: JSON;
 * the graph takes references to the values of the data. */
void rl_graphs_event(rl_graphs *graphs, rl_key key, rl_text name, rl_text data,
                     rl_values values);

/* Whether a node right within the node or graph of an open span has ended with this
 * exception. */
bool rl_graphs_knows_error(rl_graphs *graphs, rl_key key, const rl_error_keys *error);

/* What the nodes of an open graph have come to: *whole if none is open or was cancelled,
 * and *interrupted if one was, or if LangGraph said so. Both false for other spans. */
void rl_graphs_progress(rl_graphs *graphs, rl_key key, bool *whole, bool *interrupted);

/* Marks the graph of an open span as interrupted, by these interrupts (a JSON array),
 * even if it ends as completed; or as resumed. */
void rl_graphs_interrupt(rl_graphs *graphs, rl_key key, rl_text interrupts);
void rl_graphs_resume(rl_graphs *graphs, rl_key key);

/* Writing an open run.
 *
 * A run is written in pieces: each is a row without node_logs, with what is new as parts.
 * A function that has written a piece into `run` takes what is new; the caller commits it
 * and then calls rl_graphs_wrote. Nothing else of that graph is written meanwhile. */

/* Whether a recorder has open graphs in the table, and the owner of their runs. */
bool rl_graphs_owner(rl_graphs *graphs, const void *recorder, char owner[RL_OWNER_TEXT]);

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

/* Whether a root that was taken is only the wrapper of graphs, which are runs of their own:
 * then it is none. */
bool rl_graph_is_wrapper(const rl_graph *graph);

/* Ends the one node of a root that is no graph, which was taken; `of_call`: of the call that
 * it is. */
void rl_graph_end_root(rl_graph *graph, const rl_span_end *end,
                       const rl_span_end *of_call);

/* Writes the end of a graph that was taken into `run`, which is reset.
 * run->arena.failed when there is no memory. */
void rl_graph_write(rl_graph *graph, const rl_span_end *end, rl_run *run);
void *rl_graph_owner(const rl_graph *graph);
void rl_graph_free(rl_graph *graph); /* not its owner */

#endif
