/* Test of the parts of runs on PostgreSQL.
 *
 * NEEDS: postgres
 */
#include "store/postgres/postgres.h"

#include "parts_cases.h"
#include "server_help.h"

/* What parts_cases.h asks for. */
static const char *sql_of(const char *sql)
{
    return server_text(sql);
}

static rl_store *make_empty_store(void)
{
    rl_store *store;

    connect_watcher();
    store = connect_store();
    CHECK_STR(sql_of("TRUNCATE workflow_runs"), "");
    CHECK_STR(sql_of(COUNT_PARTS), "0");
    return store;
}

/* jsonb would return 1e16 as an integer. */
static void test_wide_numbers_stay_floats_when_they_are_joined(void)
{
    rl_store *store = make_empty_store();
    rl_run *runs[2];

    runs[0] = make_log("running", NULL, "{\"n0000000000\":[1e16,1]}", RL_PARTS_ADD);
    runs[0]->wide_numbers = true;
    runs[1] = make_log("completed", NULL, "{}", RL_PARTS_JOIN);
    write_all(store, runs, 2);
    check_log(store, "completed", "[[10000000000000000.0,1]]", "-");
    free_batch(runs, 2);
    store->ops->close(store);
}

/* A statement that fails takes the row with it. */
static void test_row_and_parts_are_one_transaction(void)
{
    rl_store *store = make_empty_store();
    rl_run *run = make_log("running", NULL, "{\"n0000000000\":", RL_PARTS_ADD);
    rl_err err = {.code = RL_OK};

    CHECK_INT(write_run(store, run, true, &err), RL_STORE);
    CHECK_STR(err.sqlstate, "22P02");
    CHECK_STR(sql_of("SELECT count(*) FROM workflow_runs"), "0");
    run = make_log("running", NULL, "{\"n0000000000\":1}", RL_PARTS_ADD);
    CHECK_INT(write_run(store, run, true, &err), RL_OK);
    check_log(store, "running", "-", "{\"n0000000000\":1}");
    store->ops->close(store);
}

static const struct check_test tests[] = {
    PARTS_CASES,
    CHECK_TEST(test_wide_numbers_stay_floats_when_they_are_joined),
    CHECK_TEST(test_row_and_parts_are_one_transaction),
};

CHECK_MAIN(tests)
