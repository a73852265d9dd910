/* Test of what happens without memory: an operation is done again and again, and the first
 * allocation fails, then the second, and so on until it passes; once alone, and once with
 * all that follow. Each time it must end well or with RL_NOMEM, and must have kept all or
 * nothing; afterwards, with memory, it goes on. Leaks are LeakSanitizer's to find.
 * SQLite's own allocations do not fail here.
 */
#include "core/alloc.h"
#include "core/json.h"
#include "record/recorder/recorder.h"

#include "check.h"
#include "failing.h"
#include "graph_help.h"
#include "store_help.h"

/* An operation. It brings the allocator back when the part that may fail is over, and then
 * checks what it left behind. */
typedef rl_status (*operation)(void);

static void memory_is_back(void)
{
    rl_set_allocator(NULL);
}

static void fail_everywhere(operation run, size_t at_least)
{
    for (int go_on = 0; go_on < 2; go_on++) {
        struct failing failing = {.go_on = go_on != 0};
        const rl_allocator allocator = {failing_resize, failing_release, &failing};
        size_t refused = 0;

        do {
            rl_status status;

            failing.count = 0;
            failing.fail_at++;
            rl_set_allocator(&allocator);
            status = run();
            memory_is_back();
            CHECK(status == RL_OK || status == RL_NOMEM);
            CHECK(status == RL_OK || failing.count >= failing.fail_at);
            refused += status == RL_NOMEM;
        } while (failing.count >= failing.fail_at && failing.fail_at < 10000);
        CHECK(refused >= at_least);
    }
}

/* A run with a payload that makes its arena grow more than once. */
static void fill_run(rl_run *run)
{
    static const char word[] = "a word and \"another\" ";
    size_t at = rl_run_begin(run);
    rl_json json;

    rl_json_begin(&json, &run->arena, 40000);
    rl_json_open(&json, '[');
    for (int i = 0; i < 2000; i++) {
        rl_json_open(&json, '{');
        rl_json_key(&json, word, sizeof word - 1);
        rl_json_double(&json, 0.25);
        rl_json_close(&json);
        rl_json_text(&json, word, 6);
    }
    rl_json_close(&json);
    rl_json_end(&json);
    rl_run_end(run, RL_OUTPUTS, at);
    set_text(run, RL_WPK_ID, "w");
    set_text(run, RL_RUN_ID, "r");
    set_text(run, RL_STATUS, "completed");
}

static char *whole_outputs; /* of such a run, when there is memory */

static void check_filled(const rl_run *run)
{
    CHECK_STR(rl_run_text(run, RL_OUTPUTS), whole_outputs);
    CHECK_STR(rl_run_text(run, RL_WPK_ID), "w");
    CHECK_STR(rl_run_text(run, RL_STATUS), "completed");
}

static rl_status build_run(void)
{
    rl_run *run = rl_run_new();
    rl_status status = RL_NOMEM;

    if (run != NULL) {
        fill_run(run);
        status = rl_run_seal(run, NULL);
        memory_is_back();
        if (status == RL_OK) {
            check_filled(run);
        }
        rl_run_reset(run);
        fill_run(run);
        CHECK_INT(rl_run_seal(run, NULL), RL_OK);
        check_filled(run);
    }
    rl_run_free(run);
    return status;
}

static void test_building_a_run(void)
{
    rl_run *run = rl_run_new();

    REQUIRE(run != NULL);
    fill_run(run);
    whole_outputs = strdup(rl_run_text(run, RL_OUTPUTS));
    CHECK(strlen(whole_outputs) > 40000);
    rl_run_free(run);
    fail_everywhere(build_run, 5);
    free(whole_outputs);
}

#define GRAPH_NODES 100 /* more than the table of spans has room for at first */

/* What a graph's nodes take in and give back; long, so that its arena grows. */
static char payload[600];

static rl_status start_one(rl_graphs *graphs, rl_span_kind kind, uint64_t number,
                           const char *ns)
{
    rl_span_start start = start_of(number, number > 1, ns, "n");
    rl_graph_start given = graph_of(NULL);

    start.inputs = object(payload);
    return rl_graphs_start(graphs, kind, &start, number == 1 ? &given : NULL);
}

static rl_status open_graph(rl_graphs *graphs)
{
    rl_span_end end = {.outcome = RL_COMPLETED, .outputs = text(payload)};
    rl_status status = start_one(graphs, RL_SPAN_GRAPH, 1, NULL);
    char ns[40];

    for (uint64_t number = 2; number < 2 + GRAPH_NODES && status == RL_OK; number++) {
        snprintf(ns, sizeof ns, "n:%" PRIu64, number);
        status = start_one(graphs, RL_SPAN_NODE, number, ns);
        if (status == RL_OK && number % 2 == 0) {
            CHECK(rl_graphs_end(graphs, key_of(number), &end));
        }
    }
    return status;
}

static size_t count_of(const char *in, const char *what)
{
    size_t count = 0;

    for (; (in = strstr(in, what)) != NULL; in++) {
        count++;
    }
    return count;
}

static void ignore_owner(void *owner)
{
    (void)owner;
}

static rl_status record_graph(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_status status = RL_NOMEM;
    rl_span_end end = {.outcome = RL_COMPLETED, .outputs = text(payload)};
    rl_graph *graph = NULL;

    if (graphs != NULL && run != NULL) {
        status = open_graph(graphs);
        graph = rl_graphs_take(graphs, key_of(1));
    }
    if (graph != NULL) {
        rl_status finished;

        rl_graph_write(graph, &end, run);
        finished = rl_run_seal(run, NULL);
        memory_is_back();
        status = status == RL_OK ? finished : status;
        if (status == RL_OK) {
            CHECK_INT(count_of(rl_run_text(run, RL_NODE_LOGS), payload),
                      GRAPH_NODES * 3 / 2);
            CHECK_STR(rl_run_text(run, RL_INPUTS), payload);
            CHECK_STR(rl_run_text(run, RL_OUTPUTS), payload);
        }
        rl_graph_free(graph);
    }
    memory_is_back();
    if (graphs != NULL) { /* the table goes on; this one stays open */
        CHECK_INT(open_graph(graphs), RL_OK);
        CHECK_INT(kind_of(graphs, 1 + GRAPH_NODES), RL_SPAN_NODE);
    }
    rl_graphs_free(graphs, ignore_owner);
    rl_run_free(run);
    return status;
}

static void test_recording_a_graph(void)
{
    memset(payload, '"', sizeof payload - 1);
    memset(payload + 1, 'p', sizeof payload - 3);
    fail_everywhere(record_graph, GRAPH_NODES);
}

#define COUNT "SELECT count(*) FROM workflow_runs"

/* Runs that are made before memory is short. */
static rl_run *prepared[10];

static void prepare_runs(void)
{
    char name[40];

    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "r%d", i < 7 ? i : 7);
        prepared[i] = new_run("w", name, "completed");
        if (i >= 7) { /* three records under one name */
            make_own(prepared[i]);
        }
        set_text(prepared[i], RL_OUTPUTS, "{\"some\":\"outputs\"}");
    }
}

static void free_runs(void)
{
    for (int i = 0; i < 10; i++) {
        rl_run_free(prepared[i]);
    }
}

/* What a program does with a recorder; *written counts the runs that are kept. */
static rl_status use_recorder(rl_recorder *recorder, int *written, rl_err *err)
{
    rl_status status = RL_OK;
    rl_query query;
    rl_rows rows;
    size_t count;

    for (int i = 0; i < 3 && status == RL_OK; i++) {
        status = rl_recorder_write(recorder, prepared[i], (rl_durability)(i % 2), err);
        *written += status == RL_OK;
    }
    rl_query_init(&query, RL_SHAPE_WHOLE);
    rl_shape_columns(query.shape, &count);
    query.texts[RL_WPK_ID] = "w";
    query.limit = 100;
    rl_rows_init(&rows);
    if (status == RL_OK) {
        status = rl_recorder_query(recorder, &query, &rows, err);
        CHECK(status != RL_OK || rl_rows_cells(&rows) == 3 * count);
    }
    rl_rows_free(&rows);
    return status;
}

static rl_status record_runs(void)
{
    char path[HELP_PATH];
    rl_recorder *recorder = NULL;
    rl_err err = {.code = RL_OK};
    rl_status status;
    int written = 0;

    fresh_path(path);
    status = new_recorder(path, &recorder, &err);
    if (status == RL_OK) {
        status = use_recorder(recorder, &written, &err);
        if (written > 0) {
            CHECK_INT(sql_int(path, COUNT), written);
        }
        CHECK_INT(err.code, status);
        memory_is_back();
        written = 0;
        CHECK_INT(use_recorder(recorder, &written, &err), RL_OK);
        CHECK_INT(sql_int(path, COUNT), 3);
    }
    rl_recorder_free(recorder);
    if (recorder != NULL) {
        CHECK_INTACT(path);
    }
    return status;
}

static void test_recorder(void)
{
    the_migrations();
    prepare_runs();
    fail_everywhere(record_runs, 20);
    free_runs();
}

static rl_status write_batch(void)
{
    char path[HELP_PATH];
    rl_batch batch = {prepared, 10, RL_DISK, true};
    rl_store *store = NULL;
    rl_err err = {.code = RL_OK};
    rl_status status;
    int64_t removed = 0;
    rl_query query;

    fresh_path(path);
    status = rl_sqlite_new(path, the_migrations(), NULL, NULL, &store, &err);
    if (status == RL_OK) {
        status = store->ops->prepare(store, &err);
        if (status == RL_OK) {
            status = store->ops->write(store, &batch, &err);
            CHECK_INT(sql_int(path, COUNT), status == RL_OK ? 10 : 0);
        } else {
            CHECK_INT(sql_int(path, "SELECT count(*) FROM sqlite_master"), 0);
        }
        rl_query_init(&query, RL_SHAPE_BRIEF);
        query.texts[RL_RUN_ID] = "r3";
        if (status == RL_OK) {
            status = store->ops->remove(store, &query, &removed, &err);
            CHECK_INT(sql_int(path, COUNT), status == RL_OK ? 9 : 10);
        }
        memory_is_back();
        CHECK_INT(store->ops->prepare(store, &err), RL_OK);
        CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
        CHECK_INT(store->ops->remove(store, &query, &removed, &err), RL_OK);
        CHECK_INT(removed, 1);
        CHECK_INT(sql_int(path, COUNT), 9);
        store->ops->close(store);
        CHECK_INTACT(path);
    }
    return status;
}

static void test_batch(void)
{
    the_migrations();
    prepare_runs();
    fail_everywhere(write_batch, 8);
    free_runs();
}

static const struct check_test tests[] = {
    CHECK_TEST(test_building_a_run),
    CHECK_TEST(test_recording_a_graph),
    CHECK_TEST(test_recorder),
    CHECK_TEST(test_batch),
};

CHECK_MAIN(tests)
