/* Test of a recorder with a server while libpq's functions, the system calls around them,
 * its memory and its journal fail, each once and then for good. Every call ends in time
 * with success or a clear error, and in the end the server has every acknowledged run as
 * it was logged.
 *
 * PARTS: 8
 * NEEDS: postgres
 * LINK: -Wl,--wrap=PQconnectdbParams -Wl,--wrap=PQsetnonblocking -Wl,--wrap=PQsendQuery
 * LINK: -Wl,--wrap=PQsendQueryParams -Wl,--wrap=PQsendPrepare -Wl,--wrap=PQgetResult
 * LINK: -Wl,--wrap=PQsendQueryPrepared -Wl,--wrap=PQenterPipelineMode -Wl,--wrap=PQflush
 * LINK: -Wl,--wrap=PQpipelineSync -Wl,--wrap=PQexitPipelineMode -Wl,--wrap=PQconsumeInput
 * LINK: -Wl,--wrap=PQconninfoParse -Wl,--wrap=poll -Wl,--wrap=pthread_create
 * LINK: -Wl,--wrap=statfs -Wl,--wrap=PQconndefaults
 * LINK: -Wl,--wrap=open -Wl,--wrap=fstat -Wl,--wrap=ftruncate -Wl,--wrap=fcntl
 * LINK: -Wl,--wrap=pread -Wl,--wrap=pwrite -Wl,--wrap=mmap
 */
#include "record/recorder/recorder.h"

#include "check.h"
#include "fault_files.h"
#include "fault_libpq.h"
#include "server_help.h"
#include "store_help.h"

#include <pthread.h>
#include <sys/vfs.h>

WRAP(FAULT_SYSTEM, -1, int, statfs, (const char *path, struct statfs *info), (path, info))

static atomic_bool no_threads;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *ctx);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *ctx);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *ctx)
{
    if (atomic_load(&no_threads) || fault_strikes(FAULT_SYSTEM)) {
        return EAGAIN;
    }
    return __real_pthread_create(thread, attributes, run, ctx);
}

#define THREADS 4
#define RUNS (THREADS + 5)

/* A run, and the result of logging it. */
struct logged {
    rl_run *run;
    rl_durability durability;
    rl_recorder *recorder;
    int64_t calls;
    rl_status status;
};

struct scene {
    char path[HELP_PATH], wpk_id[24];
    rl_recorder *recorder;
    struct logged logged[RUNS];
};

/* The first cell of a statement's result, as a number. $1 is the wpk_id. */
static long server_int(const char *wpk_id, const char *sql)
{
    const char *const values[] = {wpk_id};
    PGresult *result = PQexecParams(watcher, sql, 1, NULL, values, NULL, NULL, 0);
    long number = -1;

    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1) {
        number = strtol(PQgetvalue(result, 0, 0), NULL, 10);
    } else {
        printf("from %s: %s\n", sql, PQresultErrorMessage(result));
    }
    PQclear(result);
    return number;
}

#define COUNT_PARTS \
    "(SELECT count(*) FROM run_parts WHERE wpk_id = $1 AND id = workflow_runs.id)"
#define SERVER_RUN "SELECT count(*) FROM workflow_runs WHERE wpk_id = $1 AND "

/* The recorder reads over connections of their own, as at a replica. The server is its own
 * one, which a recorder takes for a replica that is never behind. */
static bool reads_apart;

static rl_status new_server_recorder(struct scene *scene, rl_err *err)
{
    rl_config config = {.sqlite_path = rl_strdup(scene->path),
                        .postgres_dsn = rl_strdup(getenv("TEST_DSN")),
                        .read_dsn = reads_apart ? rl_strdup(getenv("TEST_DSN")) : NULL,
                        .max_payload = 1 << 20,
                        .timeout_ns = UINT64_C(2000000000),
                        .pool = 2};
    bool whole = config.sqlite_path != NULL && config.postgres_dsn != NULL &&
                 (config.read_dsn != NULL || !reads_apart);

    if (!own_migrations(&config.sqlite, the_migrations()) ||
        !own_migrations(&config.postgres, postgres_migrations()) || !whole ||
        rl_redact_add(&config.redact, RL_REDACT_DEFAULT, err) != RL_OK) {
        rl_config_free(&config);
        return rl_err_nomem(err);
    }
    return rl_recorder_new(&config, NULL, &scene->recorder, err);
}

static uint64_t in_millis(uint64_t millis)
{
    return rl_monotonic_ns() + millis * UINT64_C(1000000);
}

/* Creates a scene with its runs; nothing fails meanwhile. */
static void begin_scene(struct scene *scene)
{
    static const rl_durability durabilities[] = {RL_SERVER, RL_JOURNAL, RL_DISK,
                                                 RL_SERVER, RL_JOURNAL};
    static int count;
    unsigned kinds = atomic_exchange(&fault.kinds, 0);
    char name[24], payload[100];

    memset(scene, 0, sizeof *scene);
    fresh_path(scene->path);
    snprintf(scene->wpk_id, sizeof scene->wpk_id, "w%d", ++count);
    for (int i = 0; i < RUNS; i++) {
        struct logged *one = &scene->logged[i];

        snprintf(name, sizeof name, "r%d", i);
        snprintf(payload, sizeof payload, "{\"text\": \"%s of %s\"}", name,
                 scene->wpk_id);
        one->run = new_run(scene->wpk_id, i % 2 == 0 ? name : "same", "completed");
        if (i % 2 == 1) { /* runs that have one name */
            make_own(one->run);
            set_parts(one->run, "{\"00\":\"v\",\"n0\":1}",
                      i % 4 == 1 ? RL_PARTS_JOIN : RL_PARTS_ADD);
        }
        set_text(one->run, RL_OUTPUTS, payload);
        one->durability = i < THREADS ? RL_SERVER : durabilities[i - THREADS];
        one->status = RL_CLOSED; /* not logged yet */
    }
    atomic_store(&fault.kinds, kinds);
}

static void *log_one(void *ctx)
{
    struct logged *one = ctx;
    rl_err err = {.code = RL_OK};

    one->status = rl_recorder_write(one->recorder, one->run, one->durability, &err);
    check_error(one->status, &err);
    return NULL;
}

static void log_run(struct scene *scene, int at)
{
    scene->logged[at].recorder = scene->recorder;
    scene->logged[at].calls++;
    log_one(&scene->logged[at]);
}

/* Its row may be there by now. What was acknowledged stays so. */
static void log_again(struct scene *scene, int at)
{
    const rl_status before = scene->logged[at].status;

    log_run(scene, at);
    if (before == RL_OK) {
        scene->logged[at].status = RL_OK;
    }
}

static void log_together(struct scene *scene)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        scene->logged[i].recorder = scene->recorder;
        scene->logged[i].calls++;
        help_need(__real_pthread_create(&threads[i], NULL, log_one, &scene->logged[i]) ==
                      0,
                  "a thread");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* Whether the server has the run, and for one with parts the value, and the node log
 * where it belongs. */
static bool is_on_server(struct scene *scene, int at)
{
    static const char *const parts[] = {
        "run_id NOT LIKE 'same%'",
        "run_id LIKE 'same%' AND node_logs = '[1]' AND 1 = " COUNT_PARTS,
        "run_id NOT LIKE 'same%'",
        "run_id LIKE 'same%' AND node_logs IS NULL AND 2 = " COUNT_PARTS};
    char sql[400];

    if (server_int(scene->wpk_id, "SELECT count(to_regclass('workflow_runs')) WHERE $1 "
                                  "<> ''") != 1) {
        return false; /* the tables do not exist */
    }
    snprintf(sql, sizeof sql, SERVER_RUN "outputs->>'text' = 'r%d of ' || $1 AND %s", at,
             parts[at % 4]);
    return server_int(scene->wpk_id, sql) == 1;
}

/* After a successful flush the server has all acknowledged runs. */
static void flush_and_check(struct scene *scene)
{
    bool patient = !atomic_load(&fault.go_on) && !atomic_load(&away);
    rl_err err = {.code = RL_OK};
    rl_status status =
        rl_recorder_flush(scene->recorder, in_millis(patient ? 5000 : 100), &err);

    if (status != RL_TIMEOUT) {
        check_error(status, &err);
    } else {
        CHECK(!patient);
    }
    for (int i = 0; i < RUNS && status == RL_OK; i++) {
        CHECK(scene->logged[i].status != RL_OK || is_on_server(scene, i));
    }
}

/* Queries fail without the server, as the journal does not answer them. */
static void check_answer(rl_status status, const rl_err *err)
{
    if (atomic_load(&away)) {
        CHECK(status == RL_STORE || status == RL_NOMEM);
        CHECK(err->text[0] != '\0');
    } else {
        check_error(status, err);
    }
}

static void read_and_remove(struct scene *scene)
{
    rl_err err = {.code = RL_OK};
    rl_query query;
    rl_status status;
    rl_rows rows;
    int64_t removed = 0;

    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.texts[RL_WPK_ID] = scene->wpk_id;
    query.limit = 100;
    rl_rows_init(&rows);
    status = rl_recorder_query(scene->recorder, &query, &rows, &err);
    check_answer(status, &err);
    rl_rows_free(&rows);
    query.texts[RL_WPK_ID] = "nobody's";
    status = remove_by(scene->recorder, &query, &removed, &err);
    check_answer(status, &err);
    CHECK_INT(removed, 0);
}

static bool is_in_journal(struct scene *scene, int at)
{
    char sql[120];
    int64_t logs;

    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM journal WHERE outputs LIKE '%%\"r%d of %%'", at);
    logs = access(scene->path, F_OK) == 0 ? sql_int(scene->path, sql) : 0;
    return logs > 0 && logs <= scene->logged[at].calls;
}

/* A recorder that failed to end its lease holds it for 30 s. This ends it. */
static void end_lease(struct scene *scene)
{
    if (access(scene->path, F_OK) == 0 &&
        sql_int(scene->path, "SELECT count(*) FROM sqlite_master WHERE name = "
                             "'journal_lease'") == 1) {
        CHECK_SQL(scene->path, "UPDATE journal_lease SET until = 0", "");
    }
}

/* Each acknowledged run is on the server or in the journal. After a recorder without
 * faults has forwarded the journal, the server has all of them. */
static void check_all_stored(struct scene *scene)
{
    rl_err err = {.code = RL_OK};

    for (int i = 0; i < RUNS; i++) {
        CHECK(scene->logged[i].status != RL_OK || is_on_server(scene, i) ||
              is_in_journal(scene, i));
    }
    end_lease(scene);
    atomic_store(&away, false);
    CHECK_INT(new_server_recorder(scene, &err), RL_OK);
    CHECK_INT(rl_recorder_flush(scene->recorder, in_millis(10000), &err), RL_OK);
    read_and_remove(scene); /* creates the tables, if they do not exist */
    CHECK_INT(rl_recorder_flush(scene->recorder, in_millis(10000), &err), RL_OK);
    rl_recorder_free(scene->recorder);
    for (int i = 0; i < RUNS; i++) {
        CHECK(scene->logged[i].status != RL_OK || is_on_server(scene, i));
        rl_run_free(scene->logged[i].run);
    }
    if (access(scene->path, F_OK) == 0) {
        CHECK_INT(sql_int(scene->path, "SELECT (SELECT count(*) FROM journal) + "
                                       "(SELECT count(*) FROM journal_rejected)"),
                  0);
        CHECK_INTACT(scene->path);
        remove(scene->path);
    }
}

static void use_recorder(struct scene *scene)
{
    log_run(scene, THREADS);
    log_again(scene, THREADS);
    log_together(scene);
    read_and_remove(scene);
    log_run(scene, THREADS + 1);
    log_run(scene, THREADS + 2);
    flush_and_check(scene);
    read_and_remove(scene);
    log_run(scene, THREADS + 3);
    log_run(scene, THREADS + 4);
}

static void record(void)
{
    struct scene scene;
    rl_err err = {.code = RL_OK};
    uint64_t start;
    rl_status status;

    begin_scene(&scene);
    start = rl_monotonic_ns();
    status = new_server_recorder(&scene, &err);
    check_error(status, &err);
    if (status == RL_OK) {
        use_recorder(&scene);
        rl_recorder_close(scene.recorder, in_millis(200));
        fault_over();
        rl_recorder_free(scene.recorder);
    }
    CHECK(rl_monotonic_ns() - start < UINT64_C(15000000000));
    fault_over();
    check_all_stored(&scene);
}

/* The same without a server, so that all runs go to the journal. */
static void record_in_journal(void)
{
    atomic_store(&away, true);
    record();
}

/* The same on a database without the tables. */
static void record_on_empty_database(void)
{
    PQclear(PQexec(watcher, "DROP SCHEMA public CASCADE; CREATE SCHEMA public"));
    record();
}

static void record_and_read_apart(void)
{
    reads_apart = true;
    record();
    reads_apart = false;
}

static void set_up(void)
{
    fault_install();
    the_migrations();
    postgres_migrations();
    if (watcher == NULL) {
        struct scene scene;

        connect_watcher();
        begin_scene(&scene);
        check_all_stored(&scene);
    }
}

static void test_libpq_fails(void)
{
    static const struct fault_plan plan = {"libpq", FAULT_SERVER, EIO, 60, 60, false};

    set_up();
    fault_everywhere(&plan, record);
}

static void test_libpq_fails_during_migrations(void)
{
    static const struct fault_plan plan = {"libpq", FAULT_SERVER, EIO, 90, 10, false};

    set_up();
    fault_everywhere(&plan, record_on_empty_database);
}

static void test_system_calls_fail(void)
{
    static const struct fault_plan plans[] = {
        {"EIO", FAULT_SYSTEM, EIO, 20, 40, false},
        {"EAGAIN", FAULT_SYSTEM, EAGAIN, 20, 5, false},
    };

    set_up();
    fault_everywhere(&plans[0], record);
    fault_everywhere(&plans[1], record);
}

static void test_memory_fails(void)
{
    static const struct fault_plan plan = {"memory", FAULT_MEMORY, ENOMEM, 40, 30, false};

    set_up();
    fault_everywhere(&plan, record);
}

/* Whatever fails of reading at a replica, the primary answers, or the error is clear. */
static void test_a_replica_fails(void)
{
    static const struct fault_plan plans[] = {
        {"libpq", FAULT_SERVER, EIO, 80, 40, false},
        {"EIO", FAULT_SYSTEM, EIO, 20, 20, true},
        {"memory", FAULT_MEMORY, ENOMEM, 40, 20, false},
    };

    set_up();
    for (int i = 0; i < 3; i++) {
        fault_everywhere(&plans[i], record_and_read_apart);
    }
}

/* The journal's file fails during an outage: it has the acknowledged runs. */
static void test_journal_fails(void)
{
    static const struct fault_plan plans[] = {
        {"the journal's memory", FAULT_SQLITE_MEMORY, ENOMEM, 100, 5, false},
        {"the journal", FAULT_FILE, EIO, 100, 5, false},
        {"the journal's writes", FAULT_WRITE, ENOSPC, 10, 5, false},
    };

    set_up();
    for (int i = 0; i < 3; i++) {
        fault_everywhere(&plans[i], record_in_journal);
    }
}

static void test_error_names_server_and_journal(void)
{
    struct scene scene;
    rl_err err = {.code = RL_OK};

    set_up();
    begin_scene(&scene);
    REQUIRE(new_server_recorder(&scene, &err) == RL_OK);
    fault_begin(FAULT_SERVER | FAULT_FILE, EIO, 2, true); /* after the DSN was parsed */
    for (int i = THREADS; i < RUNS; i++) {
        rl_run *run = scene.logged[i].run;

        CHECK_INT(rl_recorder_write(scene.recorder, run, RL_SERVER, &err), RL_STORE);
        CHECK(strstr(err.text, "PostgreSQL: ") != NULL);
        CHECK(strstr(err.text, scene.path) != NULL);
        CHECK(strstr(err.text, "Input/output error") != NULL);
        CHECK(err.retryable);
    }
    rl_recorder_close(scene.recorder, in_millis(200));
    fault_over();
    rl_recorder_free(scene.recorder);
    check_all_stored(&scene);
}

/* Without a worker thread, flush and close forward the journal, also if the server
 * becomes available only meanwhile. */
static void test_flush_and_close_forward_without_threads(void)
{
    struct scene scene;
    rl_err err = {.code = RL_OK};

    set_up();
    atomic_store(&no_threads, true);
    for (int i = 0; i < 3; i++) {
        begin_scene(&scene);
        REQUIRE(new_server_recorder(&scene, &err) == RL_OK);
        log_run(&scene, THREADS + 1);
        if (i > 0) { /* the first call fails */
            fault_begin(FAULT_SERVER, EIO, 1, false);
        }
        if (i < 2) {
            CHECK_INT(rl_recorder_flush(scene.recorder, in_millis(10000), &err), RL_OK);
            CHECK(is_on_server(&scene, THREADS + 1));
        }
        log_run(&scene, THREADS + 2);
        rl_recorder_close(scene.recorder, in_millis(4000));
        fault_over();
        rl_recorder_free(scene.recorder);
        CHECK(i == 2 || is_on_server(&scene, THREADS + 2));
        check_all_stored(&scene);
    }
    atomic_store(&no_threads, false);
}

static const struct check_test tests[] = {
    CHECK_LOOP(test_libpq_fails),
    CHECK_LOOP(test_libpq_fails_during_migrations),
    CHECK_LOOP(test_system_calls_fail),
    CHECK_LOOP(test_memory_fails),
    CHECK_LOOP(test_a_replica_fails),
    CHECK_LOOP(test_journal_fails),
    CHECK_TEST(test_error_names_server_and_journal),
    CHECK_TEST(test_flush_and_close_forward_without_threads),
};

CHECK_MAIN(tests)
