/* Test of the outbox on both databases: which runs get rows, who claims them and for how
 * long, and the results of rows whose run was logged again or deleted, or that another
 * process has claimed.
 *
 * NEEDS: postgres
 */
#include "meaning/outbox/pg_outbox.h"
#include "store/postgres/postgres.h"

#include "check.h"
#include "outbox_help.h"

#include <libpq-fe.h>

#define T0 INT64_C(1000000) /* a time: new rows can be claimed from 0 on */

static rl_store *store;
static rl_outbox *outbox;
static char path[HELP_PATH]; /* "" on PostgreSQL */
static rl_outbox_jobs jobs;

/* Runs a statement on another connection; returns the first cell, owned by the caller. */
static char *ask_sql(const char *sql)
{
    PGconn *pg;
    PGresult *result;
    char *text;

    if (path[0] != '\0') {
        return sql_text(path, sql);
    }
    pg = PQconnectdb(getenv("TEST_DSN"));
    result = PQexec(pg, sql);
    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
        text = strdup(PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    } else {
        text = strdup(PQresultErrorMessage(result));
    }
    PQclear(result);
    PQfinish(pg);
    return text;
}

#define CHECK_CELL(sql, want)            \
    do {                                 \
        char *check_cell = ask_sql(sql); \
        CHECK_STR(check_cell, want);     \
        free(check_cell);                \
    } while (0)

static void begin(bool postgres)
{
    static rl_pg_hook hook;
    rl_err err = {.code = RL_OK};

    path[0] = '\0';
    if (postgres) {
        const rl_postgres_options options = {.dsn = getenv("TEST_DSN"),
                                             .timeout_ns = UINT64_C(10000000000),
                                             .pool = 4,
                                             .hook = &hook};

        hook = rl_pg_outbox_hook(&the_rule);
        help_need(rl_postgres_new(&options, postgres_migrations(), &store, &err) ==
                          RL_OK &&
                      store->ops->prepare(store, &err) == RL_OK &&
                      rl_pg_outbox_new(store, NULL, &outbox, &err) == RL_OK,
                  err.text);
    } else {
        fresh_path(path);
        store = open_embedding_store(path, &outbox);
    }
    free(ask_sql("DELETE FROM workflow_runs"));
    free(ask_sql("DELETE FROM run_embeddings"));
    rl_outbox_jobs_init(&jobs);
}

static void finish(void)
{
    rl_outbox_jobs_free(&jobs);
    outbox->ops->free(outbox);
    store->ops->close(store);
}

static void log_text(const char *run_id, const char *outputs)
{
    rl_err err = {.code = RL_OK};

    CHECK_INT(write_run(store, new_text(run_id, outputs), true, &err), RL_OK);
}

static size_t claim(rl_outbox_state state, size_t limit, int64_t now)
{
    rl_err err = {.code = RL_OK};

    CHECK_STR(claim_at(outbox, state, limit, now, &jobs, &err) == RL_OK ? "" : err.text,
              "");
    return rl_outbox_job_count(&jobs);
}

static void record(const rl_outbox_result *results, size_t count)
{
    rl_err err = {.code = RL_OK};

    CHECK_STR(outbox->ops->finish(outbox, results, count, &err) == RL_OK ? "" : err.text,
              "");
}

static void record_all(rl_outbox_outcome outcome)
{
    rl_outbox_result results[64];
    size_t count = rl_outbox_job_count(&jobs);

    for (size_t i = 0; i < count; i++) {
        results[i] = result_for(&jobs, i, outcome);
    }
    record(results, count);
}

static int64_t count_of(rl_outbox_state state)
{
    rl_err err = {.code = RL_OK};
    rl_outbox_counts counts;

    CHECK_INT(outbox->ops->count(outbox, true, &counts, &err), RL_OK);
    return counts.rows[state];
}

/* Makes a row in the state `embedded`. */
static void embed_one(const char *run_id)
{
    log_text(run_id, "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    record_all(RL_OUTBOX_NEW_VECTOR);
}

/* ---- rows of new runs -------------------------------------------------------------- */

static void check_runs_with_a_text_are_queued(void)
{
    log_text("none", NULL);
    log_text("blank", "{\"text\": \" \"}");
    CHECK_INT(count_of(RL_OUTBOX_PENDING), 0);
    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(count_of(RL_OUTBOX_PENDING), 1);
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    const rl_outbox_job *job = rl_outbox_job_at(&jobs, 0);
    CHECK_STR(rl_outbox_text(&jobs, job->wpk_id), "w");
    CHECK_STR(rl_outbox_text(&jobs, job->run_id), "one");
    CHECK_STR(rl_outbox_text(&jobs, job->status), "completed");
    CHECK(job->outputs_len >= 18);
    CHECK(strstr(rl_outbox_text(&jobs, job->outputs), "a text") != NULL);
    CHECK_INT(job->attempts, 1);
    CHECK_INT(job->dim, 0);
    CHECK(!job->run_deleted && job->created_at > 0);
}

/* ---- leases ------------------------------------------------------------------------ */

static void check_a_row_is_claimed_once_until_its_lease_ends(void)
{
    char name[16];
    size_t seen = 0;

    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "r%d", i);
        log_text(name, "{\"text\": \"a text\"}");
    }
    /* at one moment, as several processes may do it: each row is claimed once */
    for (int i = 0; i < 4; i++) {
        size_t got = claim(RL_OUTBOX_PENDING, 3, T0);

        CHECK(got <= 3);
        seen += got;
    }
    CHECK_INT(seen, 10);
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 9), 0);
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 10), 10); /* the leases have ended */
    CHECK_INT(rl_outbox_job_at(&jobs, 0)->attempts, 2);
    CHECK_INT(count_of(RL_OUTBOX_PENDING), 10);
}

static void check_a_result_after_the_lease_changes_nothing(void)
{
    rl_outbox_result old;

    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    old = result_for(&jobs, 0, RL_OUTBOX_REJECTED);
    char id[RL_UUID_TEXT];
    memcpy(id, old.key.id, sizeof id);
    old.key = (rl_outbox_key){id, "w"};
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 10), 1); /* by another process */
    record(&old, 1);
    CHECK_INT(count_of(RL_OUTBOX_PENDING), 1);
    record_all(RL_OUTBOX_NEW_VECTOR);
    CHECK_INT(count_of(RL_OUTBOX_EMBEDDED), 1);
    record_all(RL_OUTBOX_NEW_VECTOR); /* again, as after a lost answer of the server */
    CHECK_INT(count_of(RL_OUTBOX_EMBEDDED), 1);
}

static void check_a_claim_is_limited_in_bytes(void)
{
    size_t size = RL_OUTBOX_BYTES / 2 + 1000, seen = 0;
    char *outputs = malloc(size + 1), name[16];

    memset(outputs, 'x', size);
    memcpy(outputs, "{\"text\": \"", 10);
    memcpy(outputs + size - 2, "\"}", 3);
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "r%d", i);
        log_text(name, outputs);
    }
    free(outputs);
    for (int i = 0; i < 3; i++) {
        size_t got = claim(RL_OUTBOX_PENDING, 64, T0);

        CHECK(got <= 2);
        seen += got;
    }
    CHECK_INT(seen, 5);
}

/* ---- results ----------------------------------------------------------------------- */

static void check_a_row_goes_from_pending_to_done(void)
{
    embed_one("one");
    CHECK_INT(claim(RL_OUTBOX_EMBEDDED, 64, rl_time_now()), 1);
    const rl_outbox_job *job = rl_outbox_job_at(&jobs, 0);
    CHECK_INT(job->dim, DIM);
    CHECK_MEM(rl_outbox_vector(&jobs, job), sizeof the_vector,
              "\0\0\0\x3f\0\0\x80\xbf\0\0\x80\x3e\0\0\x40\x40");
    CHECK(job->text_hash == UINT64_C(0xFEDCBA9876543210));
    CHECK_STR(rl_outbox_text(&jobs, job->model), "m");
    record_all(RL_OUTBOX_UPSERTED);
    for (int i = 0; i < RL_OUTBOX_STATES; i++) {
        CHECK_INT(count_of((rl_outbox_state)i), 0);
    }
    CHECK_CELL("SELECT state FROM run_embeddings", "done");
    CHECK_CELL("SELECT used_bytes FROM run_embeddings", "10");
}

static void check_rows_are_postponed_rejected_and_deleted(void)
{
    rl_err err = {.code = RL_OK};
    rl_outbox_counts counts;

    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    rl_outbox_result later = result_for(&jobs, 0, RL_OUTBOX_POSTPONED);
    later.again_at = T0 + 5;
    record(&later, 1);
    CHECK_CELL("SELECT last_error FROM run_embeddings", "an error");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 4), 0);
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 5), 1);
    CHECK_INT(rl_outbox_job_at(&jobs, 0)->attempts, 2);
    record_all(RL_OUTBOX_REJECTED);
    CHECK_INT(outbox->ops->count(outbox, false, &counts, &err), RL_OK);
    CHECK_INT(counts.rows[RL_OUTBOX_FAILED], 1);
    CHECK_STR(counts.last_error, "an error");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, INT64_MAX - 10), 0);
    log_text("one", "{\"text\": \"another text\"}"); /* can be claimed at once */
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    record_all(RL_OUTBOX_NO_TEXT);
    CHECK_CELL("SELECT count(*) FROM run_embeddings", "0");
}

static void check_the_last_error_is_the_latest(void)
{
    rl_err err = {.code = RL_OK};
    rl_outbox_counts counts;

    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    record_all(RL_OUTBOX_REJECTED);
    log_text("two", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 1), 1);
    rl_outbox_result result = result_for(&jobs, 0, RL_OUTBOX_REJECTED);
    result.error = "the last one";
    record(&result, 1);
    CHECK_INT(outbox->ops->count(outbox, true, &counts, &err), RL_OK);
    CHECK_INT(counts.rows[RL_OUTBOX_FAILED], 2);
    CHECK_STR(counts.last_error, "the last one");
}

/* ---- logged again or deleted after the claim --------------------------------------- */

static void check_a_row_logged_again_stays_claimed(void)
{
    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    log_text("one", "{\"text\": \"another text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 1),
              0); /* not before the first claimer has recorded its result */
}

static void check_a_result_of_an_old_version_changes_nothing(void)
{
    rl_outbox_result old;
    char id[RL_UUID_TEXT];

    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    old = result_for(&jobs, 0, RL_OUTBOX_NEW_VECTOR);
    memcpy(id, old.key.id, sizeof id);
    old.key = (rl_outbox_key){id, "w"};
    log_text("one", "{\"text\": \"another text\"}");
    record(&old, 1);
    CHECK_INT(count_of(RL_OUTBOX_PENDING), 1);
    CHECK_CELL("SELECT count(*) FROM run_embeddings WHERE vector IS NULL", "1");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 1), 1); /* the result has released it */
    CHECK(rl_outbox_job_at(&jobs, 0)->version > old.version);
    record(&old, 1); /* a second old result changes nothing */
    CHECK_INT(count_of(RL_OUTBOX_EMBEDDED), 0);
    record_all(RL_OUTBOX_NEW_VECTOR);
    CHECK_INT(count_of(RL_OUTBOX_EMBEDDED), 1);
}

static void check_the_row_of_a_deleted_run_is_deleted(void)
{
    embed_one("one");
    free(ask_sql("DELETE FROM workflow_runs"));
    CHECK_CELL("SELECT count(*) FROM run_embeddings", "0");
}

/* While the row is upserted: the deletion in Milvus follows. */
static void check_a_run_deleted_during_its_upsert_is_removed(void)
{
    rl_outbox_result old;
    char id[RL_UUID_TEXT];
    int64_t now = rl_time_now() + 1000000;

    embed_one("one");
    CHECK_INT(claim(RL_OUTBOX_EMBEDDED, 64, now), 1);
    old = result_for(&jobs, 0, RL_OUTBOX_UPSERTED);
    memcpy(id, old.key.id, sizeof id);
    old.key = (rl_outbox_key){id, "w"};
    free(ask_sql("DELETE FROM workflow_runs"));
    CHECK_INT(count_of(RL_OUTBOX_DELETED), 1);
    CHECK_INT(claim(RL_OUTBOX_DELETED, 64, now + 1), 0);
    record(&old, 1);
    CHECK_INT(claim(RL_OUTBOX_DELETED, 64, now + 2), 1);
    CHECK(rl_outbox_job_at(&jobs, 0)->run_deleted);
    CHECK_STR(rl_outbox_job_at(&jobs, 0)->id, id);
    record_all(RL_OUTBOX_REMOVED);
    CHECK_CELL("SELECT count(*) FROM run_embeddings", "0");
}

/* The old vector was deleted, so the same text must be embedded again. */
static void check_a_text_that_returns_is_embedded_again(void)
{
    int64_t now = rl_time_now() + 1000000;

    embed_one("one");
    CHECK_INT(claim(RL_OUTBOX_EMBEDDED, 64, now), 1);
    record_all(RL_OUTBOX_UPSERTED);
    log_text("one", "{\"text\": \"\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, now), 1);
    CHECK_INT(rl_outbox_job_at(&jobs, 0)->dim, DIM);
    record_all(RL_OUTBOX_NO_TEXT);
    CHECK_INT(count_of(RL_OUTBOX_DELETED), 1);
    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, now), 1);
    CHECK_INT(rl_outbox_job_at(&jobs, 0)->dim, 0);
}

/* A missing vector, or one of a wrong length, has the dimension 0. */
static void check_a_damaged_vector_is_none(void)
{
    int64_t now = rl_time_now() + 1000000;

    embed_one("one");
    free(ask_sql("UPDATE run_embeddings SET vector = NULL"));
    CHECK_INT(claim(RL_OUTBOX_EMBEDDED, 64, now), 1);
    CHECK_INT(rl_outbox_job_at(&jobs, 0)->dim, 0);
    rl_outbox_result later = result_for(&jobs, 0, RL_OUTBOX_POSTPONED);
    record(&later, 1);
    free(ask_sql(path[0] != '\0' ? "UPDATE run_embeddings SET vector = x'00112233'"
                                 : "UPDATE run_embeddings SET vector = '\\x00112233'"));
    CHECK_INT(claim(RL_OUTBOX_EMBEDDED, 64, now), 1);
    CHECK_INT(rl_outbox_job_at(&jobs, 0)->dim, 0);
}

/* When a graph's run replaces the one of log_run, the row gets another id. */
static void check_a_row_follows_the_id_of_its_run(void)
{
    rl_err err = {.code = RL_OK};
    int64_t now = rl_time_now() + 1000000;
    char id[RL_UUID_TEXT];

    embed_one("one");
    CHECK_INT(claim(RL_OUTBOX_EMBEDDED, 64, now), 1);
    record_all(RL_OUTBOX_UPSERTED);
    memcpy(id, rl_outbox_job_at(&jobs, 0)->id, sizeof id);
    CHECK_INT(write_run(store, new_own_run(7, "one", "completed", NULL), true, &err),
              RL_OK);
    CHECK_INT(count_of(RL_OUTBOX_DELETED), 1);
    CHECK_INT(count_of(RL_OUTBOX_PENDING), 1); /* the text is still that of log_run */
    CHECK_INT(claim(RL_OUTBOX_DELETED, 64, now), 1);
    CHECK_STR(rl_outbox_job_at(&jobs, 0)->id, id);
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, now), 1);
    CHECK_STR(rl_outbox_job_at(&jobs, 0)->id, "00000000-0000-0000-0000-000000000007");
    CHECK(strstr(rl_outbox_text(&jobs, rl_outbox_job_at(&jobs, 0)->outputs), "a text") !=
          NULL);
}

static void on_both(void (*check)(void))
{
    for (int postgres = 0; postgres < 2; postgres++) {
        begin(postgres != 0);
        check();
        finish();
    }
}

#define BOTH(name)                \
    static void test_##name(void) \
    {                             \
        on_both(check_##name);    \
    }

BOTH(runs_with_a_text_are_queued)
BOTH(a_row_is_claimed_once_until_its_lease_ends)
BOTH(a_result_after_the_lease_changes_nothing)
BOTH(a_claim_is_limited_in_bytes)
BOTH(a_row_goes_from_pending_to_done)
BOTH(rows_are_postponed_rejected_and_deleted)
BOTH(the_last_error_is_the_latest)
BOTH(a_row_logged_again_stays_claimed)
BOTH(a_result_of_an_old_version_changes_nothing)
BOTH(the_row_of_a_deleted_run_is_deleted)
BOTH(a_run_deleted_during_its_upsert_is_removed)
BOTH(a_text_that_returns_is_embedded_again)
BOTH(a_damaged_vector_is_none)
BOTH(a_row_follows_the_id_of_its_run)

/* A writer logs runs again in one order while results are recorded in the other order.
 * PostgreSQL would end a deadlock after a second, with an error. */
static void test_recording_results_never_deadlocks(void)
{
    PGconn *pg;
    PGresult *result;
    uint64_t start;

    begin(true);
    log_text("one", "{\"text\": \"a text\"}");
    log_text("two", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 2);
    pg = PQconnectdb(getenv("TEST_DSN"));
    result = PQexec(pg, "BEGIN; SELECT 1 FROM run_embeddings WHERE id IN ("
                        "SELECT id FROM workflow_runs WHERE run_id = 'two') FOR UPDATE");
    CHECK_INT(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    /* recording waits for the locked row at last, holding no lock: so this ends the lock
     * */
    result = PQexec(pg, "SET LOCAL idle_in_transaction_session_timeout = 500");
    PQclear(result);
    start = rl_monotonic_ns();
    record_all(RL_OUTBOX_NEW_VECTOR);
    CHECK(rl_monotonic_ns() - start < UINT64_C(9000000000));
    CHECK_INT(count_of(RL_OUTBOX_EMBEDDED), 2);
    PQfinish(pg);
    finish();
}

static const struct check_test tests[] = {
    CHECK_TEST(test_runs_with_a_text_are_queued),
    CHECK_TEST(test_a_row_is_claimed_once_until_its_lease_ends),
    CHECK_TEST(test_a_result_after_the_lease_changes_nothing),
    CHECK_TEST(test_a_claim_is_limited_in_bytes),
    CHECK_TEST(test_a_row_goes_from_pending_to_done),
    CHECK_TEST(test_rows_are_postponed_rejected_and_deleted),
    CHECK_TEST(test_the_last_error_is_the_latest),
    CHECK_TEST(test_a_row_logged_again_stays_claimed),
    CHECK_TEST(test_a_result_of_an_old_version_changes_nothing),
    CHECK_TEST(test_the_row_of_a_deleted_run_is_deleted),
    CHECK_TEST(test_a_run_deleted_during_its_upsert_is_removed),
    CHECK_TEST(test_a_text_that_returns_is_embedded_again),
    CHECK_TEST(test_a_damaged_vector_is_none),
    CHECK_TEST(test_a_row_follows_the_id_of_its_run),
    CHECK_TEST(test_recording_results_never_deadlocks),
};

CHECK_MAIN(tests)
