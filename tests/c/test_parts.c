/* Test of the parts of runs on SQLite, and in the journal. */
#include "store/sqlite/journal_file.h"

#include "parts_cases.h"

static char path[HELP_PATH];

static rl_store *make_empty_store(void)
{
    fresh_path(path);
    return open_store(path);
}

static const char *sql_of(const char *sql)
{
    static char cell[200];
    char *text = sql_text(path, sql);

    snprintf(cell, sizeof cell, "%s", text);
    free(text);
    return cell;
}

/* The journal returns a log as it was given, and its parts count as bytes of a batch. */
static void test_the_journal_has_the_parts_of_each_log(void)
{
    static rl_journal_file_batch batch;
    rl_journal_file *journal = NULL;
    rl_run *logs[MOST_LOGS];
    rl_err err = {.code = RL_OK}, reason = {.text = "no"};
    size_t count = make_logs(logs, RL_PARTS_JOIN, "{\"n0000000002\":3}");
    rl_batch given = {logs, count, RL_JOURNAL, RL_WAIT};

    fresh_path(path);
    help_need(rl_journal_file_new(path, the_migrations(), NULL, &journal, &err) == RL_OK,
              err.text);
    CHECK_INT(rl_journal_file_append(journal, &given, &err), RL_OK);
    CHECK_INT(rl_journal_file_reject(journal, logs[3], &reason, &err), RL_OK);
    CHECK_INT(rl_journal_file_read(journal, 0, RL_JOURNAL_FILE_RUNS, &batch, &err),
              RL_OK);
    CHECK_INT(batch.count, count);
    for (size_t i = 0; i < batch.count; i++) {
        const rl_run *run = batch.runs[i];

        CHECK(run->parts.given && run->parts_use == logs[i]->parts_use);
        CHECK_STR(run->arena.data + run->parts.at,
                  logs[i]->arena.data + logs[i]->parts.at);
    }
    CHECK_STR(sql_of(COUNT_PARTS), "0");
    CHECK_STR(sql_of("SELECT parts || parts_use FROM journal_rejected"),
              "{\"n0000000002\":3}2");
    CHECK_STR(sql_of("SELECT count(*) FROM journal WHERE parts NOTNULL"), "4");
    rl_journal_file_batch_free(&batch);
    rl_journal_file_free(journal);
    free_batch(logs, count);
    CHECK_INTACT(path);
}

/* A file that somebody has edited may have anything. */
static void test_parts_that_are_no_object_are_refused(void)
{
    static const char *const wrong[] = {"", "[]", "{\"n", "{\"a\":\"b}", "{\"a\":1"};
    rl_store *store = make_empty_store();

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        rl_run *run = make_log("running", NULL, wrong[i], RL_PARTS_ADD);
        rl_err err = {.code = RL_OK};

        CHECK_INT(write_run(store, run, true, &err), RL_STORE);
        CHECK(strstr(err.text, "parts must be a JSON object") != NULL);
    }
    CHECK_STR(sql_of("SELECT count(*) FROM workflow_runs"), "0");
    store->ops->close(store);
}

static const struct check_test tests[] = {
    PARTS_CASES,
    CHECK_TEST(test_the_journal_has_the_parts_of_each_log),
    CHECK_TEST(test_parts_that_are_no_object_are_refused),
};

CHECK_MAIN(tests)
