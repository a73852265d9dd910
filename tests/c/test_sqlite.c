/* Test of the SQLite store through store.h: writes, batches, the rule of updates, and
 * concurrent readers. test_sqlite_query.c tests the queries, test_sqlite_file.c the file
 * with its locks and migrations.
 */
#include "core/uuid.h"
#include "store/store.h"

#include "check.h"
#include "store_help.h"

#include <pthread.h>

#define BASE INT64_C(1700000000000000) /* microseconds, in 2023 */

static const rl_column texts[] = {RL_THREAD_ID,       RL_ERROR_TYPE, RL_ERROR_TEXT,
                                  RL_ERROR_TRACEBACK, RL_INPUTS,     RL_OUTPUTS,
                                  RL_NODE_LOGS,       RL_METADATA,   RL_OWNER};
#define TEXTS (sizeof texts / sizeof *texts)

static void check_text(const rl_rows *rows, rl_column column, const char *want)
{
    const rl_cell *cell = cell_of(rows, RL_SHAPE_WHOLE, 0, column);

    CHECK(cell->null == (want == NULL));
    if (!cell->null && want != NULL) {
        check_mem(rows->arena.data + cell->at, cell->len, want, strlen(want),
                  rl_columns[column].name, __FILE__, __LINE__);
    }
}

/* Reads the only run with this run_id. */
static void ask_whole(rl_store *store, const char *run_id, rl_rows *rows)
{
    rl_query query;

    rl_query_init(&query, RL_SHAPE_WHOLE);
    query.texts[RL_RUN_ID] = run_id;
    query.limit = 10;
    CHECK_INT(ask(store, &query, rows), 1);
}

/* A run whose texts are a prefix and the column's name. */
static rl_run *full_run(const char *run_id, const char *status, const char *prefix)
{
    rl_run *run = new_run("it's", run_id, status);
    char text[200];

    for (size_t i = 0; i < TEXTS; i++) {
        snprintf(text, sizeof text, "%s\"%s\" ä€😀 '; --", prefix,
                 rl_columns[texts[i]].name);
        set_text(run, texts[i], text);
    }
    run->duration_ms = INT32_MAX;
    run->started_at = BASE - 5;
    run->created_at = BASE;
    return run;
}

static void check_full(const rl_rows *rows, const char *status, const char *prefix)
{
    char text[200];

    check_text(rows, RL_WPK_ID, "it's");
    check_text(rows, RL_STATUS, status);
    for (size_t i = 0; i < TEXTS; i++) {
        snprintf(text, sizeof text, "%s\"%s\" ä€😀 '; --", prefix,
                 rl_columns[texts[i]].name);
        check_text(rows, texts[i], text);
    }
    CHECK_INT(cell_of(rows, RL_SHAPE_WHOLE, 0, RL_DURATION_MS)->number, INT32_MAX);
    CHECK_INT(cell_of(rows, RL_SHAPE_WHOLE, 0, RL_STARTED_AT)->number, BASE - 5);
    CHECK_INT(cell_of(rows, RL_SHAPE_WHOLE, 0, RL_CREATED_AT)->number, BASE);
}

static void test_write_and_read(void)
{
    char path[HELP_PATH], id[RL_UUID_TEXT];
    int64_t before = rl_time_now(), updated;
    rl_store *store;
    rl_run *run = full_run("full", "completed", "");
    rl_rows rows;

    fresh_path(path);
    store = open_store(path);
    rl_uuid_format(run->id, id);
    CHECK_INT(write_run(store, run, true, NULL), RL_OK);
    CHECK_INT(write_run(store, new_run("w", "bare", "failed"), true, NULL), RL_OK);

    ask_whole(store, "full", &rows);
    check_full(&rows, "completed", "");
    check_text(&rows, RL_ID, id);
    updated = cell_of(&rows, RL_SHAPE_WHOLE, 0, RL_UPDATED_AT)->number;
    CHECK(updated >= before && updated <= rl_time_now());
    rl_rows_free(&rows);

    ask_whole(store, "bare", &rows);
    for (size_t i = 0; i < TEXTS; i++) {
        check_text(&rows, texts[i], NULL);
    }
    CHECK(cell_of(&rows, RL_SHAPE_WHOLE, 0, RL_DURATION_MS)->null);
    CHECK(cell_of(&rows, RL_SHAPE_WHOLE, 0, RL_STARTED_AT)->null);
    rl_rows_free(&rows);
    store->ops->close(store);
    CHECK_INTACT(path);
}

/* A newer log replaces the columns that it gives, and always the error. */
static void test_newer_logs_update_a_run(void)
{
    char path[HELP_PATH], id[RL_UUID_TEXT];
    rl_store *store;
    rl_run *run = full_run("r", "running", "1");
    rl_rows rows;

    fresh_path(path);
    store = open_store(path);
    rl_uuid_format(run->id, id);
    CHECK_INT(write_run(store, run, true, NULL), RL_OK);
    CHECK_INT(write_run(store, full_run("r", "running", "2"), true, NULL), RL_OK);
    ask_whole(store, "r", &rows);
    check_full(&rows, "running", "2");
    rl_rows_free(&rows);

    CHECK_SQL(path, "UPDATE workflow_runs SET updated_at = '2000-01-01T00:00:00.000000Z'",
              "");
    CHECK_INT(write_run(store, new_run("it's", "r", "completed"), true, NULL), RL_OK);
    ask_whole(store, "r", &rows);
    check_text(&rows, RL_ID, id);
    check_text(&rows, RL_STATUS, "completed");
    check_text(&rows, RL_ERROR_TYPE, NULL);
    check_text(&rows, RL_ERROR_TEXT, NULL);
    check_text(&rows, RL_ERROR_TRACEBACK, NULL);
    check_text(&rows, RL_INPUTS, "2\"inputs\" ä€😀 '; --");
    check_text(&rows, RL_OWNER, "2\"owner\" ä€😀 '; --");
    CHECK_INT(cell_of(&rows, RL_SHAPE_WHOLE, 0, RL_CREATED_AT)->number, BASE);
    CHECK_INT(cell_of(&rows, RL_SHAPE_WHOLE, 0, RL_DURATION_MS)->number, INT32_MAX);
    CHECK(cell_of(&rows, RL_SHAPE_WHOLE, 0, RL_UPDATED_AT)->number > BASE);
    rl_rows_free(&rows);

    CHECK_INT(write_run(store, full_run("r", "running", "3"), true, NULL), RL_OK);
    ask_whole(store, "r", &rows);
    check_text(&rows, RL_STATUS, "completed"); /* not running again */
    check_text(&rows, RL_INPUTS, "2\"inputs\" ä€😀 '; --");
    rl_rows_free(&rows);

    CHECK_INT(write_run(store, full_run("r", "failed", "4"), true, NULL), RL_OK);
    ask_whole(store, "r", &rows);
    check_full(&rows, "failed", "4");
    rl_rows_free(&rows);
    store->ops->close(store);
    CHECK_SQL(path, "SELECT count(*) FROM workflow_runs", "1");
}

/* Within a batch later logs update earlier ones. */
static void test_batch_is_written_whole_or_not_at_all(void)
{
    char path[HELP_PATH], name[40];
    rl_run *runs[100];
    rl_batch batch = {runs, 100, RL_DISK, RL_WAIT};
    rl_store *store;
    rl_err err = {.code = RL_OK};

    fresh_path(path);
    store = open_store(path);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "r%d", i % 90);
        runs[i] = new_run("w", name, i < 90 ? "running" : "completed");
    }
    runs[50]->texts[RL_STATUS].given = false; /* the column is NOT NULL */
    CHECK_INT(store->ops->write(store, &batch, &err), RL_STORE);
    CHECK(!err.retryable && strstr(err.text, path) != NULL);
    CHECK_SQL(path, "SELECT count(*) FROM workflow_runs", "0");
    runs[50]->texts[RL_STATUS].given = true;
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    CHECK_SQL(path, "SELECT count(*) FROM workflow_runs", "90");
    CHECK_SQL(path, "SELECT count(*) FROM workflow_runs WHERE status = 'completed'",
              "10");
    batch.durability = RL_JOURNAL;
    batch.wait = RL_NO_WAIT;
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    CHECK_SQL(path, "SELECT count(*) FROM workflow_runs", "90");
    for (int i = 0; i < 100; i++) {
        rl_run_free(runs[i]);
    }
    store->ops->close(store);
    CHECK_INTACT(path);
}

/* A thread that reads while another writes batches of five: it sees only whole batches,
 * and never fewer than before. */
struct reader {
    rl_store *store;
    atomic_bool *writing;
    size_t rounds;
};

static void *read_repeatedly(void *ctx)
{
    struct reader *reader = ctx;
    size_t before = 0;
    rl_query query;
    rl_rows rows;

    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.limit = 10000;
    while (atomic_load(reader->writing)) {
        size_t found = ask(reader->store, &query, &rows);

        CHECK(found % 5 == 0 && found >= before);
        before = found;
        rl_rows_free(&rows);
        reader->rounds++;
    }
    return NULL;
}

static void test_readers_see_whole_batches(void)
{
    char path[HELP_PATH], name[40];
    atomic_bool writing = true;
    struct reader readers[4];
    pthread_t threads[4];
    rl_store *store;

    fresh_path(path);
    store = open_store(path);
    for (int i = 0; i < 4; i++) {
        readers[i] = (struct reader){store, &writing, 0};
        pthread_create(&threads[i], NULL, read_repeatedly, &readers[i]);
    }
    for (int i = 0; i < 150; i++) {
        rl_run *runs[5];
        rl_batch batch = {runs, 5, RL_JOURNAL, RL_WAIT};

        for (int j = 0; j < 5; j++) {
            snprintf(name, sizeof name, "%d.%d", i, j);
            runs[j] = new_run("w", name, "completed");
        }
        CHECK_INT(store->ops->write(store, &batch, NULL), RL_OK);
        for (int j = 0; j < 5; j++) {
            rl_run_free(runs[j]);
        }
    }
    atomic_store(&writing, false);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CHECK(readers[i].rounds > 0);
    }
    store->ops->close(store);
    CHECK_SQL(path, "SELECT count(*) FROM workflow_runs", "750");
    CHECK_INTACT(path);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_write_and_read),
    CHECK_TEST(test_newer_logs_update_a_run),
    CHECK_TEST(test_batch_is_written_whole_or_not_at_all),
    CHECK_TEST(test_readers_see_whole_batches),
};

CHECK_MAIN(tests)
