/* Faults that were found once, in several parts of the core. */
#include "core/alloc.h"
#include "core/buf.h"
#include "core/clock.h"
#include "store/store.h"

#include "check.h"
#include "store_help.h"

#include <stdlib.h>

/* clock.h: "False when the text is anything else" than what rl_time_format writes. */
static void test_regression_day_that_the_month_lacks(void)
{
    static const char *const bad[] = {
        "2023-02-29T00:00:00.000000Z", "2026-02-30T00:00:00.000000Z",
        "1900-02-29T00:00:00.000000Z", "2026-04-31T00:00:00.000000Z",
        "9999-11-31T00:00:00.000000Z"};
    int64_t stamp;

    for (int i = 0; i < 5; i++) {
        CHECK(!rl_time_parse(bad[i], RL_TIME_TEXT - 1, &stamp));
    }
}

/* buf.h: "later appends do nothing" once an append has failed. */
static void test_regression_append_after_a_failed_one(void)
{
    static const char text[5000];
    rl_buf buf;

    rl_buf_init(&buf, 3000);
    rl_buf_add(&buf, text, 2000);
    rl_buf_add(&buf, text, 2000);
    CHECK(buf.failed && buf.len == 2000);
    rl_buf_add_char(&buf, 'x');
    rl_buf_add(&buf, text, 10);
    CHECK(buf.failed && buf.len == 2000);
    rl_buf_reset(&buf, 3000);
    rl_buf_add(&buf, text, 3000);
    CHECK(!buf.failed && buf.len == 3000);
    rl_buf_free(&buf);
}

static void *no_resize(void *ctx, void *ptr, size_t size)
{
    size_t *left = ctx;

    if (*left == 0) {
        return NULL;
    }
    --*left;
    return realloc(ptr, size);
}

static void release(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

/* A batch must be rolled back even if there is no memory for its INSERT: else the file
 * stays locked, and the next batch fails. */
static void test_regression_rollback_without_memory(void)
{
    char path[HELP_PATH];
    rl_run *runs[2] = {new_run("w", "1", "completed"), new_run("w", "2", "completed")};
    rl_batch batch = {runs, 2, RL_DISK, RL_WAIT};
    size_t left = 0;
    const rl_allocator allocator = {no_resize, release, &left};
    rl_store *store;
    rl_err err;

    fresh_path(path);
    store = open_store(path);
    for (left = 0; left < 3; left++) {
        size_t had = left;

        rl_set_allocator(&allocator);
        (void)store->ops->write(store, &batch, &err);
        rl_set_allocator(NULL);
        left = had;
        CHECK_SQL(path, "BEGIN IMMEDIATE", ""); /* the lock is free */
        CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
        store->ops->close(store);
        store = open_store(path);
    }
    store->ops->close(store);
    rl_run_free(runs[0]);
    rl_run_free(runs[1]);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_regression_day_that_the_month_lacks),
    CHECK_TEST(test_regression_append_after_a_failed_one),
    CHECK_TEST(test_regression_rollback_without_memory),
};

CHECK_MAIN(tests)
