/* What a list shows of a run: how many nodes it had, how often one was retried, and the
 * node in which it failed, waits, was cancelled or is. See graph_state.h. The rule is that
 * of runlog/views/outcome.py (`decisive`), which computes the same from the node logs. */
#include "core/alloc.h"
#include "record/graph/graph_json.h"
#include "record/graph/graph_state.h"

#define MAX_OPEN 1000 /* spans that are looked at while others wait for the lock */

/* A node log that may be the one. */
typedef struct candidate {
    int64_t number, attempt;
    rl_text name, parent;
    bool is_same; /* its error is the run's own */
    bool has_traceback, was_retried;
} candidate;

/* The search for it. */
typedef struct finding {
    const rl_graph *graph;
    rl_text error_type, error_text; /* of the run */
    uint64_t hash[2];               /* of the two */
    rl_buf found;                   /* of candidates */
} finding;

static void hash_error(rl_text type, rl_text text, uint64_t to[2])
{
    uint64_t more[2];

    rl_value_hash(type.data != NULL ? type.data : "", type.len, to);
    rl_value_hash(text.data != NULL ? text.data : "", text.len, more);
    to[0] = to[0] * UINT64_C(0x9E3779B97F4A7C15) + more[0];
    to[1] = to[1] * UINT64_C(0x9E3779B97F4A7C15) + more[1];
}

void rl_graph_note_gone(const rl_graph *graph, const rl_node *log, rl_buf *gone)
{
    rl_gone_node left = {.index = log->index,
                         .number = log->number,
                         .attempt = log->attempt,
                         .name = log->name,
                         .parent = log->parent,
                         .outcome = log->outcome,
                         .has_traceback = log->error_traceback.given,
                         .was_retried = log->was_retried};

    hash_error(rl_graph_text(graph, log->error_type),
               rl_graph_text(graph, log->error_text), left.error);
    if (gone->len >= RL_GONE_NODES * sizeof left) {
        gone->len -= sizeof left;
        memmove(gone->data, gone->data + sizeof left, gone->len);
    }
    rl_buf_add(gone, &left, sizeof left);
}

/* The place of the log with this index, or -1: logs lie in the order of their indexes. */
static ptrdiff_t find_log(const rl_graph *graph, ptrdiff_t index)
{
    ptrdiff_t low = 0, high = rl_graph_nodes(graph);

    while (low < high) {
        ptrdiff_t middle = low + (high - low) / 2;

        if (rl_graph_node(graph, middle)->index < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < rl_graph_nodes(graph) && rl_graph_node(graph, low)->index == index ? low
                                                                                    : -1;
}

void rl_graph_note_retry(rl_graph *graph, ptrdiff_t index)
{
    rl_gone_node *gone = (rl_gone_node *)(void *)graph->gone.data;
    ptrdiff_t place = graph->nodes.failed ? -1 : find_log(graph, index);

    if (place >= 0) {
        rl_graph_node(graph, place)->was_retried = true;
        return;
    }
    for (size_t i = 0; i < graph->gone.len / sizeof *gone; i++) {
        gone[i].was_retried |= gone[i].index == index;
    }
}

static void add_candidate(finding *self, const candidate *one)
{
    rl_buf_add(&self->found, one, sizeof *one);
}

static void add_node(finding *self, const rl_node *log)
{
    const rl_graph *graph = self->graph;
    const candidate one = {
        .number = log->number,
        .attempt = log->attempt,
        .name = rl_graph_text(graph, log->name),
        .parent = rl_graph_text(graph, log->parent),
        .is_same =
            rl_same_text(rl_graph_text(graph, log->error_type), self->error_type) &&
            rl_same_text(rl_graph_text(graph, log->error_text), self->error_text),
        .has_traceback = log->error_traceback.given,
        .was_retried = log->was_retried,
    };

    add_candidate(self, &one);
}

static void add_gone(finding *self, const rl_gone_node *log)
{
    const candidate one = {
        .number = log->number,
        .attempt = log->attempt,
        .name = rl_graph_text(self->graph, log->name),
        .parent = rl_graph_text(self->graph, log->parent),
        .is_same = log->error[0] == self->hash[0] && log->error[1] == self->hash[1],
        .has_traceback = log->has_traceback,
        .was_retried = log->was_retried,
    };

    add_candidate(self, &one);
}

/* Collects the node logs that ended so. Nothing waits for it: the run has ended, and all
 * its logs are being written. */
static void collect(finding *self, rl_outcome outcome)
{
    const rl_graph *graph = self->graph;
    const rl_gone_node *gone = (const rl_gone_node *)(const void *)graph->gone.data;

    self->found.len = 0;
    for (size_t i = 0; i < graph->gone.len / sizeof *gone; i++) {
        if (gone[i].outcome == outcome) {
            add_gone(self, &gone[i]);
        }
    }
    for (ptrdiff_t i = 0; i < rl_graph_nodes(graph); i++) {
        const rl_node *log = rl_graph_node(graph, i);

        if (log->kind == RL_LOG_NODE && log->outcome == outcome) {
            add_node(self, log);
        }
    }
}

/* Collects the nodes that are running, of the oldest spans. */
static void collect_open(finding *self)
{
    const rl_graph *graph = self->graph;
    const rl_ring *at = graph->spans.after;

    for (int i = 0; i < MAX_OPEN && at != &graph->spans; i++, at = at->after) {
        const rl_span *span = RL_RING_OF(at, rl_span, in_graph);
        bool own = span->kind == RL_SPAN_NODE ||
                   (graph->is_plain && span->kind == RL_SPAN_GRAPH);

        if (own && span->node != RL_NO_NODE) {
            add_node(self, rl_graph_node(graph, span->node));
        }
    }
}

static candidate *candidates(const finding *self, size_t *count)
{
    *count = self->found.len / sizeof(candidate);
    return (candidate *)(void *)self->found.data;
}

/* Keeps the candidates with the run's own error, of their last attempt. False, and keeps
 * all, if there is none. */
static bool keep_same(finding *self)
{
    size_t count, kept = 0;
    candidate *list = candidates(self, &count);
    int64_t last = 0;

    for (size_t i = 0; i < count; i++) {
        if (list[i].is_same && list[i].attempt > last) {
            last = list[i].attempt;
        }
    }
    for (size_t i = 0; last > 0 && i < count; i++) {
        if (list[i].is_same && list[i].attempt == last) {
            list[kept++] = list[i];
        }
    }
    self->found.len = last > 0 ? kept * sizeof *list : self->found.len;
    return last > 0;
}

static void drop_retried(finding *self)
{
    size_t count, kept = 0;
    candidate *list = candidates(self, &count);

    for (size_t i = 0; i < count; i++) {
        if (!list[i].was_retried) {
            list[kept++] = list[i];
        }
    }
    self->found.len = kept * sizeof *list;
}

/* The last one in which the exception arose, or NULL. */
static const candidate *last_that_arose(const finding *self)
{
    size_t count;
    const candidate *list = candidates(self, &count), *found = NULL;

    for (size_t i = 0; i < count; i++) {
        if (list[i].has_traceback && (found == NULL || list[i].number > found->number)) {
            found = &list[i];
        }
    }
    return found;
}

/* The names of the nodes around the candidates, each once. */
static void list_around(const finding *self, rl_buf *names)
{
    size_t count;
    const candidate *list = candidates(self, &count);

    for (size_t i = 0; i < count; i++) {
        const rl_text *known = (const rl_text *)(const void *)names->data;
        size_t at = names->len / sizeof *known;

        while (at > 0 && !rl_same_text(known[at - 1], list[i].parent)) {
            at--;
        }
        if (at == 0 && list[i].parent.data != NULL) {
            rl_buf_add(names, &list[i].parent, sizeof list[i].parent);
        }
    }
}

static bool has_name(const rl_buf *names, rl_text name)
{
    const rl_text *known = (const rl_text *)(const void *)names->data;
    size_t at = names->len / sizeof *known;

    while (at > 0 && !rl_same_text(known[at - 1], name)) {
        at--;
    }
    return at > 0;
}

/* The first candidate that is around no other one by its name, or the first; NULL without
 * any. */
static const candidate *innermost(const finding *self)
{
    size_t count;
    const candidate *list = candidates(self, &count), *found = NULL;
    bool found_inner = false;
    rl_buf names;

    rl_buf_init(&names, RL_BUF_MAX);
    list_around(self, &names);
    for (size_t i = 0; i < count; i++) {
        bool inner = !has_name(&names, list[i].name);

        if (found == NULL || (inner && !found_inner) ||
            (inner == found_inner && list[i].number < found->number)) {
            found = &list[i];
            found_inner = inner;
        }
    }
    found = names.failed ? NULL : found;
    rl_buf_free(&names);
    return found;
}

/* Whether LangGraph's text says that it is of this node: it begins with "Node 'name'". */
static bool is_named(rl_text text, rl_text name)
{
    static const char before[] = "Node '";
    const size_t at = sizeof before - 1;

    return text.data != NULL && text.len > at + name.len &&
           memcmp(text.data, before, at) == 0 &&
           memcmp(text.data + at, name.data, name.len) == 0 &&
           text.data[at + name.len] == '\'';
}

/* Keeps the candidates that the run's error names, or all if there is none: others were
 * cancelled because of that node. */
static void keep_named(finding *self)
{
    size_t count, kept = 0;
    candidate *list = candidates(self, &count);

    for (size_t i = 0; i < count; i++) {
        if (is_named(self->error_text, list[i].name)) {
            list[kept++] = list[i];
        }
    }
    self->found.len = kept > 0 ? kept * sizeof *list : self->found.len;
}

/* Whether the run failed as LangGraph cancelled a node, or the node itself raised a
 * CancelledError. */
static bool is_of_cancelled(rl_text type)
{
    static const rl_text types[] = {
        {"NodeTimeoutError", sizeof "NodeTimeoutError" - 1},
        {"NodeCancelledError", sizeof "NodeCancelledError" - 1},
    };

    return rl_same_text(type, types[0]) || rl_same_text(type, types[1]);
}

static const candidate *find_failed(finding *self, const rl_span_end *end)
{
    const candidate *found = NULL;

    collect(self, RL_FAILED);
    if (keep_same(self)) {
        found = last_that_arose(self);
        return found != NULL ? found : innermost(self);
    }
    if (self->found.len > 0 && (self->graph->is_plain || end->error_traceback.len == 0)) {
        drop_retried(self);
        return innermost(self);
    }
    if (is_of_cancelled(self->error_type)) {
        collect(self, RL_CANCELLED);
        keep_named(self);
        return innermost(self);
    }
    return NULL;
}

static const candidate *find(finding *self, rl_outcome outcome, const rl_span_end *end)
{
    switch (outcome) {
    case RL_FAILED:
        return find_failed(self, end);
    case RL_RUNNING:
        collect_open(self);
        return innermost(self);
    case RL_INTERRUPTED:
    case RL_CANCELLED:
        collect(self, outcome);
        return innermost(self);
    default:
        return NULL;
    }
}

void rl_graph_put_totals(rl_json *json, const rl_graph *graph, rl_outcome outcome,
                         const rl_span_end *end)
{
    finding self = {.graph = graph};
    const candidate *at;

    rl_buf_init(&self.found, RL_BUF_MAX);
    if (end != NULL) {
        self.error_type = end->error_type;
        self.error_text = end->error_text;
    }
    hash_error(self.error_type, self.error_text, self.hash);
    at = !graph->nodes.failed ? find(&self, outcome, end) : NULL;
    rl_put_key(json, "totals");
    rl_json_open(json, '{');
    rl_put_int(json, "nodes", graph->next_node - graph->retries);
    if (graph->retries > 0) {
        rl_put_int(json, "retries", graph->retries);
    }
    if (at != NULL && !self.found.failed) { /* rather none than a wrong one */
        rl_put_text(json, "at", at->name);
    }
    rl_json_close(json);
    rl_buf_free(&self.found);
}
