/* Inside the open runs, for the files that make them up: graphs.c (the table), lanes.c
 * (what is due), pieces.c (what is written, and when), graph.c (what events add to one
 * graph), graph_calls.c (what its calls add), messages.c (prompts), graph_logs.c (logs as
 * JSON), graph_outputs.c (what calls returned, in these), graph_totals.c (what a list shows
 * of a run), graph_write.c (a graph as a row and parts) and graph_shrink.c (what leaves
 * memory). No other file includes this header.
 */
#ifndef RL_GRAPH_STATE_H
#define RL_GRAPH_STATE_H

#include "core/fork.h"
#include "core/json.h"
#include "core/ring.h"
#include "core/table.h"
#include "record/graph/graph.h"

#include <pthread.h>
#include <stdatomic.h>

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

/* The last attempt under a namespace, unless it has completed: LangGraph may retry the
 * node. */
typedef struct rl_attempt {
    rl_link link;
    int64_t number;
    ptrdiff_t index; /* of its log */
    size_t len;
    char ns[];
} rl_attempt;

/* What is left of a node log that did not complete and has left memory. */
typedef struct rl_gone_node {
    ptrdiff_t index;
    int64_t number, attempt;
    rl_slice name, parent;
    uint64_t error[2]; /* a hash of its type and text */
    rl_outcome outcome;
    bool has_traceback, was_retried;
} rl_gone_node;

#define RL_GONE_NODES 64 /* how many are remembered, the last ones */

/* A value of the run, known by its name as long as the run is open. */
typedef struct rl_kept {
    rl_link link;
    struct rl_kept *next; /* of those to be written */
    rl_value *value;      /* owned; NULL once it is stored */
    char name[RL_VALUE_NAME];
} rl_kept;

/* A message that a prompt of the run had, or that a node's inputs have. */
typedef struct rl_message {
    rl_link link;
    uint64_t hash[2]; /* of its JSON */
    int64_t number;   /* in the run, or -1: no prompt had it yet */
    int64_t node, at; /* the index in the inputs of a node that have it, or -1 */
    int64_t call;     /* not in its inputs, but in the answers of this call; or -1 */
} rl_message;

typedef enum rl_log_kind {
    RL_LOG_NODE,
    RL_LOG_LLM, /* in the order of rl_call */
    RL_LOG_TOOL,
    RL_LOG_RETRIEVER,
    RL_LOG_EVENT,
} rl_log_kind;

/* A node log, or the log of a call or an event of a node. Texts are slices of the graph's
 * arena. Here and below, *_at are microseconds since 1970, *_ns nanoseconds of the
 * monotonic clock (0: not ended). */
typedef struct rl_node {
    ptrdiff_t index; /* in the run's logs */
    int64_t number;  /* in the run's node logs */
    rl_log_kind kind;
    rl_slice name, error_type, error_text;
    rl_slice error_traceback; /* of a node */
    rl_slice inputs;          /* of a call: what a model is asked */
    rl_slice outputs;
    rl_slice more;    /* of a call: members of its end */
    rl_slice ns;      /* of a call: members of its start */
    rl_slice parent;  /* the name of the enclosing node; of a call: the model */
    bool is_inner;    /* there is an enclosing node */
    bool is_delta;    /* inputs are an inputs_delta */
    bool dirty;       /* listed in graph->dirty, to be written */
    bool stored;      /* what is here is stored as a part */
    bool is_behind;   /* the part lacks sums: it is written again when the node ends */
    bool is_offered;  /* its messages are in graph->messages */
    bool is_text;     /* a model of texts is asked */
    bool was_retried; /* a later attempt followed */
    int64_t step, attempt;
    int64_t started_at;
    uint64_t started_ns, ended_ns;
    rl_outcome outcome;
    union {
        struct {            /* of a node */
            int64_t within; /* the number of the enclosing node, or RL_NO_NODE */
            rl_totals totals;
            rl_models models;
            ptrdiff_t first, last; /* the places of its calls and events: good while
                                      no log has left memory */
            int64_t calls;
        };
        struct {               /* of a call or an event */
            int64_t of, at;    /* the number of its node, and its own among its calls */
            int64_t enclosing; /* `at` of the call around it, or -1 */
            ptrdiff_t next;    /* of the same node: a place */
            uint64_t first_token_ns;
        };
    };
} rl_node;

typedef struct rl_span {
    rl_link link; /* in the table */
    rl_key key;
    rl_ring in_graph;
    rl_graph *graph;
    rl_span_kind kind;
    rl_call call;
    bool hidden; /* it has the tag, as those within it do, which inherit it */
    rl_slice ns;
    rl_slice name;  /* of a model, or of a hidden node */
    ptrdiff_t node; /* the place in graph->nodes of the node itself, or of the enclosing
                       one */
    ptrdiff_t log;  /* the place of the call itself, or of the call around it that is in
                       the same node */
    /* The hidden node that it is in, or is, if no other node is around that: it gets a log
     * with the first call, event, node or failure in it. */
    struct rl_span *within;
    size_t inside;            /* of a hidden node: the open spans within it; the next */
    int64_t step, started_at; /* ones are also of such a node */
    uint64_t started_ns;
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
    bool dropped_logged; /* the notice */
} rl_lane;

struct rl_graph {
    rl_ring in_table, in_changed, in_touched, in_writing;
    rl_lane *lane; /* NULL once it was taken */
    rl_key key;    /* of the graph's own span */
    void *owner;
    const void *recorder, *object;
    rl_place place; /* where it is recorded */
    rl_memory memory;
    const char *process; /* borrowed from the table; for the column owner */
    rl_ring spans;       /* owned; the graph's own span is the first one */
    rl_buf arena;
    rl_buf nodes;         /* of rl_node, by index */
    ptrdiff_t next_index; /* of the next log */
    ptrdiff_t late_node;  /* the place that rl_graph_find_node found last */
    int64_t next_node;    /* the number of the next node log */
    int64_t retries;      /* how many node logs are attempts after a first one */
    rl_buf gone;          /* of rl_gone_node */
    int64_t next_message;
    rl_table models, attempts, values, messages;
    rl_table errors; /* see graph_errors.c */
    rl_models all_models;
    uint8_t id[16];
    rl_slice wpk_id, run_id, thread_id, metadata, inputs;
    rl_slice reported; /* the interrupts that LangGraph reported for the run */
    rl_buf interrupts; /* of rl_slice: the interrupts that ended nodes */
    int64_t started_at;
    uint64_t started_ns;
    bool interrupted, resumed, wide_numbers;
    bool cut;                   /* a node was cancelled that is in no other one */
    rl_slice paused, paused_by; /* the namespace and the interrupts of the node that was
                                   interrupted last, if it is in another one */
    rl_totals totals;
    rl_node_inputs node_inputs;
    rl_calls calls;
    bool is_plain;
    bool has_graphs; /* graphs that are runs of their own have run in it */
    bool is_ending;  /* its end is being written: nothing more comes */
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
    bool values_logged;   /* the notice that they are too many */
    size_t extra;         /* bytes in spans, tables, values and sums */
    size_t bytes;         /* counted in the lane's sum */
};

/* The table. */

#define RL_RECENT 64 /* ended spans that are remembered for other handlers */

struct rl_graphs {
    pthread_mutex_t lock;
    pthread_cond_t settled; /* the commit of a piece has ended */
    rl_table spans;         /* the open ones */
    rl_ring all;            /* the open graphs */
    rl_ring lanes;
    rl_ring
        writing; /* graphs whose piece is being committed, also some that were taken */
    atomic_uint pressed;      /* lanes beyond three quarters of their limits, or more */
    rl_key recent[RL_RECENT]; /* the last spans that ended, in a ring */
    size_t next_recent;
    char process[RL_OWNER_TEXT];
    unsigned generation; /* rl_fork_generation of the process that opened the graphs */
    rl_fork_member member;
};

/* In graphs.c, under the table's lock. */

/* An open span, or NULL. */
rl_span *rl_graphs_span(const rl_graphs *graphs, rl_key key);
/* Records that an event has changed a graph. */
void rl_graphs_mark(rl_graphs *graphs, rl_graph *graph);

#define RL_PRESSED \
    3 /* eighths of its limit, beyond which memory of a lane is taken back */

/* Whether a lane takes more than so many eighths of its limit. Memory is taken back long
 * before the limit: writing takes time, and freed memory does not all leave the
 * process. */
static inline bool rl_lane_takes(const rl_lane *lane, size_t eighths)
{
    return lane->memory.limit > 0 && lane->bytes > lane->memory.limit / 8 * eighths;
}

static inline bool rl_lane_is_pressed(const rl_lane *lane)
{
    return rl_lane_takes(lane, RL_PRESSED);
}

/* Counts the lanes that need memory, after a change of one. */
static inline void rl_graphs_count_pressed(rl_graphs *graphs, bool before, bool now)
{
    if (before != now) {
        atomic_fetch_add(&graphs->pressed, now ? 1U : -1U);
    }
}

/* In graph.c. The caller holds the table's lock, or the graph is not in the table. */

/* Makes a graph with copies of all texts, and `own`, its own span, the one with its
 * state; NULL when there is no memory. Owned by the caller. */
rl_graph *rl_graph_new(const rl_span_start *start, const rl_graph_start *given,
                       rl_span *own);

/* The place of the node of a namespace, of which the log is still in memory, or
 * RL_NO_NODE. */
ptrdiff_t rl_graph_find_node(rl_graph *graph, rl_text ns);

/* Adds a node log below `parent`, and returns its place. */
ptrdiff_t rl_graph_add_node(rl_graph *graph, rl_span *parent, rl_slice ns,
                            const rl_span_start *start);
void rl_graph_end_node(rl_graph *graph, ptrdiff_t place, const rl_span_end *end);
/* Something happens in a span: a hidden node around it, if any, gets its log. */
void rl_graph_reveal(rl_graph *graph, rl_span *span);

/* Lists a node log as one to be written. */
void rl_graph_mark_dirty(rl_graph *graph, ptrdiff_t place);

#define RL_SMALL_PAYLOAD ((size_t)1024) /* bytes: such a payload is always stored */

/* Whether the run's logs may take so many more bytes. */
bool rl_graph_has_room(const rl_graph *graph, size_t len);
/* Copies a payload, or a mark if it has no room. */
rl_slice rl_graph_copy_payload(rl_graph *graph, rl_text json);
/* Adds a log, which gets its index and its time; returns its place. */
ptrdiff_t rl_graph_add_log(rl_graph *graph, rl_node *log);

/* In graph_calls.c. */

/* Adds a call to the sums of its node and of the run, and its log. */
void rl_graph_start_call(rl_graph *graph, rl_span *span, const rl_span_start *start);
/* Adds its tokens and model, and ends its log. */
void rl_graph_end_call(rl_graph *graph, const rl_span *span, const rl_span_end *end);
/* Ends the calls of a node that did not complete: LangChain tells no end of a call whose
 * task was cancelled. An end that comes later still counts. */
void rl_graph_cancel_calls(rl_graph *graph, const rl_node *node);
void rl_graph_add_event(rl_graph *graph, const rl_span *span, rl_text name, rl_text data);
/* Frees the models and the token details of a node that leaves memory. */
void rl_graph_free_sums(rl_graph *graph, rl_node *node);

/* In graph_outputs.c. */

/* Writes what a call returned as a member of the call, or where it stands in the outputs of
 * its node; these may be none. */
void rl_graph_put_output(rl_json *json, rl_text node, rl_log_kind kind, rl_text output);

/* In messages.c. */

/* Appends a prompt to the arena: each message once a run. `place`: of the node. */
rl_slice rl_graph_put_prompt(rl_graph *graph, ptrdiff_t place, const rl_prompt *prompt);
/* Makes the answers of a call known, which later prompts have. */
void rl_graph_offer_answers(rl_graph *graph, const rl_node *log);
/* Forgets the messages, whose texts have left memory without being stored. */
void rl_graph_forget_messages(rl_graph *graph);

/* Notes the values of a payload. */
void rl_graph_add_values(rl_graph *graph, rl_values values);

/* Drops the first `count` values that were to be written; with `forget` the graph no
 * longer knows them. */
void rl_graph_drop_values(rl_graph *graph, size_t count, bool forget);

/* Frees a span that is in no graph. */
void rl_span_free(rl_span *span);
size_t rl_span_bytes(const rl_span *span);

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

/* A hash of a text of the program's: nobody can construct many texts with one hash. */
static inline uint64_t rl_text_hash(rl_text text)
{
    uint64_t hash[2];

    rl_value_hash(text.data, text.len, hash);
    return hash[0];
}

/* Whether the run is a chain's that has no call: it is not written before its end, which
 * may show that it is only the wrapper of a graph. */
static inline bool rl_graph_is_empty(const rl_graph *graph)
{
    return graph->is_plain && graph->next_index == 1;
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

/* In graph_errors.c. */

/* Remembers the exception that a node right within `node` (its number, or RL_NO_NODE) has
 * ended with. */
void rl_graph_note_error(rl_graph *graph, int64_t node, uint64_t key);
bool rl_graph_knows_error(const rl_graph *graph, int64_t node,
                          const rl_error_keys *error);
void rl_graph_free_errors(rl_graph *graph);

/* In graph_logs.c. */

/* Write the log of a node: with its calls and events if it is `whole`, which are else parts
 * of their own. */
void rl_graph_put_node(rl_json *json, const rl_graph *graph, const rl_node *log,
                       bool whole);
void rl_graph_put_part(rl_json *json, const rl_graph *graph, const rl_node *log);
void rl_graph_put_tokens(rl_json *json, const rl_tokens *tokens);
void rl_graph_put_models(rl_json *json, const rl_models *models);

/* In graph_totals.c. */

/* Adds what is left of a node log to `gone`. Its texts are still those of the graph's
 * arena. */
void rl_graph_note_gone(const rl_graph *graph, const rl_node *log, rl_buf *gone);
/* Notes that a later attempt followed the one with the log `index`. */
void rl_graph_note_retry(rl_graph *graph, ptrdiff_t index);
/* Writes the member "totals" of the metadata. `end`: of the run, or NULL if it is open: the
 * caller holds the lock then. */
void rl_graph_put_totals(rl_json *json, const rl_graph *graph, rl_outcome outcome,
                         const rl_span_end *end);

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
