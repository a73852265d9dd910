/* Tests of the sums of the roll-up: folding runs, the stored form, and their bounds. What
 * the figures are is tested in Python, over databases (test_rollup.py). */
#include "rollup/edges_table.h"
#include "rollup/fold.h"
#include "rollup/form.h"

#include "check.h"
#include "failing.h"
#include "random.h"

#include <stdio.h>

#define MANY 100000

static rl_string of(const char *text)
{
    return text != NULL ? (rl_string){text, strlen(text)} : (rl_string){NULL, 0};
}

static void fold(rl_sums *sums, const char *status, const char *metadata,
                 const char *logs)
{
    const rl_fold_run run = {.run_id = of("0190a1b2-0000-7000-8000-000000000001"),
                             .status = of(status),
                             .error_type = of("KeyError"),
                             .error_text = of("no 17"),
                             .metadata = of(metadata),
                             .node_logs = of(logs),
                             .duration_ms = 5,
                             .created_at = 1000};

    rl_fold(sums, &run);
}

static void fill(rl_sums *sums)
{
    fold(sums, "completed", "{\"tokens\":{\"total\":7,\"input_details\":{\"x\":1}}}",
         "[{\"node\":\"a\",\"duration_ms\":1.5,\"calls\":[{\"kind\":\"llm\",\"model\":"
         "\"m\","
         "\"tokens\":{\"total\":3}}]},{\"node\":\"b\"},{\"node\":\"a\"}]");
    fold(sums, "failed", "{\"totals\":{\"at\":\"b\"}}", "[{\"node\":\"\\u0061\"}]");
}

/* What any text as node logs, or metadata, gives: no crash, and one run. */
static void test_odd_logs(void)
{
    static const char *const odd[] = {
        "",
        "[",
        "[{",
        "{}",
        "7",
        "null",
        "[[[[]]]]",
        "[{\"node\":7},{\"node\":null,\"name\":\"n\"},3,\"x\",[]]",
        "[{\"node\":\"a\",\"node\":\"b\",\"tokens\":7,\"tokens\":{\"total\":1e999}}]",
        "[{\"node\":\"a\",\"duration_ms\":-1e400,\"attempt\":1e300,\"llm_calls\":\"x\"}]",
        "[{\"node\":\"a\",\"calls\":{\"kind\":\"llm\"},\"$of\":[1,2]}]",
        "[{\"kind\":\"llm\",\"$of\":[1,2],\"model\":\"m\"},{\"kind\":\"event\",\"$of\":[]"
        "}]",
        "[{\"n\\u006fde\":\"esc\\u0061ped \\ud800\",\"tokens\":{\"\\u0000\":4}}]",
        "[{\"node\":\"\xff\xfe\"}]",
    };

    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        rl_sums sums = {.run = {.retries = 0}};

        fold(&sums, "completed", odd[i], odd[i]);
        CHECK_INT(sums.run.outcomes[RL_ENDED_COMPLETED], 1);
        CHECK(!sums.failed);
        rl_sums_free(&sums);
    }
}

static void test_open_runs_do_not_count(void)
{
    rl_sums sums = {.run = {.retries = 0}};

    fold(&sums, "running", NULL, "[{\"node\":\"a\"}]");
    CHECK_INT(sums.node_count, 0);
    CHECK_INT(sums.folded, 0);
    rl_sums_free(&sums);
}

/* Each bound, and what counts what is beyond it. */
static void test_bounds(void)
{
    rl_sums sums = {.run = {.retries = 0}};
    uint64_t logs = 0;
    rl_buf json;

    rl_buf_init(&json, RL_BUF_MAX);
    rl_buf_add_char(&json, '[');
    for (int i = 0; i < MANY; i++) {
        rl_buf_printf(&json,
                      "%s{\"node\":\"n%d\",\"tokens\":{\"k%d\":1},\"calls\":[{\"kind\":"
                      "\"llm\",\"model\":\"m%d\"}]}",
                      i > 0 ? "," : "", i, i, i);
    }
    rl_buf_add(&json, "]", 2);
    REQUIRE(!json.failed);
    fold(&sums, "completed", NULL, json.data);
    rl_buf_free(&json);
    CHECK_INT(sums.node_count, RL_SUMS_NODES + 1);
    for (size_t i = 0; i < sums.node_count; i++) {
        logs += sums.nodes[i]->figures.outcomes[RL_ENDED_OTHER];
        CHECK(sums.nodes[i]->figures.tokens.used <= RL_SUMS_KINDS);
    }
    CHECK_INT(logs, MANY);
    CHECK_INT(sums.model_count, RL_SUMS_MODELS);
    CHECK_INT(sums.models_left, MANY - RL_SUMS_MODELS);
    for (int i = 0; i < 300; i++) {
        char logs_[64], text[64];
        rl_fold_run run = {.run_id = of("r"), .status = of("failed"), .duration_ms = -1};

        snprintf(logs_, sizeof logs_, "[{\"node\":\"p%d\"}]", i);
        snprintf(text, sizeof text, "%.*s", i + 1,
                 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff");
        run.error_text = of(i < 60 ? text : "other");
        run.error_type = of(i < 60 ? "A" : logs_);
        run.node_logs = of(logs_);
        rl_fold(&sums, &run);
    }
    CHECK_INT(sums.failure_count, RL_SUMS_FAILURES);
    CHECK_INT(sums.failures_left, 300 - RL_SUMS_FAILURES);
    CHECK_INT(sums.way_count, RL_SUMS_PATHS);
    CHECK_INT(sums.ways_left, 301 - RL_SUMS_PATHS);
    rl_sums_free(&sums);
}

static void test_places(void)
{
    for (unsigned i = 0; i < RL_EDGES; i++) {
        CHECK_INT(rl_histogram_place(rl_edges[i]), i);
        if (i + 1 < RL_EDGES) {
            CHECK_INT(rl_histogram_place(rl_edges[i] + 1), i + 1);
        }
    }
    CHECK_INT(rl_histogram_place(UINT64_MAX), RL_EDGES - 1);
}

/* What is written is read; twice gives twice as much; and down again, nothing. */
static void test_the_form(void)
{
    rl_sums sums = {.run = {.retries = 0}}, other = {.run = {.retries = 0}};
    rl_buf form, again;

    rl_buf_init(&form, RL_BUF_MAX);
    rl_buf_init(&again, RL_BUF_MAX);
    fill(&sums);
    rl_form_write(&sums, &form);
    CHECK(rl_form_read(&other, form.data, form.len, false));
    rl_form_write(&other, &again);
    CHECK_INT(again.len, form.len);
    CHECK(again.len == form.len && memcmp(again.data, form.data, form.len) == 0);
    CHECK(rl_form_read(&other, form.data, form.len, false));
    CHECK_INT(other.run.outcomes[RL_ENDED_FAILED], 2);
    CHECK_INT(other.run.durations.total, 20000);
    CHECK_INT(other.failures[0].number, 2);
    CHECK(rl_form_read(&other, form.data, form.len, true));
    CHECK(rl_form_read(&other, form.data, form.len, true));
    CHECK(rl_form_read(&other, form.data, form.len, true));
    CHECK_INT(other.run.outcomes[RL_ENDED_FAILED], 0);
    CHECK_INT(other.run.durations.total, 0);
    CHECK_INT(other.failures[0].number, 0);
    CHECK_INT(other.models[0].calls, 0);
    rl_sums_free(&other);
    rl_sums_free(&sums);
    rl_buf_free(&form);
    rl_buf_free(&again);
}

/* Any damage is seen; with a checksum that fits, it still does no harm. */
static void test_damage(void)
{
    uint64_t random = 17;
    rl_sums sums = {.run = {.retries = 0}};
    rl_buf form;

    rl_buf_init(&form, RL_BUF_MAX);
    fill(&sums);
    rl_form_write(&sums, &form);
    rl_sums_free(&sums);
    for (size_t len = 1; len < form.len; len++) {
        char *part = malloc(len); /* so that a sanitizer sees a read beyond it */

        REQUIRE(part != NULL);
        memcpy(part, form.data, len);
        CHECK(!rl_form_read(&sums, part, len, false));
        rl_sums_free(&sums);
        free(part);
    }
    for (int i = 0; i < 20000; i++) {
        char *copy = malloc(form.len);

        REQUIRE(copy != NULL);
        memcpy(copy, form.data, form.len);
        copy[5 + random_below(&random, form.len - 5)] ^=
            (char)(1 << random_below(&random, 8));
        CHECK(!rl_form_read(&sums, copy, form.len, false));
        rl_form_seal(copy, form.len);
        (void)rl_form_read(&sums, copy, form.len, false);
        rl_sums_free(&sums);
        free(copy);
    }
    rl_buf_free(&form);
}

static rl_status fold_and_write(rl_err *err)
{
    rl_sums sums = {.run = {.retries = 0}}, other = {.run = {.retries = 0}};
    bool failed;
    rl_buf form;

    rl_buf_init(&form, RL_BUF_MAX);
    fill(&sums);
    rl_form_write(&sums, &form);
    failed = sums.failed || form.failed;
    if (!failed) {
        CHECK(rl_form_read(&other, form.data, form.len, false));
        failed = other.failed;
    }
    rl_sums_free(&sums);
    rl_sums_free(&other);
    rl_buf_free(&form);
    return failed ? rl_err_nomem(err) : RL_OK;
}

static void test_without_memory(void)
{
    fail_everywhere(fold_and_write, 4);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_odd_logs),       CHECK_TEST(test_open_runs_do_not_count),
    CHECK_TEST(test_bounds),         CHECK_TEST(test_places),
    CHECK_TEST(test_the_form),       CHECK_TEST(test_damage),
    CHECK_TEST(test_without_memory),
};

CHECK_MAIN(tests)
