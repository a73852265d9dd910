/* Test of the rows that record/graph/graph.h writes: the sums of calls, interrupts,
 * metadata, and inputs as deltas. test_graph.c tests the texts of the node logs.
 */
#include "record/graph/graph.h"

#include "check.h"
#include "graph_help.h"

#include <stdlib.h>

#define PAD "\"pad\":\"" PAD50 PAD50 PAD50 "\""
#define PAD50 "0123456789abcdefghij0123456789abcdefghij0123456789"

/* Opens a graph with this metadata. */
static void begin_with(rl_graphs *graphs, const char *metadata)
{
    rl_graph_start given = graph_of(NULL);

    given.metadata = text(metadata);
    begin_graph_as(graphs, 1, &given);
}

/* Opens a call of a model or a tool. */
static void begin_call(rl_graphs *graphs, uint64_t number, uint64_t parent, rl_call call,
                       const char *name)
{
    rl_span_start start = start_of(number, parent, NULL, name);

    start.call = call;
    CHECK_INT(begin(graphs, &start), RL_SPAN_INNER);
}

static void end_call(rl_graphs *graphs, uint64_t number, const char *model,
                     int64_t tokens)
{
    rl_span_end end = {.outcome = RL_COMPLETED,
                       .tokens = {tokens > 0, tokens, tokens + 1, 2 * tokens + 1},
                       .model = text(model)};

    CHECK(rl_graphs_end(graphs, key_of(number), &end));
}

static void check_has(const rl_run *run, rl_column column, const char *part)
{
    const char *whole = rl_run_text(run, column);

    if (whole == NULL || strstr(whole, part) == NULL) {
        CHECK_STR(whole, part);
    }
}

static void test_calls_are_summed(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    begin_with(graphs, "{\"m\":1}");
    begin_node(graphs, 2, 1, "a:1", "a");
    begin_call(graphs, 3, 2, RL_CALL_LLM, "wanted");
    begin_call(graphs, 4, 2, RL_CALL_TOOL, "tool");
    begin_node(graphs, 5, 4, "a:1|b:1", "b"); /* a node inside the tool */
    begin_call(graphs, 6, 5, RL_CALL_LLM, "named");
    begin_call(graphs, 7, 1, RL_CALL_LLM, "x"); /* in no node */
    begin_call(graphs, 8, 5, RL_CALL_LLM, "named");
    begin_call(graphs, 9, 2, RL_CALL_NONE, "anything");
    end_call(graphs, 3, "given", 10);
    end_call(graphs, 4, NULL, 0);
    end_call(graphs, 6, NULL, 0); /* the name from its start */
    end_call(graphs, 7, "given", 100);
    end_call(graphs, 8, "", 1);
    end_call(graphs, 9, "no call", 1000);
    finish(graphs, 1, RL_COMPLETED, run);

    check_has(run, RL_NODE_LOGS,
              "\"llm_calls\":1,\"tool_calls\":1,\"tokens\":{\"input\":10,\"output\":11,"
              "\"total\":21},\"models\":[\"given\"],\"calls\":[],\"events\":[]},{"
              "\"node\":\"b\"");
    check_has(run, RL_NODE_LOGS,
              "\"llm_calls\":2,\"tool_calls\":0,\"tokens\":{\"input\":1,\"output\":2,"
              "\"total\":3},\"models\":[\"named\"],\"calls\":[],\"events\":[]}]");
    CHECK_STR(
        rl_run_text(run, RL_METADATA),
        "{\"m\":1,\"llm_calls\":4,\"tool_calls\":1,\"tokens\":{\"input\":111,"
        "\"output\":114,\"total\":225},\"models\":[\"given\",\"named\"],\"totals\":{"
        "\"nodes\":2}}");
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* An open call counts. A model without a name, or with too long a name, is not listed. */
static void test_odd_calls(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    char name[400];

    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    begin_with(graphs, NULL);
    begin_call(graphs, 2, 1, RL_CALL_LLM, "open");
    begin_call(graphs, 3, 1, RL_CALL_LLM, NULL);
    begin_call(graphs, 4, 1, RL_CALL_LLM, name);
    end_call(graphs, 3, NULL, 0);
    end_call(graphs, 4, NULL, 0);
    finish(graphs, 1, RL_FAILED, run);
    CHECK_STR(rl_run_text(run, RL_METADATA),
              "{\"llm_calls\":3,\"totals\":{\"nodes\":0}}");
    CHECK_STR(rl_run_text(run, RL_NODE_LOGS), "[]");
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* Ends a node with an interrupt. */
static void interrupt_node(rl_graphs *graphs, uint64_t number, const char *interrupts)
{
    rl_span_end end = {.outcome = RL_INTERRUPTED, .interrupts = text(interrupts)};

    CHECK(rl_graphs_end(graphs, key_of(number), &end));
}

/* The members with the totals of three nodes behind them. */
static void with_totals(const char *members, bool seen, char *to, size_t size)
{
    size_t len = members != NULL ? strlen(members) - 1 : 0; /* without the brace */

    (void)snprintf(to, size, "%.*s%s\"totals\":{\"nodes\":3%s}}", (int)len,
                   members != NULL ? members : "", members != NULL ? "," : "{",
                   seen ? ",\"at\":\"c\"" : "");
}

static void test_metadata_has_interrupts_and_resumes(void)
{
    static const struct {
        const char *user, *seen, *seen_too, *reported;
        bool interrupted, resumed;
        const char *want;
    } cases[] = {
        {NULL, NULL, NULL, NULL, false, false, NULL},
        {"{}", NULL, NULL, NULL, false, false, NULL},
        {"{\"a\":{}}", NULL, NULL, NULL, false, false, "{\"a\":{}}"},
        {"{\"a\":1}", NULL, NULL, NULL, false, true, "{\"a\":1,\"resumed\":true}"},
        {NULL, NULL, NULL, NULL, false, true, "{\"resumed\":true}"},
        {NULL, NULL, NULL, NULL, true, false, "{\"interrupts\":[]}"},
        {NULL, NULL, NULL, "[]", true, false, "{\"interrupts\":[]}"},
        {"{\"a\":1}", "[{\"id\":\"x\"}]", NULL, NULL, true, true,
         "{\"a\":1,\"interrupts\":[{\"id\":\"x\"}],\"resumed\":true}"},
        {"{}", "[1,2]", "[3]", NULL, true, false, "{\"interrupts\":[1,2,3]}"},
        {"{}", "[]", "[3]", NULL, true, false, "{\"interrupts\":[3]}"},
        {"{}", "[1]", "[3]", "[7]", true, false, "{\"interrupts\":[7]}"},
        {"{}", "[1]", NULL, "[]", true, false, "{\"interrupts\":[]}"},
    };
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool seen = cases[i].seen != NULL;
        char want[200];

        begin_with(graphs, cases[i].user);
        begin_node(graphs, 2, 1, "a:1", "a");
        begin_node(graphs, 3, 2, "a:1|c:1", "c");
        begin_node(graphs, 4, 1, "b:1", "b");
        if (seen) { /* the interrupt ends both nodes */
            interrupt_node(graphs, 3, cases[i].seen);
            interrupt_node(graphs, 2, cases[i].seen);
        }
        if (cases[i].seen_too != NULL) {
            interrupt_node(graphs, 4, cases[i].seen_too);
        }
        if (cases[i].interrupted && (!seen || cases[i].reported != NULL)) {
            rl_graphs_interrupt(graphs, key_of(1), text(cases[i].reported));
        }
        if (cases[i].resumed) {
            rl_graphs_resume(graphs, key_of(1));
        }
        finish(graphs, 1, RL_COMPLETED, run);
        with_totals(cases[i].want, seen, want, sizeof want);
        CHECK_STR(rl_run_text(run, RL_METADATA), want);
        CHECK_STR(rl_run_text(run, RL_STATUS),
                  cases[i].interrupted ? "interrupted" : "completed");
    }
    rl_graphs_resume(graphs, key_of(1)); /* not open: no effect */
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* Opens a span with the members of its inputs. */
static void begin_known(rl_graphs *graphs, rl_span_start start, rl_node_inputs mode,
                        const char *inputs, bool pushed)
{
    rl_graph_start given = graph_of(NULL);
    rl_buf members;

    rl_buf_init(&members, RL_BUF_MAX);
    CHECK(rl_object_split(inputs, strlen(inputs), &members));
    start.inputs =
        (rl_object){inputs, strlen(inputs), (const rl_member *)(const void *)members.data,
                    members.len / sizeof(rl_member)};
    start.is_graph = !start.has_parent;
    start.pushed = pushed;
    given.node_inputs = mode;
    CHECK_INT(begin_as(graphs, &start, &given),
              start.is_graph ? RL_SPAN_GRAPH : RL_SPAN_NODE);
    rl_buf_free(&members);
}

struct step {
    uint64_t parent;
    const char *ns, *inputs, *want;
    bool pushed;
};

/* The inputs of a node are compared with those of the node before it in the same graph.
 * Inputs that were sent to a node are compared too, but later ones not with them. */
static void test_inputs_are_deltas(void)
{
    static const struct step steps[] = {
        {1, "a:1", "{" PAD ",\"l\":[1]}", "\"inputs_delta\":{\"since\":null}", false},
        {1, "b:1", "{" PAD ",\"l\":[1,2]}",
         "\"inputs_delta\":{\"since\":0,\"append\":{\"l\":[2]}}", false},
        {2, "a:1|x:1", "{" PAD ",\"l\":[1]}", "\"inputs\":{" PAD ",\"l\":[1]}", false},
        {2, "a:1|y:1", "{" PAD ",\"l\":[1]}", "\"inputs_delta\":{\"since\":2}", false},
        {1, "c:1", "{" PAD ",\"one\":1}",
         "\"inputs_delta\":{\"since\":1,\"set\":{\"one\":1},\"unset\":[\"l\"]}", true},
        {1, "c:2", "{\"one\":2}", "\"inputs\":{\"one\":2}", true},
        {1, "d:1", "{" PAD ",\"l\":[1,2],\"z\":0}",
         "\"inputs_delta\":{\"since\":1,\"set\":{\"z\":0}}", false},
        {2, "a:1|x:2", "{" PAD ",\"l\":[1,3]}",
         "\"inputs_delta\":{\"since\":3,\"append\":{\"l\":[3]}}", false},
        {3, "b:1|x:1", "{" PAD ",\"l\":[1,3]}", "\"inputs\":{" PAD ",\"l\":[1,3]}",
         false},
    };
    const size_t count = sizeof steps / sizeof *steps;
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    const char *at;

    for (int mode = RL_INPUTS_DELTA; mode <= RL_INPUTS_NONE; mode++) {
        begin_known(graphs, start_of(1, 0, NULL, "graph"), (rl_node_inputs)mode,
                    "{" PAD ",\"l\":[1]}", false);
        for (size_t i = 0; i < count; i++) {
            begin_known(graphs, start_of(2 + i, steps[i].parent, steps[i].ns, "n"),
                        RL_INPUTS_NONE, steps[i].inputs, steps[i].pushed);
        }
        finish(graphs, 1, RL_COMPLETED, run);
        CHECK_STR(rl_run_text(run, RL_INPUTS), "{" PAD ",\"l\":[1]}");
        at = rl_run_text(run, RL_NODE_LOGS);
        for (size_t i = 0; i < count; i++) {
            char want[1000];
            const char *inputs = steps[i].inputs;

            snprintf(want, sizeof want, "\"inputs\":%s",
                     mode == RL_INPUTS_NONE ? "null" : inputs);
            at = strstr(at, "\"error_traceback\":null,");
            REQUIRE(at != NULL);
            at += strlen("\"error_traceback\":null,");
            inputs = mode == RL_INPUTS_DELTA ? steps[i].want : want;
            CHECK(strncmp(at, inputs, strlen(inputs)) == 0 && at[strlen(inputs)] == ',');
        }
    }
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* Ends a node with these outputs. */
static void end_with(rl_graphs *graphs, uint64_t number, const char *outputs)
{
    rl_span_end end = {.outcome = RL_COMPLETED, .outputs = text(outputs)};

    CHECK(rl_graphs_end(graphs, key_of(number), &end));
}

/* Of a node's large payloads beyond a run's limit only the size is recorded. Small ones
 * are recorded all the same, and the run's own whatever their size. */
static void test_large_payloads(void)
{
    enum {
        SIZE = 60 << 20
    };
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_graph_start given = graph_of(NULL);
    rl_span_start start = start_of(1, 0, NULL, "graph");
    char *payload = malloc(SIZE + 1), small[1024];
    rl_span_end end = {.outcome = RL_COMPLETED};
    rl_graph *graph;

    REQUIRE(payload != NULL);
    memset(payload, 'p', SIZE);
    memcpy(payload, "{\"a\":\"", 6);
    memcpy(payload + SIZE - 2, "\"}", 3);
    memset(small, '7', sizeof small);
    small[sizeof small - 1] = '\0';
    start.is_graph = true;
    start.inputs = object(payload);
    CHECK_INT(begin_as(graphs, &start, &given), RL_SPAN_GRAPH);
    for (uint64_t i = 2; i < 5; i++) {
        char ns[20];

        snprintf(ns, sizeof ns, "a:%" PRIu64, i);
        begin_known(graphs, start_of(i, 1, ns, "a"), RL_INPUTS_DELTA, "{\"a\":1}", false);
        end_with(graphs, i, payload);
    }
    begin_known(graphs, start_of(5, 1, "b:1", "b"), RL_INPUTS_DELTA, payload, false);
    end_with(graphs, 5, "[3]");
    begin_known(graphs, start_of(6, 1, "c:1", "c"), RL_INPUTS_DELTA, "{\"b\":1}", false);
    end_with(graphs, 6, small);
    graph = rl_graphs_take(graphs, key_of(1));
    CHECK(rl_graph_is_large(graph));
    end.outputs = text(payload);
    rl_graph_write(graph, &end, run);
    rl_graph_free(graph);
    CHECK_INT(run->texts[RL_INPUTS].len, SIZE);
    CHECK_INT(run->texts[RL_OUTPUTS].len, SIZE);
    CHECK(run->texts[RL_NODE_LOGS].len < 2 * (SIZE + 2000));
    check_has(run, RL_NODE_LOGS,
              "\"inputs\":{\"a\":1},\"outputs\":\"<cut: 62914560 bytes>\"");
    check_has(run, RL_NODE_LOGS, "\"inputs\":\"<cut: 62914560 bytes>\",\"outputs\":[3]");
    check_has(run, RL_NODE_LOGS, "\"inputs\":{\"b\":1},\"outputs\":777");
    free(payload);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* Two databases record the same run, each from its own handler. */
static void test_two_recorders(void)
{
    static const char handlers[2];
    static const rl_place places[2] = {{.known = true, .name = {1, 1}},
                                       {.known = true, .name = {2, 2}}};
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_graph_start given = graph_of(NULL);
    rl_found found;
    int owners[2];

    for (size_t i = 0; i < 2; i++) {
        rl_span_start start = start_of(1, 0, NULL, "graph");

        start.is_graph = true;
        start.key.handler = start.parent.handler = &handlers[i];
        start.place = &places[i];
        given.owner = &owners[i];
        given.node_inputs = i == 0 ? RL_INPUTS_FULL : RL_INPUTS_NONE;
        given.interval_ns = i;
        CHECK_INT(begin_as(graphs, &start, &given), RL_SPAN_GRAPH);
        CHECK_INT(begin_as(graphs, &start, &given), RL_SPAN_NONE); /* listed twice */
        start = start_of(2, 1, "n:1", "n");
        start.key.handler = start.parent.handler = &handlers[i];
        start.place = &places[i];
        CHECK_INT(rl_graphs_classify(graphs, &start, &found), RL_SPAN_NODE);
        CHECK(found.owner == &owners[i] && found.root.handler == &handlers[i]);
        CHECK(found.node_inputs == given.node_inputs && found.at_once == (i == 0));
    }
    CHECK_INT(rl_graphs_find(graphs, key_of(1), &found),
              RL_SPAN_NONE); /* of no handler */
    CHECK(found.owner == NULL);
    for (size_t i = 0; i < 2; i++) {
        rl_key key = key_of(1);
        rl_graph *graph;

        key.handler = &handlers[i];
        graph = rl_graphs_take(graphs, key);
        REQUIRE(graph != NULL);
        CHECK(rl_graph_owner(graph) == &owners[i]);
        rl_graph_free(graph);
    }
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_calls_are_summed),
    CHECK_TEST(test_odd_calls),
    CHECK_TEST(test_metadata_has_interrupts_and_resumes),
    CHECK_TEST(test_inputs_are_deltas),
    CHECK_TEST(test_large_payloads),
    CHECK_TEST(test_two_recorders),
};

CHECK_MAIN(tests)
