/* Test of record/commit/journal.h with a real server: the lease, forwarding, rejected
 * runs, drain, and that each change is logged once.
 *
 * NEEDS: postgres
 */
#include "record/commit/journal.h"
#include "store/postgres/postgres.h"

#include "check.h"
#include "core/alloc.h"
#include "record/commit/journal_state.h"
#include "record/owner.h"
#include "store_help.h"

#include <libpq-fe.h>
#include <signal.h>
#include <sys/wait.h>

#define SECOND INT64_C(1000000)
#define WAITING "SELECT count(*) FROM journal"

/* A journal of this process, with its server. */
struct scene {
    char path[HELP_PATH];
    rl_store *server;
    rl_journal *journal;
    rl_metrics metrics;
    rl_notices notices;
};

static const atomic_bool never;
static PGconn *watcher; /* the test's own connection */

static uint64_t in_millis(uint64_t millis)
{
    return rl_monotonic_ns() + millis * UINT64_C(1000000);
}

static void run_on_server(const char *sql)
{
    PGresult *result = PQexec(watcher, sql);

    if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
        help_need(false, PQresultErrorMessage(result));
    }
    PQclear(result);
}

static long server_int(const char *sql)
{
    PGresult *result = PQexec(watcher, sql);
    long number =
        PQntuples(result) == 1 ? strtol(PQgetvalue(result, 0, 0), NULL, 10) : -1;

    PQclear(result);
    return number;
}

static void ignore_notice(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

/* A journal at `path` (NULL: a new one) in front of a database without tables. */
static void open_scene(struct scene *scene, const char *path, const char *dsn)
{
    rl_postgres_options options = {
        .dsn = dsn, .timeout_ns = UINT64_C(5000000000), .pool = 1, .stop = &never};
    rl_err err = {.code = RL_OK};

    memset(scene, 0, sizeof *scene);
    if (path != NULL) {
        snprintf(scene->path, sizeof scene->path, "%s", path);
    } else {
        fresh_path(scene->path);
    }
    rl_notices_init(&scene->notices);
    help_need(
        rl_postgres_new(&options, postgres_migrations(), &scene->server, &err) == RL_OK &&
            rl_journal_new(scene->server, scene->path, the_migrations(), &scene->metrics,
                           &scene->notices, &scene->journal, &err) == RL_OK,
        err.text);
}

static void open_server(void)
{
    help_need(getenv("TEST_DSN") != NULL, "TEST_DSN names no database");
    if (watcher == NULL) {
        watcher = PQconnectdb(getenv("TEST_DSN"));
        help_need(PQstatus(watcher) == CONNECTION_OK, PQerrorMessage(watcher));
        PQsetNoticeProcessor(watcher, ignore_notice, NULL);
    }
    run_on_server("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
}

static void close_scene(struct scene *scene)
{
    rl_journal_free(scene->journal);
    scene->server->ops->close(scene->server);
    rl_notices_destroy(&scene->notices);
    CHECK_INTACT(scene->path);
}

static void append_run(struct scene *scene, const char *run_id)
{
    rl_run *run = new_run("w", run_id, "completed");
    const rl_batch batch = {&run, 1, RL_JOURNAL, RL_WAIT};
    rl_err err = {.code = RL_OK};

    CHECK_INT(rl_journal_append(scene->journal, &batch, &err), RL_OK);
    rl_run_free(run);
}

static rl_status write_to_server(struct scene *scene, const char *run_id, rl_err *err)
{
    rl_run *run = new_run("w", run_id, "completed");
    const rl_batch batch = {&run, 1, RL_SERVER, RL_WAIT};
    rl_status status = rl_journal_write(scene->journal, &batch, err);

    rl_run_free(run);
    return status;
}

static void set_lease(struct scene *scene, const char *owner, int64_t until)
{
    char sql[400];

    snprintf(sql, sizeof sql, "UPDATE journal_lease SET owner = '%s', until = %" PRId64,
             owner, until);
    CHECK_SQL(scene->path, sql, "");
}

static void test_journal_is_forwarded(void)
{
    struct scene scene;
    rl_err err = {.code = RL_OK};
    char name[24];

    open_server();
    open_scene(&scene, NULL, getenv("TEST_DSN"));
    for (int i = 0; i < 250; i++) { /* more than two batches */
        snprintf(name, sizeof name, "r%d", i);
        append_run(&scene, name);
    }
    CHECK(rl_journal_has_work(scene.journal));
    CHECK_INT(sql_int(scene.path, WAITING), 250);
    CHECK(rl_journal_forward(scene.journal, &never) > rl_monotonic_ns());
    CHECK_INT(sql_int(scene.path, WAITING), 0);
    CHECK_INT(rl_journal_drain(scene.journal, rl_monotonic_ns(), true, &err), RL_OK);
    CHECK_INT(server_int("SELECT count(*) FROM workflow_runs"), 250);
    CHECK_INT(rl_metric_get(&scene.metrics.journaled), 250);
    CHECK_INT(rl_metric_get(&scene.metrics.forwarded), 250);
    CHECK_SQL(scene.path, "SELECT owner FROM journal_lease", "(null)");
    close_scene(&scene);
}

/* Not even the seq of the last row, once that is forwarded. */
static void test_seqs_are_not_reused(void)
{
    struct scene scene;
    int64_t last = 0;

    open_server();
    open_scene(&scene, NULL, getenv("TEST_DSN"));
    for (int i = 0; i < 3; i++) {
        append_run(&scene, "a");
        append_run(&scene, "b");
        CHECK(sql_int(scene.path, "SELECT min(seq) FROM journal") > last);
        last = sql_int(scene.path, "SELECT max(seq) FROM journal");
        (void)rl_journal_forward(scene.journal, &never);
        CHECK_INT(sql_int(scene.path, WAITING), 0);
    }
    close_scene(&scene);
}

/* Gives the run parts, and takes it to the journal, or with `direct` to the server. */
static void log_parts(struct scene *scene, const char *status, const char *parts,
                      rl_parts_use use, bool direct)
{
    rl_run *run = new_own_run(1, "r", status, NULL);
    const rl_batch batch = {&run, 1, direct ? RL_SERVER : RL_JOURNAL, RL_WAIT};
    rl_err err = {.code = RL_OK};

    set_parts(run, parts, use);
    CHECK_INT(direct ? rl_journal_write(scene->journal, &batch, &err)
                     : rl_journal_append(scene->journal, &batch, &err),
              RL_OK);
    rl_run_free(run);
}

/* The server would join the parts before it has them all. */
static void test_joining_does_not_overtake_the_journal(void)
{
    struct scene scene;

    open_server();
    open_scene(&scene, NULL, getenv("TEST_DSN"));
    CHECK_INT(write_to_server(&scene, "before", NULL), RL_OK);
    log_parts(&scene, "running", "{\"n0000000000\":0}", RL_PARTS_ADD, false);
    log_parts(&scene, "completed", "{\"n0000000001\":1}", RL_PARTS_JOIN, true);
    CHECK_INT(write_to_server(&scene, "another", NULL), RL_OK); /* needs not wait */
    CHECK_INT(sql_int(scene.path, WAITING), 2);
    CHECK_INT(server_int("SELECT count(*) FROM workflow_runs"), 2);
    (void)rl_journal_forward(scene.journal, &never);
    CHECK_INT(server_int("SELECT count(*) FROM workflow_runs WHERE node_logs = '[0, 1]' "
                         "AND status = 'completed'"),
              1);
    CHECK_INT(server_int("SELECT count(*) FROM run_parts"), 0);
    log_parts(&scene, "completed", "{\"n0000000001\":1}", RL_PARTS_JOIN, true);
    CHECK_INT(sql_int(scene.path, WAITING), 0); /* nothing to follow */
    close_scene(&scene);
}

/* Starts a process that holds the lease until it is killed. */
static pid_t start_holder(const char *path)
{
    char process[RL_OWNER_TEXT], owner[RL_JOURNAL_FILE_OWNER], byte = '1';
    rl_journal_file *file = NULL;
    int ready[2];
    bool mine = false;
    pid_t pid;

    help_need(pipe(ready) == 0, "pipe");
    the_migrations();
    fflush(stdout);
    pid = fork();
    help_need(pid >= 0, "fork");
    if (pid == 0) {
        rl_owner_self(process);
        snprintf(owner, sizeof owner, "%.110s 0", process);
        help_need(
            rl_journal_file_new(path, the_migrations(), NULL, &file, NULL) == RL_OK &&
                rl_journal_file_take_lease(file, "", owner, rl_time_now() + 30 * SECOND,
                                           &mine, NULL) == RL_OK &&
                mine && write(ready[1], &byte, 1) == 1,
            "the lease");
        for (;;) {
            pause();
        }
    }
    help_need(read(ready[0], &byte, 1) == 1, "the other process");
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void test_lease_ends_with_its_process(void)
{
    char path[HELP_PATH];
    struct scene scene;
    rl_err err = {.code = RL_OK};
    pid_t pid;

    open_server();
    PQfinish(watcher); /* nothing is open over the fork */
    watcher = NULL;
    fresh_path(path);
    pid = start_holder(path);
    open_server();
    open_scene(&scene, path, getenv("TEST_DSN"));
    append_run(&scene, "r");

    (void)rl_journal_forward(scene.journal,
                             &never); /* the other process runs: it has the lease */
    CHECK_INT(sql_int(path, WAITING), 1);
    CHECK_INT(rl_journal_drain(scene.journal, in_millis(50), true, &err), RL_TIMEOUT);

    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
    (void)rl_journal_forward(scene.journal,
                             &never); /* it has exited: its lease is taken over */
    CHECK_INT(sql_int(path, WAITING), 0);
    CHECK_INT(server_int("SELECT count(*) FROM workflow_runs"), 1);
    close_scene(&scene);
}

/* A process of another host can't be checked: its lease counts until its end. */
static void test_lease_of_another_host_expires(void)
{
    const struct {
        int64_t from_now;
        bool taken;
    } ends[] = {
        {10 * SECOND, false},
        {-1, true},
        {-1000 * SECOND, true},
        {3600 * SECOND, true}, /* no lease is so long: the clock was set back */
    };
    struct scene scene;

    open_server();
    open_scene(&scene, NULL, getenv("TEST_DSN"));
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        append_run(&scene, "r");
        set_lease(&scene, "elsewhere 1 1 0", rl_time_now() + ends[i].from_now);
        (void)rl_journal_forward(scene.journal, &never);
        CHECK_INT(sql_int(scene.path, WAITING), ends[i].taken ? 0 : 1);
    }
    close_scene(&scene);
}

static void test_finishing_needs_the_lease(void)
{
    struct scene scene;
    rl_journal_file_batch batch = {.count = 0};
    rl_err err = {.code = RL_OK};
    rl_journal_file *file;
    bool mine = false;

    open_server();
    open_scene(&scene, NULL, getenv("TEST_DSN"));
    append_run(&scene, "r");
    file = scene.journal->file;
    CHECK_INT(rl_journal_file_take_lease(file, "", "a", rl_time_now() + 30 * SECOND,
                                         &mine, &err),
              RL_OK);
    CHECK(mine);
    CHECK_INT(rl_journal_file_take_lease(file, "", "b", rl_time_now() + 30 * SECOND,
                                         &mine, &err),
              RL_OK);
    CHECK(!mine); /* "a" has the lease */
    CHECK_INT(rl_journal_file_read(file, 0, RL_JOURNAL_FILE_RUNS, &batch, &err), RL_OK);
    CHECK_INT(batch.count, 1);
    CHECK_INT(rl_journal_file_take_lease(file, "a", "b", rl_time_now() + 30 * SECOND,
                                         &mine, &err),
              RL_OK);
    CHECK(mine);

    CHECK_INT(rl_journal_file_finish(file, &batch, "a", 0, &mine, &err), RL_OK);
    CHECK(!mine);
    CHECK_INT(sql_int(scene.path, WAITING), 1);
    CHECK_SQL(scene.path, "SELECT owner FROM journal_lease", "b");
    CHECK_INT(rl_journal_file_finish(file, &batch, "b", 0, &mine, &err), RL_OK);
    CHECK(mine);
    CHECK_INT(sql_int(scene.path, WAITING), 0);
    rl_journal_file_batch_free(&batch);
    close_scene(&scene);
}

struct draining {
    struct scene *scene;
    rl_status status;
};

static void *drain(void *ctx)
{
    struct draining *draining = ctx;
    rl_err err;

    draining->status =
        rl_journal_drain(draining->scene->journal, in_millis(10000), true, &err);
    return NULL;
}

static void test_drain_waits_for_forwarding(void)
{
    struct draining draining;
    struct scene scene;
    rl_err err = {.code = RL_OK};
    uint64_t start = rl_monotonic_ns();
    pthread_t thread;

    open_server();
    open_scene(&scene, NULL, getenv("TEST_DSN"));
    CHECK_INT(rl_journal_drain(scene.journal, 0, true, &err), RL_OK); /* no file yet */
    append_run(&scene, "r");
    start = rl_monotonic_ns();
    CHECK_INT(rl_journal_drain(scene.journal, in_millis(100), true, &err), RL_TIMEOUT);
    CHECK(rl_monotonic_ns() - start >= UINT64_C(100000000));

    draining = (struct draining){&scene, RL_CLOSED};
    REQUIRE(pthread_create(&thread, NULL, drain, &draining) == 0);
    (void)rl_journal_forward(scene.journal, &never);
    pthread_join(thread, NULL);
    CHECK_INT(draining.status, RL_OK);
    CHECK_INT(server_int("SELECT count(*) FROM workflow_runs"), 1);
    close_scene(&scene);
}

/* A run that the server rejects is stored in journal_rejected with the reason, does not
 * hold up the others, and is not waited for. */
static void test_rejected_runs_are_set_aside(void)
{
    struct scene scene;
    rl_journal_stats stats;
    rl_err err = {.code = RL_OK};
    char name[24];

    open_server();
    open_scene(&scene, NULL, getenv("TEST_DSN"));
    CHECK_INT(write_to_server(&scene, "first", &err), RL_OK);
    run_on_server(
        "ALTER TABLE workflow_runs ADD CONSTRAINT odd CHECK (run_id NOT LIKE 'bad%')");
    for (int i = 0; i < 120; i++) {
        snprintf(name, sizeof name, "%s%d", i == 7 || i == 110 ? "bad" : "good", i);
        append_run(&scene, name);
    }
    (void)rl_journal_forward(scene.journal, &never);
    CHECK_INT(rl_journal_drain(scene.journal, 0, true, &err), RL_OK);
    CHECK_INT(server_int("SELECT count(*) FROM workflow_runs"), 119);
    CHECK_INT(rl_metric_get(&scene.metrics.forwarded), 118);
    CHECK_INT(sql_int(scene.path, "SELECT count(*) FROM journal_rejected WHERE sqlstate "
                                  "= '23514' AND reason LIKE '%odd%' AND run_id LIKE "
                                  "'bad%'"),
              2);

    CHECK_INT(write_to_server(&scene, "bad", &err),
              RL_STORE); /* the caller gets the error */
    CHECK_STR(err.sqlstate, "23514");
    CHECK(!err.retryable);
    CHECK(strstr(err.text, "journal_rejected") != NULL);
    rl_journal_get_stats(scene.journal, &stats);
    CHECK_INT(stats.rejected, 3);
    CHECK_INT(stats.waiting, 0);
    CHECK_INT(stats.oldest, 0);
    CHECK_INT(stats.left, 120); /* two of them rejected; the last was never in it */
    CHECK(!stats.unavailable);
    (void)rl_journal_forward(scene.journal,
                             &never); /* rejected runs are not tried again */
    CHECK_INT(sql_int(scene.path, "SELECT count(*) FROM journal_rejected"), 3);
    close_scene(&scene);
}

/* Makes the server refuse all writes, or accept them again. */
static void set_read_only(bool on)
{
    char sql[200];

    snprintf(sql, sizeof sql,
             "ALTER DATABASE \"%s\" SET default_transaction_read_only = %s",
             PQdb(watcher), on ? "on" : "off");
    run_on_server(sql);
    run_on_server(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = "
        "current_database() AND pid <> pg_backend_pid()");
}

/* Takes all notices; *all gets their number. Returns how many contain the text. */
static int count_notices(struct scene *scene, const char *text, int *all)
{
    rl_notice notice;
    int found = 0;

    *all = 0;
    while (rl_notices_take(&scene->notices, &notice)) {
        found += strstr(notice.text, text) != NULL;
        ++*all;
    }
    return found;
}

static void test_each_change_is_logged_once(void)
{
    struct scene scene;
    rl_journal_stats stats;
    rl_err err = {.code = RL_OK};
    int all;

    open_server();
    open_scene(&scene, NULL, getenv("TEST_DSN"));
    for (int round = 0; round < 2; round++) {
        CHECK_INT(write_to_server(&scene, "up", &err), RL_OK);
        CHECK_INT(count_notices(&scene, "", &all), 0);
        set_read_only(true);
        for (int i = 0; i < 5; i++) {
            CHECK_INT(write_to_server(&scene, "away", &err), RL_OK);
            rl_journal_retry_now(scene.journal);
            (void)rl_journal_forward(scene.journal, &never);
        }
        rl_journal_get_stats(scene.journal, &stats);
        CHECK(stats.unavailable && strstr(stats.error, "read-only") != NULL);
        CHECK_INT(stats.waiting, 5);
        CHECK_INT(stats.left, 5 * round);
        CHECK(stats.oldest > rl_time_now() - INT64_C(600000000) &&
              stats.oldest <= rl_time_now());
        CHECK_INT(count_notices(&scene, "are stored in the journal", &all), 1);
        CHECK_INT(all, 1);

        set_read_only(false);
        for (int i = 0; i < 3; i++) {
            rl_journal_retry_now(scene.journal);
            (void)rl_journal_forward(scene.journal, &never);
        }
        CHECK(!rl_breaker_is_open(&scene.journal->breaker));
        CHECK_INT(sql_int(scene.path, WAITING), 0);
        CHECK_INT(count_notices(&scene, "accepts runs again", &all), 1);
        CHECK_INT(all, 1);
    }
    close_scene(&scene);
}

/* Only forwarding probes an unavailable server; the callers write to the journal at
 * once. */
static void test_callers_do_not_probe(void)
{
    struct scene scene;
    rl_err err = {.code = RL_OK};
    uint64_t probe;

    open_server();
    open_scene(&scene, NULL, "host=/nowhere");
    CHECK_INT(write_to_server(&scene, "first", &err), RL_OK);
    probe = atomic_load(&scene.journal->breaker.retry_at);
    for (int i = 0; i < 50; i++) {
        CHECK_INT(write_to_server(&scene, "more", &err), RL_OK);
    }
    CHECK_INT(atomic_load(&scene.journal->breaker.retry_at), probe);
    CHECK_INT(sql_int(scene.path, WAITING), 51);
    CHECK_INT(rl_journal_forward(scene.journal, &never) != 0, 1);
    close_scene(&scene);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_journal_is_forwarded),
    CHECK_TEST(test_seqs_are_not_reused),
    CHECK_TEST(test_joining_does_not_overtake_the_journal),
    CHECK_TEST(test_lease_ends_with_its_process),
    CHECK_TEST(test_lease_of_another_host_expires),
    CHECK_TEST(test_finishing_needs_the_lease),
    CHECK_TEST(test_drain_waits_for_forwarding),
    CHECK_TEST(test_rejected_runs_are_set_aside),
    CHECK_TEST(test_each_change_is_logged_once),
    CHECK_TEST(test_callers_do_not_probe),
};

CHECK_MAIN(tests)
