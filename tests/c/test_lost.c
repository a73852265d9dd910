/* Test of record/recorder/lost.h and gauges.h over SQLite: running runs whose process runs, has
 * exited, or is unknown, in filters, pages and deletions. The test applies the same rules
 * to its own list of runs, and compares.
 */
#include "record/recorder/lost.h"

#include "check.h"
#include "core/alloc.h"
#include "core/uuid.h"
#include "failing.h"
#include "record/owner.h"
#include "record/recorder/gauges.h"
#include "store_help.h"

#include <sys/wait.h>

#define RUNS 700                       /* of which more than two chunks are running */
#define BASE INT64_C(1700000000000000) /* microseconds, in 2023 */

/* An owner, and the status that its running runs are shown with. */
struct owner {
    char text[RL_OWNER_TEXT + 40];
    const char *shown;
};

static struct owner owners[7];

#define OWNERS (sizeof owners / sizeof *owners)

/* The owner text of a process that has exited. */
static void make_exited(char text[RL_OWNER_TEXT])
{
    int ends[2];
    pid_t pid;

    help_need(pipe(ends) == 0, "pipe");
    fflush(stdout);
    pid = fork();
    help_need(pid >= 0, "fork");
    if (pid == 0) {
        rl_owner_self(text);
        _exit(write(ends[1], text, RL_OWNER_TEXT) != RL_OWNER_TEXT);
    }
    help_need(read(ends[0], text, RL_OWNER_TEXT) == RL_OWNER_TEXT &&
                  waitpid(pid, NULL, 0) == pid,
              "the other process");
    close(ends[0]);
    close(ends[1]);
}

static void make_owners(void)
{
    char self[RL_OWNER_TEXT], *space;

    if (owners[0].shown != NULL) {
        return;
    }
    rl_owner_self(self);
    space = strchr(self, ' ');
    owners[0].shown = "running"; /* a run without an owner */
    snprintf(owners[1].text, sizeof owners[1].text, "%s", self);
    owners[1].shown = "running";
    make_exited(owners[2].text);
    owners[2].shown = "lost";
    snprintf(owners[3].text, sizeof owners[3].text, "elsewhere%s", space);
    owners[3].shown = "running";
    snprintf(owners[4].text, sizeof owners[4].text, "anything");
    owners[4].shown = "running";
    /* this process's id, but of a process that started earlier */
    snprintf(owners[5].text, sizeof owners[5].text, "%.*s %ld 1", (int)(space - self),
             self, (long)getpid());
    owners[5].shown = "lost";
    memset(owners[6].text, 'x', sizeof owners[6].text - 1); /* longer than any owner */
    owners[6].shown = "running";
}

/* Run number i of the table. */
struct sample {
    char wpk_id[24], run_id[24];
    const char *stored, *shown;
    const struct owner *owner;
    int64_t created_at;
};

static struct sample sample_of(int i)
{
    struct sample sample = {.owner = &owners[(size_t)i % OWNERS],
                            .created_at = BASE + i / 3};

    sample.stored = i % 11 == 0 ? "completed" : "running";
    sample.shown = i % 11 == 0 ? "completed" : sample.owner->shown;
    snprintf(sample.wpk_id, sizeof sample.wpk_id, "w%d", i % 2);
    snprintf(sample.run_id, sizeof sample.run_id, "%d", i);
    return sample;
}

static rl_store *open_filled(const char *path, int count)
{
    rl_run **runs = calloc((size_t)count, sizeof *runs);
    rl_batch batch = {runs, (size_t)count, RL_JOURNAL, RL_WAIT};
    rl_store *store;

    make_owners();
    store = open_store(path);
    for (int i = 0; i < count; i++) {
        struct sample sample = sample_of(i);

        runs[i] = new_run(sample.wpk_id, sample.run_id, sample.stored);
        if (sample.owner->text[0] != '\0') {
            set_text(runs[i], RL_OWNER, sample.owner->text);
        }
        runs[i]->created_at = sample.created_at;
    }
    help_need(store->ops->write(store, &batch, NULL) == RL_OK, "the runs");
    for (int i = 0; i < count; i++) {
        rl_run_free(runs[i]);
    }
    free(runs);
    return store;
}

static bool is_wanted(const rl_query *query, const struct sample *sample)
{
    const char *const *want = query->texts;

    return (want[RL_WPK_ID] == NULL || strcmp(want[RL_WPK_ID], sample->wpk_id) == 0) &&
           (want[RL_STATUS] == NULL || strcmp(want[RL_STATUS], sample->shown) == 0) &&
           (query->since == RL_TIME_NONE || sample->created_at >= query->since) &&
           (query->until == RL_TIME_NONE || sample->created_at < query->until);
}

static size_t count_wanted(const rl_query *query, int from, int to)
{
    size_t count = 0;

    for (int i = from; i < to; i++) {
        struct sample sample = sample_of(i);

        count += is_wanted(query, &sample);
    }
    return count;
}

static size_t query_lost(rl_store *store, const rl_query *query, rl_rows *rows)
{
    rl_err err = {.code = RL_OK};
    size_t width;

    rl_rows_init(rows);
    if (rl_lost_query(store, query, rows, &err) != RL_OK) {
        CHECK_STR(err.text, "an answer");
    }
    rl_shape_columns(query->shape, &width);
    return rl_rows_cells(rows) / width;
}

static int number_in(const rl_rows *rows, rl_shape shape, size_t row)
{
    const rl_cell *cell = cell_of(rows, shape, row, RL_RUN_ID);
    char text[24] = "";

    memcpy(text, rows->arena.data + cell->at,
           cell->len < sizeof text ? cell->len : sizeof text - 1);
    return (int)strtol(text, NULL, 10);
}

static void check_cell(const rl_rows *rows, rl_shape shape, size_t row, rl_column column,
                       const char *want)
{
    const rl_cell *cell = cell_of(rows, shape, row, column);

    if (want[0] == '\0') {
        CHECK(cell->null);
    } else {
        CHECK(!cell->null && cell->len == strlen(want) &&
              memcmp(rows->arena.data + cell->at, want, cell->len) == 0);
    }
}

/* Checks that a row has the values that were written. */
static void check_row(const rl_query *query, const rl_rows *rows, size_t row)
{
    struct sample sample = sample_of(number_in(rows, query->shape, row));

    CHECK(is_wanted(query, &sample));
    check_cell(rows, query->shape, row, RL_STATUS, sample.shown);
    check_cell(rows, query->shape, row, RL_OWNER, sample.owner->text);
    CHECK_INT(cell_of(rows, query->shape, row, RL_CREATED_AT)->number, sample.created_at);
    CHECK(cell_of(rows, query->shape, row, RL_DURATION_MS)->null);
    if (query->shape == RL_SHAPE_SUMMARY) {
        check_cell(rows, query->shape, row, RL_WPK_ID, sample.wpk_id);
        CHECK_INT(cell_of(rows, query->shape, row, RL_ID)->len, RL_UUID_TEXT - 1);
    }
}

/* Rows of every shape show lost runs as lost. */
static void test_every_shape_shows_lost_runs(void)
{
    static const rl_shape shapes[] = {RL_SHAPE_BRIEF, RL_SHAPE_SUMMARY, RL_SHAPE_WHOLE};
    char path[HELP_PATH];
    rl_store *store;
    rl_query query;
    rl_rows rows;

    fresh_path(path);
    store = open_filled(path, 100);
    for (int i = 0; i < 3; i++) {
        rl_query_init(&query, shapes[i]);
        query.limit = 1000;
        CHECK_INT(query_lost(store, &query, &rows), 100);
        for (size_t row = 0; row < 100; row++) {
            check_row(&query, &rows, row);
        }
        rl_rows_free(&rows);
    }
    store->ops->close(store);
    CHECK_SQL(path, "SELECT count(*) FROM workflow_runs WHERE status = 'lost'", "0");
}

/* Reads all pages by their cursor: each run that matches is there once, the newest
 * first. */
static void check_pages(rl_store *store, rl_query *query, int64_t limit)
{
    static bool seen[RUNS];
    char id[RL_UUID_TEXT] = "";
    size_t found, all = 0, want = count_wanted(query, 0, RUNS);
    int64_t last_time = INT64_MAX;
    rl_rows rows;

    memset(seen, 0, sizeof seen);
    query->limit = limit;
    query->after_id = NULL;
    do {
        found = query_lost(store, query, &rows);
        for (size_t row = 0; row < found; row++, all++) {
            const rl_cell *cell = cell_of(&rows, query->shape, row, RL_ID);
            int64_t made = cell_of(&rows, query->shape, row, RL_CREATED_AT)->number;
            int number = number_in(&rows, query->shape, row);

            check_row(query, &rows, row);
            CHECK(!seen[number]);
            seen[number] = true;
            CHECK(made < last_time ||
                  memcmp(rows.arena.data + cell->at, id, RL_UUID_TEXT - 1) < 0);
            last_time = made;
            memcpy(id, rows.arena.data + cell->at, RL_UUID_TEXT - 1);
        }
        query->after_id = id;
        query->after_time = last_time;
        rl_rows_free(&rows);
    } while (found == (size_t)limit);
    CHECK_INT(all, want);
    query->after_id = NULL;
}

static void test_pages_by_status(void)
{
    static const char *const statuses[] = {NULL, "running", "lost", "completed", "none"};
    static const int64_t limits[] = {1, 7, 200, 201, 5000};
    char path[HELP_PATH];
    rl_store *store;
    rl_query query;

    fresh_path(path);
    store = open_filled(path, RUNS);
    rl_query_init(&query, RL_SHAPE_SUMMARY);
    for (size_t i = 0; i < 5; i++) {
        query.texts[RL_STATUS] = statuses[i];
        for (size_t j = i == 2 ? 0 : 1; j < 5; j++) {
            check_pages(store, &query, limits[j]);
        }
        query.texts[RL_WPK_ID] = "w1";
        query.since = BASE + 20;
        check_pages(store, &query, 9);
        query.until = BASE + 99;
        check_pages(store, &query, 1000);
        query.texts[RL_WPK_ID] = NULL;
        query.since = query.until = RL_TIME_NONE;
    }
    CHECK_STR(query.texts[RL_STATUS], "none"); /* the caller's query is unchanged */
    store->ops->close(store);
}

static void test_offsets_by_status(void)
{
    char path[HELP_PATH];
    size_t all;
    rl_store *store;
    rl_query query;
    rl_rows rows;

    fresh_path(path);
    store = open_filled(path, RUNS);
    rl_query_init(&query, RL_SHAPE_SUMMARY);
    query.texts[RL_STATUS] = "running";
    query.limit = 1000;
    all = count_wanted(&query, 0, RUNS);
    CHECK(all > 400);
    for (query.offset = 0; query.offset < 500; query.offset += 130) {
        size_t left = all > (size_t)query.offset ? all - (size_t)query.offset : 0;

        CHECK_INT(query_lost(store, &query, &rows), left);
        rl_rows_free(&rows);
    }
    store->ops->close(store);
}

static void remove_and_check(rl_store *store, const rl_query *query, size_t want)
{
    rl_err err = {.code = RL_OK};
    int64_t count = -1;

    CHECK_INT(remove_all(store, query, &count, &err), RL_OK);
    CHECK_INT(count, want);
    CHECK_INT(remove_all(store, query, &count, &err), RL_OK);
    CHECK_INT(count, 0);
}

static void test_removal_by_status(void)
{
    char path[HELP_PATH];
    size_t left = RUNS, count;
    rl_store *store;
    rl_query query;

    fresh_path(path);
    store = open_filled(path, RUNS);
    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.texts[RL_STATUS] = "lost";
    query.texts[RL_WPK_ID] = "w0";
    left -= count = count_wanted(&query, 0, RUNS);
    remove_and_check(store, &query, count);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM workflow_runs"), left);
    query.texts[RL_WPK_ID] = NULL;
    left -= count = count_wanted(&query, 0, RUNS) - count;
    CHECK(count > 50);
    remove_and_check(store, &query, count);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM workflow_runs"), left);

    query.texts[RL_STATUS] = "running";
    query.until = BASE + 100;
    left -= count = count_wanted(&query, 0, RUNS);
    remove_and_check(store, &query, count);
    query.until = RL_TIME_NONE;
    left -= count = count_wanted(&query, 0, RUNS) - count;
    CHECK(count > 200); /* more than one chunk */
    remove_and_check(store, &query, count);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM workflow_runs"), left);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM workflow_runs WHERE status <> "
                            "'completed'"),
              0);

    query.texts[RL_STATUS] = "completed";
    remove_and_check(store, &query, left);
    store->ops->close(store);
    CHECK_INTACT(path);
}

static void add_sql(const char *path, const char *sql)
{
    sqlite3 *db;

    help_need(sqlite3_open(path, &db) == SQLITE_OK &&
                  sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK,
              sql);
    sqlite3_close(db);
}

/* The statuses of the runs in the order of their times, a letter each, and with a filter
 * those of the runs it finds. */
static void check_statuses(rl_store *store, const char *filter, const char *want)
{
    char got[20] = "";
    rl_query query;
    rl_rows rows;

    rl_query_init(&query, RL_SHAPE_SUMMARY);
    query.texts[RL_STATUS] = filter;
    query.limit = 10;
    for (size_t row = query_lost(store, &query, &rows), i = 0; row > 0; row--, i++) {
        got[i] = rows.arena.data[cell_of(&rows, query.shape, row - 1, RL_STATUS)->at];
    }
    rl_rows_free(&rows);
    CHECK_STR(got, want);
}

/* Of owners that can't be checked, heartbeats tell: which have been silent for a minute
 * are lost, and can be deleted as such after a week. A clock that was set back, so that a
 * heartbeat is to come, says as little as one that was set forward. */
static void test_heartbeats_tell_of_owners_elsewhere(void)
{
    static const int64_t ago[] = {0, 50, 70, 600000, 700000, -700000};
    char path[HELP_PATH], sql[400];
    int64_t count = -1;
    rl_store *store;
    rl_query query;
    rl_err err;

    fresh_path(path);
    store = open_store(path);
    for (int i = 0; i < 7; i++) { /* the last one was never heard */
        char owner[20];
        rl_run *run = new_run("w", "r", "running");
        rl_batch batch = {&run, 1, RL_JOURNAL, RL_WAIT};

        snprintf(owner, sizeof owner, "h%d 1 1 -", i);
        set_text(run, RL_OWNER, owner);
        run->texts[RL_RUN_ID] = run->texts[RL_OWNER];
        run->created_at = BASE + i;
        help_need(store->ops->write(store, &batch, NULL) == RL_OK, "a run");
        rl_run_free(run);
        if (i < 6) {
            snprintf(sql, sizeof sql,
                     "UPDATE runlog_owners SET seen_at = %lld WHERE owner = '%s'",
                     (long long)(rl_time_now() - ago[i] * 1000000), owner);
            add_sql(path, sql);
        }
    }
    add_sql(path, "DELETE FROM runlog_owners WHERE owner = 'h6 1 1 -'");
    check_statuses(store, NULL, "rrllllr");
    check_statuses(store, "running", "rrr");
    check_statuses(store, "lost", "llll");
    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.texts[RL_STATUS] = "lost";
    CHECK_INT(remove_all(store, &query, &count, &err), RL_OK);
    CHECK_INT(count, 2);
    check_statuses(store, NULL, "rrllr");
    store->ops->close(store);
}

/* Without memory a query fails instead of returning a part of the rows. */
static void test_query_without_memory_fails(void)
{
    char path[HELP_PATH];
    size_t width, refused = 0, want;
    rl_store *store;
    rl_query query;
    rl_rows rows;
    rl_err err;

    fresh_path(path);
    store = open_filled(path, RUNS);
    rl_query_init(&query, RL_SHAPE_SUMMARY);
    query.texts[RL_STATUS] = "lost";
    query.limit = 5000;
    rl_shape_columns(query.shape, &width);
    want = count_wanted(&query, 0, RUNS);
    for (int go_on = 0; go_on < 2; go_on++) {
        struct failing failing = {.go_on = go_on != 0};
        const rl_allocator allocator = {failing_resize, failing_release, &failing};

        do {
            rl_status status;

            failing.count = 0;
            failing.fail_at++;
            rl_rows_init(&rows);
            rl_set_allocator(&allocator);
            status = rl_lost_query(store, &query, &rows, &err);
            rl_set_allocator(NULL);
            CHECK(status == RL_NOMEM ||
                  (status == RL_OK && rl_rows_cells(&rows) == want * width));
            refused += status == RL_NOMEM;
            rl_rows_free(&rows);
        } while (failing.count >= failing.fail_at && failing.fail_at < 10000);
    }
    CHECK(refused > 40);
    store->ops->close(store);
}

static rl_store *measured;

/* Reads the gauges of the store and compares them with the list. */
static rl_status measure(rl_err *err)
{
    static const char *const names[] = {"w1", "none", "w0"};
    rl_gauges gauges;
    rl_status status;
    rl_query query;

    rl_query_init(&query, RL_SHAPE_SUMMARY);
    rl_gauges_init(&gauges, "[\"w1\",\"none\",\"w0\"]");
    status = rl_gauges_read(&gauges, measured, err);
    if (status == RL_OK) {
        query.texts[RL_STATUS] = "running";
        CHECK_INT(gauges.open, count_wanted(&query, 0, RUNS));
        query.texts[RL_STATUS] = "lost";
        CHECK_INT(gauges.lost, count_wanted(&query, 0, RUNS));
        CHECK_INT(rl_rows_cells(&gauges.newest), 6);
        for (size_t row = 0; row < 3; row++) {
            const rl_cell *time =
                cell_of(&gauges.newest, RL_SHAPE_NEWEST, row, RL_CREATED_AT);

            check_cell(&gauges.newest, RL_SHAPE_NEWEST, row, RL_WPK_ID, names[row]);
            CHECK(time->null == (row == 1));
            CHECK(time->null ||
                  time->number == sample_of(RUNS - (row == 0 ? 1 : 2)).created_at);
        }
    }
    rl_gauges_free(&gauges);
    return status;
}

/* Numbers of open and lost runs and the newest runs of workflows, all or none. */
static void test_gauges_are_those_of_the_list(void)
{
    char path[HELP_PATH];
    rl_err err;

    fresh_path(path);
    measured = open_filled(path, RUNS);
    CHECK_INT(measure(&err), RL_OK);
    fail_everywhere(measure, 4);
    measured->ops->close(measured);
}

/* What the owner commits between two answers, before it exits. */
static struct {
    const rl_store_ops *real;
    int asked;
} committed;

static rl_status commit_between(rl_store *store, const rl_query *query, rl_rows *rows,
                                rl_err *err)
{
    rl_status status = committed.real->query(store, query, rows, err);

    if (committed.asked++ == 0) {
        rl_run *run = new_run("w", "ends", "completed");

        set_text(run, RL_OWNER, owners[2].text);
        run->created_at = run->started_at = BASE;
        CHECK_INT(write_run(store, run, true, NULL), RL_OK);
    }
    return status;
}

/* A run that ends while it is read was never lost. */
static void test_a_run_that_ends_meanwhile_is_not_lost(void)
{
    static const char *const filters[] = {NULL, "lost", "running"};
    rl_store_ops ops;
    rl_store *store;
    char path[HELP_PATH];
    int64_t open, is_lost;

    for (size_t i = 0; i <= sizeof filters / sizeof *filters; i++) {
        rl_run *run = new_run("w", "ends", "running");
        rl_query query;
        rl_rows rows;

        make_owners();
        fresh_path(path);
        store = open_store(path);
        set_text(run, RL_OWNER, owners[2].text);
        run->created_at = run->started_at = BASE;
        CHECK_INT(write_run(store, run, true, NULL), RL_OK);
        committed.real = store->ops;
        committed.asked = 0;
        ops = *store->ops;
        ops.query = commit_between;
        store->ops = &ops;
        if (i == sizeof filters / sizeof *filters) {
            CHECK_INT(rl_lost_count(store, &open, &is_lost, NULL), RL_OK);
            CHECK_INT(open, 0);
            CHECK_INT(is_lost, 0);
        } else {
            rl_query_init(&query, RL_SHAPE_SUMMARY);
            query.limit = 10;
            query.texts[RL_STATUS] = filters[i];
            CHECK_INT(query_lost(store, &query, &rows), filters[i] == NULL);
            if (filters[i] == NULL) {
                check_cell(&rows, RL_SHAPE_SUMMARY, 0, RL_STATUS, "completed");
            }
            rl_rows_free(&rows);
        }
        CHECK(committed.asked >= 2);
        store->ops = committed.real;
        store->ops->close(store);
    }
}

static const struct check_test tests[] = {
    CHECK_TEST(test_a_run_that_ends_meanwhile_is_not_lost),
    CHECK_TEST(test_every_shape_shows_lost_runs),
    CHECK_TEST(test_pages_by_status),
    CHECK_TEST(test_offsets_by_status),
    CHECK_TEST(test_removal_by_status),
    CHECK_TEST(test_heartbeats_tell_of_owners_elsewhere),
    CHECK_TEST(test_query_without_memory_fails),
    CHECK_TEST(test_gauges_are_those_of_the_list),
};

CHECK_MAIN(tests)
