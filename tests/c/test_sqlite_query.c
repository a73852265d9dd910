/* Test of the SQLite store through store.h: filters, pages and deletions, compared with
 * the same rules applied here to the runs that were written.
 */
#include "store/store.h"

#include "check.h"
#include "store_help.h"

#define RUNS 60
#define BASE INT64_C(1700000000000000) /* microseconds, in 2023 */

/* A run of the table that the tests query. */
struct sample {
    char wpk_id[40], run_id[40], thread_id[40];
    const char *status;
    int64_t created_at;
};

static struct sample sample_of(int i)
{
    static const char *const statuses[] = {"completed", "failed", "running",
                                           "it's \"odd\""};
    struct sample sample = {.status = statuses[i % 4], .created_at = BASE + i / 3};

    snprintf(sample.wpk_id, sizeof sample.wpk_id, "w%d", i % 5);
    snprintf(sample.run_id, sizeof sample.run_id, "%d' OR 1=1 --", i / 2);
    snprintf(sample.thread_id, sizeof sample.thread_id, "t%d", i % 7);
    return sample;
}

/* Writes RUNS runs in a shuffled order. */
static rl_store *open_filled(const char *path)
{
    rl_store *store = open_store(path);

    for (int i = 0; i < RUNS; i++) {
        struct sample sample = sample_of(i * 17 % RUNS);
        rl_run *run = new_run(sample.wpk_id, sample.run_id, sample.status);

        set_text(run, RL_THREAD_ID, sample.thread_id);
        run->created_at = sample.created_at;
        CHECK_INT(write_run(store, run, true, NULL), RL_OK);
    }
    return store;
}

static bool matches(const rl_query *query, const struct sample *sample)
{
    const char *const *want = query->texts;

    return (want[RL_WPK_ID] == NULL || strcmp(want[RL_WPK_ID], sample->wpk_id) == 0) &&
           (want[RL_RUN_ID] == NULL || strcmp(want[RL_RUN_ID], sample->run_id) == 0) &&
           (want[RL_STATUS] == NULL || strcmp(want[RL_STATUS], sample->status) == 0) &&
           (want[RL_THREAD_ID] == NULL ||
            strcmp(want[RL_THREAD_ID], sample->thread_id) == 0) &&
           (query->since == RL_TIME_NONE || sample->created_at >= query->since) &&
           (query->until == RL_TIME_NONE || sample->created_at < query->until);
}

static size_t count_matches(const rl_query *query)
{
    size_t count = 0;

    for (int i = 0; i < RUNS; i++) {
        struct sample sample = sample_of(i);

        count += matches(query, &sample);
    }
    return count;
}

/* Checks that the rows are ordered, newest first, and match the filters. */
static void check_rows(const rl_query *query, const rl_rows *rows, size_t count)
{
    for (size_t row = 0; row < count; row++) {
        const rl_cell *id = cell_of(rows, query->shape, row, RL_ID);
        const rl_cell *made = cell_of(rows, query->shape, row, RL_CREATED_AT);
        const rl_cell *status = cell_of(rows, query->shape, row, RL_STATUS);

        CHECK(query->since == RL_TIME_NONE || made->number >= query->since);
        CHECK(query->until == RL_TIME_NONE || made->number < query->until);
        CHECK(query->texts[RL_STATUS] == NULL ||
              memcmp(rows->arena.data + status->at, query->texts[RL_STATUS],
                     status->len) == 0);
        if (row > 0) {
            const rl_cell *newer = cell_of(rows, query->shape, row - 1, RL_CREATED_AT);
            const rl_cell *before = cell_of(rows, query->shape, row - 1, RL_ID);

            CHECK(newer->number > made->number ||
                  (newer->number == made->number &&
                   memcmp(rows->arena.data + before->at, rows->arena.data + id->at, 36) >
                       0));
        }
    }
}

/* Every combination of filters: with a small page, a large page, and an offset. */
static void test_filters_combine(void)
{
    static const char *const values[4][3] = {{NULL, "w3", "none"},
                                             {NULL, "7' OR 1=1 --", "7"},
                                             {NULL, "it's \"odd\"", "completed"},
                                             {NULL, "t2", ""}};
    static const rl_column columns[4] = {RL_WPK_ID, RL_RUN_ID, RL_STATUS, RL_THREAD_ID};
    static const int64_t times[] = {RL_TIME_NONE, BASE + 4, BASE + 15, BASE + 99};
    char path[HELP_PATH];
    rl_store *store;
    rl_query query;
    rl_rows rows;

    fresh_path(path);
    store = open_filled(path);
    rl_query_init(&query, RL_SHAPE_SUMMARY);
    for (int mix = 0; mix < 81 * 16; mix++) {
        size_t all, found;
        int rest = mix / 16;

        for (int i = 0; i < 4; i++, rest /= 3) {
            query.texts[columns[i]] = values[i][rest % 3];
        }
        query.since = times[mix % 4];
        query.until = times[mix / 4 % 4];
        CHECK(rl_query_has_filter(&query) == (mix != 0));
        all = count_matches(&query);
        for (query.limit = 5, query.offset = 0; query.limit <= RUNS; query.limit += 55) {
            found = ask(store, &query, &rows);
            CHECK_INT(found, all < (size_t)query.limit ? all : (size_t)query.limit);
            check_rows(&query, &rows, found);
            rl_rows_free(&rows);
        }
        query.offset = 5;
        CHECK_INT(ask(store, &query, &rows), all < 5 ? 0 : all - 5);
        rl_rows_free(&rows);
    }
    store->ops->close(store);
}

/* Reads all pages by cursor while newer runs are written. */
static void test_cursor_skips_newer_runs(void)
{
    char path[HELP_PATH], id[40] = "", late[40];
    size_t found, seen = 0;
    int64_t last_time = INT64_MAX;
    rl_store *store;
    rl_query query;
    rl_rows rows;

    fresh_path(path);
    store = open_filled(path);
    rl_query_init(&query, RL_SHAPE_SUMMARY);
    query.limit = 7;
    do {
        found = ask(store, &query, &rows);
        check_rows(&query, &rows, found);
        for (size_t row = 0; row < found; row++, seen++) {
            const rl_cell *cell = cell_of(&rows, query.shape, row, RL_ID);
            int64_t made = cell_of(&rows, query.shape, row, RL_CREATED_AT)->number;
            int order = memcmp(rows.arena.data + cell->at, id, 36);

            CHECK(made < last_time || (made == last_time && order < 0));
            last_time = made;
            memcpy(id, rows.arena.data + cell->at, cell->len);
        }
        query.after_id = id;
        query.after_time = last_time;
        rl_rows_free(&rows);
        snprintf(late, sizeof late, "late%zu", seen);
        CHECK_INT(write_run(store, new_run("w0", late, "completed"), true, NULL), RL_OK);
    } while (found == 7);
    CHECK_INT(seen, RUNS);
    store->ops->close(store);
}

static void test_remove_deletes_matching_runs(void)
{
    char path[HELP_PATH];
    int64_t count = -1;
    rl_store *store;
    rl_query query;
    rl_err err;

    fresh_path(path);
    store = open_filled(path);
    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.texts[RL_WPK_ID] = "w1";
    query.until = BASE + 10;
    CHECK_INT(remove_all(store, &query, &count, &err), RL_OK);
    CHECK_INT(count, count_matches(&query));
    CHECK_INT(sql_int(path, "SELECT count(*) FROM workflow_runs"), RUNS - count);
    CHECK_INT(remove_all(store, &query, &count, &err), RL_OK);
    CHECK_INT(count, 0);
    query.texts[RL_WPK_ID] = "w1' OR 'a'='a";
    CHECK_INT(remove_all(store, &query, &count, &err), RL_OK);
    CHECK_INT(count, 0);
    store->ops->close(store);
    CHECK_INTACT(path);
}

/* Two runs of one name. The newer one is read; SQLite has its long text in memory once,
 * as a sorter would have copies of both. */
static void test_a_whole_run_is_not_copied_to_be_sorted(void)
{
    static char logs[4 << 20];
    char path[HELP_PATH];
    rl_store *store;
    rl_query query;
    rl_rows rows;
    int64_t before;

    memset(logs, ' ', sizeof logs - 1);
    memcpy(logs, "[]", 2);
    fresh_path(path);
    store = open_store(path);
    for (int i = 0; i < 2; i++) {
        rl_run *run = new_run(i == 0 ? "old" : "new", "r", "completed");

        run->created_at = BASE + i;
        set_text(run, RL_NODE_LOGS, logs);
        CHECK_INT(write_run(store, run, true, NULL), RL_OK);
    }
    rl_query_init(&query, RL_SHAPE_WHOLE);
    query.texts[RL_RUN_ID] = "r";
    query.limit = 1;
    CHECK_INT(ask(store, &query, &rows), 1); /* opens the connection */
    rl_rows_free(&rows);
    before = sqlite3_memory_used();
    (void)sqlite3_memory_highwater(1);
    CHECK_INT(ask(store, &query, &rows), 1);
    CHECK(sqlite3_memory_highwater(0) - before < (int64_t)sizeof logs * 3 / 2);
    CHECK(memcmp(rows.arena.data + cell_of(&rows, RL_SHAPE_WHOLE, 0, RL_WPK_ID)->at,
                 "new", 3) == 0);
    CHECK_INT(cell_of(&rows, RL_SHAPE_WHOLE, 0, RL_NODE_LOGS)->len, sizeof logs - 1);
    rl_rows_free(&rows);
    store->ops->close(store);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_a_whole_run_is_not_copied_to_be_sorted),
    CHECK_TEST(test_filters_combine),
    CHECK_TEST(test_cursor_skips_newer_runs),
    CHECK_TEST(test_remove_deletes_matching_runs),
};

CHECK_MAIN(tests)
