/* Test of the outbox on both databases: which rows are made, who gets them and until when, and
 * what becomes of them when they were logged again, deleted or taken by another meanwhile.
 *
 * NEEDS: postgres
 */
#include "meaning/outbox/pg_outbox.h"
#include "store/postgres/postgres.h"

#include "check.h"
#include "outbox_help.h"

#include <libpq-fe.h>

#define T0 INT64_C(1000000) /* a time; rows are due from 0 on */

static rl_store *store;
static rl_outbox *outbox;
static char path[HELP_PATH]; /* "" on PostgreSQL */
static rl_outbox_jobs jobs;

/* Runs a statement beside the store; gives its first cell, owned by the caller. */
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
                      rl_pg_outbox_new(rl_postgres_pool_of(store), NULL, &outbox, &err) ==
                          RL_OK,
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

static void settle(const rl_outbox_result *results, size_t count)
{
    rl_err err = {.code = RL_OK};

    CHECK_STR(outbox->ops->finish(outbox, results, count, &err) == RL_OK ? "" : err.text,
              "");
}

static void settle_all(rl_outbox_outcome outcome)
{
    rl_outbox_result results[64];
    size_t count = rl_outbox_job_count(&jobs);

    for (size_t i = 0; i < count; i++) {
        results[i] = result_for(&jobs, i, outcome);
    }
    settle(results, count);
}

static int64_t count_of(rl_outbox_state state)
{
    rl_err err = {.code = RL_OK};
    rl_outbox_counts counts;

    CHECK_INT(outbox->ops->count(outbox, true, &counts, &err), RL_OK);
    return counts.rows[state];
}

/* A row that is embedded. */
static void embed_one(const char *run_id)
{
    log_text(run_id, "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    settle_all(RL_OUTBOX_NEW_VECTOR);
}

/* ---- what is queued -------------------------------------------------------------------- */

static void check_queue(void)
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

/* ---- leases ---------------------------------------------------------------------------- */

static void check_leases(void)
{
    char name[16];
    size_t seen = 0;

    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "r%d", i);
        log_text(name, "{\"text\": \"a text\"}");
    }
    /* all at the same moment, as several processes may: nobody gets another's */
    for (int i = 0; i < 4; i++) {
        size_t got = claim(RL_OUTBOX_PENDING, 3, T0);

        CHECK(got <= 3);
        seen += got;
    }
    CHECK_INT(seen, 10);
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 9), 0);
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 10), 10); /* they have ended */
    CHECK_INT(rl_outbox_job_at(&jobs, 0)->attempts, 2);
    CHECK_INT(count_of(RL_OUTBOX_PENDING), 10);
}

static void check_lost_lease(void)
{
    rl_outbox_result old;

    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    old = result_for(&jobs, 0, RL_OUTBOX_REJECTED);
    char id[RL_UUID_TEXT];
    memcpy(id, old.key.id, sizeof id);
    old.key = (rl_outbox_key){id, "w"};
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 10), 1); /* another one */
    settle(&old, 1);
    CHECK_INT(count_of(RL_OUTBOX_PENDING), 1);
    settle_all(RL_OUTBOX_NEW_VECTOR);
    CHECK_INT(count_of(RL_OUTBOX_EMBEDDED), 1);
    settle_all(RL_OUTBOX_NEW_VECTOR); /* twice, as after an answer that was lost */
    CHECK_INT(count_of(RL_OUTBOX_EMBEDDED), 1);
}

static void check_bytes(void)
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

/* ---- what becomes of rows --------------------------------------------------------------- */

static void check_way(void)
{
    embed_one("one");
    CHECK_INT(claim(RL_OUTBOX_EMBEDDED, 64, rl_time_now()), 1);
    const rl_outbox_job *job = rl_outbox_job_at(&jobs, 0);
    CHECK_INT(job->dim, DIM);
    CHECK_MEM(rl_outbox_vector(&jobs, job), sizeof the_vector,
              "\0\0\0\x3f\0\0\x80\xbf\0\0\x80\x3e\0\0\x40\x40");
    CHECK(job->text_hash == UINT64_C(0xFEDCBA9876543210));
    CHECK_STR(rl_outbox_text(&jobs, job->model), "m");
    settle_all(RL_OUTBOX_UPSERTED);
    for (int i = 0; i < RL_OUTBOX_STATES; i++) {
        CHECK_INT(count_of((rl_outbox_state)i), 0);
    }
    CHECK_CELL("SELECT state FROM run_embeddings", "done");
    CHECK_CELL("SELECT used_bytes FROM run_embeddings", "10");
}

static void check_other_outcomes(void)
{
    rl_err err = {.code = RL_OK};
    rl_outbox_counts counts;

    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    rl_outbox_result later = result_for(&jobs, 0, RL_OUTBOX_POSTPONED);
    later.again_at = T0 + 5;
    settle(&later, 1);
    CHECK_CELL("SELECT last_error FROM run_embeddings", "an error");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 4), 0);
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 5), 1);
    CHECK_INT(rl_outbox_job_at(&jobs, 0)->attempts, 2);
    settle_all(RL_OUTBOX_REJECTED);
    CHECK_INT(outbox->ops->count(outbox, false, &counts, &err), RL_OK);
    CHECK_INT(counts.rows[RL_OUTBOX_FAILED], 1);
    CHECK_STR(counts.last_error, "an error");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, INT64_MAX - 10), 0);
    log_text("one", "{\"text\": \"another text\"}"); /* due at once */
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    settle_all(RL_OUTBOX_NO_TEXT);
    CHECK_CELL("SELECT count(*) FROM run_embeddings", "0");
}

static void check_failed_order(void)
{
    rl_err err = {.code = RL_OK};
    rl_outbox_counts counts;

    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    settle_all(RL_OUTBOX_REJECTED);
    log_text("two", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 1), 1);
    rl_outbox_result result = result_for(&jobs, 0, RL_OUTBOX_REJECTED);
    result.error = "the last one";
    settle(&result, 1);
    CHECK_INT(outbox->ops->count(outbox, true, &counts, &err), RL_OK);
    CHECK_INT(counts.rows[RL_OUTBOX_FAILED], 2);
    CHECK_STR(counts.last_error, "the last one");
}

/* ---- logged again, and deleted, meanwhile ------------------------------------------------ */

static void check_logged_again(void)
{
    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    log_text("one", "{\"text\": \"another text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 1),
              0); /* whoever works on it ends first */
}

static void check_old_version(void)
{
    rl_outbox_result old;
    char id[RL_UUID_TEXT];

    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0), 1);
    old = result_for(&jobs, 0, RL_OUTBOX_NEW_VECTOR);
    memcpy(id, old.key.id, sizeof id);
    old.key = (rl_outbox_key){id, "w"};
    log_text("one", "{\"text\": \"another text\"}");
    settle(&old, 1);
    CHECK_INT(count_of(RL_OUTBOX_PENDING), 1);
    CHECK_CELL("SELECT count(*) FROM run_embeddings WHERE vector IS NULL", "1");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, T0 + 1), 1); /* it is free now */
    CHECK(rl_outbox_job_at(&jobs, 0)->version > old.version);
    settle(&old, 1); /* and not by another old one */
    CHECK_INT(count_of(RL_OUTBOX_EMBEDDED), 0);
    settle_all(RL_OUTBOX_NEW_VECTOR);
    CHECK_INT(count_of(RL_OUTBOX_EMBEDDED), 1);
}

static void check_deleted_before(void)
{
    embed_one("one");
    free(ask_sql("DELETE FROM workflow_runs"));
    CHECK_CELL("SELECT count(*) FROM run_embeddings", "0");
}

/* While it is upserted: it is deleted in Milvus behind that. */
static void check_deleted_meanwhile(void)
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
    settle(&old, 1);
    CHECK_INT(claim(RL_OUTBOX_DELETED, 64, now + 2), 1);
    CHECK(rl_outbox_job_at(&jobs, 0)->run_deleted);
    CHECK_STR(rl_outbox_job_at(&jobs, 0)->id, id);
    settle_all(RL_OUTBOX_REMOVED);
    CHECK_CELL("SELECT count(*) FROM run_embeddings", "0");
}

/* Its old vector is gone, so a text of the same hash is embedded all the same. */
static void check_text_that_comes_back(void)
{
    int64_t now = rl_time_now() + 1000000;

    embed_one("one");
    CHECK_INT(claim(RL_OUTBOX_EMBEDDED, 64, now), 1);
    settle_all(RL_OUTBOX_UPSERTED);
    log_text("one", "{\"text\": \"\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, now), 1);
    CHECK_INT(rl_outbox_job_at(&jobs, 0)->dim, DIM);
    settle_all(RL_OUTBOX_NO_TEXT);
    CHECK_INT(count_of(RL_OUTBOX_DELETED), 1);
    log_text("one", "{\"text\": \"a text\"}");
    CHECK_INT(claim(RL_OUTBOX_PENDING, 64, now), 1);
    CHECK_INT(rl_outbox_job_at(&jobs, 0)->dim, 0);
}

/* A vector that is not there, or not as long as it should be, is none. */
static void check_spoilt_vector(void)
{
    int64_t now = rl_time_now() + 1000000;

    embed_one("one");
    free(ask_sql("UPDATE run_embeddings SET vector = NULL"));
    CHECK_INT(claim(RL_OUTBOX_EMBEDDED, 64, now), 1);
    CHECK_INT(rl_outbox_job_at(&jobs, 0)->dim, 0);
    rl_outbox_result later = result_for(&jobs, 0, RL_OUTBOX_POSTPONED);
    settle(&later, 1);
    free(ask_sql(path[0] != '\0' ? "UPDATE run_embeddings SET vector = x'00112233'"
                                 : "UPDATE run_embeddings SET vector = '\\x00112233'"));
    CHECK_INT(claim(RL_OUTBOX_EMBEDDED, 64, now), 1);
    CHECK_INT(rl_outbox_job_at(&jobs, 0)->dim, 0);
}

/* A graph's record takes the row of log_run, which gets another id. */
static void check_renamed(void)
{
    rl_err err = {.code = RL_OK};
    int64_t now = rl_time_now() + 1000000;
    char id[RL_UUID_TEXT];

    embed_one("one");
    CHECK_INT(claim(RL_OUTBOX_EMBEDDED, 64, now), 1);
    settle_all(RL_OUTBOX_UPSERTED);
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

BOTH(queue)
BOTH(leases)
BOTH(lost_lease)
BOTH(bytes)
BOTH(way)
BOTH(other_outcomes)
BOTH(failed_order)
BOTH(logged_again)
BOTH(old_version)
BOTH(deleted_before)
BOTH(deleted_meanwhile)
BOTH(text_that_comes_back)
BOTH(spoilt_vector)
BOTH(renamed)

/* Writers that log runs again in one order while they are settled in the other: neither waits
 * for the other in a circle, which PostgreSQL would end after a second, with an error. */
static void test_no_deadlock(void)
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
    /* the first pass does not wait; the second does, but holds nothing: so it is ended here */
    result = PQexec(pg, "SET LOCAL idle_in_transaction_session_timeout = 500");
    PQclear(result);
    start = rl_monotonic_ns();
    settle_all(RL_OUTBOX_NEW_VECTOR);
    CHECK(rl_monotonic_ns() - start < UINT64_C(9000000000));
    CHECK_INT(count_of(RL_OUTBOX_EMBEDDED), 2);
    PQfinish(pg);
    finish();
}

static const struct check_test tests[] = {
    CHECK_TEST(test_queue),
    CHECK_TEST(test_leases),
    CHECK_TEST(test_lost_lease),
    CHECK_TEST(test_bytes),
    CHECK_TEST(test_way),
    CHECK_TEST(test_other_outcomes),
    CHECK_TEST(test_failed_order),
    CHECK_TEST(test_logged_again),
    CHECK_TEST(test_old_version),
    CHECK_TEST(test_deleted_before),
    CHECK_TEST(test_deleted_meanwhile),
    CHECK_TEST(test_text_that_comes_back),
    CHECK_TEST(test_spoilt_vector),
    CHECK_TEST(test_renamed),
    CHECK_TEST(test_no_deadlock),
};

CHECK_MAIN(tests)
