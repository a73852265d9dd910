/* Test of the totals in the metadata of a run: nodes, retries, and the node in which it
 * failed, waits or is. tests/graphs.py compares them with the node logs of real graphs, and
 * test_graph_pieces.c with those of runs whose logs have left memory.
 */
#include "record/graph/graph.h"

#include "check.h"
#include "graph_help.h"

#include <stdlib.h>

/* Opens a node that lies in the node `parent`, or in the graph, 1. */
static void open_node(rl_graphs *graphs, uint64_t number, uint64_t parent,
                      const char *name)
{
    char ns[64];

    (void)snprintf(ns, sizeof ns, "%s:%d", name, (int)number);
    begin_node(graphs, number, parent, ns, name);
}

/* Ends a node with an error; `arose`: it has a traceback. */
static void fail_node(rl_graphs *graphs, uint64_t number, const char *error, bool arose)
{
    rl_span_end end = {.outcome = RL_FAILED,
                       .ended_ns = rl_monotonic_ns(),
                       .error_type = text("E"),
                       .error_text = text(error),
                       .error_traceback = text(arose ? "in f" : NULL)};

    CHECK(rl_graphs_end(graphs, key_of(number), &end));
}

/* Ends the run, and compares its totals. */
static void check_end(rl_graphs *graphs, rl_span_end end, const char *want)
{
    rl_graph *graph = rl_graphs_take(graphs, key_of(1));
    rl_run *run = rl_run_new();
    char metadata[200];

    REQUIRE(graph != NULL);
    end.ended_ns = rl_monotonic_ns();
    CHECK(rl_graphs_settle(graphs, graph, true));
    rl_graph_write(graph, &end, run);
    CHECK(!run->arena.failed);
    rl_graph_free(graph);
    (void)snprintf(metadata, sizeof metadata, "{\"totals\":{%s}}", want);
    CHECK_STR(rl_run_text(run, RL_METADATA), metadata);
    rl_run_free(run);
}

static void check_failed_run(rl_graphs *graphs, const char *error, bool arose,
                             const char *want)
{
    check_end(graphs,
              (rl_span_end){.outcome = RL_FAILED,
                            .error_type = text("E"),
                            .error_text = text(error),
                            .error_traceback = text(arose ? "in f" : NULL)},
              want);
}

static void test_the_node_in_which_a_run_failed(void)
{
    rl_graphs *graphs = rl_graphs_new();

    begin_graph(graphs, 1, NULL); /* the error arose in the inner node */
    open_node(graphs, 2, 1, "outer");
    open_node(graphs, 3, 2, "inner");
    fail_node(graphs, 3, "bad", true);
    fail_node(graphs, 2, "bad", false);
    check_failed_run(graphs, "bad", false, "\"nodes\":2,\"at\":\"inner\"");

    begin_graph(graphs, 1, NULL); /* without a traceback: the innermost */
    open_node(graphs, 2, 1, "outer");
    open_node(graphs, 3, 2, "inner");
    fail_node(graphs, 3, "bad", false);
    fail_node(graphs, 2, "bad", false);
    check_failed_run(graphs, "bad", false, "\"nodes\":2,\"at\":\"inner\"");

    begin_graph(graphs, 1, NULL); /* a node catches another error */
    open_node(graphs, 2, 1, "a");
    fail_node(graphs, 2, "caught", true);
    open_node(graphs, 3, 1, "b");
    fail_node(graphs, 3, "bad", true);
    check_failed_run(graphs, "bad", false, "\"nodes\":2,\"at\":\"b\"");

    begin_graph(graphs, 1, NULL); /* the run wraps the error of a node */
    open_node(graphs, 2, 1, "a");
    fail_node(graphs, 2, "first", true);
    check_failed_run(graphs, "other", false, "\"nodes\":1,\"at\":\"a\"");

    begin_graph(graphs, 1, NULL); /* LangGraph itself raised */
    open_node(graphs, 2, 1, "a");
    fail_node(graphs, 2, "first", true);
    check_failed_run(graphs, "other", true, "\"nodes\":1");
    rl_graphs_free(graphs, release_none);
}

/* Opens and fails an attempt of node a. */
static void fail_attempt(rl_graphs *graphs, uint64_t number, const char *error)
{
    begin_node(graphs, number, 1, "a:1", "a");
    fail_node(graphs, number, error, true);
}

static void test_retries(void)
{
    rl_graphs *graphs = rl_graphs_new();

    begin_graph(graphs, 1, NULL);
    open_node(graphs, 2, 1, "b");
    fail_node(graphs, 2, "bad", true);
    fail_attempt(graphs, 3, "bad");
    fail_attempt(graphs, 4, "bad");
    check_failed_run(graphs, "bad", false, "\"nodes\":2,\"retries\":1,\"at\":\"a\"");

    begin_graph(graphs, 1, NULL); /* no node has its error: one that was not retried */
    fail_attempt(graphs, 2, "one");
    begin_node(graphs, 3, 1, "a:1", "a");
    end_span(graphs, 3, RL_COMPLETED, false);
    open_node(graphs, 4, 1, "b");
    fail_node(graphs, 4, "two", true);
    check_failed_run(graphs, "other", false, "\"nodes\":2,\"retries\":1,\"at\":\"b\"");
    rl_graphs_free(graphs, release_none);
}

static void test_the_node_that_was_cancelled(void)
{
    rl_graphs *graphs = rl_graphs_new();

    begin_graph(graphs, 1, NULL);
    open_node(graphs, 2, 1, "done");
    end_span(graphs, 2, RL_COMPLETED, false);
    open_node(graphs, 3, 1, "outer");
    open_node(graphs, 4, 1, "beside");
    open_node(graphs, 5, 3, "inner");
    for (uint64_t i = 5; i >= 3; i--) {
        end_span(graphs, i, RL_CANCELLED, false);
    }
    check_end(graphs, (rl_span_end){.outcome = RL_CANCELLED},
              "\"nodes\":4,\"at\":\"beside\"");

    begin_graph(graphs, 1, NULL); /* a node took too long */
    open_node(graphs, 2, 1, "slow");
    end_span(graphs, 2, RL_CANCELLED, false);
    check_end(graphs,
              (rl_span_end){.outcome = RL_FAILED, .error_type = text("NodeTimeoutError")},
              "\"nodes\":1,\"at\":\"slow\"");
    rl_graphs_free(graphs, release_none);
}

/* Writes what is new, and compares the metadata. */
static void check_live(rl_graphs *graphs, const char *want)
{
    rl_run *run = rl_run_new();

    REQUIRE(rl_graphs_write_one(graphs, key_of(1), true, run) == RL_OK);
    CHECK_STR(rl_run_text(run, RL_METADATA), want);
    rl_graphs_wrote(graphs, run, true);
    rl_run_free(run);
}

static void test_an_open_run_says_where_it_is(void)
{
    rl_graphs *graphs = rl_graphs_new();

    begin_graph(graphs, 1, NULL);
    check_live(graphs, "{\"totals\":{\"nodes\":0}}");
    open_node(graphs, 2, 1, "outer");
    check_live(graphs, "{\"totals\":{\"nodes\":1,\"at\":\"outer\"}}");
    open_node(graphs, 3, 2, "inner");
    check_live(graphs, "{\"totals\":{\"nodes\":2,\"at\":\"inner\"}}");
    end_span(graphs, 3, RL_COMPLETED, false);
    check_live(graphs, "{\"totals\":{\"nodes\":2,\"at\":\"outer\"}}");
    for (uint64_t i = 0; i < 1500; i++) { /* more than are looked at */
        open_node(graphs, 10 + i, 2, i < 1400 ? "many" : "last");
    }
    check_live(graphs, "{\"totals\":{\"nodes\":1502,\"at\":\"many\"}}");
    check_end(graphs, (rl_span_end){.outcome = RL_COMPLETED}, "\"nodes\":1502");
    rl_graphs_free(graphs, release_none);
}

/* Commits what is new, and has what is stored leave memory. */
static void free_logs(rl_graphs *graphs, rl_run *run)
{
    rl_relief relief = RL_RELIEF_FREED;

    for (int i = 0; i < 50 && relief != RL_RELIEF_NONE; i++) {
        relief = rl_graphs_relieve(graphs, NULL, true, 1 << 20, run);
        if (relief == RL_RELIEF_WRITE) {
            rl_graphs_wrote(graphs, run, true);
        }
    }
}

/* Of the failures that have left memory, the last are remembered. */
static void test_logs_that_have_left_memory(void)
{
    enum {
        FAILED = 200
    };
    static const char want[] = "\"nodes\":101,\"retries\":100,\"at\":\"a\"";
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_metrics metrics = {0};
    rl_graph_start given = graph_of(NULL);
    char error[32];

    given.interval_ns = 1;
    given.memory = (rl_memory){8, &metrics, NULL};
    begin_graph_as(graphs, 1, &given);
    for (uint64_t i = 0; i < FAILED; i++) {
        (void)snprintf(error, sizeof error, "error %d", (int)i);
        if (i < FAILED / 2) {
            open_node(graphs, 10 + i, 1, "b");
            fail_node(graphs, 10 + i, error, true);
        } else {
            fail_attempt(graphs, 10 + i, error);
        }
        if (i % 50 == 49) {
            free_logs(graphs, run);
        }
    }
    free_logs(graphs, run);
    CHECK_INT(rl_metric_get(&metrics.handler_spilled), 4); /* each time all of them */
    begin_node(graphs, 1000, 1, "a:1", "a"); /* the attempt before is a retried one */
    end_span(graphs, 1000, RL_COMPLETED, false);
    check_failed_run(graphs, "error 150", false, want);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_the_node_in_which_a_run_failed),
    CHECK_TEST(test_retries),
    CHECK_TEST(test_the_node_that_was_cancelled),
    CHECK_TEST(test_an_open_run_says_where_it_is),
    CHECK_TEST(test_logs_that_have_left_memory),
};

CHECK_MAIN(tests)
