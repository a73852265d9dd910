/* Tests of the calls of nodes (record/graph/graph_calls.c) and of prompts (messages.c):
 * what a run stores of them, once, in pieces, and without memory. */
#include "record/graph/graph.h"

#include "calls_help.h"
#include "check.h"
#include "failing.h"
#include "graph_help.h"

#include <stdlib.h>

/* Messages are numbered as they first occur; ranges are as long as can be. */
static void test_each_message_is_stored_once(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    begin_run(graphs, RL_CALLS_DELTA, 0, NULL);
    begin_with(graphs, 2, "{\"n\":1}");
    ask(graphs, 10, 2, "[\"one\",\"two\"]");
    ask(graphs, 11, 2, "[\"one\",\"two\",\"three\"]");
    ask(graphs, 12, 2, "[\"two\",\"one\",\"one\",\"two\",\"four\"]");
    ask(graphs, 13, 2, "[\"five\",\"five\"]");
    ask(graphs, 14, 2, "[\"one\",\"three\"]");
    ask(graphs, 15, 2, "[]");
    finish_node(graphs, 2, run);
    check_has(run,
              "\"messages\":{\"first\":0,\"new\":[\"one\",\"two\"],"
              "\"$messages\":[[0,2]]}",
              1);
    check_has(run, "{\"first\":2,\"new\":[\"three\"],\"$messages\":[[0,3]]}", 1);
    check_has(run,
              "{\"first\":3,\"new\":[\"four\"],\"$messages\":[[1,2],[0,1],[0,2],"
              "[3,4]]}",
              1);
    check_has(run, "{\"first\":4,\"new\":[\"five\"],\"$messages\":[[4,5],[4,5]]}", 1);
    check_has(run, "\"messages\":{\"$messages\":[[0,1],[2,3]]}", 1);
    check_has(run, "\"messages\":[]", 1);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* Those that the inputs of the call's node have are named by their place there. */
static void test_messages_of_the_inputs_are_not_stored_again(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    begin_run(graphs, RL_CALLS_DELTA, 0, NULL);
    begin_with(graphs, 2, "{\"k\":{\"messages\":[0]},\"messages\":[\"a\",\"b\",\"c\"]}");
    ask(graphs, 10, 2, "[\"system\",\"a\",\"b\",\"c\"]");
    ask(graphs, 11, 2, "[\"c\",\"a\"]");
    end_span(graphs, 2, RL_COMPLETED, false);
    begin_with(graphs, 3, "{\"messages\":[\"a\",\"b\",\"x\",\"c\",\"y\"]}");
    ask(graphs, 12, 3, "[\"y\"]");
    ask(graphs, 13, 3, "[\"a\",\"b\",\"x\",\"c\",\"y\",\"z\"]");
    finish_node(graphs, 3, run);
    check_has(run,
              "{\"first\":0,\"new\":[\"system\"],\"from\":[[1],[0,0,3]],"
              "\"$messages\":[[0,4]]}",
              1);
    check_has(run, "\"messages\":{\"$messages\":[[3,4],[1,2]]}", 1);
    check_has(run, "{\"first\":4,\"from\":[[1,4,1]],\"$messages\":[[4,5]]}", 1);
    check_has(run,
              "{\"first\":5,\"new\":[\"z\"],\"from\":[[1,2,1],[1]],"
              "\"$messages\":[[1,3],[5,6],[3,5],[6,7]]}",
              1);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* An answer that a later prompt has is named by its place among the outputs of its call. */
static void test_answers_are_not_stored_again(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    begin_run(graphs, RL_CALLS_DELTA, 0, NULL);
    begin_with(graphs, 2, "{\"n\":1}");
    begin_call(graphs, RL_CALL_TOOL, 10, 2, NULL); /* a tool gives no answers */
    end_call(graphs, 10, RL_COMPLETED);
    ask(graphs, 11, 2, "[\"one\"]");
    ask(graphs, 12, 2, "[\"one\",\"answer\",\"two\"]");
    ask(graphs, 13, 2, "[\"answer\"]");
    finish_node(graphs, 2, run);
    check_has(run,
              "{\"first\":1,\"new\":[\"two\"],\"from\":[[0,1,0,1],[1]],"
              "\"$messages\":[[0,3]]}",
              1);
    check_has(run, "\"messages\":{\"$messages\":[[1,2]]}", 1);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* Past the bytes that a run may have, large members are left out: a mark can't stand in their
 * place. */
static void test_members_without_room(void)
{
    const size_t full = (size_t)128 << 20, large = 2048;
    char *outputs = malloc(full), *members = malloc(large);
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_span_end end = {.outcome = RL_COMPLETED, .ended_ns = 1};

    REQUIRE(outputs != NULL && members != NULL);
    memset(outputs, 'x', full);
    outputs[0] = outputs[full - 1] = '"';
    memset(members, 'm', large);
    memcpy(members, "\"m\":\"", 5);
    members[large - 1] = '"';
    begin_run(graphs, RL_CALLS_DELTA, 0, NULL);
    begin_with(graphs, 2, "{}");
    begin_call(graphs, RL_CALL_TOOL, 10, 2, NULL);
    begin_call(graphs, RL_CALL_TOOL, 11, 2, NULL);
    end.outputs = (rl_text){outputs, full - 64};
    outputs[full - 65] = '"';
    CHECK(rl_graphs_end(graphs, key_of(10), &end));
    end.outputs = text("[2]");
    end.members = (rl_text){members, large};
    CHECK(rl_graphs_end(graphs, key_of(11), &end));
    finish_node(graphs, 2, run);
    check_has(run, "mmmm", 0);
    check_has(run, "\"output\":[2]", 1);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
    free(members);
    free(outputs);
}

/* Prompts that are not cut into messages are stored as they are. */
static void test_whole_prompts(void)
{
    static const char *const odd[] = {"\"text\"", "7", "{\"$messages\":[[0,1]]}", "[]"};
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    for (int i = 0; i < 4; i++) {
        rl_prompt prompt = {.text = text(odd[i])};

        rl_buf_init(&prompt.pieces, RL_BUF_MAX);
        rl_prompt_split(&prompt);
        CHECK_INT(prompt.pieces.len, 0);
        rl_buf_free(&prompt.pieces);
    }
    begin_run(graphs, RL_CALLS_FULL, 0, NULL);
    begin_with(graphs, 2, "{\"messages\":[\"one\"]}");
    ask(graphs, 10, 2, "[\"one\"]");
    ask(graphs, 11, 2, "[\"one\"]");
    finish_node(graphs, 2, run);
    check_has(run, "\"messages\":[\"one\"]", 3);
    check_has(run, "$messages", 0);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* A call names the one around it, by its number among those of their node. */
static void test_parents_and_outcomes(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    begin_run(graphs, RL_CALLS_DELTA, 0, NULL);
    begin_with(graphs, 2, "{}");
    ask(graphs, 10, 2, "[1]");
    begin_call(graphs, RL_CALL_TOOL, 11, 2, NULL);
    begin_call(graphs, RL_CALL_RETRIEVER, 12, 11, NULL);
    ask(graphs, 13, 12, "[1]");
    end_call(graphs, 12, RL_FAILED);
    ask(graphs, 14, 11, "[1]");
    end_call(graphs, 11, RL_COMPLETED);
    rl_graphs_event(graphs, key_of(2), text("e"), text("[5]"), (rl_values){NULL, 0});
    rl_graphs_event(graphs, key_of(99), text("e"), text("[6]"), (rl_values){NULL, 0});
    begin_call(graphs, RL_CALL_TOOL, 15, 2, NULL);
    finish_node(graphs, 2, run);
    check_has(run, "\"kind\":\"llm\"", 3);
    check_has(run, "\"kind\":\"tool\"", 2);
    check_has(run,
              "\"kind\":\"retriever\",\"name\":\"Chat\",\"parent\":1,"
              "\"status\":\"failed\",\"error_type\":\"ValueError\","
              "\"error_text\":\"bad\"",
              1);
    check_has(run, "\"parent\":1,", 2);
    check_has(run, "\"parent\":2,", 1);
    check_has(run, "\"status\":\"cancelled\"", 1); /* the end of the last did not come */
    check_has(run, "\"events\":[{\"name\":\"e\",\"data\":[5],\"at\":\"", 1);
    check_has(run, "\"llm_calls\":3,\"tool_calls\":2", 1);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

static void test_calls_are_not_recorded_with_none(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    begin_run(graphs, RL_CALLS_NONE, 0, NULL);
    begin_with(graphs, 2, "{}");
    ask(graphs, 10, 2, "[1]");
    rl_graphs_event(graphs, key_of(2), text("e"), text("[5]"), (rl_values){NULL, 0});
    rl_graphs_stream(graphs, key_of(10));
    finish_node(graphs, 2, run);
    check_has(run, "\"llm_calls\":1", 1);
    check_has(run, "\"calls\":[],\"events\":[]", 1);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* Only the first token of an open call counts. */
static void test_the_first_token(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    begin_run(graphs, RL_CALLS_DELTA, 0, NULL);
    begin_with(graphs, 2, "{}");
    rl_graphs_stream(graphs, key_of(2));
    begin_call(graphs, RL_CALL_TOOL, 10, 2, NULL);
    rl_graphs_stream(graphs, key_of(10));
    end_call(graphs, 10, RL_COMPLETED);
    begin_call(graphs, RL_CALL_LLM, 11, 2, "[1]");
    rl_graphs_stream(graphs, key_of(11));
    rl_graphs_stream(graphs, key_of(11));
    end_call(graphs, 11, RL_COMPLETED);
    rl_graphs_stream(graphs, key_of(11));
    rl_graphs_stream(graphs, key_of(12));
    finish_node(graphs, 2, run);
    check_has(run, "first_token_ms", 1);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* A node that did not complete ends its open calls; an end that comes later counts. */
static void test_a_node_ends_its_calls(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();

    begin_run(graphs, RL_CALLS_DELTA, 0, NULL);
    begin_with(graphs, 2, "{}");
    begin_call(graphs, RL_CALL_LLM, 10, 2, "[1]");
    begin_call(graphs, RL_CALL_LLM, 11, 2, "[1]");
    end_span(graphs, 2, RL_FAILED, false);
    end_call(graphs, 11, RL_COMPLETED);
    CHECK_INT(rl_graphs_write_one(graphs, key_of(1), false, run), RL_OK);
    CHECK(strstr(run->arena.data + run->parts.at, "\"status\":\"cancelled\"") != NULL);
    CHECK(strstr(run->arena.data + run->parts.at, "\"status\":\"running\"") == NULL);
    rl_graphs_wrote(graphs, run, true);
    finish(graphs, 1, RL_COMPLETED, run);
    check_has(run, "\"status\":\"cancelled\"", 1);
    check_has(run, "\"status\":\"completed\",\"started_at\"", 1);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* A run with many calls in nodes, of which some stay open while others leave memory:
 * `drop` where nothing can be written. The parts of the end are JSON, and have no place
 * that is not one. */
static void shrink_with_open_calls(bool drop)
{
    enum {
        LIMIT = 64 << 10,
        STEPS = 300
    };
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_metrics metrics = {0};
    char prompt[3200];

    begin_run(graphs, RL_CALLS_DELTA, LIMIT, &metrics);
    for (uint64_t i = 2; i < 2 + STEPS; i++) {
        rl_relief relief = RL_RELIEF_FREED;

        snprintf(prompt, sizeof prompt, "{\"messages\":[\"%03000" PRIu64 "\"]}", i / 3);
        begin_with(graphs, i, prompt);
        snprintf(prompt, sizeof prompt, "[\"first\",\"%03000" PRIu64 "\"]", i / 3);
        begin_call(graphs, RL_CALL_TOOL, 1000 + i, i, NULL);
        begin_call(graphs, RL_CALL_LLM, 2000 + i, 1000 + i, prompt);
        while (relief != RL_RELIEF_NONE) {
            relief = rl_graphs_relieve(graphs, lane, true, 1 << 20, run);
            if (relief == RL_RELIEF_WRITE) {
                CHECK(is_json(run->arena.data + run->parts.at, run->parts.len));
                rl_graphs_wrote(graphs, run, !drop);
            }
        }
        if (i % 4 != 0) {
            end_call(graphs, 2000 + i, RL_COMPLETED);
        }
        if (i % 5 != 0) {
            end_call(graphs, 1000 + i, RL_FAILED);
        }
        if (i % 7 != 0) {
            end_span(graphs, i, i % 3 == 0 ? RL_FAILED : RL_COMPLETED, false);
        }
    }
    CHECK(rl_metric_get(&metrics.handler_spilled) > 0);
    CHECK((rl_metric_get(&metrics.handler_dropped) > 0) == drop);
    finish(graphs, 1, RL_COMPLETED, run);
    if (run->parts.given) {
        CHECK(is_json(run->arena.data + run->parts.at, run->parts.len));
    }
    if (json_of(run).data != NULL) {
        CHECK(is_json(json_of(run).data, json_of(run).len));
    }
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

static void test_open_calls_stay_in_memory(void)
{
    shrink_with_open_calls(false);
}

static void test_calls_that_cannot_be_written_are_dropped(void)
{
    shrink_with_open_calls(true);
}

/* Records calls while allocations fail; the run is whole, or refused. */
static rl_status record_calls(rl_err *err)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_status status = graphs != NULL && run != NULL ? RL_OK : rl_err_nomem(err);
    rl_span_end end = {
        .outcome = RL_COMPLETED, .outputs = text("[\"o\"]"), .ended_ns = 1};
    rl_graph_start given = graph_of(NULL);
    rl_graph *graph = NULL;

    end.tokens.given = true;
    if (!rl_tokens_add_detail(&end.tokens, false, "cache_read", 10, 4)) {
        status = rl_err_nomem(err);
    }
    for (uint64_t i = 1; i < 40 && status == RL_OK; i++) {
        rl_span_start start = start_of(i, i > 2 ? 2 : i == 2, i == 2 ? "n:1" : NULL, "n");
        rl_prompt asked = {.text = text("[\"one\",\"two\"]")};
        char prompt[80];

        snprintf(prompt, sizeof prompt, "[\"one\",\"%050" PRIu64 "\",\"in\"]", i);
        asked.text = text(prompt);
        rl_buf_init(&asked.pieces, RL_BUF_MAX);
        start.inputs = object("{\"messages\":[\"in\",\"of\"]}");
        if (i > 2) {
            rl_prompt_split(&asked);
            start.call = RL_CALL_LLM;
            start.call_name = text("Chat");
            start.prompt = &asked;
        }
        status = rl_graphs_start(graphs,
                                 i == 1   ? RL_SPAN_GRAPH
                                 : i == 2 ? RL_SPAN_NODE
                                          : RL_SPAN_INNER,
                                 &start, i == 1 ? &given : NULL);
        rl_buf_free(&asked.pieces);
        if (status == RL_OK && i > 2 && i % 3 != 0) {
            (void)rl_graphs_end(graphs, key_of(i), &end);
        }
    }
    graph = graphs != NULL ? rl_graphs_take(graphs, key_of(1)) : NULL;
    if (graph != NULL && status == RL_OK) {
        rl_graph_write(graph, &end, run);
        status = rl_run_seal(run, err);
        if (status == RL_OK) {
            CHECK(is_json(json_of(run).data, json_of(run).len));
        }
    }
    rl_graph_free(graph);
    rl_tokens_free(&end.tokens);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
    return status == RL_NOMEM ? rl_err_nomem(err) : status;
}

static void test_without_memory(void)
{
    fail_everywhere(record_calls, 40);
}

/* The details of many nodes leave memory with them, and are in the sums of the run. */
static void test_details_of_tokens(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_tokens tokens = {.given = true, .input = 5, .total = 5};
    rl_span_end end = {.outcome = RL_COMPLETED, .ended_ns = rl_monotonic_ns()};

    CHECK(rl_tokens_add_detail(&tokens, false, "cache_read", 10, 4));
    CHECK(rl_tokens_add_detail(&tokens, true, "a\"b", 3, 1));
    end.tokens = tokens;
    begin_run(graphs, RL_CALLS_NONE, 0, NULL);
    for (uint64_t node = 2; node < 4; node++) {
        begin_with(graphs, node, "{\"n\":1}");
        begin_call(graphs, RL_CALL_LLM, 10 + node, node, NULL);
        CHECK(rl_graphs_end(graphs, key_of(10 + node), &end));
        end_span(graphs, node, RL_COMPLETED, false);
    }
    finish(graphs, 1, RL_COMPLETED, run);
    check_has(run,
              "\"tokens\":{\"input\":5,\"output\":0,\"total\":5,\"input_details\":"
              "{\"cache_read\":4},\"output_details\":{\"other\":1}}",
              2);
    CHECK(strstr(rl_run_text(run, RL_METADATA), "{\"cache_read\":8}") != NULL);
    rl_tokens_free(&tokens);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_each_message_is_stored_once),
    CHECK_TEST(test_messages_of_the_inputs_are_not_stored_again),
    CHECK_TEST(test_answers_are_not_stored_again),
    CHECK_TEST(test_members_without_room),
    CHECK_TEST(test_whole_prompts),
    CHECK_TEST(test_parents_and_outcomes),
    CHECK_TEST(test_calls_are_not_recorded_with_none),
    CHECK_TEST(test_the_first_token),
    CHECK_TEST(test_a_node_ends_its_calls),
    CHECK_TEST(test_open_calls_stay_in_memory),
    CHECK_TEST(test_calls_that_cannot_be_written_are_dropped),
    CHECK_TEST(test_without_memory),
    CHECK_TEST(test_details_of_tokens),
};

CHECK_MAIN(tests)
