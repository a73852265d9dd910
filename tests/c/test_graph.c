/* Test of record/graph/graph.h: how starts are classified, and the node logs, compared as
 * texts without their times. test_graph_table.c tests the table.
 */
#include "record/graph/graph.h"

#include "record/owner.h"

#include "check.h"
#include "graph_help.h"

#include <stdlib.h>

/* The node logs with * for each time: "started_at":*,"duration_ms":* (null stays). Owned
 * by the caller. */
static char *logs_of(const rl_run *run)
{
    const char *from = rl_run_text(run, RL_NODE_LOGS);
    char *out = calloc(1, strlen(from) + 1), *to = out;

    while (*from != '\0') {
        bool stamp = to - out > 13 && memcmp(to - 13, "\"started_at\":", 13) == 0;
        bool span = to - out > 14 && memcmp(to - 14, "\"duration_ms\":", 14) == 0;

        if (stamp || (span && *from >= '0' && *from <= '9')) {
            from += strcspn(from, ",}");
            *to++ = '*';
        } else {
            *to++ = *from++;
        }
    }
    return out;
}

/* Checks the value of a member in each of the node logs: "a, b, c". */
static void check_members(const rl_run *run, const char *name, const char *want)
{
    char mark[40], found[400] = "", *logs = logs_of(run);
    size_t mark_len = (size_t)snprintf(mark, sizeof mark, "\"%s\":", name), len = 0;

    for (const char *at = strstr(logs, mark); at != NULL; at = strstr(at, mark)) {
        at += mark_len;
        if (len > 0) {
            memcpy(found + len, ", ", 2);
            len += 2;
        }
        memcpy(found + len, at, strcspn(at, ",}"));
        len += strcspn(at, ",}");
        found[len] = '\0';
    }
    CHECK_STR(found, want);
    free(logs);
}

static void test_starts_are_classified(void)
{
    static const struct {
        uint64_t number, parent;
        const char *ns;
        bool is_graph, hidden;
        rl_span_kind want;
    } starts[] = {
        {1, 0, NULL, false, false, RL_SPAN_NONE},   /* neither a graph nor inside one */
        {1, 99, "a:1", false, false, RL_SPAN_NONE}, /* the parent is unknown */
        {1, 0, "a:1", true, false, RL_SPAN_NONE},   /* a subgraph of an unknown graph */
        {1, 0, NULL, true, false, RL_SPAN_GRAPH},
        {1, 0, NULL, true, false, RL_SPAN_NONE}, /* already open */
        {2, 1, "a:1", false, false, RL_SPAN_NODE},
        {2, 1, "b:1", false, false, RL_SPAN_NONE},
        {3, 2, "a:1", false, false, RL_SPAN_INNER}, /* a function within the node */
        {4, 3, NULL, false, false, RL_SPAN_INNER},  /* a model, without a namespace */
        {5, 4, "a:1", false, false, RL_SPAN_INNER}, /* below it, still in the node's */
        {6, 2, "a:1", true, false, RL_SPAN_INNER},  /* the subgraph itself */
        {7, 6, "a:1|b:2", false, false, RL_SPAN_NODE},
        {8, 1, "c:1", false, true, RL_SPAN_INNER},    /* hidden, until */
        {9, 8, "c:1|d:1", false, true, RL_SPAN_NODE}, /* a node is in it, with its tag */
        {10, 9, "e:1", false, false, RL_SPAN_NODE},
        {14, 1, "f:1", false, true, RL_SPAN_INNER}, /* hidden for good */
        {11, 1, "", false, false, RL_SPAN_INNER},   /* the namespace of the graph */
        {12, 3, NULL, true, false, RL_SPAN_GRAPH},  /* a separate graph, inside a node */
        {13, 12, "a:1", false, false, RL_SPAN_NODE},
    };
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        rl_span_start start =
            start_of(starts[i].number, starts[i].parent, starts[i].ns, "name");

        start.is_graph = starts[i].is_graph;
        start.hidden = starts[i].hidden;
        CHECK_INT(begin(graphs, &start), starts[i].want);
    }
    CHECK_INT(kind_of(graphs, 99), RL_SPAN_NONE);
    finish(graphs, 12, RL_COMPLETED, run);
    check_members(run, "step", "13");
    CHECK_INT(kind_of(graphs, 13), RL_SPAN_NONE);
    finish(graphs, 1, RL_COMPLETED, run);
    check_members(run, "step", "2, 7, 8, 9, 10");
    check_members(run, "parent", "null, \"name\", null, \"name\", \"name\"");
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

#define NO_CALLS                                                                   \
    "\"llm_calls\":0,\"tool_calls\":0,\"tokens\":null,\"models\":[],\"calls\":[]," \
    "\"events\":[]"

static void test_row_of_a_run(void)
{
    static const char want[] =
        "[{\"node\":\"plan\",\"status\":\"completed\",\"step\":2,\"attempt\":1,"
        "\"parent\":null,"
        "\"error_type\":null,\"error_text\":null,"
        "\"error_traceback\":null,\"inputs\":{\"in\":1},\"outputs\":[2],"
        "\"started_at\":*,\"duration_ms\":*," NO_CALLS "},"
        "{\"node\":\"act \\\"now\\\"\",\"status\":\"failed\",\"step\":3,\"attempt\":1,"
        "\"parent\":\"plan\",\"error_type\":\"ValueError\",\"error_text\":\"it's "
        "\\\"bad\\\"\",\"error_traceback\":\"in \\\"f\\\"\","
        "\"inputs\":{\"in\":1},\"outputs\":null,\"started_at\":*,\"duration_ms\":*"
        "," NO_CALLS "},"
        "{\"node\":\"open\",\"status\":\"running\",\"step\":4,\"attempt\":1,\"parent\":"
        "null,"
        "\"error_type\":null,\"error_text\":null,"
        "\"error_traceback\":null,\"inputs\":{\"in\":1},\"outputs\":null,"
        "\"started_at\":*,\"duration_ms\":null," NO_CALLS "}]";
    int64_t before = rl_time_now();
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_graph_start given = graph_of(NULL);
    rl_span_end end = {.outcome = RL_FAILED,
                       .outputs = text("{\"out\":3}"),
                       .error_type = text("KeyError"),
                       .error_text = text("'k'"),
                       .error_traceback = text("at k")};
    char *logs, self[RL_OWNER_TEXT];
    int owner;
    rl_graph *graph;

    rl_owner_self(self);
    given.wpk_id = text("workflow");
    given.run_id = text("run");
    given.thread_id = text("thread");
    given.metadata = text("{\"m\":1}");
    given.owner = &owner;
    begin_graph_as(graphs, 1, &given);
    begin_node(graphs, 2, 1, "plan:1", "plan");
    begin_node(graphs, 3, 2, "plan:1|act:1", "act \"now\"");
    begin_node(graphs, 4, 1, "open:1", "open");
    end_span(graphs, 3, RL_FAILED, false);
    end_span(graphs, 2, RL_COMPLETED, false);
    CHECK(!rl_graphs_end(graphs, key_of(2), &end)); /* already ended */
    CHECK(!rl_graphs_end(graphs, key_of(1), &end)); /* graphs end by rl_graphs_take */
    CHECK(rl_graphs_take(graphs, key_of(4)) == NULL);
    graph = rl_graphs_take(graphs, key_of(1));
    REQUIRE(graph != NULL);
    CHECK(rl_graph_owner(graph) == &owner);
    CHECK_INT(kind_of(graphs, 4), RL_SPAN_NONE);
    rl_run_set(run, RL_OWNER, "is reset", 8);
    end.ended_ns = rl_monotonic_ns() + 1999600000;
    rl_graph_write(graph, &end, run);
    rl_graph_free(graph);

    CHECK_STR(rl_run_text(run, RL_WPK_ID), "workflow");
    CHECK_STR(rl_run_text(run, RL_RUN_ID), "run");
    CHECK_STR(rl_run_text(run, RL_THREAD_ID), "thread");
    CHECK_STR(rl_run_text(run, RL_METADATA), "{\"m\":1,\"totals\":{\"nodes\":3}}");
    CHECK_STR(rl_run_text(run, RL_INPUTS), "{\"in\":1}");
    CHECK_STR(rl_run_text(run, RL_OUTPUTS), "{\"out\":3}");
    CHECK_STR(rl_run_text(run, RL_STATUS), "failed");
    CHECK_STR(rl_run_text(run, RL_ERROR_TYPE), "KeyError");
    CHECK_STR(rl_run_text(run, RL_ERROR_TEXT), "'k'");
    CHECK_STR(rl_run_text(run, RL_ERROR_TRACEBACK), "at k");
    CHECK_STR(rl_run_text(run, RL_OWNER), self);
    CHECK(run->is_own);
    CHECK(run->started_at >= before && run->started_at <= rl_time_now());
    CHECK(run->duration_ms >= 2000 && run->duration_ms < 12000);
    logs = logs_of(run);
    CHECK_STR(logs, want);
    free(logs);
    CHECK_INT(rl_run_seal(run, NULL), RL_OK);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* LangGraph retries a failed node under the same namespace. */
static void test_retries_are_numbered(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    begin_graph(graphs, 1, NULL);
    begin_node(graphs, 2, 1, "a:1", "a");
    begin_node(graphs, 3, 1, "b:1", "b");
    end_span(graphs, 2, RL_FAILED, false);
    begin_node(graphs, 4, 1, "a:1", "a");
    end_span(graphs, 4, RL_FAILED, false);
    begin_node(graphs, 5, 1, "a:1", "a");
    end_span(graphs, 5, RL_COMPLETED, false);
    begin_node(graphs, 6, 1, "a:2", "a"); /* a later step */
    begin_node(graphs, 7, 3, "b:1|a:1", "a");
    finish(graphs, 1, RL_COMPLETED, run);
    check_members(run, "attempt", "1, 1, 2, 3, 1, 1");
    check_members(run, "status",
                  "\"failed\", \"running\", \"failed\", \"completed\", \"running\", "
                  "\"running\"");
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* A completed graph is interrupted if one of its own nodes was, or if LangGraph reports
 * it. */
static void test_interrupted_status(void)
{
    static const struct {
        bool node, inner_node, reported;
        rl_outcome outcome;
        const char *want;
    } cases[] = {{false, false, false, RL_COMPLETED, "completed"},
                 {true, false, false, RL_COMPLETED, "interrupted"},
                 {false, true, false, RL_COMPLETED, "completed"},
                 {false, false, true, RL_COMPLETED, "interrupted"},
                 {true, false, false, RL_FAILED, "failed"},
                 {false, false, true, RL_CANCELLED, "cancelled"},
                 {false, false, false, RL_RUNNING, "running"}};
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    rl_graphs_interrupt(graphs, key_of(1), text(NULL)); /* not open: no effect */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin_graph(graphs, 1, NULL);
        begin_node(graphs, 2, 1, "a:1", "a");
        begin_node(graphs, 3, 2, "a:1|b:1", "b");
        end_span(graphs, 3, cases[i].inner_node ? RL_INTERRUPTED : RL_COMPLETED, false);
        end_span(graphs, 2, cases[i].node ? RL_INTERRUPTED : RL_COMPLETED, false);
        if (cases[i].reported) {
            rl_graphs_interrupt(graphs, key_of(1), text(NULL));
        }
        finish(graphs, 1, cases[i].outcome, run);
        CHECK_STR(rl_run_text(run, RL_STATUS), cases[i].want);
    }
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* A wide number in any payload marks the run. */
static void test_wide_numbers(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    for (int where = 0; where < 5; where++) {
        rl_span_start graph_start = start_of(1, 0, NULL, "graph");
        rl_span_start node_start = start_of(2, 1, "a:1", "a");
        rl_span_end end = {.outcome = RL_COMPLETED, .wide_numbers = where == 4};
        rl_graph_start given = graph_of(NULL);
        rl_graph *graph;

        graph_start.wide_numbers = where == 1;
        node_start.wide_numbers = where == 2;
        CHECK_INT(rl_graphs_start(graphs, RL_SPAN_GRAPH, &graph_start, &given), RL_OK);
        CHECK_INT(rl_graphs_start(graphs, RL_SPAN_NODE, &node_start, NULL), RL_OK);
        end_span(graphs, 2, RL_COMPLETED, where == 3);
        graph = rl_graphs_take(graphs, key_of(1));
        REQUIRE(graph != NULL);
        rl_graph_write(graph, &end, run);
        rl_graph_free(graph);
        CHECK(run->wide_numbers == (where > 0));
    }
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_starts_are_classified), CHECK_TEST(test_row_of_a_run),
    CHECK_TEST(test_retries_are_numbered),  CHECK_TEST(test_interrupted_status),
    CHECK_TEST(test_wide_numbers),
};

CHECK_MAIN(tests)
