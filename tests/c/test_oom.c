/* Tests of recording without memory: each allocation fails in turn (failing.h), but not
 * those of SQLite. An operation must store everything or nothing, and must work
 * afterwards, with memory. LeakSanitizer finds leaks.
 */
#include "core/alloc.h"
#include "core/json.h"
#include "record/recorder/recorder.h"

#include "check.h"
#include "failing.h"
#include "graph_help.h"
#include "store_help.h"

/* Ends the part of an operation in which allocations fail; checks follow. */
static void stop_failing(void)
{
    rl_set_allocator(NULL);
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

static char *whole_outputs; /* of such a run, made with memory */

static void check_filled(const rl_run *run)
{
    CHECK_STR(rl_run_text(run, RL_OUTPUTS), whole_outputs);
    CHECK_STR(rl_run_text(run, RL_WPK_ID), "w");
    CHECK_STR(rl_run_text(run, RL_STATUS), "completed");
}

static rl_status build_run(rl_err *err)
{
    rl_run *run = rl_run_new();
    rl_status status = run != NULL ? RL_OK : rl_err_nomem(err);

    if (run != NULL) {
        fill_run(run);
        status = rl_run_seal(run, err);
        stop_failing();
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

static void test_a_run_without_memory(void)
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

#define GRAPH_NODES 100 /* the table of spans must grow */

/* The inputs and outputs of a graph's nodes; long, so that the arena grows. */
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
    rl_span_end end = {
        .outcome = RL_FAILED, .outputs = text(payload), .error_traceback = text(payload)};
    rl_status status = start_one(graphs, RL_SPAN_GRAPH, 1, NULL);
    char ns[40];

    for (uint64_t number = 2; number < 2 + GRAPH_NODES && status == RL_OK; number++) {
        snprintf(ns, sizeof ns, "n:%" PRIu64, number);
        status = start_one(graphs, RL_SPAN_NODE, number, ns);
        end.error_key = number;
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

static rl_status record_graph(rl_err *err)
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
        stop_failing();
        status = status == RL_OK ? finished : status;
        if (status == RL_OK) {
            CHECK_INT(count_of(rl_run_text(run, RL_NODE_LOGS), payload),
                      GRAPH_NODES * 3 / 2);
            CHECK_STR(rl_run_text(run, RL_INPUTS), payload);
            CHECK_STR(rl_run_text(run, RL_OUTPUTS), payload);
        }
        rl_graph_free(graph);
    }
    stop_failing();
    if (graphs != NULL) { /* the table can be used; this graph stays open */
        CHECK_INT(open_graph(graphs), RL_OK);
        CHECK_INT(kind_of(graphs, 1 + GRAPH_NODES), RL_SPAN_NODE);
    }
    rl_graphs_free(graphs, ignore_owner);
    rl_run_free(run);
    return status == RL_NOMEM ? rl_err_nomem(err) : status; /* graphs have no rl_err */
}

static void test_a_graph_without_memory(void)
{
    memset(payload, '"', sizeof payload - 1);
    memset(payload + 1, 'p', sizeof payload - 3);
    fail_everywhere(record_graph, GRAPH_NODES);
}

#define COUNT "SELECT count(*) FROM workflow_runs"

/* Runs that are made before allocations fail. */
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

/* Uses a recorder as a program does; *written counts the recorded runs. */
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

static rl_status record_runs(rl_err *err)
{
    char path[HELP_PATH];
    rl_recorder *recorder = NULL;
    rl_status status;
    int written = 0;

    fresh_path(path);
    status = new_recorder(path, &recorder, err);
    if (status == RL_OK) {
        status = use_recorder(recorder, &written, err);
        if (written > 0) {
            CHECK_INT(sql_int(path, COUNT), written);
        }
        CHECK_INT(err->code, status);
        stop_failing();
        written = 0;
        CHECK_INT(use_recorder(recorder, &written, err), RL_OK);
        CHECK_INT(sql_int(path, COUNT), 3);
    }
    rl_recorder_free(recorder);
    if (recorder != NULL) {
        CHECK_INTACT(path);
    }
    return status;
}

static void test_a_recorder_without_memory(void)
{
    the_migrations();
    prepare_runs();
    fail_everywhere(record_runs, 20);
    free_runs();
}

static rl_status write_batch(rl_err *err)
{
    char path[HELP_PATH];
    rl_batch batch = {prepared, 10, RL_DISK, RL_WAIT};
    rl_store *store = NULL;
    rl_status status;
    int64_t removed = 0;
    rl_query query;

    fresh_path(path);
    status = rl_sqlite_new(path, the_migrations(), NULL, NULL, &store, err);
    if (status == RL_OK) {
        status = store->ops->prepare(store, err);
        if (status == RL_OK) {
            status = store->ops->write(store, &batch, err);
            CHECK_INT(sql_int(path, COUNT), status == RL_OK ? 10 : 0);
        } else {
            CHECK_INT(sql_int(path, "SELECT count(*) FROM sqlite_master"), 0);
        }
        rl_query_init(&query, RL_SHAPE_BRIEF);
        query.texts[RL_RUN_ID] = "r3";
        if (status == RL_OK) {
            status = remove_all(store, &query, &removed, err);
            CHECK_INT(sql_int(path, COUNT), status == RL_OK ? 9 : 10);
        }
        stop_failing();
        CHECK_INT(store->ops->prepare(store, err), RL_OK);
        CHECK_INT(store->ops->write(store, &batch, err), RL_OK);
        CHECK_INT(remove_all(store, &query, &removed, err), RL_OK);
        CHECK_INT(removed, 1);
        CHECK_INT(sql_int(path, COUNT), 9);
        store->ops->close(store);
        CHECK_INTACT(path);
    }
    return status;
}

static void test_a_batch_without_memory(void)
{
    the_migrations();
    prepare_runs();
    fail_everywhere(write_batch, 8);
    free_runs();
}

static const struct check_test tests[] = {
    CHECK_TEST(test_a_run_without_memory),
    CHECK_TEST(test_a_graph_without_memory),
    CHECK_TEST(test_a_recorder_without_memory),
    CHECK_TEST(test_a_batch_without_memory),
};

CHECK_MAIN(tests)
