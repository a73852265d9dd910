/* Test of the outbox on SQLite while allocations and system calls fail, one alone and all
 * from one on. Every call ends with success or a clear error, every row is whole and in
 * one of its states, and all rows get their vectors after the fault.
 *
 * PARTS: 2
 * LINK: -Wl,--wrap=open -Wl,--wrap=fstat -Wl,--wrap=ftruncate -Wl,--wrap=fcntl
 * LINK: -Wl,--wrap=pread -Wl,--wrap=pwrite -Wl,--wrap=mmap
 */
#include "meaning/outbox/sqlite_outbox.h"

#include "check.h"
#include "fault_files.h"
#include "outbox_help.h"

#define RUNS 3

static rl_run *runs[RUNS]; /* made before the faults */

/* One pass over the outbox, as the indexer makes it. */
static void work(rl_outbox *outbox, int64_t now)
{
    static const struct {
        rl_outbox_state from;
        rl_outbox_outcome outcome;
    } steps[] = {{RL_OUTBOX_PENDING, RL_OUTBOX_NEW_VECTOR},
                 {RL_OUTBOX_EMBEDDED, RL_OUTBOX_UPSERTED}};
    rl_outbox_result results[RUNS];
    rl_outbox_counts counts;
    rl_outbox_jobs jobs;
    rl_err err = {.code = RL_OK};
    rl_status status;

    rl_outbox_jobs_init(&jobs);
    for (size_t step = 0; step < sizeof steps / sizeof *steps; step++) {
        status = claim_at(outbox, steps[step].from, RUNS, now, &jobs, &err);
        check_error(status, &err);
        CHECK(status == RL_OK || rl_outbox_job_count(&jobs) == 0);
        for (size_t i = 0; i < rl_outbox_job_count(&jobs); i++) {
            CHECK(steps[step].from != RL_OUTBOX_EMBEDDED ||
                  rl_outbox_job_at(&jobs, i)->dim == DIM);
            results[i] = result_for(&jobs, i, steps[step].outcome);
        }
        check_error(
            outbox->ops->finish(outbox, results, rl_outbox_job_count(&jobs), &err), &err);
    }
    check_error(outbox->ops->count(outbox, true, &counts, &err), &err);
    rl_outbox_jobs_free(&jobs);
}

static void check_rows(const char *path, int64_t acknowledged)
{
    CHECK(sql_int(path, "SELECT count(*) FROM (SELECT id FROM run_embeddings UNION "
                        "SELECT id FROM run_embeddings_new)") >= acknowledged);
    CHECK_SQL(path,
              "SELECT count(*) FROM run_embeddings WHERE state NOT IN "
              "('pending', 'embedded', 'done')",
              "0");
    CHECK_SQL(path,
              "SELECT count(*) FROM run_embeddings WHERE (state = 'pending') <> "
              "(vector IS NULL) OR (vector IS NOT NULL AND length(vector) <> 16)",
              "0");
    CHECK_SQL(path,
              "SELECT count(*) FROM workflow_runs WHERE id NOT IN "
              "(SELECT id FROM run_embeddings UNION SELECT id FROM run_embeddings_new)",
              "0");
}

static void embed_some(void)
{
    const rl_batch batch = {runs, RUNS, RL_JOURNAL, RL_WAIT};
    unsigned kinds = atomic_exchange(&fault.kinds, 0);
    rl_outbox *outbox = NULL;
    rl_store *store;
    char path[HELP_PATH];
    rl_err err = {.code = RL_OK};
    rl_status status;
    int64_t now;

    fresh_path(path);
    store = open_embedding_store(path, &outbox);
    atomic_store(&fault.kinds, kinds);
    status = store->ops->write(store, &batch, &err);
    check_error(status, &err);
    now = rl_time_now() + 1000000;
    work(outbox, now);
    fault_over();
    check_rows(path, status == RL_OK ? RUNS : 0);
    CHECK_INT(store->ops->write(store, &batch, &err),
              RL_OK); /* again: writes are idempotent */
    work(outbox, now + 100);
    work(outbox, now + 200);
    CHECK_SQL(path, "SELECT count(*) FROM run_embeddings WHERE state = 'done'", "3");
    outbox->ops->free(outbox);
    store->ops->close(store);
    CHECK_INTACT(path);
    remove(path);
}

static void test_rows_survive_faults(void)
{
    static const struct fault_plan plans[] = {
        {"the core's memory", FAULT_MEMORY, ENOMEM, 5, 0, false},
        {"SQLite's memory", FAULT_SQLITE_MEMORY, ENOMEM, 200, 200, false},
        {"EIO", FAULT_FILE, EIO, 10, 0, false},
        {"ENOSPC", FAULT_WRITE, ENOSPC, 5, 0, false},
        {"short writes", FAULT_SHORT, EIO, 5, 0, false},
        {"locks", FAULT_LOCK, EAGAIN, 10, 0, true},
    };

    fault_install();
    the_migrations();
    for (int i = 0; i < RUNS; i++) {
        const char *names[] = {"r0", "r1", "r2"};

        runs[i] = new_text(names[i], "{\"text\": \"a text\"}");
    }
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        fault_everywhere(&plans[i], embed_some);
    }
    for (int i = 0; i < RUNS; i++) {
        rl_run_free(runs[i]);
    }
}

static const struct check_test tests[] = {CHECK_LOOP(test_rows_survive_faults)};

CHECK_MAIN(tests)
