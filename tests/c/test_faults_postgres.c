/* Test of a recorder with a server while libpq's functions, the system calls around them,
 * its memory and its journal fail, each once and from then on: every call ends in time with
 * success or a clear error, and every acknowledged run is on the server in the end, as it
 * was logged.
 *
 * PARTS: 8
 * NEEDS: postgres
 * LINK: -Wl,--wrap=PQconnectdbParams -Wl,--wrap=PQsetnonblocking -Wl,--wrap=PQsendQuery
 * LINK: -Wl,--wrap=PQsendQueryParams -Wl,--wrap=PQsendPrepare -Wl,--wrap=PQgetResult
 * LINK: -Wl,--wrap=PQsendQueryPrepared -Wl,--wrap=PQenterPipelineMode -Wl,--wrap=PQflush
 * LINK: -Wl,--wrap=PQpipelineSync -Wl,--wrap=PQexitPipelineMode -Wl,--wrap=PQconsumeInput
 * LINK: -Wl,--wrap=PQconninfoParse -Wl,--wrap=poll -Wl,--wrap=pthread_create
 * LINK: -Wl,--wrap=statfs -Wl,--wrap=open
 */
#include "record/recorder/recorder.h"

#include "check.h"
#include "fault_help.h"
#include "store_help.h"

#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <sys/vfs.h>

/* FAULT_SERVER: what libpq gives when a call fails. */
#define WRAP(kind, failed, result, name, parameters, arguments) \
    result __real_##name parameters;                            \
    result __wrap_##name parameters;                            \
    result __wrap_##name parameters                             \
    {                                                           \
        if (fault_strikes(kind)) {                              \
            return failed;                                      \
        }                                                       \
        return __real_##name arguments;                         \
    }

/* A connection that has failed, as an address where nobody listens gives. */
static PGconn *no_connection(void)
{
    return PQconnectdb("host=/nowhere");
}

WRAP(FAULT_SERVER, no_connection(), PGconn *, PQconnectdbParams,
     (const char *const *keys, const char *const *values, int expand),
     (keys, values, expand))
WRAP(FAULT_SERVER, -1, int, PQsetnonblocking, (PGconn * pg, int on), (pg, on))
WRAP(FAULT_SERVER, 0, int, PQsendQuery, (PGconn * pg, const char *sql), (pg, sql))
WRAP(FAULT_SERVER, 0, int, PQsendQueryParams,
     (PGconn * pg, const char *sql, int count, const Oid *types,
      const char *const *values, const int *lengths, const int *formats, int format),
     (pg, sql, count, types, values, lengths, formats, format))
WRAP(FAULT_SERVER, 0, int, PQsendPrepare,
     (PGconn * pg, const char *name, const char *sql, int count, const Oid *types),
     (pg, name, sql, count, types))
WRAP(FAULT_SERVER, 0, int, PQsendQueryPrepared,
     (PGconn * pg, const char *name, int count, const char *const *values,
      const int *lengths, const int *formats, int format),
     (pg, name, count, values, lengths, formats, format))
WRAP(FAULT_SERVER, 0, int, PQenterPipelineMode, (PGconn * pg), (pg))
WRAP(FAULT_SERVER, 0, int, PQpipelineSync, (PGconn * pg), (pg))
WRAP(FAULT_SERVER, 0, int, PQexitPipelineMode, (PGconn * pg), (pg))
WRAP(FAULT_SERVER, -1, int, PQflush, (PGconn * pg), (pg))
WRAP(FAULT_SERVER, 0, int, PQconsumeInput, (PGconn * pg), (pg))
/* Without a message it lacks memory. */
WRAP(FAULT_SERVER, (*message = NULL, NULL), PQconninfoOption *, PQconninfoParse,
     (const char *dsn, char **message), (dsn, message))
WRAP(FAULT_SYSTEM, -1, int, poll, (struct pollfd * fds, nfds_t count, int millis),
     (fds, count, millis))
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

/* A result that libpq had no memory for comes as an error without a code. */
PGresult *__real_PQgetResult(PGconn *pg);
PGresult *__wrap_PQgetResult(PGconn *pg);

PGresult *__wrap_PQgetResult(PGconn *pg)
{
    PGresult *result = __real_PQgetResult(pg);

    if (result != NULL && fault_strikes(FAULT_SERVER)) {
        PQclear(result);
        result = PQmakeEmptyPGresult(NULL, PGRES_FATAL_ERROR);
    }
    return result;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
    mode_t mode = 0600; /* of whatever is made here */

    return fault_strikes(FAULT_SYSTEM) ? -1 : __real_open(path, flags, mode);
}

#define THREADS 4
#define RUNS (THREADS + 5)

/* A run that is logged, and what became of that. */
struct logged {
    rl_run *run;
    rl_durability durability;
    rl_recorder *recorder;
    rl_status status;
};

struct scene {
    char path[HELP_PATH], wpk_id[24];
    rl_recorder *recorder;
    bool away; /* the server is not there at first */
    struct logged logged[RUNS];
};

static PGconn *watcher; /* of the test's own */
static bool away;       /* the next scene's server is not there at first */

/* The first cell that a statement gives, as a number. $1 is the scene's wpk_id. */
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

#define SERVER_RUN "SELECT count(*) FROM workflow_runs WHERE wpk_id = $1 AND "

static rl_status new_server_recorder(struct scene *scene, rl_err *err)
{
    rl_config config = {.sqlite_path = rl_strdup(scene->path),
                        .postgres_dsn =
                            rl_strdup(scene->away ? "host=/nowhere" : getenv("TEST_DSN")),
                        .max_payload = 1 << 20,
                        .timeout_ns = UINT64_C(2000000000),
                        .pool = 2};
    bool whole = config.sqlite_path != NULL && config.postgres_dsn != NULL;

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

/* A scene with its runs, made while nothing fails. */
static void begin_scene(struct scene *scene)
{
    static const rl_durability durabilities[] = {RL_SERVER, RL_JOURNAL, RL_DISK,
                                                 RL_SERVER, RL_JOURNAL};
    static int count;
    unsigned kinds = atomic_exchange(&fault.kinds, 0);
    char name[24], payload[100];

    memset(scene, 0, sizeof *scene);
    scene->away = away;
    fresh_path(scene->path);
    snprintf(scene->wpk_id, sizeof scene->wpk_id, "w%d", ++count);
    for (int i = 0; i < RUNS; i++) {
        struct logged *one = &scene->logged[i];

        snprintf(name, sizeof name, "r%d", i);
        snprintf(payload, sizeof payload, "{\"text\": \"%s of %s\"}", name,
                 scene->wpk_id);
        one->run = new_run(scene->wpk_id, i % 2 == 0 ? name : "same", "completed");
        if (i % 2 == 1) { /* records that have their name in common */
            make_own(one->run);
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
    log_one(&scene->logged[at]);
}

static void log_together(struct scene *scene)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        scene->logged[i].recorder = scene->recorder;
        help_need(__real_pthread_create(&threads[i], NULL, log_one, &scene->logged[i]) ==
                      0,
                  "a thread");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static bool is_on_server(struct scene *scene, int at)
{
    char sql[200];

    if (server_int(scene->wpk_id, "SELECT count(to_regclass('workflow_runs')) WHERE $1 "
                                  "<> ''") != 1) {
        return false; /* the tables could not be made */
    }
    snprintf(sql, sizeof sql,
             SERVER_RUN "outputs->>'text' = 'r%d of ' || $1 AND run_id %s", at,
             at % 2 == 0 ? "NOT LIKE 'same%'" : "LIKE 'same%'");
    return server_int(scene->wpk_id, sql) == 1;
}

/* What flush says is so. */
static void flush_and_check(struct scene *scene)
{
    bool patient = !atomic_load(&fault.go_on) && !scene->away;
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

/* Only the journal stands in for a server that is away, so queries fail then. */
static void check_answer(struct scene *scene, rl_status status, const rl_err *err)
{
    if (scene->away) {
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
    check_answer(scene, status, &err);
    rl_rows_free(&rows);
    query.texts[RL_WPK_ID] = "nobody's";
    status = rl_recorder_remove(scene->recorder, &query, &removed, &err);
    check_answer(scene, status, &err);
    CHECK_INT(removed, 0);
}

static bool is_in_journal(struct scene *scene, int at)
{
    char sql[120];

    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM journal WHERE outputs LIKE '%%\"r%d of %%'", at);
    return access(scene->path, F_OK) == 0 && sql_int(scene->path, sql) == 1;
}

/* A recorder that could not even give its lease back holds it for 30 s: they pass. */
static void end_lease(struct scene *scene)
{
    if (access(scene->path, F_OK) == 0 &&
        sql_int(scene->path, "SELECT count(*) FROM sqlite_master WHERE name = "
                             "'journal_lease'") == 1) {
        CHECK_SQL(scene->path, "UPDATE journal_lease SET until = 0", "");
    }
}

/* What was acknowledged is on the server or in the journal. Then a recorder without faults
 * forwards the journal, and it is all on the server. */
static void check_all_kept(struct scene *scene)
{
    rl_err err = {.code = RL_OK};

    for (int i = 0; i < RUNS; i++) {
        CHECK(scene->logged[i].status != RL_OK || is_on_server(scene, i) ||
              is_in_journal(scene, i));
    }
    end_lease(scene);
    scene->away = false;
    CHECK_INT(new_server_recorder(scene, &err), RL_OK);
    CHECK_INT(rl_recorder_flush(scene->recorder, in_millis(10000), &err), RL_OK);
    read_and_remove(
        scene); /* it makes the tables, if need be, and forwards what is left */
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
    check_all_kept(&scene);
}

/* The same on a server that is not there, so that all of it goes to the journal. */
static void record_in_journal(void)
{
    away = true;
    record();
    away = false;
}

/* The same on a database without the tables. */
static void record_at_first(void)
{
    PQclear(PQexec(watcher, "DROP SCHEMA public CASCADE; CREATE SCHEMA public"));
    record();
}

static void ignore_notice(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

static void set_up(void)
{
    fault_install();
    the_migrations();
    postgres_migrations();
    help_need(getenv("TEST_DSN") != NULL, "TEST_DSN names no database");
    if (watcher == NULL) {
        struct scene scene;

        watcher = PQconnectdb(getenv("TEST_DSN"));
        help_need(PQstatus(watcher) == CONNECTION_OK, PQerrorMessage(watcher));
        PQsetNoticeProcessor(watcher, ignore_notice, NULL);
        begin_scene(&scene);
        check_all_kept(&scene);
    }
}

static void test_libpq_fails(void)
{
    static const struct fault_plan plan = {"libpq", FAULT_SERVER, EIO, 60, 60, false};

    set_up();
    fault_everywhere(&plan, record);
}

static void test_libpq_fails_at_first(void)
{
    static const struct fault_plan plan = {"libpq", FAULT_SERVER, EIO, 90, 10, false};

    set_up();
    fault_everywhere(&plan, record_at_first);
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

/* The journal's file fails while the server is away: what is acknowledged is in it all the
 * same, and else both reasons are told. */
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

static void test_both_fail(void)
{
    struct scene scene;
    rl_err err = {.code = RL_OK};

    set_up();
    begin_scene(&scene);
    REQUIRE(new_server_recorder(&scene, &err) == RL_OK);
    fault_begin(FAULT_SERVER | FAULT_FILE, EIO, 2, true); /* the DSN can be read */
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
    check_all_kept(&scene);
}

/* Without a worker thread, flush and close forward what waits, also where the server comes
 * back only while they do. */
static void test_no_thread_can_be_had(void)
{
    struct scene scene;
    rl_err err = {.code = RL_OK};

    set_up();
    atomic_store(&no_threads, true);
    for (int i = 0; i < 3; i++) {
        begin_scene(&scene);
        REQUIRE(new_server_recorder(&scene, &err) == RL_OK);
        log_run(&scene, THREADS + 1);
        if (i > 0) { /* the first call is to fail */
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
        check_all_kept(&scene);
    }
    atomic_store(&no_threads, false);
}

static const struct check_test tests[] = {
    CHECK_LOOP(test_libpq_fails),          CHECK_LOOP(test_libpq_fails_at_first),
    CHECK_LOOP(test_system_calls_fail),    CHECK_LOOP(test_memory_fails),
    CHECK_LOOP(test_journal_fails),        CHECK_TEST(test_both_fail),
    CHECK_TEST(test_no_thread_can_be_had),
};

CHECK_MAIN(tests)
