/* Test of record/graph/graph.h: the exceptions of nodes. The traceback of one that passes
 * from a node through those around it belongs to the innermost one.
 */
#include "record/graph/graph.h"

#include "check.h"
#include "graph_help.h"

#define TRACEBACK "Traceback (most recent call last):\nE: \"x\""

static const int lane;

/* The keys of an exception of that number, with so many frames. */
static rl_error_keys keys_of(uint64_t number, size_t frames)
{
    rl_error_keys keys = {.count = frames + 1};

    for (size_t i = 0; i <= frames; i++) {
        keys.list[i] = number * 1000 + i;
    }
    return keys;
}

static bool knows(rl_graphs *graphs, uint64_t span, uint64_t number, size_t frames)
{
    rl_error_keys keys = keys_of(number, frames);

    return rl_graphs_knows_error(graphs, key_of(span), &keys);
}

/* Ends a node with an exception that has so many frames by then. */
static void fail(rl_graphs *graphs, uint64_t span, uint64_t number, size_t frames,
                 const char *traceback)
{
    rl_error_keys keys = keys_of(number, frames);
    rl_span_end end = {.outcome = RL_FAILED,
                       .ended_ns = rl_monotonic_ns(),
                       .error_type = text("E"),
                       .error_text = text("x"),
                       .error_traceback = text(traceback),
                       .error_key = keys.list[keys.count - 1]};

    CHECK(rl_graphs_end(graphs, key_of(span), &end));
}

static void test_an_error_is_known_on_its_way_outwards(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    begin_graph(graphs, 1, NULL);
    begin_node(graphs, 2, 1, "a:1", "a");
    begin_node(graphs, 3, 2, "a:1|b:1", "b");
    begin_node(graphs, 4, 2, "a:1|c:1", "c");
    CHECK(!knows(graphs, 3, 7, 2));
    fail(graphs, 3, 7, 2, TRACEBACK);
    CHECK(!knows(graphs, 1, 7, 9)); /* first the node around it */
    CHECK(!knows(graphs, 4, 7, 9)); /* another branch */
    CHECK(!knows(graphs, 3, 7, 9)); /* it has ended */
    CHECK(!knows(graphs, 2, 8, 9)); /* another exception */
    CHECK(!knows(graphs, 2, 7, 1)); /* and one without its frames */
    CHECK(knows(graphs, 2, 7, 2));
    CHECK(knows(graphs, 2, 7, RL_ERROR_FRAMES));
    fail(graphs, 2, 7, 5, NULL);
    CHECK(knows(graphs, 1, 7, 6));
    begin_node(graphs, 5, 1, "a:1", "a"); /* the next attempt */
    CHECK(!knows(graphs, 5, 7, 5));
    finish(graphs, 1, RL_FAILED, run);
    CHECK(strstr(rl_run_text(run, RL_NODE_LOGS),
                 "\"error_text\":\"x\",\"error_traceback\":\"Traceback (most recent call "
                 "last):\\nE: \\\"x\\\"\",\"inputs\"") != NULL);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

static void test_the_run_has_the_traceback_of_its_end(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_span_end end = {.outcome = RL_FAILED, .error_traceback = text(TRACEBACK)};
    rl_graph *graph;

    begin_graph(graphs, 1, NULL);
    graph = rl_graphs_take(graphs, key_of(1));
    REQUIRE(graph != NULL);
    rl_graph_write(graph, &end, run);
    CHECK_STR(rl_run_text(run, RL_ERROR_TRACEBACK), TRACEBACK);
    rl_graph_free(graph);
    begin_graph(graphs, 1, NULL);
    finish(graphs, 1, RL_COMPLETED, run);
    CHECK(rl_run_text(run, RL_ERROR_TRACEBACK) == NULL);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* A node that catches what the nodes within it raise, without an end. */
static void test_many_errors_take_little_memory(void)
{
    enum {
        ERRORS = 30000
    };
    rl_graphs *graphs = rl_graphs_new();
    char ns[40];

    begin_graph(graphs, 1, NULL);
    begin_node(graphs, 2, 1, "a:1", "a");
    for (uint64_t i = 3; i < ERRORS; i++) {
        snprintf(ns, sizeof ns, "a:1|b:%" PRIu64, i);
        begin_node(graphs, i, 2, ns, "b");
        fail(graphs, i, i, 3, NULL);
        CHECK(knows(graphs, 2, i, 4));
    }
    CHECK(!knows(graphs, 2, 3, 4));
    CHECK(knows(graphs, 2, ERRORS - 1000, 4));
    rl_graphs_free(graphs, release_none);
}

static char long_text[16384 + 1]; /* as long as its test needs it */

static void make_long(size_t len)
{
    memset(long_text, 'x', len);
    long_text[len] = '\0';
}

/* Tracebacks count as payloads: of those past the limit the size stays. */
static void test_tracebacks_past_the_limit_leave_their_size(void)
{
    enum {
        NODES = 8250,
        SIZE = 16384
    };
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    char ns[40];

    make_long(SIZE);
    begin_graph(graphs, 1, NULL);
    for (uint64_t i = 2; i < NODES; i++) {
        snprintf(ns, sizeof ns, "a:%" PRIu64, i);
        begin_node(graphs, i, 1, ns, "a");
        fail(graphs, i, i, 3, long_text);
    }
    begin_node(graphs, NODES, 1, "small:1", "small");
    fail(graphs, NODES, NODES, 3, TRACEBACK);
    finish(graphs, 1, RL_FAILED, run);
    CHECK(run->texts[RL_NODE_LOGS].len < ((size_t)140 << 20));
    CHECK(strstr(rl_run_text(run, RL_NODE_LOGS),
                 "\"error_traceback\":\"<cut: 16384 bytes>\"") != NULL);
    CHECK(strstr(rl_run_text(run, RL_NODE_LOGS),
                 "\"error_traceback\":\"Traceback (most") != NULL);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* Where nothing can be written, tracebacks leave memory as payloads do. */
static void test_tracebacks_that_cannot_be_written_are_dropped(void)
{
    enum {
        NODES = 500,
        SIZE = 10000
    };
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_metrics metrics = {0};
    rl_graph_start given = graph_of(NULL);
    char ns[40];

    make_long(SIZE);
    given.recorder = &lane;
    given.memory = (rl_memory){1 << 20, &metrics, NULL};
    begin_graph_as(graphs, 1, &given);
    for (uint64_t i = 2; i < NODES; i++) {
        rl_relief relief = RL_RELIEF_FREED;

        snprintf(ns, sizeof ns, "a:%" PRIu64, i);
        begin_node(graphs, i, 1, ns, "a");
        fail(graphs, i, i, 3, long_text);
        while (relief != RL_RELIEF_NONE) {
            relief = rl_graphs_relieve(graphs, &lane, true, 1 << 20, run);
            if (relief == RL_RELIEF_WRITE) {
                rl_graphs_wrote(graphs, run, false);
            }
        }
    }
    CHECK(rl_metric_get(&metrics.handler_dropped) > 100);
    finish(graphs, 1, RL_FAILED, run);
    CHECK(strstr(rl_run_text(run, RL_NODE_LOGS),
                 "\"error_traceback\":\"<dropped: 10000 bytes>\",\"inputs\":") != NULL);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_an_error_is_known_on_its_way_outwards),
    CHECK_TEST(test_the_run_has_the_traceback_of_its_end),
    CHECK_TEST(test_many_errors_take_little_memory),
    CHECK_TEST(test_tracebacks_past_the_limit_leave_their_size),
    CHECK_TEST(test_tracebacks_that_cannot_be_written_are_dropped),
};

CHECK_MAIN(tests)
