/* Inside the open runs, for the files that make them up: graphs.c (the table), lanes.c
 * (what is due), graph.c (what events add to one graph), graph_write.c (a graph as a row
 * and parts) and graph_shrink.c (what leaves memory). No other file includes this header.
 */
#ifndef RL_GRAPH_STATE_H
#define RL_GRAPH_STATE_H

#include "core/json.h"
#include "core/ring.h"
#include "core/table.h"
#include "record/graph/graph.h"

#define RL_NO_NODE (-1)

/* Sums over calls. */
typedef struct rl_totals {
    int64_t llm_calls, tool_calls;
    rl_tokens tokens;
} rl_totals;

/* A model by name: listed once for each node that called it, and once for the run. */
typedef struct rl_model {
    rl_link link;
    struct rl_model *next;
    ptrdiff_t node; /* its index, or RL_NO_NODE: of the run */
    size_t len;
    char name[];
} rl_model;

typedef struct rl_models {
    rl_model *first, *last; /* in the order of their first calls; owned */
} rl_models;

/* The last attempt under a namespace, if it did not complete: LangGraph may retry the
 * node. */
typedef struct rl_attempt {
    rl_link link;
    int64_t number;
    size_t len;
    char ns[];
} rl_attempt;

/* A value of the run, known by its name as long as the run is open. */
typedef struct rl_kept {
    rl_link link;
    struct rl_kept *next; /* of those to be written */
    rl_value *value;      /* owned; NULL once it is stored */
    char name[RL_VALUE_NAME];
} rl_kept;

/* A node log. Texts are slices of the graph's arena. Here and below, *_at are
 * microseconds since 1970, *_ns nanoseconds of the monotonic clock (0: not ended). */
typedef struct rl_node {
    ptrdiff_t index; /* in the run's node logs */
    rl_slice name, inputs, outputs, error_type, error_text, ns;
    rl_slice parent; /* the name of the enclosing node */
    bool is_inner;   /* there is an enclosing node */
    bool is_delta;   /* inputs are an inputs_delta */
    bool dirty;      /* listed in graph->dirty, to be written */
    bool stored;     /* what is here is stored as a part */
    bool is_behind;  /* the part lacks calls: it is written again when the node ends */
    int64_t step, attempt;
    int64_t started_at;
    uint64_t started_ns, ended_ns;
    rl_outcome outcome;
    rl_totals totals;
    rl_models models;
} rl_node;

typedef struct rl_span {
    rl_link link; /* in the table */
    rl_key key;
    rl_ring in_graph;
    rl_graph *graph;
    rl_span_kind kind;
    rl_call call;
    bool hidden;
    rl_slice ns, model;
    ptrdiff_t node; /* the place in graph->nodes of the node itself, or of the enclosing
                       one */
    /* The state that the nodes right below it got last: the span is a graph or the call
     * of a subgraph. Owned, or NULL. */
    rl_snapshot *snapshot;
} rl_span;

/* The open graphs of one recorder. */
typedef struct rl_lane {
    rl_ring in_table;
    const void *recorder;
    rl_memory memory;
    size_t graphs, bytes;
    rl_graph *
        *due; /* a heap by due_ns: the graphs that are written at intervals; owned */
    size_t due_count, due_room;
    rl_ring changed;   /* since they were written; in the order of their first change */
    rl_ring touched;   /* that may have something to free; the last touched is the last */
    uint64_t retry_ns; /* writing failed: until then it is not tried again for memory */
    bool told_dropped; /* the notice */
} rl_lane;

struct rl_graph {
    rl_ring in_table, in_changed, in_touched, in_writing;
    rl_lane *lane; /* NULL once it was taken */
    rl_key key;    /* of the graph's own span */
    void *owner;
    const void *recorder, *sink, *object;
    rl_memory memory;
    const char *process; /* borrowed from the table; for the column owner */
    rl_ring spans;       /* owned; the graph's own span is the first one */
    rl_buf arena;
    rl_buf nodes;        /* of rl_node, by index */
    ptrdiff_t next_node; /* the index of the next node log */
    rl_table models, attempts, values;
    rl_models all_models;
    uint8_t id[16];
    rl_slice wpk_id, run_id, thread_id, metadata, inputs;
    rl_slice reported; /* the interrupts that LangGraph reported for the run */
    rl_buf interrupts; /* of rl_slice: the interrupts that ended nodes */
    int64_t started_at;
    uint64_t started_ns;
    bool interrupted, resumed, wide_numbers;
    rl_totals totals;
    rl_node_inputs node_inputs;
    uint64_t interval_ns, due_ns, changed_ns;
    size_t due_at; /* in the lane's heap */

    /* What is to be written while the run is open. */
    rl_buf dirty;       /* of places in `nodes`; one that is no longer dirty is skipped */
    size_t dirty_from;  /* the first that is not stored */
    size_t dirty_taken; /* the end of those that are being committed */
    rl_kept *new_values, *last_value; /* borrowed from `values` */
    size_t new_value_bytes;
    size_t values_taken, value_bytes_taken; /* how many of them are being committed */
    bool changed;                           /* since the last write */
    bool metadata_changed;
    bool inputs_stored;                /* the row has the inputs */
    bool writing;                      /* a piece is being committed */
    bool header_taken, metadata_taken; /* by that piece */
    bool parts_tried;                  /* there may be node parts */
    bool nodes_gone;                   /* of node logs only the part is left */
    bool inputs_gone;
    size_t metadata_len;   /* of the metadata that were written last */
    size_t since_metadata; /* bytes of parts since then */

    size_t payload_bytes; /* of all node logs, also of those that left memory */
    size_t value_bytes;   /* of all values */
    bool told_values;     /* the notice that they are too many */
    size_t extra;         /* bytes in spans, tables and values */
    size_t bytes;         /* counted in the lane's sum */
};

/* In graph.c. The caller holds the table's lock, or the graph is not in the table. */

/* Makes a graph with copies of all texts, and `own`, its own span, the one with its
 * state; NULL when there is no memory. Owned by the caller. */
rl_graph *rl_graph_new(const rl_span_start *start, const rl_graph_start *given,
                       rl_span *own);

/* Adds a node log below `parent`, and returns its place. */
ptrdiff_t rl_graph_add_node(rl_graph *graph, rl_span *parent, rl_slice ns,
                            const rl_span_start *start);
void rl_graph_end_node(rl_graph *graph, ptrdiff_t place, const rl_span_end *end);

/* Lists a node log as one to be written. */
void rl_graph_mark_dirty(rl_graph *graph, ptrdiff_t place);

/* Counts a call at its start; adds its tokens and model at its end. */
void rl_graph_count_call(rl_graph *graph, ptrdiff_t place, rl_call call);
void rl_graph_end_call(rl_graph *graph, const rl_span *span, const rl_span_end *end);

/* Notes the values of a payload. */
void rl_graph_add_values(rl_graph *graph, rl_values values);

/* Drops the first `count` values that were to be written; with `forget` the graph no
 * longer knows them. */
void rl_graph_drop_values(rl_graph *graph, size_t count, bool forget);

/* Frees a span that is in no graph. */
void rl_span_free(rl_span *span);
size_t rl_span_bytes(const rl_span *span);
void rl_graph_free_models(rl_graph *graph, rl_models *models);

/* The bytes that a graph takes. */
size_t rl_graph_bytes(const rl_graph *graph);

/* Copies a text into the arena; graph->arena.failed when there is no memory. */
rl_slice rl_graph_copy_text(rl_graph *graph, rl_text text);

static inline rl_text rl_graph_text(const rl_graph *graph, rl_slice slice)
{
    rl_text text = {slice.given ? graph->arena.data + slice.at : NULL,
                    slice.given ? slice.len : 0};

    return text;
}

static inline rl_node *rl_graph_node(const rl_graph *graph, ptrdiff_t place)
{
    return (rl_node *)(void *)graph->nodes.data + place;
}

static inline ptrdiff_t rl_graph_nodes(const rl_graph *graph)
{
    return (ptrdiff_t)(graph->nodes.len / sizeof(rl_node));
}

static inline bool rl_same_text(rl_text a, rl_text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

#define RL_PIECE_VALUES 64

/* A piece that is being written: its values are copied without the table's lock. */
typedef struct rl_piece {
    rl_json json;
    size_t at;                         /* where the parts begin */
    rl_value *values[RL_PIECE_VALUES]; /* owned */
    size_t count;
    bool has_nodes;
} rl_piece;

/* In graph_write.c. */

/* Writes into `run` what is new: about `bytes` of it, at least one part. False when
 * nothing is new. Until rl_graph_wrote, nothing else of the graph may be written. */
bool rl_graph_begin_piece(rl_graph *graph, size_t bytes, rl_run *run, rl_piece *piece);
/* Completes it; needs no lock. */
void rl_graph_end_piece(rl_run *run, rl_piece *piece);
/* Whether anything is new, and whether anything is that no piece has taken. */
bool rl_graph_has_new(const rl_graph *graph);
bool rl_graph_has_more(const rl_graph *graph);

/* In graph_shrink.c. */

/* Frees what is stored: ended nodes, the run's inputs, and the states that later inputs
 * would be compared with. With `drop`, first puts marks in the place of payloads that are
 * not stored. Returns how many node logs left memory; -1 when it is not worth it. */
ptrdiff_t rl_graph_shrink(rl_graph *graph, bool drop);

/* In lanes.c: under the table's lock. */

/* The lane of a recorder in this list, or NULL. */
rl_lane *rl_lane_find(const rl_ring *lanes, const void *recorder);
/* A new lane, in the list; NULL when there is no memory. */
rl_lane *rl_lane_new(rl_ring *lanes, const void *recorder, const rl_memory *memory);
bool rl_lane_add(rl_lane *lane, rl_graph *graph);
/* Takes a graph out of its lane, and frees the lane if that was its last. */
void rl_lane_remove(rl_graph *graph);
/* Frees a lane without graphs. */
void rl_lane_free(rl_lane *lane);
/* Records that an event has changed a graph, or that all of it is being written. */
void rl_lane_mark(rl_graph *graph);
void rl_lane_unmark(rl_graph *graph);
/* Counts a graph's bytes in its lane. */
void rl_lane_count(rl_graph *graph);
/* Sets when a graph is due. */
void rl_lane_schedule(rl_graph *graph, uint64_t due_ns);

#endif
