/* Test of record/commit/beside.h: what happens to a batch while its SQLite file is
 * locked, in which order it is folded in, threads, the lease, and every call that can
 * fail.
 *
 * PARTS: 2
 * LINK: -Wl,--wrap=open -Wl,--wrap=fstat -Wl,--wrap=ftruncate -Wl,--wrap=fcntl
 * LINK: -Wl,--wrap=pread -Wl,--wrap=pwrite -Wl,--wrap=mmap
 */
#include "record/commit/beside.h"

#include "check.h"
#include "fault_files.h"
#include "record/commit/lease.h"
#include "store/sqlite/sqlite.h"
#include "store_help.h"

#include <pthread.h>

#define WAITING "SELECT count(*) FROM journal"
#define STORED "SELECT count(*) FROM workflow_runs"
#define FAULTS 3 /* runs of the scenario of faults */

/* A store with the file beside it, and another connection that may lock the store. */
struct scene {
    char path[HELP_PATH], beside_path[HELP_PATH + 8];
    rl_store *store;
    rl_beside *beside;
    rl_notices notices;
    sqlite3 *other;
};

static const atomic_bool never;

static rl_status write_to_store(void *store, const rl_batch *batch, rl_err *err)
{
    return ((rl_store *)store)->ops->write(store, batch, err);
}

static rl_status make_beside(struct scene *scene, rl_err *err)
{
    return rl_beside_new(scene->path, the_migrations(), write_to_store, scene->store,
                         &scene->notices, &scene->beside, err);
}

static void open_scene(struct scene *scene)
{
    rl_err err = {.code = RL_OK};

    memset(scene, 0, sizeof *scene);
    fresh_path(scene->path);
    snprintf(scene->beside_path, sizeof scene->beside_path, "%s-beside", scene->path);
    rl_notices_init(&scene->notices);
    scene->store = open_store(scene->path);
    help_need(make_beside(scene, &err) == RL_OK, err.text);
    help_need(sqlite3_open(scene->path, &scene->other) == SQLITE_OK, "a connection");
}

static void lock_file(struct scene *scene)
{
    help_need(sqlite3_exec(scene->other, "BEGIN IMMEDIATE", NULL, NULL, NULL) ==
                  SQLITE_OK,
              "the lock");
}

static void unlock_file(struct scene *scene)
{
    help_need(sqlite3_exec(scene->other, "COMMIT", NULL, NULL, NULL) == SQLITE_OK,
              "the end of the lock");
}

static void close_scene(struct scene *scene)
{
    sqlite3_close(scene->other);
    rl_beside_free(scene->beside);
    scene->store->ops->close(scene->store);
    rl_notices_destroy(&scene->notices);
    CHECK_INTACT(scene->path);
    if (access(scene->beside_path, F_OK) == 0) {
        CHECK_INTACT(scene->beside_path);
    }
    remove(scene->path);
    remove(scene->beside_path);
}

static rl_status log_as(struct scene *scene, const char *run_id, const char *status,
                        rl_wait wait)
{
    rl_run *run = new_run("w", run_id, status);
    const rl_batch batch = {&run, 1, RL_JOURNAL, wait};
    rl_err err = {.code = RL_OK};
    rl_status result = rl_beside_write(scene->beside, &batch, &err);

    rl_run_free(run);
    return result;
}

static unsigned count_notices(struct scene *scene, const char *phrase)
{
    unsigned count = 0;
    rl_notice notice;

    while (rl_notices_take(&scene->notices, &notice)) {
        count += strstr(notice.text, phrase) != NULL;
    }
    return count;
}

static void fold(struct scene *scene)
{
    for (int tries = 0; rl_beside_is_pending(scene->beside) && tries < 100; tries++) {
        (void)rl_beside_fold(scene->beside, &never);
    }
    CHECK(!rl_beside_is_pending(scene->beside));
}

static void test_a_file_that_is_free_needs_none_beside_it(void)
{
    struct scene scene;

    open_scene(&scene);
    CHECK_INT(log_as(&scene, "r", "completed", RL_WAIT), RL_OK);
    CHECK_INT(log_as(&scene, "r2", "completed", RL_NO_WAIT), RL_OK);
    CHECK(!rl_beside_is_pending(scene.beside));
    CHECK(access(scene.beside_path, F_OK) != 0);
    CHECK_INT(sql_int(scene.path, STORED), 2);
    close_scene(&scene);
}

static void test_runs_go_beside_a_locked_file_in_order(void)
{
    struct scene scene;

    open_scene(&scene);
    lock_file(&scene);
    CHECK_INT(log_as(&scene, "r", "running", RL_NO_WAIT), RL_BUSY); /* this one waits */
    CHECK_INT(log_as(&scene, "r", "running", RL_WAIT), RL_OK);
    CHECK_INT(log_as(&scene, "other", "running", RL_NO_WAIT), RL_OK);
    CHECK_INT(rl_beside_count(scene.beside), 2);
    (void)rl_beside_fold(scene.beside, &never);
    CHECK_INT(rl_beside_count(scene.beside), 2);
    unlock_file(&scene);
    /* a later log does not overtake the one before it */
    CHECK_INT(log_as(&scene, "r", "completed", RL_WAIT), RL_OK);
    CHECK_INT(sql_int(scene.path, STORED), 0);
    CHECK_INT(rl_beside_count(scene.beside), 3);
    CHECK(rl_beside_has_work(scene.beside));
    fold(&scene);
    CHECK_INT(rl_beside_count(scene.beside), 0);
    CHECK_INT(sql_int(scene.path, STORED " WHERE status = 'completed'"), 1);
    CHECK_INT(sql_int(scene.path, STORED), 2);
    CHECK_INT(log_as(&scene, "direct", "completed", RL_NO_WAIT), RL_OK);
    CHECK_INT(sql_int(scene.path, STORED), 3);
    CHECK_INT(count_notices(&scene, "locked by another program"), 1);
    close_scene(&scene);
}

static void test_drain_ends_at_its_time_or_when_all_is_folded_in(void)
{
    struct scene scene;
    rl_err err = {.code = RL_OK};

    open_scene(&scene);
    CHECK_INT(rl_beside_drain(scene.beside, 0, &err), RL_OK);
    lock_file(&scene);
    CHECK_INT(log_as(&scene, "r", "completed", RL_WAIT), RL_OK);
    CHECK_INT(rl_beside_drain(scene.beside, rl_monotonic_ns() + 1000000, &err),
              RL_TIMEOUT);
    CHECK(strstr(err.text, scene.path) != NULL);
    unlock_file(&scene);
    fold(&scene);
    CHECK_INT(rl_beside_drain(scene.beside, 0, &err), RL_OK);
    close_scene(&scene);
}

static void test_what_another_process_left_is_folded_in_first(void)
{
    struct scene scene;
    rl_err err = {.code = RL_OK};

    open_scene(&scene);
    lock_file(&scene);
    CHECK_INT(log_as(&scene, "r", "running", RL_WAIT), RL_OK);
    unlock_file(&scene);
    rl_beside_free(scene.beside); /* as if its process had ended */
    REQUIRE(make_beside(&scene, &err) == RL_OK);
    CHECK_INT(rl_beside_prepare(scene.beside, RL_OK, &err), RL_OK);
    CHECK(rl_beside_is_pending(scene.beside));
    CHECK_INT(log_as(&scene, "r", "completed", RL_WAIT), RL_OK);
    fold(&scene);
    CHECK_INT(sql_int(scene.path, STORED " WHERE status = 'completed'"), 1);
    CHECK_INT(count_notices(&scene, "locked"), 1); /* that of the first */
    close_scene(&scene);
}

static void test_a_file_that_is_locked_at_first_begins_an_episode(void)
{
    struct scene scene;
    rl_err err = {.code = RL_BUSY, .locked = true};

    open_scene(&scene);
    CHECK_INT(rl_beside_prepare(scene.beside, RL_BUSY, &err), RL_OK);
    CHECK(rl_beside_is_pending(scene.beside));
    CHECK_INT(count_notices(&scene, "locked by another program"), 1);
    fold(&scene); /* nothing was logged: no file is made */
    CHECK(access(scene.beside_path, F_OK) != 0);
    err.code = RL_STORE;
    CHECK_INT(rl_beside_prepare(scene.beside, RL_STORE, &err), RL_STORE);
    CHECK(!rl_beside_is_pending(scene.beside));
    close_scene(&scene);
}

static void test_one_process_folds_in_at_a_time(void)
{
    struct scene scene;
    rl_journal_file *file = NULL;
    rl_err err = {.code = RL_OK};
    char parent[RL_JOURNAL_FILE_OWNER];
    bool taken = false;
    static const rl_journal_file_batch empty;

    open_scene(&scene);
    lock_file(&scene);
    CHECK_INT(log_as(&scene, "r", "completed", RL_WAIT), RL_OK);
    unlock_file(&scene);
    REQUIRE(rl_journal_file_new(scene.beside_path, the_migrations(), NULL, &file, &err) ==
            RL_OK);
    rl_lease_name(1000000, parent);
    CHECK_INT(rl_lease_take(file, parent, &taken, &err), RL_OK);
    CHECK(taken);
    (void)rl_beside_fold(scene.beside, &never);
    CHECK_INT(rl_beside_count(scene.beside), 1);
    CHECK(rl_beside_is_pending(scene.beside));
    CHECK_INT(rl_journal_file_finish(file, &empty, parent, 0, &taken, &err), RL_OK);
    fold(&scene);
    CHECK_INT(sql_int(scene.path, STORED), 1);
    rl_journal_file_free(file);
    close_scene(&scene);
}

static void *log_two(void *ctx)
{
    struct scene *scene = ctx;

    CHECK_INT(log_as(scene, "two", "completed", RL_WAIT), RL_OK);
    return NULL;
}

/* Another process writes beside the file, which is locked for long: the run goes beside
 * once that lock is free, and does not wait for the long one. */
static void test_regression_a_lock_beside_a_locked_file(void)
{
    const struct timespec held = {0, 100000000}; /* more than the 25 ms of a brief wait */
    struct scene scene;
    sqlite3 *sibling;
    pthread_t thread;

    open_scene(&scene);
    lock_file(&scene);
    CHECK_INT(log_as(&scene, "one", "completed", RL_WAIT), RL_OK);
    help_need(sqlite3_open(scene.beside_path, &sibling) == SQLITE_OK &&
                  sqlite3_exec(sibling, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK,
              "the lock beside");
    help_need(pthread_create(&thread, NULL, log_two, &scene) == 0, "a thread");
    nanosleep(&held, NULL);
    help_need(sqlite3_exec(sibling, "COMMIT", NULL, NULL, NULL) == SQLITE_OK, "its end");
    pthread_join(thread, NULL);
    CHECK_INT(rl_beside_count(scene.beside), 2);
    sqlite3_close(sibling);
    unlock_file(&scene);
    fold(&scene);
    CHECK_INT(sql_int(scene.path, STORED), 2);
    close_scene(&scene);
}

#define THREADS 4
#define EACH 60

static struct scene shared;
static atomic_bool logging;

static void *log_many(void *number)
{
    char name[32];

    for (int i = 0; i < EACH; i++) {
        snprintf(name, sizeof name, "%s-%d", (const char *)number, i);
        CHECK_INT(log_as(&shared, name, "running", RL_WAIT), RL_OK);
        if (log_as(&shared, name, "completed", RL_NO_WAIT) != RL_OK) {
            CHECK_INT(log_as(&shared, name, "completed", RL_WAIT), RL_OK);
        }
    }
    return NULL;
}

static void *fold_many(void *unused)
{
    (void)unused;
    while (atomic_load(&logging)) {
        (void)rl_beside_fold(shared.beside, &never);
    }
    return NULL;
}

static void test_threads_log_while_the_lock_comes_and_goes(void)
{
    static char names[THREADS][2] = {"a", "b", "c", "d"};
    const struct timespec held = {0, 30000000}, pause = {0, 5000000};
    pthread_t threads[THREADS], folding;

    open_scene(&shared);
    atomic_store(&logging, true);
    help_need(sqlite3_busy_timeout(shared.other, 20000) == SQLITE_OK, "a time limit");
    help_need(pthread_create(&folding, NULL, fold_many, NULL) == 0, "a thread");
    for (int i = 0; i < THREADS; i++) {
        help_need(pthread_create(&threads[i], NULL, log_many, names[i]) == 0, "a thread");
    }
    for (int i = 0; i < 5; i++) {
        lock_file(&shared);
        nanosleep(&held, NULL);
        unlock_file(&shared);
        nanosleep(&pause, NULL);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    atomic_store(&logging, false);
    pthread_join(folding, NULL);
    fold(&shared);
    CHECK_INT(sql_int(shared.path, STORED " WHERE status = 'completed'"), THREADS * EACH);
    CHECK_INT(rl_beside_count(shared.beside), 0);
    close_scene(&shared);
}

static void *log_on(void *unused)
{
    char name[32];
    int count = 0;

    (void)unused;
    while (atomic_load(&logging)) {
        snprintf(name, sizeof name, "on-%d", count++);
        CHECK_INT(log_as(&shared, name, "completed", RL_WAIT), RL_OK);
    }
    return NULL;
}

/* An episode ends once nobody holds the lock, although a thread logs without a pause: it
 * waits until the last of its runs are folded in. */
static void test_an_episode_ends_while_a_thread_logs_on(void)
{
    pthread_t thread, folding;
    rl_err err = {.code = RL_OK};

    open_scene(&shared);
    lock_file(&shared);
    CHECK_INT(log_as(&shared, "first", "completed", RL_WAIT), RL_OK);
    atomic_store(&logging, true);
    help_need(pthread_create(&folding, NULL, fold_many, NULL) == 0, "a thread");
    help_need(pthread_create(&thread, NULL, log_on, NULL) == 0, "a thread");
    unlock_file(&shared);
    CHECK_INT(
        rl_beside_drain(shared.beside, rl_monotonic_ns() + UINT64_C(60000000000), &err),
        RL_OK);
    atomic_store(&logging, false);
    pthread_join(thread, NULL);
    pthread_join(folding, NULL);
    close_scene(&shared);
}

/* Faults: what was acknowledged is in the store at the end, whatever failed meanwhile. */
static rl_run *prepared[FAULTS];

static void beside_a_locked_file(void)
{
    const unsigned kinds = atomic_exchange(&fault.kinds, 0);
    struct scene scene;
    bool kept[FAULTS];
    int expected = 0;

    open_scene(&scene);
    lock_file(&scene);
    CHECK_INT(log_as(&scene, "first", "completed", RL_WAIT), RL_OK);
    atomic_store(&fault.kinds, kinds);
    for (int i = 0; i < FAULTS; i++) {
        /* without waiting for the lock, as long as this thread holds it */
        const rl_batch batch = {prepared + i, 1, RL_DISK, i == 0 ? RL_NO_WAIT : RL_WAIT};
        rl_err err = {.code = RL_OK};
        rl_status status;

        if (i == 1) { /* the lock ends in the middle */
            atomic_store(&fault.kinds, 0);
            unlock_file(&scene);
            atomic_store(&fault.kinds, kinds);
        }
        status = rl_beside_write(scene.beside, &batch, &err);
        kept[i] = status == RL_OK;
        expected += kept[i];
        CHECK(kept[i] || status == RL_BUSY || fault_hit());
        (void)rl_beside_fold(scene.beside, &never);
    }
    fault_over();
    fold(&scene);
    CHECK(sql_int(scene.path, STORED) >= 1 + expected);
    for (int i = 0; i < FAULTS; i++) {
        char sql[200];

        snprintf(sql, sizeof sql, STORED " WHERE run_id = 'f%d'", i);
        CHECK(!kept[i] || sql_int(scene.path, sql) == 1);
    }
    close_scene(&scene);
}

static void test_faults_beside_a_locked_file(void)
{
    const struct fault_plan plans[] = {
        {"the core's memory", FAULT_MEMORY, ENOMEM, 10, 0, false},
        {"SQLite's memory", FAULT_SQLITE_MEMORY, ENOMEM, 200, 20, false},
        {"EIO", FAULT_FILE, EIO, 30, 0, false},
        {"ENOSPC", FAULT_WRITE, ENOSPC, 8, 0, false},
    };
    char name[16];

    fault_install();
    the_migrations();
    for (int i = 0; i < FAULTS; i++) {
        snprintf(name, sizeof name, "f%d", i);
        prepared[i] = new_run("w", name, "completed");
    }
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        fault_everywhere(&plans[i], beside_a_locked_file);
    }
    free_batch(prepared, FAULTS);
}

static const struct check_test tests[] = {
    CHECK_LOOP(test_faults_beside_a_locked_file), /* installs before SQLite is used */
    CHECK_TEST(test_a_file_that_is_free_needs_none_beside_it),
    CHECK_TEST(test_runs_go_beside_a_locked_file_in_order),
    CHECK_TEST(test_drain_ends_at_its_time_or_when_all_is_folded_in),
    CHECK_TEST(test_what_another_process_left_is_folded_in_first),
    CHECK_TEST(test_a_file_that_is_locked_at_first_begins_an_episode),
    CHECK_TEST(test_one_process_folds_in_at_a_time),
    CHECK_TEST(test_regression_a_lock_beside_a_locked_file),
    CHECK_TEST(test_threads_log_while_the_lock_comes_and_goes),
    CHECK_TEST(test_an_episode_ends_while_a_thread_logs_on),
};
CHECK_MAIN(tests)
