/* Test of record/graph/graph.h: an event costs the same however long the run is, in all
 * the ways in which a run gets long. The last of many events are compared with the first;
 * what is searched from one end would cost thousands of times as much (tables that no
 * longer fit into a processor's cache cost two or three times as much).
 */
#include "record/graph/graph.h"

#include "check.h"
#include "graph_help.h"
#include "stopwatch.h"

enum {
    ALL = 60000,
    SOME = 2000, /* that are timed, at either end */
    ROOT = 1
};

/* One step of a run: the events of one node. */
typedef void (*step)(rl_graphs *graphs, uint64_t number);

static void record_node(rl_graphs *graphs, uint64_t number, uint64_t parent,
                        rl_outcome outcome)
{
    char ns[60];

    snprintf(ns, sizeof ns, "n:%" PRIu64, number);
    begin_node(graphs, number, parent, ns, "n");
    end_span(graphs, number, outcome, false);
}

static void step_plain(rl_graphs *graphs, uint64_t number)
{
    record_node(graphs, number, ROOT, RL_COMPLETED);
}

/* After a failure, each node may be an attempt. */
static void step_after_failure(rl_graphs *graphs, uint64_t number)
{
    record_node(graphs, number, ROOT, number < 20 ? RL_FAILED : RL_COMPLETED);
}

static void step_failing(rl_graphs *graphs, uint64_t number)
{
    record_node(graphs, number, ROOT, RL_FAILED);
}

/* A model of another name in each node. */
static void step_with_model(rl_graphs *graphs, uint64_t number)
{
    rl_span_start start = start_of(number + 1, number, NULL, "model");
    rl_span_end end = {.outcome = RL_COMPLETED};
    char ns[60], model[60];

    snprintf(ns, sizeof ns, "n:%" PRIu64, number);
    snprintf(model, sizeof model, "model-%" PRIu64, number);
    begin_node(graphs, number, ROOT, ns, "n");
    start.call = RL_CALL_LLM;
    CHECK_INT(begin(graphs, &start), RL_SPAN_INNER);
    end.model = text(model);
    CHECK(rl_graphs_end(graphs, key_of(number + 1), &end));
    end_span(graphs, number, RL_COMPLETED, false);
}

/* A subgraph of its own in each node; its state is compared. */
static void step_with_subgraph(rl_graphs *graphs, uint64_t number)
{
    static const rl_member member = {1, 3, 5, 1};
    rl_span_start start = start_of(number + 1, number, NULL, "inner");
    char ns[60], inner[60];

    snprintf(ns, sizeof ns, "n:%" PRIu64, number);
    snprintf(inner, sizeof inner, "n:%" PRIu64 "|i:1", number);
    begin_node(graphs, number, ROOT, ns, "n");
    start.ns = text(inner);
    start.inputs = (rl_object){"{\"a\":1}", 7, &member, 1};
    CHECK_INT(begin(graphs, &start), RL_SPAN_NODE);
    end_span(graphs, number + 1, RL_COMPLETED, false);
    end_span(graphs, number, RL_COMPLETED, false);
}

/* A call outside of nodes that ends. */
static void step_with_call(rl_graphs *graphs, uint64_t number)
{
    rl_span_start start = start_of(number, ROOT, NULL, "tool");

    start.call = RL_CALL_TOOL;
    CHECK_INT(begin(graphs, &start), RL_SPAN_INNER);
    end_span(graphs, number, RL_COMPLETED, false);
}

static void step_starting(rl_graphs *graphs, uint64_t number)
{
    char ns[60];

    snprintf(ns, sizeof ns, "n:%" PRIu64, number);
    begin_node(graphs, number, ROOT, ns, "n");
}

static void step_ending(rl_graphs *graphs, uint64_t number)
{
    end_span(graphs, number, RL_COMPLETED, false);
}

/* Makes all steps; returns how many times as long those of the second half take as the
 * first. */
static double growth(rl_graphs *graphs, step one, bool backwards)
{
    uint64_t first = UINT64_MAX, last = UINT64_MAX;

    for (uint64_t from = 0; from < ALL; from += SOME) {
        uint64_t start = stopwatch_ns(), spent;

        for (uint64_t i = from; i < from + SOME; i++) {
            one(graphs, 10 + 2 * (backwards ? ALL - 1 - i : i));
        }
        spent = stopwatch_ns() - start;
        /* the least of several: a pause of the machine is none, nor is a larger arena */
        if (from < 4 * SOME) {
            first = spent < first ? spent : first;
        } else if (from >= ALL / 2) {
            last = spent < last ? spent : last;
        }
    }
    return (double)last / (double)first;
}

static void test_events_cost_the_same(void)
{
    static const struct {
        const char *name;
        step one, then;
    } cases[] = {
        {"plain", step_plain, NULL},
        {"after a failure", step_after_failure, NULL},
        {"failing", step_failing, NULL},
        {"models", step_with_model, NULL},
        {"subgraphs", step_with_subgraph, NULL},
        {"calls", step_with_call, NULL},
        {"fan-out", step_starting, step_ending},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rl_graphs *graphs = rl_graphs_new();
        rl_run *run = rl_run_new();
        double grown;

        begin_graph(graphs, ROOT, NULL);
        grown = growth(graphs, cases[i].one, false);
        if (cases[i].then != NULL) { /* from both ends of the list of open spans */
            double ends = growth(graphs, cases[i].then, true);

            grown = ends > grown ? ends : grown;
        }
        if (grown > 5) {
            printf("%s: %.1f times as long\n", cases[i].name, grown);
        }
        CHECK(grown <= 5);
        finish(graphs, ROOT, RL_COMPLETED, run);
        rl_run_free(run);
        rl_graphs_free(graphs, release_none);
    }
}

/* A checkpoint writes what is new, and its cost does not grow with what is not. */
static void test_checkpoints_cost_the_same(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    uint64_t spent[2] = {UINT64_MAX, UINT64_MAX};
    size_t bytes = 0;

    begin_graph(graphs, ROOT, NULL);
    for (uint64_t i = 0; i < 40000; i++) {
        record_node(graphs, 10 + i, ROOT, RL_COMPLETED);
        if (i % 10 == 9) {
            uint64_t start = stopwatch_ns(), took;

            CHECK_INT(rl_graphs_write_one(graphs, key_of(ROOT), false, run), RL_OK);
            rl_graphs_wrote(graphs, run, true);
            took = stopwatch_ns() - start;
            bytes += run->arena.len;
            spent[i >= 20000] = took < spent[i >= 20000] ? took : spent[i >= 20000];
        }
    }
    CHECK(spent[1] < 3 * spent[0] + 20000);
    finish(graphs, ROOT, RL_COMPLETED, run);
    CHECK(run->parts.given && run->parts_use == RL_PARTS_END);
    CHECK((double)bytes < 1.2 * (double)run->arena.len);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* Of so many open runs, none is due within an hour but ROOT. */
static rl_graphs *open_graphs(const void *recorder, uint64_t count)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_graph_start given = graph_of(NULL);

    given.recorder = recorder;
    given.interval_ns = UINT64_C(3600000000000);
    for (uint64_t i = 0; i < count; i++) {
        begin_graph_as(graphs, 1000 + i, &given);
    }
    given.interval_ns = 1;
    begin_graph_as(graphs, ROOT, &given);
    return graphs;
}

/* With ten thousand runs open, finding those that are due looks at no other. The two are
 * measured in turns, as neighbours may take the processor's cache for a while. */
static void test_open_runs_cost_the_same(void)
{
    static const char recorder;
    rl_graphs *graphs[2] = {open_graphs(&recorder, 10), open_graphs(&recorder, 10000)};
    uint64_t spent[2] = {UINT64_MAX, UINT64_MAX}, next;
    rl_run *run = rl_run_new();

    for (int turn = 0; turn < 16; turn++) {
        const int many = turn % 2;
        uint64_t start = stopwatch_ns(), took;

        for (uint64_t i = 0; i < 1000; i++) {
            step_plain(graphs[many], 20000 + i);
            CHECK(rl_graphs_write_due(graphs[many], &recorder, rl_monotonic_ns(), run,
                                      &next));
            rl_graphs_wrote(graphs[many], run, true);
        }
        took = stopwatch_ns() - start;
        spent[many] = took < spent[many] ? took : spent[many];
    }
    CHECK((double)spent[1] < 2 * (double)spent[0]);
    rl_graphs_free(graphs[0], release_none);
    rl_graphs_free(graphs[1], release_none);
    rl_run_free(run);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_events_cost_the_same),
    CHECK_TEST(test_checkpoints_cost_the_same),
    CHECK_TEST(test_open_runs_cost_the_same),
};

CHECK_MAIN(tests)
