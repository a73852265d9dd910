/* Test of the SQLite store's file: its creation, locks of other processes, migrations,
 * and unusable files.
 */
#include "core/clock.h"
#include "core/fork.h"
#include "store/store.h"

#include "check.h"
#include "stopwatch.h"
#include "store_help.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define COUNT "SELECT count(*) FROM workflow_runs"

static int mode_of(const char *path, const char *suffix)
{
    char name[HELP_PATH + 8];
    struct stat info = {0};

    snprintf(name, sizeof name, "%s%s", path, suffix);
    CHECK(stat(name, &info) == 0);
    return (int)(info.st_mode & 07777);
}

static void test_files_are_private(void)
{
    char path[HELP_PATH];
    mode_t mask = umask(0);
    rl_store *store;

    fresh_path(path);
    store = new_store(path);
    CHECK(access(path, F_OK) != 0); /* only the first use creates it */
    CHECK_INT(store->ops->prepare(store, NULL), RL_OK);
    CHECK_INT(write_run(store, new_run("w", "r", "completed"), true, NULL), RL_OK);
    CHECK_INT(mode_of(path, ""), 0600);
    CHECK_INT(mode_of(path, "-wal"), 0600);
    CHECK_INT(mode_of(path, "-shm"), 0600);
    umask(mask);
    store->ops->close(store);
    CHECK_SQL(path, "PRAGMA journal_mode", "wal");
    CHECK_INT(sql_int(path, COUNT), 1);
}

/* A relative path starts from the current directory when the store is created. */
static void test_relative_path_is_fixed_at_creation(void)
{
    char path[HELP_PATH], here[HELP_PATH];
    rl_store *store;

    fresh_path(path);
    REQUIRE(getcwd(here, sizeof here) != NULL && chdir(help_folder) == 0);
    store = new_store(strrchr(path, '/') + 1);
    REQUIRE(chdir("/") == 0);
    CHECK_INT(store->ops->prepare(store, NULL), RL_OK);
    CHECK_INT(write_run(store, new_run("w", "r", "completed"), true, NULL), RL_OK);
    store->ops->close(store);
    REQUIRE(chdir(here) == 0);
    CHECK_INT(sql_int(path, COUNT), 1);
}

/* Checks that a file can't be used, and that the error contains `word`. */
static void check_rejected(const char *path, const rl_migrations *known, const char *word)
{
    rl_err err = {.code = RL_OK};
    rl_store *store = NULL;

    REQUIRE(rl_sqlite_new(path, known, NULL, NULL, &store, &err) == RL_OK);
    for (int i = 0; i < 2; i++) { /* again with the same result */
        CHECK_INT(store->ops->prepare(store, &err), RL_STORE);
        CHECK_INT(err.code, RL_STORE);
        CHECK(strstr(err.text, word) != NULL);
        CHECK(!err.retryable);
    }
    store->ops->close(store);
}

static void test_unusable_files_are_rejected(void)
{
    static const char garbage[] = "This is no database, but longer than a header of one: "
                                  "a hundred bytes are needed for SQLite to look at it.";
    char path[HELP_PATH], inside[HELP_PATH + 20], *text;
    FILE *file;

    fresh_path(path);
    file = fopen(path, "w");
    REQUIRE(file != NULL && fputs(garbage, file) >= 0 && fclose(file) == 0);
    check_rejected(path, the_migrations(), path);
    check_rejected(path, the_migrations(), "not a SQLite database");
    text = help_read_file(path);
    CHECK_STR(text, garbage);
    free(text);

    fresh_path(path);
    snprintf(inside, sizeof inside, "%s/missing/runs.db", path);
    check_rejected(inside, the_migrations(), inside);
    check_rejected(inside, the_migrations(), "there is no folder");
    CHECK(access(path, F_OK) != 0);

    REQUIRE(mkdir(path, 0700) == 0);
    check_rejected(path, the_migrations(), path);
}

/* A process that holds the write lock until it reads a byte from `go`. */
struct holder {
    pid_t pid;
    int go;
};

static void hold_lock(const char *path, int ready, int go, int millis)
{
    struct timespec pause = {0, millis * 1000000L};
    sqlite3 *db;
    char byte = '1';

    help_need(sqlite3_open(path, &db) == SQLITE_OK, path);
    help_need(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK, "lock");
    help_need(write(ready, &byte, 1) == 1 && read(go, &byte, 1) == 1, "pipe");
    nanosleep(&pause, NULL);
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(db);
    _exit(0);
}

static struct holder start_holder(const char *path, int millis)
{
    struct holder holder;
    int ready[2], go[2];
    char byte;

    help_need(pipe(ready) == 0 && pipe(go) == 0, "pipe");
    fflush(stdout);
    holder.pid = fork();
    help_need(holder.pid >= 0, "fork");
    if (holder.pid == 0) {
        hold_lock(path, ready[1], go[0], millis);
    }
    holder.go = go[1];
    help_need(read(ready[0], &byte, 1) == 1, "the other process");
    close(ready[0]);
    close(ready[1]);
    close(go[0]);
    return holder;
}

static void release_holder(struct holder holder)
{
    help_need(write(holder.go, "1", 1) == 1, "pipe");
    close(holder.go);
}

static void test_writes_wait_for_another_process(void)
{
    char path[HELP_PATH];
    rl_run *runs[2] = {new_run("w", "1", "completed"), new_run("w", "2", "completed")};
    rl_batch batch = {runs, 2, RL_JOURNAL, RL_NO_WAIT};
    struct holder holder;
    uint64_t start, watch;
    rl_store *store;
    rl_query query;
    rl_rows rows;
    rl_err err;

    fresh_path(path);
    store = open_store(path);
    store->ops->close(store); /* no connection is open during the fork */
    holder = start_holder(path, 200);
    store = open_store(path);

    start = rl_monotonic_ns();
    watch = stopwatch_ns();
    CHECK_INT(store->ops->write(store, &batch, &err), RL_BUSY);
    batch.count = 1;
    CHECK_INT(store->ops->write(store, &batch, &err), RL_BUSY);
    CHECK_INT(err.code, RL_BUSY);
    CHECK(stopwatch_ns() - watch < UINT64_C(100000000));
    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.limit = 10;
    CHECK_INT(ask(store, &query, &rows), 0); /* readers do not wait */
    rl_rows_free(&rows);

    release_holder(holder); /* the lock is free 200 ms later */
    batch.wait = RL_WAIT;
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    CHECK(rl_monotonic_ns() - start >= UINT64_C(200000000));
    batch.count = 2;
    batch.wait = RL_NO_WAIT;
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    check_child(holder.pid);
    CHECK_INT(sql_int(path, COUNT), 2);
    store->ops->close(store);
    rl_run_free(runs[0]);
    rl_run_free(runs[1]);
}

/* Several processes that start at the same time without a file. */
static void test_processes_start_together(void)
{
    enum {
        PROCESSES = 6,
        EACH = 20
    };
    char path[HELP_PATH], name[40];
    pid_t pids[PROCESSES];

    fresh_path(path);
    the_migrations();
    fflush(stdout);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        REQUIRE(pids[i] >= 0);
        if (pids[i] == 0) {
            rl_store *store = new_store(path); /* the first write waits for the others */

            for (int j = 0; j < EACH; j++) {
                snprintf(name, sizeof name, "%d.%d", i, j);
                CHECK_INT(write_run(store, new_run("w", name, "completed"), true, NULL),
                          RL_OK);
            }
            store->ops->close(store);
            _exit(atomic_load(&check_failures) != 0);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        check_child(pids[i]);
    }
    CHECK_INT(sql_int(path, COUNT), PROCESSES * EACH);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM runlog_migrations"),
              the_migrations()->count);
    CHECK_INTACT(path);
}

static void *prepare(void *ctx)
{
    rl_store *store = ctx;
    rl_status status = RL_BUSY;

    while (status == RL_BUSY) { /* another thread opens it */
        status = store->ops->prepare(store, NULL);
    }
    CHECK_INT(status, RL_OK);
    return NULL;
}

static void test_threads_prepare_together(void)
{
    char path[HELP_PATH];
    pthread_t threads[8];
    rl_store *store;

    fresh_path(path);
    store = new_store(path);
    for (int i = 0; i < 8; i++) {
        pthread_create(&threads[i], NULL, prepare, store);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_INT(write_run(store, new_run("w", "r", "completed"), true, NULL), RL_OK);
    store->ops->close(store);
}

/* From the first migration's tables, which have a run. */
static void test_old_tables_are_migrated(void)
{
    char path[HELP_PATH];
    rl_migrations first = {the_migrations()->list, 1};
    rl_store *store = NULL;
    rl_query query;
    rl_rows rows;

    fresh_path(path);
    REQUIRE(rl_sqlite_new(path, &first, NULL, NULL, &store, NULL) == RL_OK);
    CHECK_INT(store->ops->prepare(store, NULL), RL_OK);
    store->ops->close(store);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM runlog_migrations"), 1);
    CHECK_SQL(path,
              "INSERT INTO workflow_runs (id, wpk_id, run_id, status, created_at, "
              "updated_at) VALUES ('i', 'w', 'r', 'completed', "
              "'2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z')",
              "");
    for (int i = 0; i < 2; i++) {
        store = open_store(path);
        rl_query_init(&query, RL_SHAPE_WHOLE);
        query.limit = 10;
        CHECK_INT(ask(store, &query, &rows), 1);
        rl_rows_free(&rows);
        store->ops->close(store);
    }
    CHECK_INT(sql_int(path, "SELECT sum(number) FROM runlog_migrations"),
              the_migrations()->count * (the_migrations()->count + 1) / 2);
}

static void test_changed_migrations_are_rejected(void)
{
    static const char *const changes[] = {
        "UPDATE runlog_migrations SET checksum = 'f' || substr(checksum, 2) WHERE number "
        "= 1",
        "UPDATE runlog_migrations SET checksum = '' WHERE number = 2",
        "INSERT INTO runlog_migrations VALUES (99, '099_later.sql', 'x', '')"};
    static const char *const words[] = {"checksum", "checksum", "newer"};
    char path[HELP_PATH];
    rl_store *store;

    for (int i = 0; i < 3; i++) {
        fresh_path(path);
        store = open_store(path);
        CHECK_INT(write_run(store, new_run("w", "r", "completed"), true, NULL), RL_OK);
        store->ops->close(store);
        CHECK_SQL(path, changes[i], "");
        check_rejected(path, the_migrations(), words[i]);
        check_rejected(path, the_migrations(),
                       i < 2 ? the_migrations()->list[i].name : "migration 99");
        CHECK_INT(sql_int(path, COUNT), 1);
    }
}

/* A migration that fails is rolled back, with those before it. */
static void test_failed_migration_is_rolled_back(void)
{
    rl_migration list[2] = {
        the_migrations()->list[0],
        {2, "002_broken.sql", "CREATE TABLE left_over (a); CREATE NONSENSE;", "c"}};
    rl_migrations known = {list, 2};
    char path[HELP_PATH];
    rl_store *store;

    fresh_path(path);
    check_rejected(path, &known, "NONSENSE");
    CHECK_INT(sql_int(path, "SELECT count(*) FROM sqlite_master"), 0);
    store = open_store(path); /* with valid migrations */
    store->ops->close(store);
}

/* A limit on the size of files simulates a full disk. Batches written before stay, failed
 * batches leave nothing, and writes succeed again once there is room. */
static void test_full_disk_fails_whole_batches(void)
{
    enum {
        BATCHES = 40
    };
    char path[HELP_PATH], name[40], payload[8001];
    struct rlimit limit, small;
    rl_run *runs[5];
    rl_batch batch = {runs, 5, RL_JOURNAL, RL_WAIT};
    int written = 0, failed = 0;
    rl_store *store;
    rl_err err;

    fresh_path(path);
    store = open_store(path);
    REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    signal(SIGXFSZ, SIG_IGN);
    memset(payload, 'x', sizeof payload - 1);
    payload[sizeof payload - 1] = '\0';
    for (int i = 0; i < BATCHES; i++) {
        rl_status status;

        small = limit;
        small.rlim_cur = i < BATCHES - 1 ? 500000 : limit.rlim_cur;
        setrlimit(RLIMIT_FSIZE, &small);
        for (int j = 0; j < 5; j++) {
            snprintf(name, sizeof name, "%d.%d", i, j);
            runs[j] = new_run("w", name, "completed");
            set_text(runs[j], RL_OUTPUTS, payload);
        }
        status = store->ops->write(store, &batch, &err);
        CHECK(status == RL_OK ||
              (status == RL_STORE && err.retryable && strstr(err.text, path) != NULL));
        CHECK(status == RL_OK || i < BATCHES - 1);
        written += status == RL_OK;
        failed += status != RL_OK;
        setrlimit(RLIMIT_FSIZE, &limit);
        CHECK_INT(sql_int(path, COUNT), 5 * written);
        for (int j = 0; j < 5; j++) {
            rl_run_free(runs[j]);
        }
    }
    CHECK(written > 3 && failed > 3);
    store->ops->close(store);
    CHECK_INT(sql_int(path, COUNT), 5 * written);
    CHECK_INTACT(path);
}

/* Counts to a number for as long as nobody ends that. */
#define COUNT_LONG                                                                   \
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e9) " \
    "SELECT max(i) FROM n"

static atomic_int long_reads, begun;

/* A long read at its first call, and a short one at the next. */
static rl_status read_long(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status =
        rl_sqlite_conn_stmt(conn, long_reads++ == 0 ? COUNT_LONG : COUNT, &stmt, err);

    (void)ctx;
    begun++;
    return status == RL_OK ? rl_sqlite_conn_step(conn, stmt, err) : status;
}

static void *run_long(void *ctx)
{
    rl_err err = {.code = RL_OK};

    CHECK_INT(rl_sqlite_file_read(ctx, read_long, NULL, &err), RL_OK);
    return NULL;
}

static void prepare_file(void *ctx)
{
    rl_sqlite_file_before_fork(ctx);
}

static void release_file(void *ctx)
{
    rl_sqlite_file_after_fork(ctx);
}

static rl_status read_short(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    (void)ctx;
    return rl_sqlite_conn_run(conn, COUNT, err);
}

/* A long read keeps neither another read nor a fork waiting; the fork has it start
 * again. */
static void test_nobody_waits_for_a_long_read(void)
{
    char path[HELP_PATH];
    rl_store *store;
    rl_sqlite_file *file;
    rl_fork_member member = {
        .prepare = prepare_file, .parent = release_file, .child = release_file};
    pthread_t thread;
    rl_err err;
    pid_t pid;

    fresh_path(path);
    store = open_store(path);
    file = rl_sqlite_file_of(store);
    member.ctx = file;
    rl_fork_join(&member);
    REQUIRE(pthread_create(&thread, NULL, run_long, file) == 0);
    while (atomic_load(&begun) == 0) {
        usleep(1000);
    }
    CHECK_INT(rl_sqlite_file_read(file, read_short, NULL, &err), RL_OK);
    CHECK_INT(atomic_load(&begun), 1);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    check_child(pid);
    pthread_join(thread, NULL);
    CHECK_INT(atomic_load(&begun), 2);
    rl_fork_leave(&member, NULL);
    store->ops->close(store);
}

static rl_status find_it_replaced(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    ++*(int *)ctx;
    return rl_sqlite_moved(conn->path, "", err);
}

static void check_says_replaced(rl_status status, const rl_err *err, const char *path)
{
    CHECK_INT(status, RL_STORE);
    CHECK(err->code == RL_STORE && err->retryable);
    CHECK(strstr(err->text, path) != NULL &&
          strstr(err->text, "deleted or replaced") != NULL);
    CHECK(strstr(err->text, "lock") == NULL);
}

/* What is no lock is tried again, but not for as long, and is not said to be one. */
static void test_only_a_lock_is_waited_for_as_one(void)
{
    const uint64_t start = rl_monotonic_ns();
    char path[HELP_PATH];
    rl_store *store;
    rl_sqlite_file *file;
    int tries = 0;
    rl_err err;

    fresh_path(path);
    store = open_store(path);
    file = rl_sqlite_file_of(store);
    check_says_replaced(
        rl_sqlite_file_write(file, true, RL_WAIT, find_it_replaced, &tries, &err), &err,
        path);
    CHECK(tries > 1);
    tries = 0;
    check_says_replaced(rl_sqlite_file_read(file, find_it_replaced, &tries, &err), &err,
                        path);
    CHECK(tries > 1);
    CHECK(rl_monotonic_ns() - start < RL_SQLITE_WAIT_NS);
    store->ops->close(store);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_files_are_private),
    CHECK_TEST(test_relative_path_is_fixed_at_creation),
    CHECK_TEST(test_unusable_files_are_rejected),
    CHECK_TEST(test_writes_wait_for_another_process),
    CHECK_TEST(test_processes_start_together),
    CHECK_TEST(test_threads_prepare_together),
    CHECK_TEST(test_old_tables_are_migrated),
    CHECK_TEST(test_changed_migrations_are_rejected),
    CHECK_TEST(test_failed_migration_is_rolled_back),
    CHECK_TEST(test_full_disk_fails_whole_batches),
    CHECK_TEST(test_nobody_waits_for_a_long_read),
    CHECK_TEST(test_only_a_lock_is_waited_for_as_one),
};

CHECK_MAIN(tests)
