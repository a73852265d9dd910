/* Test of core/fork.h, and of a recorder that is in use when the process forks: parent
 * and child both continue, and no run is lost.
 *
 * LINK: -Wl,--wrap=statfs
 */
#include "core/fork.h"
#include "record/recorder/recorder.h"

#include "check.h"
#include "store_help.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#define FORKS 50
#define THREADS 4
#define COUNT "SELECT count(*) FROM workflow_runs"

/* The file system's type that statfs returns, if not 0. */
static long network_type;

int __real_statfs(const char *path, struct statfs *info);
int __wrap_statfs(const char *path, struct statfs *info);

int __wrap_statfs(const char *path, struct statfs *info)
{
    int rc = __real_statfs(path, info);

    if (network_type != 0) {
        info->f_type = network_type;
    }
    return rc;
}

/* The calls of the members, a letter each. */
static char calls[40];

static void record(char letter)
{
    size_t len = strlen(calls);

    if (len + 1 < sizeof calls) {
        calls[len] = letter;
        calls[len + 1] = '\0';
    }
}

static void prepare_member(void *ctx)
{
    record(*(const char *)ctx);
}

static void parent_member(void *ctx)
{
    record((char)(*(const char *)ctx - 'a' + 'A'));
}

static void child_member(void *ctx)
{
    record('!');
    record((char)(*(const char *)ctx - 'a' + 'A'));
}

static int exit_of(pid_t pid)
{
    int status = -1;

    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void at_last(void *ctx)
{
    record(*(const char *)ctx == 'b' ? '-' : '?');
}

static void fork_and_check(const char *in_parent, const char *in_child)
{
    unsigned generation = rl_fork_generation();
    pid_t pid;

    calls[0] = '\0';
    fflush(stdout);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        _exit(strcmp(calls, in_child) != 0 || rl_fork_generation() != generation + 1);
    }
    CHECK_STR(calls, in_parent);
    CHECK_INT(rl_fork_generation(), generation);
    CHECK(!rl_fork_pending());
    CHECK_INT(exit_of(pid), 0);
}

/* The member that joined last is called first before the fork, and last after it. */
static void test_order_of_members(void)
{
    static const char names[] = "abc";
    rl_fork_member members[3];

    for (int i = 0; i < 3; i++) {
        members[i] = (rl_fork_member){.prepare = prepare_member,
                                      .parent = parent_member,
                                      .child = child_member,
                                      .ctx = (void *)(names + i)};
        rl_fork_join(&members[i]);
    }
    fork_and_check("cbaABC", "cba!A!B!C");
    calls[0] = '\0';
    rl_fork_leave(&members[1], at_last); /* from the middle */
    CHECK_STR(calls, "-");
    fork_and_check("caAC", "ca!A!C");
    rl_fork_leave(&members[2], NULL); /* from the front */
    fork_and_check("aA", "a!A");
    rl_fork_join(&members[1]);
    fork_and_check("baAB", "ba!A!B");
    rl_fork_leave(&members[0], NULL); /* from the end */
    fork_and_check("bB", "b!B");
    rl_fork_leave(&members[1], NULL);
    fork_and_check("", "");
}

/* Threads that write until `stop` is set. */
struct writers {
    rl_recorder *recorder;
    atomic_bool stop;
    atomic_int written, next, started;
    pthread_t threads[THREADS];
};

static bool write_one(rl_recorder *recorder, const char *run_id, rl_durability durability)
{
    rl_err err = {.code = RL_OK};
    rl_status status;
    rl_run *run;

    run = new_run("w", run_id, "completed");
    status = rl_recorder_write(recorder, run, durability, &err);

    if (status != RL_OK) {
        printf("%s: %s\n", run_id, err.text);
    }
    rl_run_free(run);
    return status == RL_OK;
}

static void *write_until_stopped(void *ctx)
{
    struct writers *writers = ctx;
    char name[40];

    atomic_fetch_add(&writers->started, 1);
    while (!atomic_load(&writers->stop)) {
        int number = atomic_fetch_add(&writers->next, 1);

        snprintf(name, sizeof name, "p%d", number);
        CHECK(write_one(writers->recorder, name, number % 2 ? RL_DISK : RL_JOURNAL));
        atomic_fetch_add(&writers->written, 1);
    }
    return NULL;
}

static void start_writers(struct writers *writers, rl_recorder *recorder)
{
    memset(writers, 0, sizeof *writers);
    writers->recorder = recorder;
    for (int i = 0; i < THREADS; i++) {
        help_need(
            pthread_create(&writers->threads[i], NULL, write_until_stopped, writers) == 0,
            "a thread");
    }
    while (atomic_load(&writers->started) <
           THREADS) { /* TSan can't fork while a thread starts */
        sched_yield();
    }
}

static int stop_writers(struct writers *writers)
{
    atomic_store(&writers->stop, true);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(writers->threads[i], NULL);
    }
    return atomic_load(&writers->written);
}

/* In a child: writes with the inherited recorder, and reads the runs back. */
static void be_child(rl_recorder *recorder, int number)
{
    rl_err err = {.code = RL_OK};
    char name[40];
    rl_query query;
    rl_rows rows;
    bool fine = true;
    size_t cells;

    alarm(60); /* rather than hang */
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "c%d.%d", number, i);
        fine = write_one(recorder, name, i % 2 ? RL_DISK : RL_JOURNAL) && fine;
    }
    rl_query_init(&query, RL_SHAPE_BRIEF);
    rl_shape_columns(query.shape, &cells);
    query.texts[RL_RUN_ID] = name;
    query.limit = 10;
    rl_rows_init(&rows);
    fine = rl_recorder_query(recorder, &query, &rows, &err) == RL_OK &&
           rl_rows_cells(&rows) == cells && fine;
    fine = rl_recorder_flush(recorder, rl_monotonic_ns() + UINT64_C(20000000000), &err) ==
               RL_OK &&
           rl_recorder_queued(recorder) == 0 && fine;
    rl_rows_free(&rows);
    rl_recorder_close(recorder, rl_monotonic_ns() + RL_CLOSE_NS);
    _exit(fine ? 0 : 1);
}

static void fork_under_writers(rl_recorder *recorder, struct writers *writers)
{
    pid_t pids[FORKS];

    for (int i = 0; i < FORKS; i++) {
        int before = atomic_load(&writers->written);

        fflush(stdout);
        pids[i] = fork();
        REQUIRE(pids[i] >= 0);
        if (pids[i] == 0) {
            be_child(recorder, i);
        }
        while (atomic_load(&writers->written) <
               before + THREADS) { /* the writers continue */
            sched_yield();
        }
        if (i % 4 == 3) {
            for (int j = i - 3; j <= i; j++) {
                CHECK_INT(exit_of(pids[j]), 0);
            }
        }
    }
    for (int j = FORKS / 4 * 4; j < FORKS; j++) {
        CHECK_INT(exit_of(pids[j]), 0);
    }
}

static void test_forks_while_threads_write(void)
{
    char path[HELP_PATH];
    struct writers writers;
    rl_recorder *recorder = NULL;
    int written;

    fresh_path(path);
    REQUIRE(new_recorder(path, &recorder, NULL) == RL_OK);
    REQUIRE(write_one(recorder, "first", RL_DISK));
    start_writers(&writers, recorder);
    fork_under_writers(recorder, &writers);
    written = stop_writers(&writers);
    rl_recorder_free(recorder);
    CHECK_INT(sql_int(path, COUNT " WHERE run_id LIKE 'p%'"), written);
    CHECK_INT(sql_int(path, COUNT " WHERE run_id LIKE 'c%'"), FORKS * 3);
    CHECK_INTACT(path);
}

/* Each generation of children continues with the recorder of its parent. */
static void test_children_of_children(void)
{
    char path[HELP_PATH], name[40];
    rl_recorder *recorder = NULL;
    pid_t pid = 0;
    int depth = 0;

    fresh_path(path);
    REQUIRE(new_recorder(path, &recorder, NULL) == RL_OK);
    while (depth < 5 && pid == 0) {
        snprintf(name, sizeof name, "before %d", depth);
        CHECK(write_one(recorder, name, RL_DISK));
        fflush(stdout);
        pid = fork();
        help_need(pid >= 0, "fork");
        depth += pid == 0;
    }
    snprintf(name, sizeof name, "after %d", depth);
    CHECK(write_one(recorder, name, RL_DISK));
    if (pid != 0) {
        CHECK_INT(exit_of(pid), 0);
    }
    rl_recorder_close(recorder, rl_monotonic_ns() + RL_CLOSE_NS);
    if (depth > 0) {
        _exit(atomic_load(&check_failures) != 0);
    }
    rl_recorder_free(recorder);
    CHECK_INT(sql_int(path, COUNT), 5 + 6);
    CHECK_INTACT(path);
}

/* A recorder that is closed before a fork, or after it by one of the two processes. */
static void test_closed_on_one_side(void)
{
    char path[HELP_PATH];
    rl_recorder *recorder = NULL;
    rl_err err = {.code = RL_OK};
    rl_run *run;
    pid_t pid;

    fresh_path(path);
    REQUIRE(new_recorder(path, &recorder, NULL) == RL_OK);
    CHECK(write_one(recorder, "before", RL_DISK));
    fflush(stdout);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        rl_recorder_free(recorder);
        _exit(0);
    }
    CHECK_INT(exit_of(pid), 0);
    CHECK(write_one(recorder, "parent", RL_DISK));
    close_recorder(recorder);
    fflush(stdout);
    pid = fork();
    REQUIRE(pid >= 0);
    run = new_run("w", "late", "completed");
    CHECK_INT(rl_recorder_write(recorder, run, RL_DISK, &err), RL_CLOSED);
    rl_run_free(run);
    if (pid == 0) {
        _exit(atomic_load(&check_failures) != 0);
    }
    CHECK_INT(exit_of(pid), 0);
    rl_recorder_free(recorder);
    CHECK_INT(sql_int(path, COUNT), 2);
}

static void *write_late(void *ctx)
{
    return write_one(ctx, "late", RL_DISK) ? ctx : NULL;
}

/* The number of descriptors of this process that lead to the file. */
static int open_descriptors(const char *path)
{
    char link[40], target[HELP_PATH];
    int count = 0;

    for (int fd = 0; fd < 256; fd++) {
        ssize_t len;

        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        len = readlink(link, target, sizeof target - 1);
        target[len > 0 ? len : 0] = '\0';
        count += strcmp(target, path) == 0;
    }
    return count;
}

/* A close that gave up waiting for a caller leaves the file open. A fork must close that
 * file too, or the child would lose the runs that it commits to it. */
static void test_regression_fork_after_a_close_that_gave_up(void)
{
    char path[HELP_PATH];
    rl_recorder *recorder = NULL;
    sqlite3 *other = NULL;
    pthread_t thread;
    void *written = NULL;
    pid_t pid;

    fresh_path(path);
    REQUIRE(new_recorder(path, &recorder, NULL) == RL_OK);
    CHECK(write_one(recorder, "before", RL_DISK));
    REQUIRE(sqlite3_open(path, &other) == SQLITE_OK);
    CHECK_INT(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    REQUIRE(pthread_create(&thread, NULL, write_late, recorder) == 0);
    while (rl_recorder_queued(recorder) == 0) {
        sched_yield();
    }
    rl_recorder_close(recorder, 0);
    CHECK_INT(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    CHECK_INT(sqlite3_close(other), SQLITE_OK);
    pthread_join(thread, &written);
    CHECK(written != NULL);
    CHECK(open_descriptors(path) > 0);
    fflush(stdout);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        _exit(open_descriptors(path));
    }
    CHECK_INT(exit_of(pid), 0);
    CHECK_INT(sql_int(path, COUNT), 2);
    rl_recorder_free(recorder); /* does nothing: a caller may still use it */
}

/* On a file system where WAL does not work the first use fails, with the file system's
 * name. */
static void test_network_file_systems(void)
{
    const struct {
        long type;
        const char *name;
    } types[] = {{0x6969, "NFS"},
                 {0x517B, "SMB"},
                 {(long)0xFF534D42, "CIFS"},
                 {(long)0xFE534D42, "SMB2"},
                 {0x00C36400, "Ceph"}};
    char path[HELP_PATH];
    rl_recorder *recorder = NULL;
    rl_err err = {.code = RL_OK};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        rl_run *run = new_run("w", "r", "completed");

        fresh_path(path);
        REQUIRE(new_recorder(path, &recorder, NULL) == RL_OK);
        network_type = types[i].type;
        CHECK_INT(rl_recorder_write(recorder, run, RL_DISK, &err), RL_CONFIG);
        CHECK(strstr(err.text, types[i].name) != NULL);
        CHECK(strstr(err.text, path) != NULL);
        CHECK(strstr(err.text, "RUNLOG_SQLITE_PATH") != NULL);
        CHECK(access(path, F_OK) != 0); /* nothing was made there */
        network_type = 0;
        CHECK_INT(rl_recorder_write(recorder, run, RL_DISK, &err), RL_OK);
        rl_run_free(run);
        rl_recorder_free(recorder);
    }
}

static const struct check_test tests[] = {
    CHECK_TEST(test_order_of_members),
    CHECK_TEST(test_forks_while_threads_write),
    CHECK_TEST(test_children_of_children),
    CHECK_TEST(test_closed_on_one_side),
    CHECK_TEST(test_regression_fork_after_a_close_that_gave_up),
    CHECK_TEST(test_network_file_systems),
};

CHECK_MAIN(tests)
