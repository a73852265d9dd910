/* What of the open runs is written, in pieces, and what leaves memory. See graph.h. */
#include "core/lock.h"
#include "record/graph/graph_state.h"

#include <pthread.h>
#include <string.h>

#define PIECE ((size_t)4 << 20) /* bytes that are written at once */
#define FIRST_NODES 8           /* node logs in a run's first write, at most */
#define LOOKS 128               /* graphs that are looked at under one hold of the lock */

/* How long to wait for the commit of a piece by another thread. A commit has limits of
 * its own; this one is for a thread that was lost. */
#define SETTLE_NS UINT64_C(20000000000)

/* Eighths of the limit: what the worker leaves, and from when on the threads of events take
 * memory back, too. */
#define RELIEVED 2
#define FULL 4

#define RETRY_NS UINT64_C(1000000000) /* after a commit for memory has failed */

/* Waits until another thread has committed its piece; false when that takes too long.
 * Called with the lock held. */
static bool wait_for_pieces(rl_graphs *graphs, uint64_t end)
{
    struct timespec until = rl_timespec(end);

    return rl_cond_timedwait(&graphs->settled, &graphs->lock, &until) == 0 ||
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
                rl_graphs_mark(graphs, graph);
            } else if (graph->lane != NULL) {
                bool before = rl_lane_is_pressed(graph->lane);

                rl_lane_count(graph);
                rl_graphs_count_pressed(graphs, before, rl_lane_is_pressed(graph->lane));
            }
            break;
        }
    }
    pthread_cond_broadcast(&graphs->settled);
    pthread_mutex_unlock(&graphs->lock);
}

/* Whether a run's first write leaves its node logs to the next: a fast run may have many
 * by then, and end before that. */
static bool is_header_enough(const rl_graph *graph)
{
    return !graph->inputs_stored && rl_graph_nodes(graph) > FIRST_NODES &&
           graph->interval_ns > RL_LIVE_FIRST_NS;
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
        if (graph->changed && !graph->writing) {
            bool header = is_header_enough(graph);

            if (begin_piece(graphs, graph, header ? 0 : PIECE, run, piece)) {
                if (header) {
                    rl_lane_schedule(graph, before + graph->interval_ns);
                }
                return true;
            }
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

bool rl_graphs_owner(rl_graphs *graphs, const void *recorder, char owner[RL_OWNER_TEXT])
{
    bool open = false;

    if (!rl_graphs_is_inherited(graphs)) {
        pthread_mutex_lock(&graphs->lock);
        open = rl_lane_find(&graphs->lanes, recorder) != NULL;
        memcpy(owner, graphs->process, RL_OWNER_TEXT);
        pthread_mutex_unlock(&graphs->lock);
    }
    return open;
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
        span = rl_graphs_span(graphs, key);
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
    if (lane != NULL && rl_lane_is_pressed(lane)) {
        pressure = rl_lane_takes(lane, FULL) ? RL_PRESSURE_FULL : RL_PRESSURE_HIGH;
    }
    pthread_mutex_unlock(&graphs->lock);
    return pressure;
}

static void say_dropped(rl_lane *lane)
{
    if (!lane->dropped_logged) {
        lane->dropped_logged = true;
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
    bool full = rl_lane_takes(lane, 8);
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
    if (lane != NULL && rl_lane_takes(lane, deep ? RELIEVED : FULL)) {
        bool before = rl_lane_is_pressed(lane);

        relief = relieve(graphs, lane, bytes, run, &piece);
        rl_graphs_count_pressed(graphs, before, rl_lane_is_pressed(lane));
    }
    pthread_mutex_unlock(&graphs->lock);
    if (relief == RL_RELIEF_WRITE) {
        rl_graph_end_piece(run, &piece);
    }
    return relief;
}
