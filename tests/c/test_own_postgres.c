/* Test of runs with an id of their own on PostgreSQL: two records under one name are kept
 * apart, alone, in the batches of a pipeline, out of the journal, and with several writers.
 *
 * NEEDS: postgres
 * LINK: -Wl,--wrap=PQgetResult
 */
#include "record/commit/journal.h"
#include "store/postgres/postgres.h"

#include "check.h"
#include "store_help.h"

#include <libpq-fe.h>
#include <pthread.h>

#define NOT_UNIQUE "23505"

static int lost_answer; /* the call of PQgetResult, from here on, whose result is lost */

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

static const atomic_bool never;
static PGconn *watcher; /* of the test's own */

/* The first cell that a statement gives, "" for none. Valid until the next call. */
static const char *server_text(const char *sql)
{
    static char text[200];
    PGresult *result = PQexec(watcher, sql);

    if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
        snprintf(text, sizeof text, "%s", PQresultErrorMessage(result));
    } else {
        snprintf(text, sizeof text, "%s",
                 PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    }
    PQclear(result);
    return text;
}

static void ignore_notice(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

static rl_store *connect_store(void)
{
    rl_postgres_options options = {.dsn = getenv("TEST_DSN"),
                                   .timeout_ns = UINT64_C(20000000000),
                                   .pool = 1,
                                   .stop = &never};
    rl_store *store = NULL;
    rl_err err = {.code = RL_OK};

    help_need(rl_postgres_new(&options, postgres_migrations(), &store, &err) == RL_OK &&
                  store->ops->prepare(store, &err) == RL_OK,
              err.text);
    return store;
}

/* A store on a database without runs. */
static rl_store *open_server(void)
{
    rl_store *store;

    help_need(getenv("TEST_DSN") != NULL, "TEST_DSN names no database");
    if (watcher == NULL) {
        watcher = PQconnectdb(getenv("TEST_DSN"));
        help_need(PQstatus(watcher) == CONNECTION_OK, PQerrorMessage(watcher));
        PQsetNoticeProcessor(watcher, ignore_notice, NULL);
    }
    store = connect_store();
    CHECK_STR(server_text("TRUNCATE workflow_runs"), "");
    return store;
}

/* Checks a record's row: "name status outputs", or "" for none. */
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

static void free_runs(rl_run **runs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        rl_run_free(runs[i]);
    }
}

static void test_updates_find_their_rows(void)
{
    rl_store *store = open_server();

    /* what was logged by its name alone becomes the first record of that name */
    CHECK_INT(write_run(store, new_run("w", "r", "running"), true, NULL), RL_OK);
    write_own(store, 1, "running", NULL);
    write_own(store, 2, "running", NULL);
    check_row(1, "r running -");
    check_row(2, "r~2 running -");
    write_own(store, 2, "completed", "2");
    write_own(store, 1, "failed", "1");
    write_own(store, 3, "completed", "1e16");
    check_row(1, "r failed 1");
    check_row(2, "r~2 completed 2");
    CHECK_INT(write_run(store, new_run("w", "r", "completed"), true, NULL), RL_OK);
    check_row(1, "r completed 1");
    check_rows("3");
    store->ops->close(store);
}

/* A log that comes again, or late, in any of the ways in which it may come. */
static void test_replays(void)
{
    static const char *const statuses[] = {"running", "running", "completed", "failed"};
    rl_store *store = open_server();
    rl_run *runs[8];
    rl_err err = {.code = RL_OK};

    for (unsigned i = 0; i < 4; i++) {
        runs[i] = new_own_run(1 + i % 2, "r", statuses[i],
                              i == 2   ? "1"
                              : i == 3 ? "2"
                                       : NULL);
        runs[4 + i] = runs[i];
    }
    for (size_t first = 0; first < 4; first++) {
        for (size_t count = 1; count <= 4; count++) {
            rl_batch batch = {runs + first, count, RL_SERVER, true};
            rl_batch all = {runs + first, 4, RL_SERVER, true};

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
    free_runs(runs, 4);
    store->ops->close(store);
}

static void test_pipelines(void)
{
    rl_store *store = open_server();
    rl_run *runs[6];
    rl_batch batch = {runs, 6, RL_SERVER, true};
    rl_err err = {.code = RL_OK};

    runs[0] = new_own_run(1, "r", "running", NULL);
    runs[1] = new_own_run(2, "r", "running", NULL);
    runs[2] = new_run("w", "other", "completed");
    runs[3] = new_own_run(2, "r", "completed", "2");
    runs[4] = new_own_run(1, "r", "completed", "1");
    runs[5] = new_own_run(3, "r", "running", NULL);
    runs[5]->texts[RL_STATUS].given = false;
    CHECK_INT(store->ops->write(store, &batch, &err), RL_STORE);
    check_rows("0"); /* none of it */
    runs[5]->texts[RL_STATUS].given = true;
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    check_row(1, "r completed 1");
    check_row(2, "r~2 completed 2");
    check_row(3, "r~3 running -");
    check_rows("4");
    free_runs(runs, 6);
    store->ops->close(store);
}

/* The name that a record did not get is free by now, but it is kept under another. */
static void test_row_under_another_name(void)
{
    rl_store *store = open_server();
    rl_run *runs[2];
    rl_batch batch = {runs, 2, RL_SERVER, true};
    rl_err err = {.code = RL_OK};

    write_own(store, 1, "running", NULL);
    write_own(store, 2, "running", NULL);
    CHECK_STR(server_text("DELETE FROM workflow_runs WHERE run_id = 'r'"), "");
    write_own(store, 2, "running", "\"half\"");
    check_row(2, "r~2 running \"half\"");
    check_rows("1");

    /* a pipeline is refused as a whole: then its runs are written one by one */
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
    free_runs(runs, 2);
    store->ops->close(store);
}

/* Without the server's answer nothing is acknowledged, whichever of the statements it was. */
static void test_lost_answers(void)
{
    rl_store *store = open_server();
    int refused = 0;

    write_own(store, 1, "running", NULL);
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
            refused++;
        }
        lost_answer = 0;
        write_own(store, 2, "running", outputs);
        check_row(2, want);
        check_rows("2");
    }
    CHECK_INT(refused, 2); /* else it was asked once more */
    store->ops->close(store);
}

/* The same through the journal, in whose batches all of this comes together. */
static void test_journal(void)
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
    CHECK_STR(server_text("DELETE FROM workflow_runs WHERE run_id = 'r'"), "");
    for (unsigned i = 0; i < 300; i++) { /* three batches */
        rl_run *run = new_own_run(2 + i % 150, "r", i < 150 ? "running" : "completed",
                                  i < 150 ? NULL : "[1]");
        rl_batch batch = {&run, 1, RL_DISK, true};

        CHECK_INT(rl_journal_append(journal, &batch, &err), RL_OK);
        rl_run_free(run);
    }
    (void)rl_journal_forward(journal, &never);
    CHECK_INT(rl_journal_drain(journal, 0, true, &err), RL_OK);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM journal_rejected"), 0);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM journal"), 0);
    check_rows("150");
    check_row(2, "r~2 completed [1]");
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

/* Records under one name, in batches of three, with a connection of its own. */
static void *write_records(void *ctx)
{
    const unsigned *first = ctx;
    rl_store *store = connect_store();
    rl_err err = {.code = RL_OK};

    for (unsigned i = 0; i < EACH; i += 3) {
        rl_run *runs[4];
        rl_batch batch = {runs, 4, RL_SERVER, true};

        for (unsigned j = 0; j < 4; j++) {
            runs[j] =
                new_own_run(*first + i + j % 3, "r", j < 3 ? "running" : "failed", NULL);
        }
        if (store->ops->write(store, &batch, &err) != RL_OK) {
            CHECK_STR(err.text, "written");
        }
        free_runs(runs, 4);
    }
    store->ops->close(store);
    return NULL;
}

static void test_writers_at_once(void)
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
    CHECK_TEST(test_updates_find_their_rows),
    CHECK_TEST(test_replays),
    CHECK_TEST(test_pipelines),
    CHECK_TEST(test_row_under_another_name),
    CHECK_TEST(test_lost_answers),
    CHECK_TEST(test_journal),
    CHECK_TEST(test_writers_at_once),
};

CHECK_MAIN(tests)
