/* Test of the table of open spans in record/graph/graph.h: its growth, and how it is
 * freed. */
#include "record/graph/graph.h"

#include "check.h"
#include "graph_help.h"
#include "random.h"

#include <pthread.h>

/* 10,000 spans in 100 graphs, open at once; half of them end in another order. */
static void test_many_spans(void)
{
    enum {
        GRAPHS = 100,
        EACH = 100,
        ALL = GRAPHS * EACH
    };
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    uint64_t state = 1;
    char ns[40];

    for (uint64_t i = 0; i < ALL; i++) {
        if (i < GRAPHS) {
            begin_graph(graphs, 1 + i, NULL);
        } else {
            snprintf(ns, sizeof ns, "n:%" PRIu64, i);
            begin_node(graphs, 1 + i, 1 + i % GRAPHS, ns, "n");
        }
    }
    for (uint64_t i = 0; i < ALL; i++) {
        CHECK_INT(kind_of(graphs, 1 + i), i < GRAPHS ? RL_SPAN_GRAPH : RL_SPAN_NODE);
        CHECK_INT(kind_of(graphs, 1 + ALL + i), RL_SPAN_NONE);
    }
    for (uint64_t i = 0; i < ALL / 2; i++) {
        uint64_t number = 1 + GRAPHS + random_below(&state, ALL - GRAPHS);

        if (kind_of(graphs, number) != RL_SPAN_NONE) {
            end_span(graphs, number, RL_COMPLETED, false);
        }
        CHECK_INT(kind_of(graphs, number), RL_SPAN_NONE);
    }
    for (uint64_t i = 0; i < GRAPHS; i++) {
        const char *at;
        int count = 0;

        finish(graphs, GRAPHS - i, RL_COMPLETED, run);
        at = rl_run_text(run, RL_NODE_LOGS);
        while ((at = strstr(at, "{\"node\":\"n\",\"status\":")) != NULL) {
            at++;
            count++;
        }
        CHECK_INT(count, EACH - 1);
    }
    for (uint64_t i = 0; i < ALL; i++) {
        CHECK_INT(kind_of(graphs, 1 + i), RL_SPAN_NONE);
    }
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

static void count_release(void *owner)
{
    ++*(int *)owner;
}

static void test_free_with_open_runs(void)
{
    enum {
        GRAPHS = 20
    };
    rl_graphs *graphs = rl_graphs_new();
    int owners[GRAPHS + 1] = {0};
    rl_graph *taken;

    for (uint64_t i = 0; i < GRAPHS; i++) {
        begin_graph(graphs, 100 * i + 1, &owners[i]);
        for (uint64_t j = 2; j < 12; j++) {
            begin_node(graphs, 100 * i + j, 100 * i + j - 1, j % 2 == 0 ? "x" : "y", "n");
        }
    }
    begin_graph(graphs, 5000, &owners[GRAPHS]);
    taken = rl_graphs_take(graphs, key_of(5000));
    rl_graphs_free(graphs, count_release);
    for (int i = 0; i < GRAPHS; i++) {
        CHECK_INT(owners[i], 1);
    }
    CHECK_INT(owners[GRAPHS], 0); /* the caller of take frees it */
    rl_graph_free(taken);
    rl_graphs_free(NULL, count_release);
}

struct worker {
    rl_graphs *graphs;
    uint64_t first; /* the number of its first span */
};

/* Records graphs, one after another. */
static void *record_graphs(void *ctx)
{
    const struct worker *worker = ctx;
    rl_run *run = rl_run_new();
    char ns[40];

    for (uint64_t graph = worker->first; graph < worker->first + 1000; graph += 20) {
        begin_graph(worker->graphs, graph, NULL);
        for (uint64_t i = 1; i < 20; i++) {
            snprintf(ns, sizeof ns, "n:%" PRIu64, i);
            begin_node(worker->graphs, graph + i, graph, ns, "n");
        }
        for (uint64_t i = 1; i < 10; i++) {
            end_span(worker->graphs, graph + i, RL_COMPLETED, false);
        }
        finish(worker->graphs, graph, RL_COMPLETED, run);
    }
    rl_run_free(run);
    return NULL;
}

static void test_threads(void)
{
    rl_graphs *graphs = rl_graphs_new();
    struct worker workers[4];
    pthread_t threads[4];

    for (uint64_t i = 0; i < 4; i++) {
        workers[i] = (struct worker){graphs, 1 + i * 1000};
        pthread_create(&threads[i], NULL, record_graphs, &workers[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    rl_graphs_free(graphs, release_none);
}

/* A span that is open already, or whose parent is unknown, is not opened and leaves no
 * trace. */
static void test_invalid_starts_have_no_effect(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_span_start start = start_of(1, 0, NULL, "graph");
    rl_graph_start given = graph_of(NULL);
    rl_run *run = rl_run_new();

    begin_graph(graphs, 1, NULL);
    begin_node(graphs, 2, 1, "a:1", "a");
    CHECK(rl_graphs_start(graphs, RL_SPAN_GRAPH, &start, &given) != RL_OK);
    start = start_of(2, 1, "b:1", "b");
    CHECK(rl_graphs_start(graphs, RL_SPAN_NODE, &start, NULL) != RL_OK);
    start = start_of(3, 99, "b:1", "b");
    CHECK(rl_graphs_start(graphs, RL_SPAN_NODE, &start, NULL) != RL_OK);
    CHECK_INT(kind_of(graphs, 3), RL_SPAN_NONE);
    finish(graphs, 1, RL_COMPLETED, run);
    CHECK(strstr(rl_run_text(run, RL_NODE_LOGS), "\"b\"") == NULL);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_many_spans),
    CHECK_TEST(test_free_with_open_runs),
    CHECK_TEST(test_threads),
    CHECK_TEST(test_invalid_starts_have_no_effect),
};

CHECK_MAIN(tests)
