/* Events of graphs, for the tests of record/graph/graph.h: a span is named by a
 * number. */
#ifndef RUNLOG_TESTS_GRAPH_HELP_H
#define RUNLOG_TESTS_GRAPH_HELP_H

#include "check.h"
#include "core/clock.h"
#include "record/graph/graph.h"

static inline rl_text text(const char *data)
{
    return (rl_text){data, data != NULL ? strlen(data) : 0};
}

static inline rl_key key_of(uint64_t number)
{
    return (rl_key){number >> 3, number, NULL};
}

/* An object whose members are not known, so that it is stored whole. */
static inline rl_object object(const char *data)
{
    return (rl_object){data, data != NULL ? strlen(data) : 0, NULL, 0};
}

/* A start of span `number`; parent 0: none. The test sets further members. */
static inline rl_span_start start_of(uint64_t number, uint64_t parent, const char *ns,
                                     const char *name)
{
    return (rl_span_start){.key = key_of(number),
                           .parent = key_of(parent),
                           .has_parent = parent != 0,
                           .ns = text(ns),
                           .name = text(name),
                           .step = (int64_t)number,
                           .inputs = object("{\"in\":1}")};
}

/* The start of a graph; the test sets further members. */
static inline rl_graph_start graph_of(void *owner)
{
    return (rl_graph_start){.wpk_id = text("w"),
                            .run_id = text("r"),
                            .interval_ns = RL_LIVE_NEVER,
                            .calls = RL_CALLS_NONE, /* see test_graph_calls.c */
                            .owner = owner};
}

static inline rl_span_kind kind_of(rl_graphs *graphs, uint64_t number)
{
    rl_found found;

    return rl_graphs_find(graphs, key_of(number), &found);
}

/* Classifies a start and opens the span; `given` is for a graph. Returns the kind. */
static inline rl_span_kind begin_as(rl_graphs *graphs, const rl_span_start *start,
                                    const rl_graph_start *given)
{
    rl_found found;
    rl_span_kind kind = rl_graphs_classify(graphs, start, &found);

    if (kind != RL_SPAN_NONE) {
        CHECK_INT(
            rl_graphs_start(graphs, kind, start, kind == RL_SPAN_GRAPH ? given : NULL),
            RL_OK);
        CHECK_INT(rl_graphs_find(graphs, start->key, &found), kind);
    }
    return kind;
}

static inline rl_span_kind begin(rl_graphs *graphs, const rl_span_start *start)
{
    rl_graph_start given = graph_of(NULL);

    return begin_as(graphs, start, &given);
}

static inline void begin_graph_as(rl_graphs *graphs, uint64_t number,
                                  const rl_graph_start *given)
{
    rl_span_start start = start_of(number, 0, NULL, "graph");

    start.is_graph = true;
    CHECK_INT(begin_as(graphs, &start, given), RL_SPAN_GRAPH);
}

static inline void begin_graph(rl_graphs *graphs, uint64_t number, void *owner)
{
    rl_graph_start given = graph_of(owner);

    begin_graph_as(graphs, number, &given);
}

static inline void begin_node(rl_graphs *graphs, uint64_t number, uint64_t parent,
                              const char *ns, const char *name)
{
    rl_span_start start = start_of(number, parent, ns, name);

    CHECK_INT(begin(graphs, &start), RL_SPAN_NODE);
}

static inline void end_span(rl_graphs *graphs, uint64_t number, rl_outcome outcome,
                            bool wide)
{
    rl_span_end end = {.outcome = outcome,
                       .ended_ns = rl_monotonic_ns(),
                       .outputs = text("[2]"),
                       .wide_numbers = wide};

    if (outcome == RL_FAILED) {
        end.outputs = text(NULL);
        end.error_type = text("ValueError");
        end.error_text = text("it's \"bad\"");
        end.error_traceback = text("in \"f\"");
        end.error_key = number;
    }
    CHECK(rl_graphs_end(graphs, key_of(number), &end));
}

/* Takes a graph, ends it, and writes it into the run. */
static inline void finish(rl_graphs *graphs, uint64_t number, rl_outcome outcome,
                          rl_run *run)
{
    rl_span_end end = {.outcome = outcome, .ended_ns = rl_monotonic_ns()};
    rl_graph *graph = rl_graphs_take(graphs, key_of(number));

    REQUIRE(graph != NULL);
    CHECK(rl_graphs_settle(graphs, graph, true));
    rl_graph_write(graph, &end, run);
    rl_graph_free(graph);
    CHECK(!run->arena.failed);
    CHECK(rl_graphs_take(graphs, key_of(number)) == NULL);
}

static inline void release_none(void *owner)
{
    CHECK(owner == NULL);
}

#endif
