/* Tests of what calls returned (record/graph/graph_outputs.c): stored once where it stands
 * in the outputs of the node, too. */
#include "record/graph/graph.h"

#include "calls_help.h"
#include "check.h"
#include "graph_help.h"
#include "json_valid.h"

/* Records a run of a node with these outputs, whose model and retriever returned
 * the answers, and its tool one of them. */
static void record_node(rl_run *run, const char *answers, const char *returned,
                        const char *outputs)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_span_end end = {.outcome = RL_COMPLETED, .ended_ns = 1};

    begin_run(graphs, RL_CALLS_DELTA, 0, NULL);
    begin_with(graphs, 2, "{\"n\":1}");
    begin_call(graphs, RL_CALL_LLM, 10, 2, NULL);
    begin_call(graphs, RL_CALL_TOOL, 11, 2, NULL);
    begin_call(graphs, RL_CALL_RETRIEVER, 12, 2, NULL);
    end.outputs = text(answers);
    CHECK(rl_graphs_end(graphs, key_of(10), &end));
    CHECK(rl_graphs_end(graphs, key_of(12), &end));
    end.outputs = text(returned);
    CHECK(rl_graphs_end(graphs, key_of(11), &end));
    end.outputs = text(outputs);
    CHECK(rl_graphs_end(graphs, key_of(2), &end));
    finish(graphs, 1, RL_COMPLETED, run);
    CHECK(is_json(json_of(run).data, json_of(run).len));
    rl_graphs_free(graphs, release_none);
}

/* What a call returned stands in its node's outputs, too: then the call has the place. */
static void test_outputs_of_the_node_are_not_stored_again(void)
{
    static const char answer[] =
        "{\"content\":\"a long text with a quote \\\" and a bracket ] in it, which is "
        "long "
        "enough to be worth a path, as a short one is not: it would take as much\"}";
    char outputs[800], list[400];
    rl_run *run = rl_run_new();

    snprintf(list, sizeof list, "[%s]", answer);
    snprintf(outputs, sizeof outputs,
             "[{\"%s\":[1,[2]],\"update\":{\"n\":\"x,\",\"messages\":[0,%s]}}]", "a\\\"b",
             answer);
    record_node(run, list, answer, outputs);
    check_has(run, "\"outputs_at\":[[0,\"update\",\"messages\",1]]", 1);
    check_has(run, "\"output_at\":[0,\"update\",\"messages\",1]", 1);
    check_has(run, "\"documents\":[{\"content\":", 1);
    check_has(run, answer, 2); /* of the node, and of the retriever */
    rl_run_free(run);
}

/* What the calls of a node returned, and what of it is stored beside the node's outputs. */
typedef struct late_case {
    const char *outputs;            /* the message's, in the node's outputs */
    const char *returned;           /* by the call */
    const char *of_tool, *of_model; /* NULL: whole */
} late_case;

#define BODY                                                                             \
    "\"content\":\"a message that is long enough to be worth a path, with a quote \\\" " \
    "and "                                                                               \
    "a brace { and some more words, so that it really is\""

/* A message that gets its id or its name after the call returned it is still the same. */
static void test_messages_that_got_members_late(void)
{
    static const late_case cases[] = {
        {"{" BODY ",\"id\":\"x\\\\\"}", "{" BODY ",\"id\":null}",
         "\"output_at\":[\"m\",1],\"output_late\":[\"id\"]",
         "\"outputs_at\":[[\"m\",1]],\"outputs_late\":[\"id\"]"},
        {"{\"name\":\"n\"," BODY ",\"id\":null,\"z\":1}",
         "{\"name\":null," BODY ",\"id\":null,\"z\":1}",
         "\"output_at\":[\"m\",1],\"output_late\":[\"name\",\"id\"]",
         "\"outputs_at\":[[\"m\",1]],\"outputs_late\":[\"name\",\"id\"]"},
        {"{" BODY ",\"id\":7}", "{" BODY ",\"id\":null}", NULL, NULL},
        {"{" BODY ",\"id\":\"x\",\"z\":1}", "{" BODY ",\"id\":null}", NULL, NULL},
        {"{" BODY ",\"id\":\"x\",\"z\":1}", "{" BODY ",\"id\":null,\"z\":2}", NULL, NULL},
        {"{" BODY ",\"id\":\"x\"}", "{" BODY ",\"id\":\"y\"}", NULL, NULL},
        {"{" BODY ",\"at\":\"x\"}", "{" BODY ",\"at\":null}", NULL, NULL},
        {"{" BODY ",\"in\":{\"id\":\"x\"}}", "{" BODY ",\"in\":{\"id\":null}}", NULL,
         NULL},
    };
    char outputs[1200], list[600];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const late_case *given = &cases[i];
        rl_run *run = rl_run_new();
        int whole = given->of_tool == NULL;

        /* before it one that differs only behind its id */
        snprintf(outputs, sizeof outputs, "{\"m\":[{" BODY ",\"id\":\"w\",\"y\":1},%s]}",
                 given->outputs);
        snprintf(list, sizeof list, "[%s]", given->returned);
        record_node(run, list, given->returned, outputs);
        check_has(run, given->returned, whole ? 3 : 1); /* of the retriever */
        check_has(run, whole ? "_late" : given->of_tool, whole ? 0 : 1);
        check_has(run, whole ? "_at\":[" : given->of_model, whole ? 0 : 1);
        rl_run_free(run);
    }
}

/* The places of several answers: all of them got the same members late, or they are stored
 * whole. */
static void test_answers_that_got_members_late(void)
{
    static const char a[] = "{" BODY ",\"id\":null}",
                      b[] = "{" BODY ",\"n\":1,\"id\":null}";
    static const char c[] = "{" BODY ",\"n\":2,\"id\":\"c\"}";
    char outputs[1200], list[1200];

    for (int same = 0; same < 2; same++) {
        rl_run *run = rl_run_new();

        snprintf(outputs, sizeof outputs,
                 "[{" BODY ",\"id\":\"a\"},{" BODY ",\"n\":1,\"id\":\"b\"},%s]", c);
        snprintf(list, sizeof list, "[%s,%s]", a, same != 0 ? b : c);
        record_node(run, list, "0", outputs);
        check_has(run, "\"outputs_at\":[[0],[1]],\"outputs_late\":[\"id\"]", same);
        check_has(run, a, 2 - same);
        rl_run_free(run);
    }
}

static const struct check_test tests[] = {
    CHECK_TEST(test_outputs_of_the_node_are_not_stored_again),
    CHECK_TEST(test_messages_that_got_members_late),
    CHECK_TEST(test_answers_that_got_members_late),
};

CHECK_MAIN(tests)
