/* Test of store/own_run.h: the name of a run whose own is taken, the number of queries to
 * find it, and later logs of that run. With a store of the test's own, with the SQLite
 * store, and with the journal's table. test_own_postgres.c tests the same with a server.
 */
#include "store/own_run.h"

#include "check.h"
#include "core/uuid.h"
#include "store/sqlite/journal_file.h"
#include "store_help.h"

#include <pthread.h>

#define NUMBERS 3000

/* A store that only knows which of the names "r~N" are taken, and fails on demand. */
struct names {
    bool taken[NUMBERS];
    bool exhausted;            /* all names are taken */
    const char *own;           /* the stored run's name, or NULL */
    unsigned queries, inserts; /* calls of `taken` and `insert` */
    unsigned trades;           /* calls of `trade` */
    unsigned races;            /* inserts whose name another process takes first */
    unsigned fails_at;         /* the number of the call that fails */
    unsigned calls;
    char inserted[40];
};

static rl_status answer(struct names *names, rl_err *err)
{
    names->calls++;
    return names->calls == names->fails_at ? rl_err_set(err, RL_STORE, "it failed")
                                           : RL_OK;
}

static rl_status find_one(void *ctx, const rl_run *run, rl_buf *name, rl_err *err)
{
    struct names *names = ctx;
    rl_status status = answer(names, err);

    CHECK_STR(rl_run_text(run, RL_RUN_ID), "r");
    if (status == RL_OK && names->own != NULL) {
        rl_buf_add(name, names->own, strlen(names->own) + 1);
    }
    return status;
}

static unsigned number_of(const char *name)
{
    char *end = NULL;
    unsigned long number = strncmp(name, "r~", 2) == 0 ? strtoul(name + 2, &end, 10) : 0;

    CHECK(end != NULL && *end == '\0');
    return (unsigned)number;
}

static rl_status is_taken(void *ctx, const rl_run *run, const char *name, bool *taken,
                          rl_err *err)
{
    struct names *names = ctx;
    unsigned number = number_of(name);

    (void)run;
    names->queries++;
    CHECK(number >= 2 || names->exhausted);
    *taken = names->exhausted || (number < NUMBERS && names->taken[number]);
    return answer(names, err);
}

static rl_status insert_one(void *ctx, const rl_run *run, const char *name, bool *done,
                            rl_err *err)
{
    struct names *names = ctx;
    rl_status status = answer(names, err);

    (void)run;
    names->inserts++;
    *done = status == RL_OK && names->inserts > names->races;
    snprintf(names->inserted, sizeof names->inserted, "%s", name);
    if (status == RL_OK && names->own == NULL) {
        names->taken[number_of(name)] = true; /* by this process or the other */
    }
    return status;
}

static rl_status trade_one(void *ctx, const rl_run *run, const char *name,
                           const char *spare, rl_err *err)
{
    struct names *names = ctx;

    (void)run;
    names->trades++;
    CHECK_STR(name, names->inserted);
    CHECK_STR(spare, "r~00000000-0000-0000-0000-000000000001");
    return answer(names, err);
}

static rl_status insert_run(struct names *names, rl_err *err)
{
    static const rl_own_ops ops = {find_one, is_taken, insert_one, trade_one};
    rl_run *run = new_own_run(1, "r", "running", NULL);
    rl_status status = rl_own_insert(&ops, names, run, err);

    rl_run_free(run);
    return status;
}

static void take_numbers(struct names *names, unsigned first, unsigned last)
{
    for (unsigned i = first; i <= last; i++) {
        names->taken[i] = true;
    }
}

static void test_free_name_takes_few_queries(void)
{
    static const struct {
        unsigned number, queries;
        const char *name;
    } cases[] = {{2, 1, "r~2"},   {3, 3, "r~3"},   {4, 3, "r~4"},       {5, 5, "r~5"},
                 {10, 7, "r~10"}, {17, 9, "r~17"}, {1000, 19, "r~1000"}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct names names = {.own = NULL};
        rl_err err;

        take_numbers(&names, 2, cases[i].number - 1);
        CHECK_INT(insert_run(&names, &err), RL_OK);
        CHECK_STR(names.inserted, cases[i].name);
        CHECK_INT(names.queries, cases[i].queries);
        CHECK_INT(names.inserts, 1);
        CHECK_INT(names.trades, 1);
    }
}

/* Deleted runs leave gaps: the name that is found is free. */
static void test_name_is_free_despite_gaps(void)
{
    for (unsigned gap = 2; gap < 70; gap++) {
        struct names names = {.own = NULL};
        unsigned number;
        rl_err err;

        take_numbers(&names, 2, 70);
        names.taken[gap] = false;
        CHECK_INT(insert_run(&names, &err), RL_OK);
        number = number_of(names.inserted);
        CHECK(number == gap || number == 71);
        CHECK(names.queries <= 13);
    }
}

/* Between query and insert another process takes the name. */
static void test_lost_races_are_retried(void)
{
    struct names names = {.races = 3};
    rl_err err = {.code = RL_OK};

    CHECK_INT(insert_run(&names, &err), RL_OK);
    CHECK_STR(names.inserted, "r~5");
    CHECK_INT(names.inserts, 4);

    names = (struct names){.races = UINT32_MAX};
    CHECK_INT(insert_run(&names, &err), RL_STORE);
    CHECK(strstr(err.text, "run_id") != NULL);
    CHECK_INT(names.inserts, 100);

    names = (struct names){.races = UINT32_MAX, .exhausted = true};
    (void)insert_run(&names, &err); /* terminates */
}

static void test_stored_run_is_found_by_id(void)
{
    struct names names = {.own = "r~7"};
    rl_err err;

    CHECK_INT(insert_run(&names, &err), RL_OK);
    CHECK_STR(names.inserted, "r~7");
    CHECK_INT(names.queries, 0);

    names = (struct names){.own = "r"}; /* the log is older than the row */
    CHECK_INT(insert_run(&names, &err), RL_OK);
    CHECK_STR(names.inserted, "r"); /* or an earlier log of its batch gave it the name */
    CHECK_INT(names.inserts, 1);
    CHECK_INT(names.queries + names.trades, 0);
}

static void *no_memory(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    (void)ptr;
    (void)size;
    return NULL;
}

static void no_release(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

static void test_errors_are_passed_on(void)
{
    static const rl_allocator allocator = {no_memory, no_release, NULL};
    static const rl_own_ops ops = {find_one, is_taken, insert_one, trade_one};
    struct names names = {.own = NULL};
    rl_run *run = new_own_run(1, "r", "running", NULL);
    rl_err err = {.code = RL_OK};
    unsigned calls;

    take_numbers(&names, 2, 9);
    CHECK_INT(insert_run(&names, &err), RL_OK);
    calls = names.calls;
    CHECK_INT(calls, 1 + 7 + 1 + 1);
    for (unsigned i = 1; i <= calls; i++) {
        names = (struct names){.fails_at = i};
        take_numbers(&names, 2, 9);
        err = (rl_err){.code = RL_OK};
        CHECK_INT(insert_run(&names, &err), RL_STORE);
        CHECK_STR(err.text, "it failed");
        CHECK_INT(names.calls, i);
    }
    for (int i = 0; i < 2; i++) {
        names = (struct names){.own = i > 0 ? "r~7" : NULL};
        rl_set_allocator(&allocator);
        CHECK_INT(rl_own_insert(&ops, &names, run, &err), RL_NOMEM);
        rl_set_allocator(NULL);
        CHECK_INT(names.inserts, 0);
    }
    rl_run_free(run);
}

#define ROWS "SELECT count(*) FROM workflow_runs"

/* Checks the row with this id: "run_id status outputs", or "" for none. */
static void check_row(const char *path, unsigned number, const char *want)
{
    char sql[300];

    snprintf(sql, sizeof sql,
             "SELECT run_id || ' ' || status || ' ' || ifnull(outputs, '-') FROM "
             "workflow_runs WHERE id = '00000000-0000-0000-0000-0000%08x'",
             number);
    CHECK_SQL(path, sql, want);
}

static rl_status write_own(rl_store *store, unsigned number, const char *status,
                           const char *outputs)
{
    rl_err err = {.code = RL_OK};
    rl_status done =
        write_run(store, new_own_run(number, "r", status, outputs), true, &err);

    if (done != RL_OK) {
        printf("%s\n", err.text);
    }
    return done;
}

static void test_later_logs_update_their_row(void)
{
    char path[HELP_PATH];
    rl_store *store;

    fresh_path(path);
    store = open_store(path);
    /* a run logged by name alone becomes the first with that name and an own id */
    CHECK_INT(write_run(store, new_run("w", "r", "running"), true, NULL), RL_OK);
    CHECK_INT(write_own(store, 1, "running", NULL), RL_OK);
    CHECK_INT(write_own(store, 2, "running", NULL), RL_OK);
    check_row(path, 1, "r~2 running -"); /* the later one is ahead */
    check_row(path, 2, "r running -");
    CHECK_INT(write_own(store, 1, "failed", "1"), RL_OK); /* what has ended is */
    check_row(path, 1, "r failed 1");
    check_row(path, 2, "r~2 running -");
    CHECK_INT(write_own(store, 2, "completed", "2"), RL_OK);
    check_row(path, 1, "r~2 failed 1");
    check_row(path, 2, "r completed 2");
    CHECK_INT(write_own(store, 3, "running", NULL), RL_OK);
    check_row(path, 3, "r~3 running -");
    CHECK_INT(write_own(store, 3, "completed", "3"), RL_OK);
    check_row(path, 2, "r~3 completed 2");
    check_row(path, 3, "r completed 3");
    CHECK_INT(sql_int(path, ROWS), 3);

    /* a log by name alone means the run that has the name */
    CHECK_INT(write_run(store, new_run("w", "r", "failed"), true, NULL), RL_OK);
    check_row(path, 3, "r failed 3");
    CHECK_INT(write_run(store, new_run("w", "r~2", "completed"), true, NULL), RL_OK);
    check_row(path, 1, "r~2 completed 1");
    CHECK_INT(sql_int(path, ROWS), 3);
    store->ops->close(store);
    CHECK_INTACT(path);
}

/* Any four of the logs of two runs, and then all: the rows are always the same. */
static void test_repeated_logs_change_nothing(void)
{
    char path[HELP_PATH];
    rl_store *store;
    rl_err err;

    fresh_path(path);
    store = open_store(path);
    for (int mix = 0; mix < 256; mix++) {
        rl_run *runs[4];

        new_two_runs(runs);
        for (int i = 0; i < 8; i++) { /* any four, then all */
            rl_run *one = runs[i < 4 ? mix >> (2 * i) & 3 : i - 4];
            rl_batch batch = {&one, 1, RL_JOURNAL, RL_WAIT};

            CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
        }
        CHECK_INT(sql_int(path, ROWS), 2);
        CHECK_SQL(path,
                  "SELECT group_concat(status || outputs) FROM (SELECT * FROM "
                  "workflow_runs ORDER BY id)",
                  "completed1,failed2");
        CHECK_SQL(path,
                  "SELECT group_concat(run_id) FROM (SELECT * FROM workflow_runs "
                  "ORDER BY run_id)",
                  "r,r~2");
        CHECK_SQL(path, "DELETE FROM workflow_runs", "");
        free_batch(runs, 4);
    }
    store->ops->close(store);
}

static void write_together(rl_store *store, rl_run **runs, size_t count)
{
    rl_batch batch = {runs, count, RL_DISK, RL_WAIT};
    rl_err err = {.code = RL_OK};

    if (store->ops->write(store, &batch, &err) != RL_OK) {
        CHECK_STR(err.text, "written");
    }
    free_batch(runs, count);
}

static void test_batch_is_written_whole_or_not_at_all(void)
{
    char path[HELP_PATH];
    rl_run *runs[6];
    rl_batch batch = {runs, 6, RL_DISK, RL_WAIT};
    rl_store *store;
    rl_err err;

    fresh_path(path);
    store = open_store(path);
    new_mixed_batch(runs);
    CHECK_INT(store->ops->write(store, &batch, &err), RL_STORE);
    CHECK_INT(sql_int(path, ROWS), 0); /* none of the batch */
    runs[5]->texts[RL_STATUS].given = true;
    write_together(store, runs, 6);
    check_row(path, 1, "r~2 completed 1");
    check_row(path, 2, "r completed 2");
    check_row(path, 3, "r~3 running -");
    CHECK_INT(sql_int(path, ROWS), 4);
    store->ops->close(store);
    CHECK_INTACT(path);
}

/* A run stored under another name keeps it when its own name is free again. */
static void test_renamed_run_keeps_its_name(void)
{
    char path[HELP_PATH];
    rl_run *runs[3];
    rl_store *store;

    fresh_path(path);
    store = open_store(path);
    CHECK_INT(write_own(store, 1, "running", NULL), RL_OK);
    CHECK_INT(write_own(store, 2, "running", NULL), RL_OK);
    CHECK_INT(write_own(store, 1, "completed", NULL), RL_OK);
    CHECK_SQL(path, "DELETE FROM workflow_runs WHERE run_id = 'r'", "");
    CHECK_INT(write_own(store, 2, "running", "\"half\""), RL_OK);
    check_row(path, 2, "r~2 running \"half\"");
    CHECK_INT(sql_int(path, ROWS), 1);

    runs[0] = new_run("w", "before", "completed"); /* within a transaction */
    runs[1] = new_own_run(2, "r", "completed", "2");
    runs[2] = new_run("w", "behind", "completed");
    write_together(store, runs, 3);
    check_row(path, 2, "r~2 completed 2");
    CHECK_INT(sql_int(path, ROWS), 3);

    CHECK_INT(write_own(store, 3, "completed", "3"), RL_OK);
    check_row(path, 3, "r completed 3");
    CHECK_INT(write_own(store, 2, "completed", "22"), RL_OK);
    check_row(path, 2, "r~2 completed 22");
    store->ops->close(store);
    CHECK_INTACT(path);
}

#define WRITERS 4
#define EACH 12

struct writer {
    rl_store *store;
    unsigned first;
};

/* A thread that writes runs with one name through a store of its own. */
static void *write_records(void *ctx)
{
    const struct writer *writer = ctx;
    rl_store *store = writer->store;

    for (unsigned i = 0; i < EACH; i++) {
        CHECK_INT(write_own(store, writer->first + i, "running", NULL), RL_OK);
        CHECK_INT(write_own(store, writer->first + i, "completed", "1"), RL_OK);
    }
    store->ops->close(store);
    return NULL;
}

static void test_concurrent_writers_leave_no_gaps(void)
{
    static struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    char path[HELP_PATH];

    fresh_path(path);
    for (unsigned i = 0; i < WRITERS; i++) { /* opened before anyone holds the lock */
        writers[i].store = open_store(path);
        writers[i].first = 100 * i;
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        help_need(pthread_create(&threads[i], NULL, write_records, &writers[i]) == 0,
                  "a thread");
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_INT(sql_int(path, ROWS " WHERE status = 'completed'"), WRITERS * EACH);
    CHECK_INT(sql_int(path, ROWS), WRITERS * EACH);
    CHECK_INT(sql_int(path, "SELECT max(CAST(substr(run_id, 3) AS INTEGER)) FROM "
                            "workflow_runs"),
              WRITERS * EACH); /* without gaps */
    CHECK_INTACT(path);
}

static void append(rl_journal_file *journal, rl_run *run)
{
    rl_batch batch = {&run, 1, RL_DISK, RL_WAIT};
    rl_err err = {.code = RL_OK};

    if (rl_journal_file_append(journal, &batch, &err) != RL_OK) {
        CHECK_STR(err.text, "appended");
    }
    rl_run_free(run);
}

/* The journal stores each log with its id, revision and is_own. */
static void test_journal_stores_own_ids(void)
{
    static rl_journal_file_batch batch;
    char path[HELP_PATH], id[RL_UUID_TEXT];
    rl_journal_file *journal = NULL;
    rl_err err = {.code = RL_OK};
    int64_t last = 0;

    fresh_path(path);
    REQUIRE(rl_journal_file_new(path, the_migrations(), NULL, &journal, &err) == RL_OK);
    append(journal, new_own_run(1, "r", "running", NULL));
    append(journal, new_run("w", "r", "completed"));
    append(journal, new_own_run(2, "r", "running", NULL));
    append(journal, new_own_run(1, "r", "completed", "1"));
    CHECK_INT(rl_journal_file_read(journal, 0, RL_JOURNAL_FILE_RUNS, &batch, &err),
              RL_OK);
    REQUIRE(batch.count == 4);
    for (size_t i = 0; i < 4; i++) {
        const rl_run *run = batch.runs[i];

        CHECK(run->is_own == (i != 1));
        CHECK(run->revision > last);
        last = run->revision;
        CHECK_STR(rl_run_text(run, RL_RUN_ID), "r");
    }
    rl_uuid_format(batch.runs[3]->id, id);
    CHECK_STR(id, "00000000-0000-0000-0000-000000000001");
    CHECK(memcmp(batch.runs[0]->id, batch.runs[3]->id, 16) == 0);
    rl_journal_file_batch_free(&batch);
    rl_journal_file_free(journal);
    CHECK_INTACT(path);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_free_name_takes_few_queries),
    CHECK_TEST(test_name_is_free_despite_gaps),
    CHECK_TEST(test_lost_races_are_retried),
    CHECK_TEST(test_stored_run_is_found_by_id),
    CHECK_TEST(test_errors_are_passed_on),
    CHECK_TEST(test_later_logs_update_their_row),
    CHECK_TEST(test_repeated_logs_change_nothing),
    CHECK_TEST(test_batch_is_written_whole_or_not_at_all),
    CHECK_TEST(test_renamed_run_keeps_its_name),
    CHECK_TEST(test_concurrent_writers_leave_no_gaps),
    CHECK_TEST(test_journal_stores_own_ids),
};

CHECK_MAIN(tests)
