/* Test of the thread that counts: many threads record, delete, read, and ask for the
 * roll-up to be made anew, all at once. For ThreadSanitizer, too.
 */
#include "rollup/form.h"
#include "rollup/rollup.h"

#include "check.h"
#include "store_help.h"

#include <pthread.h>

#define THREADS 4
#define EACH 25
#define WAIT_NS UINT64_C(100000000)

static rl_recorder *recorder;
static rl_rollup *rollup;

/* How many runs are counted; *waiting as that of rl_rollup_read. */
static uint64_t count_runs(int64_t *waiting)
{
    const rl_rollup_query query = {
        .since = RL_TIME_MIN, .until = RL_TIME_MAX, .level = RL_LEVEL_SPAN};
    rl_rollup_rows rows = {.count = 0};
    rl_sums sums = {.folded = 0};
    rl_err err = {.code = RL_OK};
    uint64_t count;

    CHECK_INT(rl_rollup_read(rollup, &query, WAIT_NS, &rows, waiting, &err), RL_OK);
    for (size_t i = 0; i < rows.count; i++) {
        CHECK(rl_form_read(&sums, rows.list[i].data.data, rows.list[i].data.len, false));
    }
    count = sums.run.outcomes[RL_ENDED_COMPLETED];
    rl_sums_free(&sums);
    rl_rollup_rows_free(&rows);
    return count;
}

static void delete_run(const char *name)
{
    rl_err err = {.code = RL_OK};
    rl_query query;
    int64_t count;

    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.texts[RL_RUN_ID] = name;
    CHECK_INT(remove_by(recorder, &query, &count, &err), RL_OK);
    CHECK_INT(count, 1);
}

static void *record_and_count(void *arg)
{
    const int first = *(const int *)arg * EACH;
    rl_rollup_stats stats;
    rl_rollup_size size;
    rl_err err = {.code = RL_OK};
    bool done;

    for (int i = first; i < first + EACH; i++) {
        char name[16];
        rl_run *run;
        int64_t waiting;

        snprintf(name, sizeof name, "r%d", i);
        run = new_run(i % 2 == 0 ? "even" : "odd", name, "completed");
        CHECK_INT(rl_recorder_write(recorder, run, RL_JOURNAL, &err), RL_OK);
        rl_run_free(run);
        if (i % 10 == 0) {
            (void)count_runs(&waiting);
            rl_rollup_get_stats(rollup, &stats);
            delete_run(name);
        }
        if (i == EACH) {
            CHECK_INT(rl_rollup_reset(rollup, &err), RL_OK);
            CHECK_INT(rl_rollup_fill(rollup, &done, &err), RL_OK);
            CHECK_INT(rl_rollup_get_size(rollup, &size, &err), RL_OK);
        }
    }
    return NULL;
}

static void test_threads(void)
{
    char path[HELP_PATH];
    pthread_t threads[THREADS];
    int numbers[THREADS];
    int64_t waiting = 1;
    uint64_t count = 0;
    rl_err err = {.code = RL_OK};

    fresh_path(path);
    help_need(rl_rollup_new(&rollup, &err) == RL_OK, "a roll-up");
    help_need(new_recorder_with(path, rl_rollup_companion(rollup), &recorder, &err) ==
                  RL_OK,
              "a recorder");
    for (bool done = false; !done;) { /* what is deleted before is not counted */
        CHECK_INT(rl_rollup_fill(rollup, &done, &err), RL_OK);
    }
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        help_need(pthread_create(&threads[i], NULL, record_and_count, &numbers[i]) == 0,
                  "a thread");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    while (waiting > 0) { /* each read waits for a pass of the thread */
        count = count_runs(&waiting);
    }
    CHECK_INT(count, THREADS * EACH);
    close_recorder(recorder);
    rl_recorder_free(recorder);
}

static const struct check_test tests[] = {CHECK_TEST(test_threads)};

CHECK_MAIN(tests)
