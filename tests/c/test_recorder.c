/* Test of record/recorder/recorder.h over SQLite: many threads that write, with group
 * commit, and a close while they write.
 */
#include "record/recorder/recorder.h"

#include "check.h"
#include "core/clock.h"
#include "store_help.h"

#include <pthread.h>

#define THREADS 16
#define EACH 200
#define COUNT "SELECT count(*) FROM workflow_runs"

struct writer {
    rl_recorder *recorder;
    int number, runs;
    int written; /* acknowledged */
    bool closed; /* it ended because the recorder was closed */
    pthread_t thread;
};

/* Writes its runs with alternating durability, until the recorder is closed. */
static void *write_runs(void *ctx)
{
    struct writer *writer = ctx;
    char name[40];
    rl_err err;

    for (int i = 0; i < writer->runs && !writer->closed; i++) {
        rl_run *run;
        rl_status status;

        snprintf(name, sizeof name, "%d.%d", writer->number, i);
        run = new_run("w", name, "completed");
        status = i % 5 == 0
                     ? rl_recorder_try_write(writer->recorder, run, RL_JOURNAL, &err)
                     : RL_BUSY;
        if (status == RL_BUSY) {
            status = rl_recorder_write(writer->recorder, run,
                                       i % 2 == 0 ? RL_JOURNAL : RL_DISK, &err);
        }
        CHECK(status == RL_OK || status == RL_CLOSED);
        writer->written += status == RL_OK;
        writer->closed = status == RL_CLOSED;
        rl_run_free(run);
    }
    return NULL;
}

static void start_writers(struct writer *writers, rl_recorder *recorder, int runs)
{
    for (int i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){.recorder = recorder, .number = i, .runs = runs};
        help_need(pthread_create(&writers[i].thread, NULL, write_runs, &writers[i]) == 0,
                  "a thread");
    }
}

static int join_writers(struct writer *writers)
{
    int written = 0;

    for (int i = 0; i < THREADS; i++) {
        pthread_join(writers[i].thread, NULL);
        written += writers[i].written;
    }
    return written;
}

static rl_recorder *open_recorder(const char *path)
{
    rl_recorder *recorder = NULL;

    help_need(new_recorder(path, &recorder, NULL) == RL_OK, "a recorder");
    return recorder;
}

static void test_many_threads_share_commits(void)
{
    char path[HELP_PATH];
    struct writer writers[THREADS];
    rl_recorder *recorder;
    rl_metrics *metrics;

    fresh_path(path);
    recorder = open_recorder(path);
    CHECK_STR(rl_recorder_store_name(recorder), "sqlite");
    CHECK_STR(rl_recorder_config(recorder)->sqlite_path, path);
    CHECK(access(path, F_OK) != 0); /* no file before the first use */
    metrics = rl_recorder_metrics(recorder);
    start_writers(writers, recorder, EACH);
    CHECK_INT(join_writers(writers), THREADS * EACH);
    /* on a busy machine some wait beside the file */
    CHECK_INT(
        rl_recorder_flush(recorder, rl_monotonic_ns() + UINT64_C(60000000000), NULL),
        RL_OK);
    CHECK_INT(rl_recorder_queued(recorder), 0);
    CHECK_INT(rl_metric_get(&metrics->runs), THREADS * EACH);
    CHECK_INT(rl_metric_get(&metrics->failed), 0);
    CHECK(rl_metric_get(&metrics->commits) < THREADS * EACH);
    CHECK(rl_metric_get(&metrics->largest_commit) > 1);
    CHECK(rl_metric_get(&metrics->largest_commit) <= THREADS);
    CHECK_INT(sql_int(path, COUNT), THREADS * EACH);
    rl_recorder_free(recorder);
    CHECK_INT(sql_int(path, "SELECT count(DISTINCT id) FROM workflow_runs"),
              THREADS * EACH);
    CHECK_INTACT(path);
}

static void *close_in_thread(void *ctx)
{
    close_recorder(ctx);
    return NULL;
}

/* Several threads close while all write: the acknowledged runs are stored, and no
 * others. */
static void test_close_while_threads_write(void)
{
    char path[HELP_PATH];

    for (int round = 0; round < 5; round++) {
        struct writer writers[THREADS];
        pthread_t closers[3];
        rl_recorder *recorder;
        int written;

        fresh_path(path);
        recorder = open_recorder(path);
        start_writers(writers, recorder, 1000000);
        /* the first time also while it is still being opened */
        while (round > 0 && rl_metric_get(&rl_recorder_metrics(recorder)->runs) == 0) {
            usleep(1000);
        }
        for (int i = 0; i < 3; i++) {
            pthread_create(&closers[i], NULL, close_in_thread, recorder);
        }
        for (int i = 0; i < 3; i++) {
            pthread_join(closers[i], NULL);
        }
        written = join_writers(writers);
        for (int i = 0; i < THREADS; i++) {
            CHECK(writers[i].closed);
        }
        if (written > 0) {
            CHECK_INT(sql_int(path, COUNT), written);
            CHECK_INTACT(path);
        }
        CHECK(written > 0 || round == 0);
        rl_recorder_free(recorder);
    }
}

static void test_closed_recorder_refuses_calls(void)
{
    char path[HELP_PATH];
    rl_run *run = new_run("w", "r", "completed");
    rl_recorder *recorder;
    int64_t count = 0;
    rl_query query;
    rl_rows rows;
    rl_err err;

    fresh_path(path);
    recorder = open_recorder(path);
    CHECK_INT(rl_recorder_try_write(recorder, run, RL_JOURNAL, &err), RL_BUSY);
    CHECK_INT(rl_recorder_write(recorder, run, RL_JOURNAL, &err), RL_OK);
    CHECK_INT(rl_recorder_try_write(recorder, run, RL_JOURNAL, &err), RL_OK);
    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.limit = 10;
    rl_rows_init(&rows);
    CHECK_INT(rl_recorder_query(recorder, &query, &rows, &err), RL_OK);
    CHECK_INT(rl_rows_cells(&rows), 5);
    CHECK_INT(remove_by(recorder, &query, &count, &err), RL_OK);
    CHECK_INT(count, 1);
    close_recorder(recorder);
    close_recorder(recorder);
    CHECK_INT(rl_recorder_write(recorder, run, RL_JOURNAL, &err), RL_CLOSED);
    CHECK_INT(err.code, RL_CLOSED);
    CHECK_INT(rl_recorder_try_write(recorder, run, RL_JOURNAL, &err), RL_CLOSED);
    CHECK_INT(rl_recorder_query(recorder, &query, &rows, &err), RL_CLOSED);
    CHECK_INT(remove_by(recorder, &query, &count, &err), RL_CLOSED);
    CHECK_INT(rl_recorder_flush(recorder, 0, &err), RL_CLOSED);
    rl_rows_free(&rows);
    rl_recorder_free(recorder);
    rl_recorder_free(NULL);
    rl_run_free(run);
}

/* While the database can't be opened each call fails with the reason; then calls
 * succeed. */
static void test_open_fails_then_works(void)
{
    char path[HELP_PATH], garbage[] = "this is no database at all ............";
    rl_run *run = new_run("w", "r", "completed");
    rl_recorder *recorder;
    rl_query query;
    rl_rows rows;
    rl_err err;
    FILE *file;

    fresh_path(path);
    file = fopen(path, "w");
    REQUIRE(file != NULL && fputs(garbage, file) >= 0 && fclose(file) == 0);
    recorder = open_recorder(path);
    rl_query_init(&query, RL_SHAPE_BRIEF);
    rl_rows_init(&rows);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(rl_recorder_write(recorder, run, RL_JOURNAL, &err), RL_STORE);
        CHECK(strstr(err.text, path) != NULL);
        CHECK_INT(rl_recorder_query(recorder, &query, &rows, &err), RL_STORE);
        CHECK_INT(rl_recorder_try_write(recorder, run, RL_JOURNAL, &err), RL_BUSY);
    }
    CHECK_INT(rl_metric_get(&rl_recorder_metrics(recorder)->failed), 2);
    REQUIRE(unlink(path) == 0);
    CHECK_INT(rl_recorder_write(recorder, run, RL_JOURNAL, &err), RL_OK);
    CHECK_INT(sql_int(path, COUNT), 1);
    rl_rows_free(&rows);
    rl_recorder_free(recorder);
    rl_run_free(run);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_many_threads_share_commits),
    CHECK_TEST(test_close_while_threads_write),
    CHECK_TEST(test_closed_recorder_refuses_calls),
    CHECK_TEST(test_open_fails_then_works),
};

CHECK_MAIN(tests)
