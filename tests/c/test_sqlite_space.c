/* Test of the free space of a SQLite file (store/sqlite/sqlite_space.c): given back in short
 * steps or by writing the file anew; also while memory and system calls fail.
 *
 * PARTS: 2
 * LINK: -Wl,--wrap=open -Wl,--wrap=fstat -Wl,--wrap=ftruncate -Wl,--wrap=fcntl
 * LINK: -Wl,--wrap=pread -Wl,--wrap=pwrite -Wl,--wrap=mmap
 */
#include "store/store.h"

#include "check.h"
#include "fault_files.h"
#include "store_help.h"

#define KEPT 3
#define DELETED 12
#define FREE "SELECT freelist_count FROM pragma_freelist_count"
#define PAGES "SELECT page_count FROM pragma_page_count"
#define RUNS "SELECT count(*) FROM workflow_runs WHERE length(outputs) = 6000"

/* Files with free pages, made once and copied: one that gives them back in steps, and one
 * as an early version of runlog has made it. */
static char by_steps[HELP_PATH], only_whole[HELP_PATH];

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;

    help_need(sqlite3_open(path, &db) == SQLITE_OK &&
                  sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK,
              sql);
    sqlite3_close(db);
}

/* Makes a file of KEPT runs, from which DELETED ones were deleted. */
static void make_file(char path[HELP_PATH], bool can_shrink)
{
    char payload[6001], name[24];
    rl_store *store;
    rl_query query;
    int64_t count = 0;

    memset(payload, 'x', sizeof payload - 1);
    payload[0] = payload[sizeof payload - 2] = '"';
    payload[sizeof payload - 1] = '\0';
    fresh_path(path);
    store = open_store(path);
    if (!can_shrink) {
        store->ops->close(store);
        run_sql(path, "PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM");
        store = open_store(path);
    }
    for (int i = 0; i < KEPT + DELETED; i++) {
        rl_run *run;

        snprintf(name, sizeof name, "r%d", i);
        run = new_run(i % 5 == 0 ? "kept" : "w", name, "completed");
        set_text(run, RL_OUTPUTS, payload); /* more than a page */
        help_need(write_run(store, run, true, NULL) == RL_OK, "a run");
    }
    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.texts[RL_WPK_ID] = "w";
    help_need(remove_all(store, &query, &count, NULL) == RL_OK && count == DELETED,
              "a deletion");
    store->ops->close(store);
    help_need(sql_int(path, FREE) > DELETED, "free pages");
}

static void set_up(void)
{
    fault_install();
    the_migrations();
    if (by_steps[0] == '\0') {
        make_file(by_steps, true);
        make_file(only_whole, false);
    }
}

static rl_store *open_copy(const char *of, char path[HELP_PATH])
{
    unsigned kinds = atomic_exchange(&fault.kinds, 0);
    rl_store *store;

    fresh_path(path);
    copy_file(of, path);
    store = open_store(path);
    atomic_store(&fault.kinds, kinds);
    return store;
}

/* Takes steps until nothing more can be given back, or one fails. Each gives something
 * back, however slow the machine is. */
static rl_status reclaim_all(rl_store *store, rl_reclaim *reclaim, rl_err *err)
{
    rl_status status = RL_OK;
    bool more = true;

    while (status == RL_OK && more) {
        const int64_t before = reclaim->returned;

        status = store->ops->reclaim(store, reclaim, err);
        more = reclaim->can && reclaim->left > reclaim->keep;
        CHECK(status != RL_OK || reclaim->waits > 0 || !more ||
              reclaim->returned > before);
    }
    return status;
}

static void close_store(rl_store *store, const char *path)
{
    store->ops->close(store);
    CHECK_INTACT(path);
    CHECK_INT(sql_int(path, RUNS), KEPT);
}

/* What the steps say that they have given back is gone from the file; what is to be kept
 * free stays. */
static void test_space_is_given_back_in_steps(void)
{
    char path[HELP_PATH];
    rl_store *store;
    rl_err err = {.code = RL_OK};
    int64_t page = 4096, pages, left;

    set_up();
    store = open_copy(by_steps, path);
    pages = sql_int(path, PAGES);
    left = sql_int(path, FREE);
    rl_reclaim reclaim = {.keep = 5 * page};
    CHECK_INT(reclaim_all(store, &reclaim, &err), RL_OK);
    CHECK(reclaim.can);
    CHECK_INT(reclaim.left, 5 * page);
    CHECK_INT(sql_int(path, FREE), 5);
    CHECK(reclaim.returned >= (left - 5) * page);
    CHECK_INT(reclaim.returned, (pages - sql_int(path, PAGES)) * page);
    CHECK(reclaim.pause_ns > 0);
    reclaim.keep = 0;
    CHECK_INT(reclaim_all(store, &reclaim, &err), RL_OK);
    CHECK_INT(reclaim.left, 0);
    CHECK_INT(sql_int(path, FREE), 0);
    CHECK_INT(write_run(store, new_run("w", "later", "completed"), true, &err), RL_OK);
    close_store(store, path);
}

/* A file that can't be shrunk in steps says so, until it was written anew. */
static void test_an_older_file_is_written_anew(void)
{
    char path[HELP_PATH];
    rl_store *store;
    rl_reclaim reclaim = {.keep = 0};
    rl_err err = {.code = RL_OK};
    int64_t pages;

    set_up();
    store = open_copy(only_whole, path);
    pages = sql_int(path, PAGES);
    CHECK_INT(store->ops->reclaim(store, &reclaim, &err), RL_OK);
    CHECK(!reclaim.can);
    CHECK_INT(reclaim.returned, 0);
    CHECK_INT(reclaim.left, sql_int(path, FREE) * 4096);
    CHECK_INT(store->ops->rewrite(store, &err), RL_OK);
    CHECK_INT(sql_int(path, FREE), 0);
    CHECK(sql_int(path, PAGES) < pages - DELETED);
    CHECK_INT(store->ops->reclaim(store, &reclaim, &err), RL_OK);
    CHECK(reclaim.can);
    CHECK_INT(reclaim.left, 0);
    CHECK_INT(write_run(store, new_run("w", "later", "completed"), true, &err), RL_OK);
    close_store(store, path);
}

/* While another program has the lock both fail and say so, and nothing is changed. */
static void test_a_locked_file_stays_as_it_is(void)
{
    static const char *const templates[] = {by_steps, only_whole};

    set_up();
    for (int i = 0; i < 2; i++) {
        char path[HELP_PATH];
        rl_store *store = open_copy(templates[i], path);
        rl_reclaim reclaim = {.keep = 0};
        rl_err err = {.code = RL_OK};
        int64_t left = sql_int(path, FREE);

        fault_begin(FAULT_LOCK, EAGAIN, 1, true);
        CHECK_INT(i == 0 ? store->ops->reclaim(store, &reclaim, &err)
                         : store->ops->rewrite(store, &err),
                  RL_STORE);
        fault_over();
        CHECK(strstr(err.text, "lock") != NULL);
        CHECK_INT(reclaim.returned, 0);
        CHECK_INT(sql_int(path, FREE), left);
        close_store(store, path);
    }
}

/* With a fault nothing is lost, and afterwards the rest can be given back. */
static void with_faults(const char *of, bool anew)
{
    char path[HELP_PATH];
    rl_store *store = open_copy(of, path);
    rl_reclaim reclaim = {.keep = 0};
    rl_err err = {.code = RL_OK};
    rl_status status;

    status = anew ? store->ops->rewrite(store, &err) : RL_OK;
    check_error(status, &err);
    if (status == RL_OK) {
        status = reclaim_all(store, &reclaim, &err);
        check_error(status, &err);
    }
    fault_over();
    CHECK(status != RL_OK || reclaim.left == 0);
    CHECK_INT(sql_int(path, RUNS), KEPT);
    CHECK_INT(anew ? store->ops->rewrite(store, &err) : RL_OK, RL_OK);
    CHECK_INT(reclaim_all(store, &reclaim, &err), RL_OK);
    CHECK(reclaim.can && reclaim.left == 0);
    CHECK_INT(write_run(store, new_run("w", "later", "completed"), true, &err), RL_OK);
    close_store(store, path);
    remove(path);
}

static void steps_with_faults(void)
{
    with_faults(by_steps, false);
}

static void writing_anew_with_faults(void)
{
    with_faults(only_whole, true);
}

static void test_faults_in_steps(void)
{
    static const long least[] = {0, 30, 8, 3, 3, 0};

    set_up();
    fault_sqlite_file(steps_with_faults, least, 20);
}

static void test_faults_while_the_file_is_written_anew(void)
{
    static const long least[] = {0, 100, 20, 10, 10, 0};

    set_up();
    fault_sqlite_file(writing_anew_with_faults, least, 10);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_space_is_given_back_in_steps),
    CHECK_TEST(test_an_older_file_is_written_anew),
    CHECK_TEST(test_a_locked_file_stays_as_it_is),
    CHECK_LOOP(test_faults_in_steps),
    CHECK_LOOP(test_faults_while_the_file_is_written_anew),
};

CHECK_MAIN(tests)
