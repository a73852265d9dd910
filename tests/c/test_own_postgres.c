/* Test of runs with an id of their own on PostgreSQL: two runs with one name get two
 * rows, when written alone, in a pipeline, from the journal, and by several writers.
 *
 * NEEDS: postgres
 * LINK: -Wl,--wrap=PQgetResult
 */
#include "record/commit/journal.h"
#include "store/postgres/postgres.h"

#include "check.h"
#include "server_help.h"
#include "store_help.h"

#include <pthread.h>

#define NOT_UNIQUE "23505"

static int lost_answer; /* which of the next calls of PQgetResult loses its result */

PGresult *__real_PQgetResult(PGconn *pg);
PGresult *__wrap_PQgetResult(PGconn *pg);

PGresult *__wrap_PQgetResult(PGconn *pg)
{
    PGresult *result = __real_PQgetResult(pg);

    if (lost_answer > 0 && --lost_answer == 0) {
        PQclear(result);
        result = NULL;
    }
    return result;
}

/* A store on a database without runs. */
static rl_store *open_server(void)
{
    rl_store *store;

    connect_watcher();
    store = connect_store();
    CHECK_STR(server_text("TRUNCATE workflow_runs"), "");
    return store;
}

/* Checks the row with this id: "run_id status outputs", or "" for none. */
static void check_row(unsigned number, const char *want)
{
    char sql[300];

    snprintf(sql, sizeof sql,
             "SELECT run_id || ' ' || status || ' ' || coalesce(outputs::text, '-') "
             "FROM workflow_runs WHERE id = '00000000-0000-0000-0000-0000%08x'",
             number);
    CHECK_STR(server_text(sql), want);
}

static void check_rows(const char *want)
{
    CHECK_STR(server_text("SELECT count(*) FROM workflow_runs"), want);
}

static void write_own(rl_store *store, unsigned number, const char *status,
                      const char *outputs)
{
    rl_err err = {.code = RL_OK};

    if (write_run(store, new_own_run(number, "r", status, outputs), true, &err) !=
        RL_OK) {
        CHECK_STR(err.text, "written");
    }
}

static void test_later_logs_update_their_row(void)
{
    rl_store *store = open_server();

    /* a run logged by name alone becomes the first with that name and an own id */
    CHECK_INT(write_run(store, new_run("w", "r", "running"), true, NULL), RL_OK);
    write_own(store, 1, "running", NULL);
    write_own(store, 2, "running", NULL);
    check_row(1, "r~2 running -"); /* the later one is ahead */
    check_row(2, "r running -");
    write_own(store, 1, "failed", "1"); /* what has ended is */
    check_row(1, "r failed 1");
    check_row(2, "r~2 running -");
    write_own(store, 2, "completed", "2");
    write_own(store, 3, "running", NULL);
    check_row(3, "r~3 running -");
    check_row(1, "r~2 failed 1");
    check_row(2, "r completed 2");
    write_own(store, 3, "completed", "1e16");
    check_row(2, "r~3 completed 2");
    CHECK_INT(write_run(store, new_run("w", "r", "failed"), true, NULL), RL_OK);
    check_row(3, "r failed 10000000000000000");
    check_rows("3");
    store->ops->close(store);
}

/* The first log of the batch gives the run its name, before the second is merged. */
static void test_a_batch_with_start_and_end_of_a_run_that_gets_ahead(void)
{
    rl_store *store = open_server();
    rl_run *runs[2];
    rl_batch batch = {runs, 2, RL_SERVER, RL_WAIT};
    rl_err err = {.code = RL_OK};

    write_own(store, 1, "running", NULL);
    runs[0] = new_own_run(2, "r", "running", NULL);
    runs[1] = new_own_run(2, "r", "completed", "2");
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    check_row(1, "r~2 running -");
    check_row(2, "r completed 2");
    free_batch(runs, 2);
    store->ops->close(store);
}

/* Some logs, then all, then some again: the rows are always the same. */
static void test_repeated_logs_change_nothing(void)
{
    rl_store *store = open_server();
    rl_run *runs[8];
    rl_err err = {.code = RL_OK};

    new_two_runs(runs);
    memcpy(runs + 4, runs, 4 * sizeof *runs);
    for (size_t first = 0; first < 4; first++) {
        for (size_t count = 1; count <= 4; count++) {
            rl_batch batch = {runs + first, count, RL_SERVER, RL_WAIT};
            rl_batch all = {runs + first, 4, RL_SERVER, RL_WAIT};

            CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
            CHECK_INT(store->ops->write(store, &all, &err), RL_OK);
            CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
            check_rows("2");
            CHECK_STR(server_text("SELECT string_agg(status || outputs, ' ' ORDER BY id) "
                                  "FROM workflow_runs"),
                      "completed1 failed2");
            CHECK_STR(server_text("SELECT string_agg(run_id, ' ' ORDER BY run_id) FROM "
                                  "workflow_runs"),
                      "r r~2");
            CHECK_STR(server_text("DELETE FROM workflow_runs"), "");
        }
    }
    free_batch(runs, 4);
    store->ops->close(store);
}

static void test_batch_is_written_whole_or_not_at_all(void)
{
    rl_store *store = open_server();
    rl_run *runs[6];
    rl_batch batch = {runs, 6, RL_SERVER, RL_WAIT};
    rl_err err = {.code = RL_OK};

    new_mixed_batch(runs);
    CHECK_INT(store->ops->write(store, &batch, &err), RL_STORE);
    check_rows("0"); /* none of the batch */
    runs[5]->texts[RL_STATUS].given = true;
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    check_row(1, "r~2 completed 1");
    check_row(2, "r completed 2");
    check_row(3, "r~3 running -");
    check_rows("4");
    free_batch(runs, 6);
    store->ops->close(store);
}

/* A run stored under another name keeps it when its own name is free again. */
static void test_renamed_run_keeps_its_name(void)
{
    rl_store *store = open_server();
    rl_run *runs[2];
    rl_batch batch = {runs, 2, RL_SERVER, RL_WAIT};
    rl_err err = {.code = RL_OK};

    write_own(store, 1, "running", NULL);
    write_own(store, 2, "running", NULL);
    write_own(store, 1, "completed", NULL);
    CHECK_STR(server_text("DELETE FROM workflow_runs WHERE run_id = 'r'"), "");
    write_own(store, 2, "running", "\"half\"");
    check_row(2, "r~2 running \"half\"");
    check_rows("1");

    /* the server rejects the pipeline as a whole, but then takes its runs one by one */
    runs[0] = new_run("w", "before", "completed");
    runs[1] = new_own_run(2, "r", "completed", "2");
    CHECK_INT(store->ops->write(store, &batch, &err), RL_STORE);
    CHECK_STR(err.sqlstate, NOT_UNIQUE);
    CHECK(err.rejected && !err.retryable);
    check_rows("1");
    batch.count = 1;
    for (int i = 0; i < 2; i++, batch.runs++) {
        CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    }
    check_row(2, "r~2 completed 2");
    check_rows("2");
    free_batch(runs, 2);
    store->ops->close(store);
}

/* No run is acknowledged without the server's answer to each statement. */
static void test_lost_answers_are_not_acknowledged(void)
{
    rl_store *store = open_server();
    int failed = 0;

    write_own(store, 1, "completed", NULL);
    write_own(store, 2, "running", NULL);
    for (int at = 1; at < 20; at++) {
        rl_err err = {.code = RL_OK};
        char outputs[24], want[40];
        rl_status status;

        snprintf(outputs, sizeof outputs, "%d", at);
        snprintf(want, sizeof want, "r~2 running %d", at);
        lost_answer = at;
        status = write_run(store, new_own_run(2, "r", "running", outputs), true, &err);
        if (status == RL_OK) {
            check_row(2, want);
        } else {
            CHECK(err.retryable);
            failed++;
        }
        lost_answer = 0;
        write_own(store, 2, "running", outputs);
        check_row(2, want);
        check_rows("2");
    }
    CHECK_INT(failed, 3); /* the other writes were retried */
    store->ops->close(store);
}

/* The journal forwards logs of many runs with one name in each batch. */
static void test_journal_forwards_runs_with_one_name(void)
{
    rl_store *store = open_server();
    rl_metrics metrics = {0};
    rl_notices notices;
    rl_journal *journal = NULL;
    char path[HELP_PATH];
    rl_err err = {.code = RL_OK};

    fresh_path(path);
    rl_notices_init(&notices);
    help_need(rl_journal_new(store, path, the_migrations(), &metrics, &notices, &journal,
                             &err) == RL_OK,
              err.text);
    write_own(store, 1, "running", NULL);
    write_own(store, 2, "running", NULL);
    write_own(store, 1, "completed", NULL);
    CHECK_STR(server_text("DELETE FROM workflow_runs WHERE run_id = 'r'"), "");
    for (unsigned i = 0; i < 300; i++) { /* three batches */
        rl_run *run = new_own_run(2 + i % 150, "r", i < 150 ? "running" : "completed",
                                  i < 150 ? NULL : "[1]");
        rl_batch batch = {&run, 1, RL_DISK, RL_WAIT};

        CHECK_INT(rl_journal_append(journal, &batch, &err), RL_OK);
        rl_run_free(run);
    }
    do { /* on a busy machine, a call may end before all are forwarded */
        (void)rl_journal_forward(journal, &never);
    } while (rl_journal_drain(journal, 0, true, &err) == RL_TIMEOUT);
    CHECK_INT(rl_journal_drain(journal, 0, true, &err), RL_OK);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM journal_rejected"), 0);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM journal"), 0);
    check_rows("150");
    CHECK_STR(server_text("SELECT right(id::text, 8) FROM workflow_runs WHERE "
                          "run_id = 'r'"),
              "00000097"); /* the last one */
    CHECK_STR(server_text("SELECT count(*) FROM workflow_runs WHERE status = "
                          "'completed' AND outputs = '[1]'"),
              "150");
    rl_journal_free(journal);
    rl_notices_destroy(&notices);
    store->ops->close(store);
    CHECK_INTACT(path);
}

#define WRITERS 4
#define EACH 12

/* A thread that writes batches of runs with one name through a store of its own. */
static void *write_records(void *ctx)
{
    const unsigned *first = ctx;
    rl_store *store = connect_store();
    rl_err err = {.code = RL_OK};

    for (unsigned i = 0; i < EACH; i += 3) {
        rl_run *runs[4];
        rl_batch batch = {runs, 4, RL_SERVER, RL_WAIT};

        for (unsigned j = 0; j < 4; j++) {
            runs[j] =
                new_own_run(*first + i + j % 3, "r", j < 3 ? "running" : "failed", NULL);
        }
        if (store->ops->write(store, &batch, &err) != RL_OK) {
            CHECK_STR(err.text, "written");
        }
        free_batch(runs, 4);
    }
    store->ops->close(store);
    return NULL;
}

static void test_concurrent_writers_leave_no_gaps(void)
{
    rl_store *store = open_server();
    unsigned firsts[WRITERS];
    pthread_t threads[WRITERS];

    for (unsigned i = 0; i < WRITERS; i++) {
        firsts[i] = 100 * i;
        help_need(pthread_create(&threads[i], NULL, write_records, &firsts[i]) == 0,
                  "a thread");
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    check_rows("48");
    CHECK_STR(server_text("SELECT count(*) FROM workflow_runs WHERE status = 'failed'"),
              "16");
    CHECK_STR(server_text("SELECT max(split_part(run_id || '~1', '~', 2)::int) FROM "
                          "workflow_runs"),
              "48"); /* without gaps */
    store->ops->close(store);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_later_logs_update_their_row),
    CHECK_TEST(test_a_batch_with_start_and_end_of_a_run_that_gets_ahead),
    CHECK_TEST(test_repeated_logs_change_nothing),
    CHECK_TEST(test_batch_is_written_whole_or_not_at_all),
    CHECK_TEST(test_renamed_run_keeps_its_name),
    CHECK_TEST(test_lost_answers_are_not_acknowledged),
    CHECK_TEST(test_journal_forwards_runs_with_one_name),
    CHECK_TEST(test_concurrent_writers_leave_no_gaps),
};

CHECK_MAIN(tests)
