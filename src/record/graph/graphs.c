/* The table of open runs. See graph.h. */
#include "core/alloc.h"
#include "core/fork.h"
#include "core/lock.h"
#include "record/graph/graph_state.h"
#include "record/owner.h"

#include <pthread.h>
#include <string.h>

#define RECENT 64 /* ended spans that are remembered for other handlers */

#define PIECE ((size_t)4 << 20) /* bytes that are written at once */
#define LOOKS 128               /* graphs that are looked at under one hold of the lock */

/* How long to wait for the commit of a piece by another thread. A commit has limits of
 * its own; this one is for a thread that was lost. */
#define SETTLE_NS UINT64_C(20000000000)

/* Eighths of the limit: from when on the worker takes memory back, what it leaves, and
 * from when on the threads of events do, too. */
#define PRESSED 3
#define RELIEVED 2
#define FULL 4

#define RETRY_NS UINT64_C(1000000000) /* after a commit for memory has failed */

struct rl_graphs {
    pthread_mutex_t lock;
    pthread_cond_t settled; /* the commit of a piece has ended */
    rl_table spans;         /* the open ones */
    rl_ring all;            /* the open graphs */
    rl_ring lanes;
    rl_ring
        writing; /* graphs whose piece is being committed, also some that were taken */
    atomic_uint pressed;   /* lanes beyond three quarters of their limits, or more */
    rl_key recent[RECENT]; /* the last spans that ended, in a ring */
    size_t next_recent;
    char process[RL_OWNER_TEXT];
    unsigned generation; /* rl_fork_generation of the process that opened the graphs */
    rl_fork_member member;
};

rl_graphs *rl_graphs_new(void)
{
    rl_graphs *graphs = rl_calloc(1, sizeof *graphs);

    if (graphs != NULL) {
        rl_ring_init(&graphs->all);
        rl_ring_init(&graphs->lanes);
        rl_ring_init(&graphs->writing);
        pthread_mutex_init(&graphs->lock, NULL);
        rl_cond_init(&graphs->settled);
        rl_owner_self(graphs->process);
        graphs->generation = rl_fork_generation();
    }
    return graphs;
}

static void before_fork(void *ctx)
{
    pthread_mutex_lock(&((rl_graphs *)ctx)->lock);
}

static void after_fork(void *ctx)
{
    pthread_mutex_unlock(&((rl_graphs *)ctx)->lock);
}

static void after_fork_in_child(void *ctx)
{
    rl_graphs *graphs = ctx;

    rl_cond_init(&graphs->settled); /* no thread waits here */
    pthread_mutex_unlock(&graphs->lock);
}

static rl_graphs *shared;

static void make_shared(void)
{
    shared = rl_graphs_new();
    if (shared != NULL) {
        shared->member = (rl_fork_member){.prepare = before_fork,
                                          .parent = after_fork,
                                          .child = after_fork_in_child,
                                          .ctx = shared};
        rl_fork_join(&shared->member);
    }
}

rl_graphs *rl_graphs_shared(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, make_shared);
    return shared;
}

/* Both halves count: UUIDs of version 7 that are made together differ in the low one
 * only. */
static uint64_t hash_of(rl_key key)
{
    uint64_t mixed = (key.low ^ key.high) * UINT64_C(0x9E3779B97F4A7C15);

    return mixed ^ mixed >> 32;
}

static bool same_uuid(rl_key a, rl_key b)
{
    return a.low == b.low && a.high == b.high;
}

static rl_span *find(const rl_graphs *graphs, rl_key key)
{
    rl_span *span = (rl_span *)rl_table_first(&graphs->spans, hash_of(key));

    while (span != NULL &&
           (!same_uuid(span->key, key) || span->key.handler != key.handler)) {
        span = (rl_span *)rl_table_next(&span->link);
    }
    return span;
}

/* The span that another handler of the same recorder has open under the same UUID. */
static rl_span *find_twin(const rl_graphs *graphs, rl_key key, const void *sink)
{
    rl_span *span = (rl_span *)rl_table_first(&graphs->spans, hash_of(key));

    while (span != NULL &&
           (!same_uuid(span->key, key) || span->key.handler == key.handler ||
            span->graph->sink != sink)) {
        span = (rl_span *)rl_table_next(&span->link);
    }
    return span;
}

/* Adds a graph to the table and to its recorder's lane. */
static bool link_graph(rl_graphs *graphs, rl_graph *graph)
{
    rl_lane *lane = rl_lane_find(&graphs->lanes, graph->recorder);

    if (lane == NULL) {
        lane = rl_lane_new(&graphs->lanes, graph->recorder, &graph->memory);
    }
    if (lane == NULL || !rl_lane_add(lane, graph)) {
        if (lane != NULL) {
            rl_lane_free(lane);
        }
        return false;
    }
    graph->process = graphs->process;
    rl_ring_add(&graphs->all, &graph->in_table);
    return true;
}

/* Whether a lane takes more than so many eighths of its limit. Memory is taken back long
 * before the limit: writing takes time, and freed memory does not all leave the
 * process. */
static bool takes(const rl_lane *lane, size_t eighths)
{
    return lane->memory.limit > 0 && lane->bytes > lane->memory.limit / 8 * eighths;
}

static bool is_pressed(const rl_lane *lane)
{
    return takes(lane, PRESSED);
}

/* Counts the lanes that need memory, after a change of one. */
static void count_pressed(rl_graphs *graphs, bool before, bool now)
{
    if (before != now) {
        atomic_fetch_add(&graphs->pressed, now ? 1U : -1U);
    }
}

/* Takes a graph out of the table, with its spans. */
static void unlink_graph(rl_graphs *graphs, rl_graph *graph)
{
    rl_lane *lane = graph->lane;
    bool before = is_pressed(lane);

    for (const rl_ring *at = graph->spans.after; at != &graph->spans; at = at->after) {
        rl_table_remove(&graphs->spans, &RL_RING_OF(at, rl_span, in_graph)->link);
    }
    rl_ring_remove(&graph->in_table);
    lane->graphs++; /* it stays for a moment */
    rl_lane_remove(graph);
    lane->graphs--;
    count_pressed(graphs, before, is_pressed(lane));
    rl_lane_free(lane);
}

/* Records that an event has changed a graph. */
static void mark_changed(rl_graphs *graphs, rl_graph *graph)
{
    bool before = is_pressed(graph->lane);

    rl_lane_mark(graph);
    count_pressed(graphs, before, is_pressed(graph->lane));
}

/* Takes all graphs out of the table, into the list. */
static void unlink_all(rl_graphs *graphs, rl_ring *list)
{
    rl_ring *ring;

    while ((ring = rl_ring_first(&graphs->all)) != NULL) {
        rl_graph *graph = RL_RING_OF(ring, rl_graph, in_table);

        unlink_graph(graphs, graph);
        rl_ring_remove(&graph->in_writing);
        rl_ring_add(list, &graph->in_table);
    }
}

static void free_all(rl_ring *list, void (*release)(void *owner))
{
    rl_ring *ring;

    while ((ring = rl_ring_first(list)) != NULL) {
        rl_graph *graph = RL_RING_OF(ring, rl_graph, in_table);

        rl_ring_remove(ring);
        release(graph->owner);
        rl_graph_free(graph);
    }
}

void rl_graphs_free(rl_graphs *graphs, void (*release)(void *owner))
{
    rl_ring list;

    if (graphs != NULL) {
        rl_ring_init(&list);
        unlink_all(graphs, &list);
        free_all(&list, release);
        pthread_cond_destroy(&graphs->settled);
        pthread_mutex_destroy(&graphs->lock);
        rl_table_free(&graphs->spans);
        rl_free(graphs);
    }
}

bool rl_graphs_is_inherited(const rl_graphs *graphs)
{
    return graphs->generation != rl_fork_generation();
}

void rl_graphs_discard_inherited(rl_graphs *graphs, void (*release)(void *owner))
{
    rl_ring inherited;

    rl_ring_init(&inherited);
    pthread_mutex_lock(&graphs->lock);
    unlink_all(graphs, &inherited);
    rl_ring_init(&graphs->writing); /* the parent's threads write */
    rl_owner_self(graphs->process);
    graphs->generation = rl_fork_generation();
    pthread_mutex_unlock(&graphs->lock);
    free_all(&inherited, release); /* unlocked: release may call into the table */
}

static rl_found found_by(const rl_span *span)
{
    const rl_graph *graph = span != NULL ? span->graph : NULL;
    rl_found found = {NULL, false, {0, 0, NULL}, RL_INPUTS_NONE, false};

    if (graph != NULL) {
        found.owner = graph->owner;
        found.root = graph->key;
        found.node_inputs = graph->node_inputs;
        found.at_once = graph->interval_ns == 0;
    }
    return found;
}

/* Whether another handler of the same recorder records the start. */
static bool is_recorded_elsewhere(const rl_graphs *graphs, const rl_span_start *start)
{
    const rl_span *twin = find_twin(graphs, start->key, start->sink);

    if (twin != NULL && twin->kind == RL_SPAN_GRAPH) {
        /* another object: another run to which the program gave the same UUID */
        return twin->graph->object == start->object;
    }
    return twin != NULL ||
           (start->has_parent && find_twin(graphs, start->parent, start->sink) != NULL);
}

rl_span_kind rl_graphs_classify(rl_graphs *graphs, const rl_span_start *start,
                                rl_found *found)
{
    rl_span_kind kind = RL_SPAN_NONE;
    const rl_span *own, *parent;

    pthread_mutex_lock(&graphs->lock);
    own = find(graphs, start->key);
    parent = own == NULL && start->has_parent ? find(graphs, start->parent) : NULL;
    *found = found_by(own != NULL ? own : parent);
    if (own != NULL) {
        found->other = true;
    } else if (start->is_graph && start->ns.data == NULL) {
        found->other = is_recorded_elsewhere(graphs, start);
        kind = found->other ? RL_SPAN_NONE : RL_SPAN_GRAPH;
    } else if (parent != NULL) {
        bool new_ns = start->ns.data != NULL &&
                      !rl_same_text(start->ns, rl_graph_text(parent->graph, parent->ns));

        kind = new_ns && !start->hidden && !parent->hidden ? RL_SPAN_NODE : RL_SPAN_INNER;
    } else if (is_recorded_elsewhere(graphs, start)) {
        found->other = true;
    } else if (start->is_graph && start->is_root) {
        kind = RL_SPAN_GRAPH;
    }
    pthread_mutex_unlock(&graphs->lock);
    return kind;
}

/* Fills in a span, and adds it to its graph and to the table. `parent` is NULL for the
 * graph's own span. */
static void open_span(rl_graph *graph, rl_span *span, rl_span *parent,
                      const rl_span_start *start)
{
    span->key = start->key;
    span->graph = graph;
    span->call = start->call;
    span->node = parent != NULL ? parent->node : RL_NO_NODE;
    span->hidden = start->hidden || (parent != NULL && parent->hidden);
    /* a tool or a model has no namespace: it is in its parent's */
    span->ns = start->ns.data != NULL || parent == NULL
                   ? rl_graph_copy_text(graph, start->ns)
                   : parent->ns;
    if (span->kind == RL_SPAN_NODE) {
        span->node = rl_graph_add_node(graph, parent, span->ns, start);
    } else if (start->call != RL_CALL_NONE) {
        rl_graph_count_call(graph, span->node, start->call);
        span->model = rl_graph_copy_text(graph, start->name);
    }
    rl_graph_add_values(graph, start->values);
    graph->wide_numbers |= start->wide_numbers;
    rl_ring_add(&graph->spans, &span->in_graph);
    graph->extra += rl_span_bytes(span);
}

rl_status rl_graphs_start(rl_graphs *graphs, rl_span_kind kind,
                          const rl_span_start *start, const rl_graph_start *given)
{
    rl_span *span = rl_calloc(1, sizeof *span), *parent = NULL;
    rl_graph *fresh =
        given != NULL && span != NULL ? rl_graph_new(start, given, span) : NULL;
    rl_status status = RL_NOMEM;

    pthread_mutex_lock(&graphs->lock);
    if (given == NULL) {
        parent = start->has_parent ? find(graphs, start->parent) : NULL;
    }
    if (span != NULL && (fresh != NULL || parent != NULL) &&
        find(graphs, start->key) == NULL &&
        rl_table_add(&graphs->spans, &span->link, hash_of(start->key))) {
        rl_graph *graph = fresh != NULL ? fresh : parent->graph;

        if (fresh != NULL && !link_graph(graphs, graph)) {
            rl_table_remove(&graphs->spans, &span->link);
        } else {
            span->kind = kind;
            if (fresh != NULL) {
                graph->key = start->key;
            }
            open_span(graph, span, parent, start);
            mark_changed(graphs, graph);
            span = NULL;
            fresh = NULL;
            status = RL_OK;
        }
    }
    pthread_mutex_unlock(&graphs->lock);
    rl_span_free(span);
    rl_graph_free(fresh);
    return status;
}

/* Remembers an ended span: LangChain calls the other handlers for the same end. */
static void remember_ended(rl_graphs *graphs, rl_key key)
{
    graphs->recent[graphs->next_recent] = key;
    graphs->next_recent = (graphs->next_recent + 1) % RECENT;
}

/* Whether another handler has the span open, or has ended it a moment ago. */
static bool is_known(const rl_graphs *graphs, rl_key key)
{
    const rl_span *span = (rl_span *)rl_table_first(&graphs->spans, hash_of(key));
    bool found;

    while (span != NULL && !same_uuid(span->key, key)) {
        span = (rl_span *)rl_table_next(&span->link);
    }
    found = span != NULL;
    for (size_t i = 0; i < RECENT && !found; i++) {
        found = same_uuid(graphs->recent[i], key);
    }
    return found;
}

rl_span_kind rl_graphs_find(rl_graphs *graphs, rl_key key, rl_found *found)
{
    const rl_span *span;
    rl_span_kind kind;

    pthread_mutex_lock(&graphs->lock);
    span = find(graphs, key);
    kind = span != NULL ? span->kind : RL_SPAN_NONE;
    *found = found_by(span);
    found->other = span == NULL && is_known(graphs, key);
    pthread_mutex_unlock(&graphs->lock);
    return kind;
}

static void end_span(const rl_span *span, const rl_span_end *end)
{
    rl_graph *graph = span->graph;

    if (span->kind == RL_SPAN_NODE && !graph->nodes.failed) {
        rl_graph_end_node(graph, span->node, end);
    } else if (span->call != RL_CALL_NONE) {
        rl_graph_end_call(graph, span, end);
    }
    rl_graph_add_values(graph, end->values);
}

bool rl_graphs_end(rl_graphs *graphs, rl_key key, const rl_span_end *end)
{
    rl_span *span;
    bool found;

    pthread_mutex_lock(&graphs->lock);
    span = find(graphs, key);
    if (span != NULL && span->kind == RL_SPAN_GRAPH) {
        span = NULL;
    }
    found = span != NULL;
    if (found) {
        end_span(span, end);
        rl_ring_remove(&span->in_graph);
        rl_table_remove(&graphs->spans, &span->link);
        span->graph->extra -= rl_span_bytes(span);
        remember_ended(graphs, key);
        mark_changed(graphs, span->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
    rl_span_free(span);
    return found;
}

void rl_graphs_interrupt(rl_graphs *graphs, rl_key key, rl_text interrupts)
{
    rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = find(graphs, key);
    if (span != NULL) {
        span->graph->interrupted = true;
        span->graph->metadata_changed = true;
        span->graph->reported = rl_graph_copy_text(span->graph, interrupts);
        mark_changed(graphs, span->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
}

void rl_graphs_resume(rl_graphs *graphs, rl_key key)
{
    rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = find(graphs, key);
    if (span != NULL) {
        span->graph->resumed = true;
        span->graph->metadata_changed = true;
        mark_changed(graphs, span->graph);
    }
    pthread_mutex_unlock(&graphs->lock);
}

rl_graph *rl_graphs_take(rl_graphs *graphs, rl_key key)
{
    rl_graph *graph = NULL;
    rl_span *span;

    pthread_mutex_lock(&graphs->lock);
    span = find(graphs, key);
    if (span != NULL && span->kind == RL_SPAN_GRAPH) {
        graph = span->graph;
        unlink_graph(graphs, graph);
        remember_ended(graphs, key);
    }
    pthread_mutex_unlock(&graphs->lock);
    return graph;
}

/* Waits until another thread has committed its piece; false when that takes too long.
 * Called with the lock held. */
static bool wait_for_pieces(rl_graphs *graphs, uint64_t end)
{
    struct timespec until = rl_timespec(end);

    return pthread_cond_timedwait(&graphs->settled, &graphs->lock, &until) == 0 ||
           rl_monotonic_ns() < end;
}

bool rl_graphs_settle(rl_graphs *graphs, rl_graph *graph, bool wait)
{
    uint64_t end = rl_monotonic_ns() + SETTLE_NS;
    bool settled;

    pthread_mutex_lock(&graphs->lock);
    while (wait && graph->writing && wait_for_pieces(graphs, end)) {
    }
    settled = !graph->writing;
    if (!settled && wait) {
        rl_ring_remove(&graph->in_writing);
        rl_graph_wrote(graph, false);
        settled = true;
    }
    pthread_mutex_unlock(&graphs->lock);
    return settled;
}

/* Begins a piece of a graph; the time of the next one is set once all of it is written.
 * False when nothing is new. */
static bool begin_piece(rl_graphs *graphs, rl_graph *graph, size_t bytes, rl_run *run,
                        rl_piece *piece)
{
    bool some = rl_graph_begin_piece(graph, bytes, run, piece);

    if (some) {
        rl_ring_add(&graphs->writing, &graph->in_writing);
    }
    if (!rl_graph_has_more(graph)) {
        rl_lane_unmark(graph);
        rl_lane_schedule(graph, rl_monotonic_ns() + graph->interval_ns);
    }
    return some;
}

void rl_graphs_wrote(rl_graphs *graphs, const rl_run *run, bool committed)
{
    rl_ring *at;

    pthread_mutex_lock(&graphs->lock);
    for (at = graphs->writing.after; at != &graphs->writing; at = at->after) {
        rl_graph *graph = RL_RING_OF(at, rl_graph, in_writing);

        if (memcmp(graph->id, run->id, sizeof graph->id) == 0) {
            rl_ring_remove(&graph->in_writing);
            rl_graph_wrote(graph, committed);
            if (graph->lane != NULL && !committed) {
                rl_lane_schedule(graph, rl_monotonic_ns() + graph->interval_ns);
                graph->lane->retry_ns = rl_monotonic_ns() + RETRY_NS;
                mark_changed(graphs, graph);
            } else if (graph->lane != NULL) {
                bool before = is_pressed(graph->lane);

                rl_lane_count(graph);
                count_pressed(graphs, before, is_pressed(graph->lane));
            }
            break;
        }
    }
    pthread_cond_broadcast(&graphs->settled);
    pthread_mutex_unlock(&graphs->lock);
}

/* Begins a piece of the first graph that is due, of those that the lock may be held for.
 * *next: when to look again. */
static bool begin_due(rl_graphs *graphs, rl_lane *lane, uint64_t before, rl_run *run,
                      rl_piece *piece, uint64_t *next)
{
    for (int i = 0; i < LOOKS && lane->due_count > 0; i++) {
        rl_graph *graph = lane->due[0];

        *next = graph->due_ns;
        if (graph->due_ns > before) {
            return false;
        }
        if (graph->changed && !graph->writing &&
            begin_piece(graphs, graph, PIECE, run, piece)) {
            return true;
        }
        rl_lane_schedule(graph, before + graph->interval_ns);
        *next = lane->due[0]->due_ns;
    }
    return false;
}

bool rl_graphs_write_due(rl_graphs *graphs, const void *recorder, uint64_t before,
                         rl_run *run, uint64_t *next)
{
    bool found = false;
    rl_piece piece;

    do {
        *next = RL_LIVE_NEVER;
        if (!rl_graphs_is_inherited(graphs)) {
            rl_lane *lane;

            pthread_mutex_lock(&graphs->lock);
            lane = rl_lane_find(&graphs->lanes, recorder);
            found = lane != NULL && begin_due(graphs, lane, before, run, &piece, next);
            pthread_mutex_unlock(&graphs->lock);
        }
    } while (!found && *next <= before);
    if (found) {
        rl_graph_end_piece(run, &piece);
    }
    return found;
}

/* The graph of a lane that has been changed for longest, if it was before that time. */
static rl_graph *first_changed(const rl_lane *lane, uint64_t before)
{
    rl_ring *ring = lane != NULL ? rl_ring_first(&lane->changed) : NULL;
    rl_graph *graph = ring != NULL ? RL_RING_OF(ring, rl_graph, in_changed) : NULL;

    return graph != NULL && graph->changed_ns <= before ? graph : NULL;
}

bool rl_graphs_write_changed(rl_graphs *graphs, const void *recorder, uint64_t before,
                             rl_run *run)
{
    uint64_t end = rl_monotonic_ns() + SETTLE_NS;
    bool found = false, waiting = !rl_graphs_is_inherited(graphs);
    rl_piece piece;

    pthread_mutex_lock(&graphs->lock);
    while (waiting && !found) {
        rl_graph *graph = first_changed(rl_lane_find(&graphs->lanes, recorder), before);

        if (graph == NULL) {
            waiting = false;
        } else if (graph->writing) {
            waiting = wait_for_pieces(graphs, end);
        } else {
            found = begin_piece(graphs, graph, PIECE, run, &piece);
        }
    }
    pthread_mutex_unlock(&graphs->lock);
    if (found) {
        rl_graph_end_piece(run, &piece);
    }
    return found;
}

rl_status rl_graphs_write_one(rl_graphs *graphs, rl_key key, bool wait, rl_run *run)
{
    uint64_t end = rl_monotonic_ns() + SETTLE_NS;
    rl_status status = RL_CLOSED;
    const rl_span *span;
    rl_piece piece;

    pthread_mutex_lock(&graphs->lock);
    do {
        span = find(graphs, key);
        status = span == NULL ? RL_CLOSED : span->graph->writing ? RL_BUSY : RL_OK;
    } while (status == RL_BUSY && wait && wait_for_pieces(graphs, end));
    if (status == RL_OK && !begin_piece(graphs, span->graph, PIECE, run, &piece)) {
        status = RL_CLOSED;
    }
    pthread_mutex_unlock(&graphs->lock);
    if (status == RL_OK) {
        rl_graph_end_piece(run, &piece);
    }
    return status;
}

rl_pressure rl_graphs_pressure(rl_graphs *graphs, const void *recorder)
{
    rl_pressure pressure = RL_PRESSURE_NONE;
    rl_lane *lane;

    if (atomic_load_explicit(&graphs->pressed, memory_order_relaxed) == 0) {
        return RL_PRESSURE_NONE;
    }
    pthread_mutex_lock(&graphs->lock);
    lane = rl_lane_find(&graphs->lanes, recorder);
    if (lane != NULL && is_pressed(lane)) {
        pressure = takes(lane, FULL) ? RL_PRESSURE_FULL : RL_PRESSURE_HIGH;
    }
    pthread_mutex_unlock(&graphs->lock);
    return pressure;
}

static void say_dropped(rl_lane *lane)
{
    if (!lane->told_dropped) {
        lane->told_dropped = true;
        rl_notices_add(lane->memory.notices, RL_NOTICE_ERROR,
                       "open runs take more than max_memory (%zu MiB) and can't be "
                       "written: of their payloads only the sizes are recorded",
                       lane->memory.limit >> 20);
    }
}

/* Takes memory of a graph back, which is then no longer in lane->touched. */
static bool shrink(rl_lane *lane, rl_graph *graph, bool drop)
{
    ptrdiff_t gone = rl_graph_shrink(graph, drop);

    rl_ring_remove(&graph->in_touched);
    rl_lane_count(graph);
    if (drop && gone >= 0) {
        say_dropped(lane);
    }
    if (gone >= 0 && lane->memory.metrics != NULL) {
        rl_metric_add(&lane->memory.metrics->handler_spilled, 1);
    }
    return gone >= 0;
}

/* One step on the graph that was touched least recently. */
static rl_relief relieve(rl_graphs *graphs, rl_lane *lane, size_t bytes, rl_run *run,
                         rl_piece *piece)
{
    bool failing = rl_monotonic_ns() < lane->retry_ns;
    bool full = takes(lane, 8);
    rl_ring *ring;

    for (int i = 0; i < LOOKS && (ring = rl_ring_first(&lane->touched)) != NULL; i++) {
        rl_graph *graph = RL_RING_OF(ring, rl_graph, in_touched);

        if (graph->writing) { /* later */
            rl_ring_remove(ring);
            rl_ring_add(&lane->touched, ring);
        } else if (!failing && bytes > 0 &&
                   begin_piece(graphs, graph, bytes, run, piece)) {
            return RL_RELIEF_WRITE;
        } else if (failing ? !full : rl_graph_has_new(graph)) {
            return RL_RELIEF_NONE;
        } else if (shrink(lane, graph, failing)) {
            return RL_RELIEF_FREED;
        }
    }
    return RL_RELIEF_NONE;
}

rl_relief rl_graphs_relieve(rl_graphs *graphs, const void *recorder, bool deep,
                            size_t bytes, rl_run *run)
{
    rl_relief relief = RL_RELIEF_NONE;
    rl_piece piece;
    rl_lane *lane;

    if (rl_graphs_is_inherited(graphs)) {
        return RL_RELIEF_NONE;
    }
    pthread_mutex_lock(&graphs->lock);
    lane = rl_lane_find(&graphs->lanes, recorder);
    if (lane != NULL && takes(lane, deep ? RELIEVED : FULL)) {
        bool before = is_pressed(lane);

        relief = relieve(graphs, lane, bytes, run, &piece);
        count_pressed(graphs, before, is_pressed(lane));
    }
    pthread_mutex_unlock(&graphs->lock);
    if (relief == RL_RELIEF_WRITE) {
        rl_graph_end_piece(run, &piece);
    }
    return relief;
}
