/* Test of writers on PostgreSQL that meet at the same rows: they never deadlock, a run
 * whose row is there is merged, and what another transaction has rolled back is repeated.
 *
 * NEEDS: postgres
 */
#include "meaning/outbox/pg_outbox.h"

#include "check.h"
#include "outbox_help.h"
#include "server_help.h"

#include <pthread.h>
#include <unistd.h>

#define WRITERS 4
#define NAMES 16
#define ROUNDS 30
#define LOGS (2 * NAMES) /* of a batch: each name twice */

/* A store of its own connections, whose runs get rows of the outbox. */
static rl_store *connect_embedding_store(void)
{
    static rl_pg_hook hook;
    rl_postgres_options options = {.dsn = getenv("TEST_DSN"),
                                   .timeout_ns = UINT64_C(600000000000),
                                   .pool = 1,
                                   .stop = &never,
                                   .hook = &hook};
    rl_store *made = NULL;
    rl_err err = {.code = RL_OK};

    hook = rl_pg_outbox_hook(&the_rule);
    help_need(rl_postgres_new(&options, postgres_migrations(), &made, &err) == RL_OK &&
                  made->ops->prepare(made, &err) == RL_OK,
              err.text);
    return made;
}

typedef struct writer {
    rl_store *store;
    pthread_barrier_t *together;
    unsigned number;
    int failed;
} writer;

/* A log of one of the names: with parts or without, new or an update. */
static rl_run *new_log(int round, int name, unsigned kind)
{
    static const char *const statuses[] = {"completed", "running", "failed", "running"};
    char wpk_id[20], run_id[40];
    rl_run *run;

    snprintf(wpk_id, sizeof wpk_id, "storm%d", name % 3);
    snprintf(run_id, sizeof run_id, "r%d of %d", name, round);
    run = new_run(wpk_id, run_id, statuses[kind % 4]);
    if (kind % 2 == 0) {
        set_text(run, RL_OUTPUTS, "{\"text\": \"a text\"}");
    } else {
        set_parts(run, "{\"00\":\"v\",\"01\":\"w\"}", RL_PARTS_ADD);
    }
    return run;
}

/* The places of a batch in an order of the writer's own. */
static void shuffle(int order[LOGS], uint32_t *state)
{
    for (int i = 0; i < LOGS; i++) {
        order[i] = i;
    }
    for (int i = LOGS - 1; i > 0; i--) {
        int other, kept = order[i];

        *state = *state * 1664525u + 1013904223u; /* of Numerical Recipes */
        other = (int)((*state >> 8) % (uint32_t)(i + 1));
        order[i] = order[other];
        order[other] = kept;
    }
}

static void *write_storm(void *ctx)
{
    writer *self = ctx;
    uint32_t state = 7u * (self->number + 1);
    int order[LOGS];
    rl_err err = {.code = RL_OK};

    for (int round = 0; round < ROUNDS; round++) {
        rl_run *runs[LOGS];
        rl_batch batch = {runs, LOGS, RL_SERVER, RL_WAIT};

        shuffle(order, &state);
        for (int i = 0; i < LOGS; i++) {
            runs[i] = new_log(round, order[i] % NAMES,
                              (unsigned)order[i] / NAMES + self->number);
        }
        pthread_barrier_wait(self->together);
        self->failed += self->store->ops->write(self->store, &batch, &err) != RL_OK;
        free_batch(runs, LOGS);
    }
    return NULL;
}

/* Waits until only the watcher is connected: a session that ends tells what it counted. */
static void until_alone(void)
{
    while (strcmp(server_text("SELECT count(*) FROM pg_stat_activity WHERE datname = "
                              "current_database() AND pid <> pg_backend_pid() "
                              "AND backend_type = 'client backend'"),
                  "0") != 0) {
        usleep(1000);
    }
}

static void test_writers_of_the_same_names_never_deadlock(void)
{
    pthread_barrier_t together;
    pthread_t threads[WRITERS];
    writer writers[WRITERS];

    connect_watcher();
    /* a deadlock would be found at once */
    server_text("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = "
                "''5ms''', current_database()); END $$");
    pthread_barrier_init(&together, NULL, WRITERS);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (writer){connect_embedding_store(), &together, i, 0};
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        help_need(pthread_create(&threads[i], NULL, write_storm, &writers[i]) == 0,
                  "a thread");
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        CHECK_INT(writers[i].failed, 0);
        writers[i].store->ops->close(writers[i].store);
    }
    pthread_barrier_destroy(&together);
    until_alone();
    CHECK_STR(server_text("SELECT deadlocks FROM pg_stat_database "
                          "WHERE datname = current_database()"),
              "0");
    CHECK_STR(server_text("SELECT count(*) = 480 AND count(DISTINCT (wpk_id, run_id)) = "
                          "480 AND bool_and(status <> 'running') FROM workflow_runs "
                          "WHERE wpk_id LIKE 'storm%'"),
              "t");
    CHECK_STR(server_text("SELECT count(*) FROM run_parts AS part JOIN workflow_runs AS "
                          "run USING (wpk_id, id) WHERE wpk_id LIKE 'storm%'"),
              "960");
    CHECK_STR(server_text("SELECT count(*) FROM run_embeddings WHERE wpk_id LIKE "
                          "'storm%' AND state = 'pending'"),
              "480");
}

/* Has the server do something at the first of the rows that come, and at no other. */
static void once(const char *when, const char *what)
{
    char sql[600];

    connect_watcher();
    snprintf(sql, sizeof sql,
             "DROP SEQUENCE IF EXISTS came; CREATE SEQUENCE came; "
             "CREATE OR REPLACE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ "
             "BEGIN IF nextval('came') = 1 THEN %s; END IF; RETURN NEW; END $$; "
             "CREATE OR REPLACE TRIGGER once BEFORE %s ON workflow_runs "
             "FOR EACH ROW EXECUTE FUNCTION once()",
             what, when);
    CHECK_STR(server_text(sql), "");
}

static void no_longer(void)
{
    CHECK_STR(server_text("DROP FUNCTION once() CASCADE"), "");
}

static rl_run *new_logged(const char *run_id, const char *outputs)
{
    rl_run *run = new_run("w", run_id, "completed");

    set_text(run, RL_OUTPUTS, outputs);
    return run;
}

/* Writes three runs at once: of the first and the last there are rows. */
static rl_status write_three(rl_store *store, rl_err *err)
{
    rl_run *runs[3] = {new_logged("c", "[3]"), new_logged("b", "[3]"),
                       new_logged("a", "[3]")};
    rl_batch batch = {runs, 3, RL_SERVER, RL_WAIT};
    rl_status status = store->ops->write(store, &batch, err);

    free_batch(runs, 3);
    return status;
}

static rl_store *begin(void)
{
    rl_store *store;

    connect_watcher();
    store = connect_store();
    CHECK_STR(server_text("TRUNCATE workflow_runs"), "");
    CHECK_INT(write_run(store, new_logged("a", "[1]"), true, NULL), RL_OK);
    CHECK_INT(write_run(store, new_logged("c", "[1]"), true, NULL), RL_OK);
    return store;
}

#define ALL_OUTPUTS \
    "SELECT string_agg(run_id || outputs::text, ' ' ORDER BY run_id) FROM workflow_runs"

static void check_merged(rl_store *store)
{
    CHECK_STR(server_text(ALL_OUTPUTS), "a[3] b[3] c[3]");
    store->ops->close(store);
}

static void test_new_runs_and_updates_of_one_batch(void)
{
    rl_store *store = begin();
    rl_err err = {.code = RL_OK};

    CHECK_INT(write_three(store, &err), RL_OK);
    CHECK_INT(write_three(store, &err), RL_OK);
    check_merged(store);
}

/* A run that was logged as running is merged at once: one statement for each log. */
static void test_a_run_that_was_running_takes_one_statement(void)
{
    rl_store *store = begin();
    rl_run *runs[2] = {NULL, NULL};
    rl_batch batch = {runs, 2, RL_SERVER, RL_WAIT};
    rl_err err = {.code = RL_OK};

    once("INSERT", "NULL");
    runs[0] = new_run("w", "x", "running");
    runs[1] = new_run("w", "y", "running");
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    CHECK_STR(server_text("SELECT last_value FROM came"), "2");
    free_batch(runs, 2);
    runs[0] = new_run("w", "y", "completed");
    runs[1] = new_run("w", "x", "completed");
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    CHECK_STR(server_text("SELECT last_value FROM came"), "4");
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK); /* nothing known of them */
    CHECK_STR(server_text("SELECT last_value FROM came"), "8");
    free_batch(runs, 2);
    no_longer();
    CHECK_STR(server_text("SELECT count(*) FROM workflow_runs WHERE status = 'completed' "
                          "AND run_id IN ('x', 'y')"),
              "2");
    store->ops->close(store);
}

/* Another transaction's conflicts say nothing about the server: the store goes on. */
static void test_a_conflict_is_repeated(void)
{
    static const char *const codes[] = {"40001", "40P01"};
    static const char *const rows[] = {"INSERT", "UPDATE"};

    for (int i = 0; i < 4; i++) {
        rl_store *store = begin();
        rl_err err = {.code = RL_OK};
        char what[80];

        snprintf(what, sizeof what, "RAISE EXCEPTION 'meant' USING ERRCODE = '%s'",
                 codes[i % 2]);
        once(rows[i / 2], what);
        CHECK_STR(write_three(store, &err) == RL_OK ? "" : err.text, "");
        no_longer();
        check_merged(store);
    }
}

/* The connection is cut after the inserts, before the rows that were there are merged. */
static void test_a_session_that_ends_between_insert_and_merge(void)
{
    rl_store *store = begin();
    rl_err err = {.code = RL_OK};

    once("UPDATE", "PERFORM pg_terminate_backend(pg_backend_pid())");
    CHECK_STR(write_three(store, &err) == RL_OK ? "" : err.text, "");
    no_longer();
    check_merged(store);
}

/* The inserts are there by then. Nobody was told so, and the batch comes again. */
static void test_a_merge_that_fails_for_now(void)
{
    static const char *const codes[] = {"57014", "25006", "53100"};

    for (int i = 0; i < 3; i++) {
        rl_store *store = begin();
        rl_err err = {.code = RL_OK};
        char what[80];

        snprintf(what, sizeof what, "RAISE EXCEPTION 'meant' USING ERRCODE = '%s'",
                 codes[i]);
        once("UPDATE", what);
        if (write_three(store, &err) != RL_OK) { /* read-only: it tried once more */
            CHECK(err.retryable);
            CHECK_STR(err.sqlstate, codes[i]);
            CHECK_STR(server_text(ALL_OUTPUTS), "a[1] b[3] c[1]");
            CHECK_STR(write_three(store, &err) == RL_OK ? "" : err.text, "");
        }
        no_longer();
        check_merged(store);
    }
}

/* The run at fault is refused, whether its row is there or not, and no other. */
static void test_a_merge_that_is_refused(void)
{
    rl_store *store = begin();
    rl_err err = {.code = RL_OK};

    once("UPDATE", "RAISE EXCEPTION 'meant' USING ERRCODE = '23514'");
    CHECK_INT(write_three(store, &err), RL_STORE);
    CHECK(err.rejected && !err.retryable);
    CHECK_STR(write_three(store, &err) == RL_OK ? "" : err.text, "");
    no_longer();
    check_merged(store);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_writers_of_the_same_names_never_deadlock),
    CHECK_TEST(test_new_runs_and_updates_of_one_batch),
    CHECK_TEST(test_a_run_that_was_running_takes_one_statement),
    CHECK_TEST(test_a_conflict_is_repeated),
    CHECK_TEST(test_a_session_that_ends_between_insert_and_merge),
    CHECK_TEST(test_a_merge_that_fails_for_now),
    CHECK_TEST(test_a_merge_that_is_refused),
};

CHECK_MAIN(tests)
