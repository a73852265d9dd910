/* Calls of the nodes of open runs, for the tests of what a run stores of them. */
#ifndef CALLS_HELP_H
#define CALLS_HELP_H

#include "check.h"
#include "graph_help.h"
#include "json_valid.h"

static const char lane[1];

static inline rl_text json_of(const rl_run *run)
{
    return text(rl_run_text(run, RL_NODE_LOGS));
}

/* Checks that the node logs have a text, `times` times. */
static inline void check_has(const rl_run *run, const char *part, int times)
{
    const char *logs = json_of(run).data;
    int found = 0;

    REQUIRE(logs != NULL);
    for (const char *at = strstr(logs, part); at != NULL; at = strstr(at + 1, part)) {
        found++;
    }
    if (found != times) {
        printf("%d times %s in %s\n", found, part, logs);
    }
    CHECK_INT(found, times);
}

static inline void begin_run(rl_graphs *graphs, rl_calls calls, size_t limit,
                             rl_metrics *metrics)
{
    rl_graph_start given = graph_of(NULL);

    given.calls = calls;
    given.recorder = lane;
    given.memory = (rl_memory){limit, metrics, NULL};
    begin_graph_as(graphs, 1, &given);
}

/* Begins a node that has these inputs. */
static inline void begin_with(rl_graphs *graphs, uint64_t number, const char *inputs)
{
    char ns[24];
    rl_span_start start;

    snprintf(ns, sizeof ns, "n:%" PRIu64, number);
    start = start_of(number, 1, ns, "n");
    start.inputs = object(inputs);
    CHECK_INT(begin(graphs, &start), RL_SPAN_NODE);
}

/* Begins a call; `prompt` may be NULL. */
static inline void begin_call(rl_graphs *graphs, rl_call call, uint64_t number,
                              uint64_t parent, const char *prompt)
{
    rl_span_start start = start_of(number, parent, NULL, "model-1");
    rl_prompt asked = {.text = text(prompt)};

    rl_buf_init(&asked.pieces, RL_BUF_MAX);
    if (prompt != NULL) {
        rl_prompt_split(&asked);
        start.prompt = &asked;
    }
    start.call = call;
    start.call_name = text("Chat");
    start.members = text("\"a\":1");
    CHECK_INT(begin(graphs, &start), RL_SPAN_INNER);
    rl_buf_free(&asked.pieces);
}

static inline void end_call(rl_graphs *graphs, uint64_t number, rl_outcome outcome)
{
    rl_span_end end = {.outcome = outcome,
                       .ended_ns = rl_monotonic_ns(),
                       .members = text("\"b\":2"),
                       .outputs = text("[\"answer\"]")};

    if (outcome == RL_FAILED) {
        end.error_type = text("ValueError");
        end.error_text = text("bad");
    }
    CHECK(rl_graphs_end(graphs, key_of(number), &end));
}

static inline void ask(rl_graphs *graphs, uint64_t number, uint64_t parent,
                       const char *prompt)
{
    begin_call(graphs, RL_CALL_LLM, number, parent, prompt);
    end_call(graphs, number, RL_COMPLETED);
}

/* Ends the node and the run; the logs are JSON. */
static inline void finish_node(rl_graphs *graphs, uint64_t node, rl_run *run)
{
    end_span(graphs, node, RL_COMPLETED, false);
    finish(graphs, 1, RL_COMPLETED, run);
    CHECK(is_json(json_of(run).data, json_of(run).len));
}

#endif
