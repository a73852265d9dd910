/* Test of how the SQLite store gets on with its file: making it, other processes that lock
 * it, migrations, and files that are of no use.
 */
#include "core/clock.h"
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

static void test_file_is_the_owners(void)
{
    char path[HELP_PATH];
    mode_t mask = umask(0);
    rl_store *store;

    fresh_path(path);
    store = new_store(path);
    CHECK(access(path, F_OK) != 0); /* nothing before the first use */
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

/* The folder that counts is that of the moment when the store was made. */
static void test_relative_path(void)
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

/* Checks that a file can't be used: the error names it, and says what is wrong. */
static void check_refused(const char *path, const rl_migrations *known, const char *word)
{
    rl_err err = {.code = RL_OK};
    rl_store *store = NULL;

    REQUIRE(rl_sqlite_new(path, known, NULL, NULL, &store, &err) == RL_OK);
    for (int i = 0; i < 2; i++) { /* the second time as the first */
        CHECK_INT(store->ops->prepare(store, &err), RL_STORE);
        CHECK_INT(err.code, RL_STORE);
        CHECK(strstr(err.text, word) != NULL);
        CHECK(!err.retryable);
    }
    store->ops->close(store);
}

static void test_files_of_no_use(void)
{
    static const char garbage[] = "This is no database, but longer than a header of one: "
                                  "a hundred bytes are needed for SQLite to look at it.";
    char path[HELP_PATH], inside[HELP_PATH + 20], *text;
    FILE *file;

    fresh_path(path);
    file = fopen(path, "w");
    REQUIRE(file != NULL && fputs(garbage, file) >= 0 && fclose(file) == 0);
    check_refused(path, the_migrations(), path);
    check_refused(path, the_migrations(), "not a SQLite database");
    text = help_read_file(path);
    CHECK_STR(text, garbage);
    free(text);

    fresh_path(path);
    snprintf(inside, sizeof inside, "%s/missing/runs.db", path);
    check_refused(inside, the_migrations(), inside);
    check_refused(inside, the_migrations(), "No such file or directory");
    CHECK(access(path, F_OK) != 0);

    REQUIRE(mkdir(path, 0700) == 0);
    check_refused(path, the_migrations(), path);
}

/* A process that holds the write lock until it is told to go, or for some time. */
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

static void check_exit(pid_t pid)
{
    int status = -1;

    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
          WEXITSTATUS(status) == 0);
}

static void test_locked_by_another_process(void)
{
    char path[HELP_PATH];
    rl_run *runs[2] = {new_run("w", "1", "completed"), new_run("w", "2", "completed")};
    rl_batch batch = {runs, 2, RL_JOURNAL, false};
    struct holder holder;
    uint64_t start, watch;
    rl_store *store;
    rl_query query;
    rl_rows rows;
    rl_err err;

    fresh_path(path);
    store = open_store(path);
    store->ops->close(store); /* no connection is open while forking */
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
    CHECK_INT(ask(store, &query, &rows), 0); /* a reader does not wait */
    rl_rows_free(&rows);

    release_holder(holder); /* which takes 200 ms to let go */
    batch.may_wait = true;
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    CHECK(rl_monotonic_ns() - start >= UINT64_C(200000000));
    batch.count = 2;
    batch.may_wait = false;
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    check_exit(holder.pid);
    CHECK_INT(sql_int(path, COUNT), 2);
    store->ops->close(store);
    rl_run_free(runs[0]);
    rl_run_free(runs[1]);
}

/* Several processes that start at once, on a file that is not there yet. */
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
            rl_store *store = open_store(path);

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
        check_exit(pids[i]);
    }
    CHECK_INT(sql_int(path, COUNT), PROCESSES * EACH);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM runlog_migrations"),
              the_migrations()->count);
    CHECK_INTACT(path);
}

static void *prepare(void *ctx)
{
    rl_store *store = ctx;

    CHECK_INT(store->ops->prepare(store, NULL), RL_OK);
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

/* The tables as they are after the first migration, with a run in them. */
static void test_migrates_what_is_there(void)
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

static void test_other_migrations_are_refused(void)
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
        check_refused(path, the_migrations(), words[i]);
        check_refused(path, the_migrations(),
                      i < 2 ? the_migrations()->list[i].name : "migration 99");
        CHECK_INT(sql_int(path, COUNT), 1);
    }
}

/* A migration that fails leaves nothing of itself, nor of those before it. */
static void test_broken_migration_is_undone(void)
{
    rl_migration list[2] = {
        the_migrations()->list[0],
        {2, "002_broken.sql", "CREATE TABLE left_over (a); CREATE NONSENSE;", "c"}};
    rl_migrations known = {list, 2};
    char path[HELP_PATH];
    rl_store *store;

    fresh_path(path);
    check_refused(path, &known, "NONSENSE");
    CHECK_INT(sql_int(path, "SELECT count(*) FROM sqlite_master"), 0);
    store = open_store(path); /* what is known now is fine */
    store->ops->close(store);
}

/* A disk that is full, played by a limit on the size of files: what was kept before is
 * kept, what is refused is refused as a whole, and it goes on once there is room. */
static void test_full_disk(void)
{
    enum {
        BATCHES = 40
    };
    char path[HELP_PATH], name[40], payload[8001];
    struct rlimit limit, small;
    rl_run *runs[5];
    rl_batch batch = {runs, 5, RL_JOURNAL, true};
    int kept = 0, refused = 0;
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
        kept += status == RL_OK;
        refused += status != RL_OK;
        setrlimit(RLIMIT_FSIZE, &limit);
        CHECK_INT(sql_int(path, COUNT), 5 * kept);
        for (int j = 0; j < 5; j++) {
            rl_run_free(runs[j]);
        }
    }
    CHECK(kept > 3 && refused > 3);
    store->ops->close(store);
    CHECK_INT(sql_int(path, COUNT), 5 * kept);
    CHECK_INTACT(path);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_file_is_the_owners),
    CHECK_TEST(test_relative_path),
    CHECK_TEST(test_files_of_no_use),
    CHECK_TEST(test_locked_by_another_process),
    CHECK_TEST(test_processes_start_together),
    CHECK_TEST(test_threads_prepare_together),
    CHECK_TEST(test_migrates_what_is_there),
    CHECK_TEST(test_other_migrations_are_refused),
    CHECK_TEST(test_broken_migration_is_undone),
    CHECK_TEST(test_full_disk),
};

CHECK_MAIN(tests)
