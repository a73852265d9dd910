/* The open graphs of one recorder: when each is due, and what they take. See
 * graph_state.h. */
#include "core/alloc.h"
#include "record/graph/graph_state.h"

#include <string.h>

#define NOT_DUE SIZE_MAX /* due_at of a graph that is written only when asked for */

rl_lane *rl_lane_find(const rl_ring *lanes, const void *recorder)
{
    for (rl_ring *at = lanes->after; at != lanes; at = at->after) {
        rl_lane *lane = RL_RING_OF(at, rl_lane, in_table);

        if (lane->recorder == recorder) {
            return lane;
        }
    }
    return NULL;
}

rl_lane *rl_lane_new(rl_ring *lanes, const void *recorder, const rl_memory *memory)
{
    rl_lane *lane = rl_calloc(1, sizeof *lane);

    if (lane != NULL) {
        lane->recorder = recorder;
        lane->memory = *memory;
        rl_ring_init(&lane->in_table);
        rl_ring_init(&lane->changed);
        rl_ring_init(&lane->touched);
        rl_ring_add(lanes, &lane->in_table);
    }
    return lane;
}

static void put(rl_lane *lane, size_t at, rl_graph *graph)
{
    lane->due[at] = graph;
    graph->due_at = at;
}

/* Moves a graph to where its time belongs in the heap. */
static void sift(rl_lane *lane, rl_graph *graph)
{
    size_t at = graph->due_at;

    while (at > 0 && lane->due[(at - 1) / 2]->due_ns > graph->due_ns) {
        put(lane, at, lane->due[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < lane->due_count &&
            lane->due[child + 1]->due_ns < lane->due[child]->due_ns) {
            child++;
        }
        if (child >= lane->due_count || lane->due[child]->due_ns >= graph->due_ns) {
            break;
        }
        put(lane, at, lane->due[child]);
        at = child;
    }
    put(lane, at, graph);
}

static bool make_room(rl_lane *lane)
{
    size_t room = lane->due_room > 0 ? 2 * lane->due_room : 16;
    rl_graph **due = rl_realloc(lane->due, room * sizeof(rl_graph *));

    if (due != NULL) {
        lane->due = due;
        lane->due_room = room;
    }
    return due != NULL;
}

bool rl_lane_add(rl_lane *lane, rl_graph *graph)
{
    bool timed = graph->interval_ns != RL_LIVE_NEVER && graph->interval_ns > 0;

    graph->due_at = NOT_DUE;
    if (timed && lane->due_count == lane->due_room && !make_room(lane)) {
        return false;
    }
    if (timed) {
        graph->due_ns = graph->started_ns + rl_live_first(graph->interval_ns);
        put(lane, lane->due_count++, graph);
        sift(lane, graph);
    }
    graph->lane = lane;
    lane->graphs++;
    return true;
}

void rl_lane_schedule(rl_graph *graph, uint64_t due_ns)
{
    if (graph->due_at != NOT_DUE) {
        graph->due_ns = due_ns;
        sift(graph->lane, graph);
    }
}

void rl_lane_free(rl_lane *lane)
{
    if (lane->graphs == 0) {
        rl_ring_remove(&lane->in_table);
        rl_free(lane->due);
        rl_free(lane);
    }
}

void rl_lane_remove(rl_graph *graph)
{
    rl_lane *lane = graph->lane;
    rl_graph *last;

    if (graph->due_at != NOT_DUE) {
        last = lane->due[--lane->due_count];
        if (last != graph) {
            put(lane, graph->due_at, last);
            sift(lane, last);
        }
    }
    rl_ring_remove(&graph->in_changed);
    rl_ring_remove(&graph->in_touched);
    lane->bytes -= graph->bytes;
    lane->graphs--;
    graph->lane = NULL;
    rl_lane_free(lane);
}

void rl_lane_count(rl_graph *graph)
{
    size_t bytes = rl_graph_bytes(graph);

    graph->lane->bytes += bytes - graph->bytes;
    graph->bytes = bytes;
}

void rl_lane_mark(rl_graph *graph)
{
    rl_lane *lane = graph->lane;

    rl_lane_count(graph);
    rl_ring_remove(&graph->in_touched);
    rl_ring_add(&lane->touched, &graph->in_touched);
    if (!graph->changed) {
        graph->changed = true;
        graph->changed_ns = rl_monotonic_ns();
        if (graph->interval_ns != RL_LIVE_NEVER) {
            rl_ring_add(&lane->changed, &graph->in_changed);
        }
    }
}

void rl_lane_unmark(rl_graph *graph)
{
    graph->changed = false;
    rl_ring_remove(&graph->in_changed);
}
