/* Test of the journal's file while its memory and its system calls fail, each once and
 * then for good. Acknowledged runs are in it once, complete and in order; a batch is
 * finished as a whole or not at all; no seq is used twice; and the journal works again
 * once the fault is over.
 *
 * PARTS: 8
 * LINK: -Wl,--wrap=open -Wl,--wrap=fstat -Wl,--wrap=ftruncate -Wl,--wrap=fcntl
 * LINK: -Wl,--wrap=pread -Wl,--wrap=pwrite -Wl,--wrap=mmap
 */
#include "store/sqlite/journal_file.h"

#include "check.h"
#include "fault_files.h"
#include "store_help.h"

#define FIRST 4 /* runs in the first batch */
#define SELF "a process"
#define FAR_FUTURE INT64_C(9000000000000000) /* the end of the lease; microseconds */

/* A scenario's journal, and which of its calls succeeded. */
struct used {
    char path[HELP_PATH];
    rl_journal_file *journal;
    bool batch, single, rejected, finished;
};

static rl_run *runs[FIRST + 3]; /* the batch, single, rejected, later */

static void make_runs(void)
{
    static const char *const names[] = {"b0", "b1", "b2", "b3", "single", "no", "later"};
    char payload[6001];

    memset(payload, 'x', sizeof payload - 1);
    payload[sizeof payload - 1] = '\0';
    for (int i = 0; i < FIRST + 3; i++) {
        runs[i] = new_run("w", names[i], "completed");
        runs[i]->is_own = i % 2 == 1;
        if (!runs[i]->is_own) {
            set_parts(runs[i], "{\"00\":\"v\",\"n0\":1}", RL_PARTS_JOIN);
        }
        set_text(runs[i], RL_OUTPUTS, payload);
        runs[i]->started_at = runs[i]->created_at;
    }
}

static bool append(struct used *used, int first, size_t count, rl_durability durability)
{
    const rl_batch batch = {runs + first, count, durability, RL_WAIT};
    rl_err err = {.code = RL_OK};
    rl_status status = rl_journal_file_append(used->journal, &batch, &err);

    check_error(status, &err);
    return status == RL_OK;
}

static bool reject(struct used *used)
{
    rl_err err = {.code = RL_OK}, reason;
    rl_status status;

    rl_err_set(&reason, RL_STORE, "it breaks a rule");
    memcpy(reason.sqlstate, "23514", 6);
    status = rl_journal_file_reject(used->journal, runs[FIRST + 1], &reason, &err);
    check_error(status, &err);
    return status == RL_OK;
}

static bool take_lease(struct used *used)
{
    char holder[RL_JOURNAL_FILE_OWNER];
    rl_err err = {.code = RL_OK};
    int64_t until = -1;
    bool mine = false;
    rl_status status = rl_journal_file_lease_holder(used->journal, holder, &until, &err);

    check_error(status, &err);
    if (status == RL_OK) {
        CHECK_STR(holder, "");
        status = rl_journal_file_take_lease(used->journal, holder, SELF, FAR_FUTURE,
                                            &mine, &err);
        check_error(status, &err);
        CHECK(status != RL_OK || mine);
    }
    return status == RL_OK && mine;
}

/* Reads the journal, and checks that each run is as it was appended. */
static bool read_all(struct used *used, rl_journal_file_batch *batch)
{
    rl_err err = {.code = RL_OK};
    rl_status status =
        rl_journal_file_read(used->journal, 0, RL_JOURNAL_FILE_RUNS, batch, &err);

    check_error(status, &err);
    for (size_t i = 0; status == RL_OK && i < batch->count; i++) {
        const rl_run *got = batch->runs[i];
        const rl_run *put = NULL;

        for (int j = 0; j < FIRST + 3; j++) {
            if (strcmp(rl_run_text(runs[j], RL_RUN_ID), rl_run_text(got, RL_RUN_ID)) ==
                0) {
                put = runs[j];
            }
        }
        CHECK(put != NULL);
        if (put != NULL) {
            CHECK(memcmp(put->id, got->id, sizeof put->id) == 0);
            CHECK_INT(got->started_at, put->started_at);
            CHECK_INT(got->created_at, put->created_at);
            CHECK_INT(got->revision, put->revision);
            CHECK(got->is_own == put->is_own);
            CHECK_STR(rl_run_text(got, RL_OUTPUTS), rl_run_text(put, RL_OUTPUTS));
        }
        CHECK(i == 0 || batch->seqs[i] > batch->seqs[i - 1]);
    }
    return status == RL_OK;
}

/* Finishes a batch, its first run as rejected. */
static bool finish(struct used *used, rl_journal_file_batch *batch)
{
    rl_err err = {.code = RL_OK};
    bool mine = true;
    rl_status status;

    if (batch->count > 0) {
        batch->rejected[0] = true;
        batch->reasons[0] = calloc(1, sizeof *batch->reasons[0]);
        rl_err_set(batch->reasons[0], RL_STORE, "no");
    }
    status = rl_journal_file_finish(used->journal, batch, SELF, 0, &mine, &err);
    check_error(status, &err);
    CHECK(status != RL_OK || mine);
    return status == RL_OK && mine;
}

static void check_state(struct used *used)
{
    rl_journal_file_state state = {0};
    rl_err err = {.code = RL_OK};
    rl_status status = rl_journal_file_get_state(used->journal, &state, &err);

    check_error(status, &err);
    if (status == RL_OK) {
        CHECK(state.first <= state.last);
        CHECK(state.last - state.first + 1 >= used->batch * FIRST + used->single ||
              used->finished);
        CHECK(state.rejected >= used->rejected);
    }
}

static int64_t count_of(const char *path, const char *table, const char *where)
{
    char sql[200];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s WHERE %s", table, where);
    return sql_int(path, sql);
}

/* An appended batch is in the journal as a whole, or was finished as a whole. */
static void check_file(struct used *used)
{
    int64_t waiting = count_of(used->path, "journal", "run_id LIKE 'b%'");
    int64_t rejected = count_of(used->path, "journal_rejected", "run_id <> 'no'");
    int64_t single = count_of(used->path, "journal", "run_id = 'single'");

    CHECK(waiting == 0 || waiting == FIRST);
    CHECK(!used->batch || waiting == FIRST || rejected == 1);
    CHECK(!used->finished || count_of(used->path, "journal", "run_id <> 'later'") == 0);
    CHECK(!used->single || rejected == 1 || single == 1);
    CHECK(rejected <= 1);
    CHECK(!used->rejected ||
          count_of(used->path, "journal_rejected",
                   "run_id = 'no' AND reason = 'it breaks a rule' AND sqlstate = "
                   "'23514' AND length(outputs) = 6000") == 1);
    CHECK_INT(sql_int(used->path, "SELECT count(*) - count(DISTINCT run_id) FROM "
                                  "(SELECT run_id FROM journal "
                                  "UNION ALL SELECT run_id FROM journal_rejected)"),
              0);
    CHECK_INT(count_of(used->path, "journal",
                       "length(outputs) <> 6000 OR started_at IS NOT created_at"),
              0);
    CHECK_INT(sql_int(used->path,
                      "SELECT count(*) FROM (SELECT own, parts, parts_use FROM journal "
                      "UNION ALL SELECT own, parts, parts_use FROM journal_rejected) "
                      "WHERE CASE WHEN own THEN parts NOTNULL "
                      "ELSE ifnull(length(parts), 0) + parts_use <> 19 END"),
              0);
}

/* Uses the journal without faults until it is empty. */
static void empty_journal(struct used *used)
{
    rl_journal_file_batch batch = {.count = 0};
    rl_err err = {.code = RL_OK};
    int64_t last;

    fault_over();
    if (used->journal == NULL) {
        return;
    }
    CHECK_STR(rl_journal_file_open(used->journal, RL_WAIT, &err) == RL_OK ? "" : err.text,
              "");
    check_file(used);
    last = sql_int(used->path, "SELECT max(ifnull((SELECT max(seq) FROM journal), 0), "
                               "(SELECT settled FROM journal_lease))");
    CHECK(append(used, FIRST + 2, 1, RL_DISK));
    CHECK(sql_int(used->path, "SELECT seq FROM journal WHERE run_id = 'later'") > last);
    CHECK_SQL(used->path, "UPDATE journal_lease SET owner = NULL, until = 0", "");
    CHECK(take_lease(used));
    CHECK(read_all(used, &batch));
    CHECK(finish(used, &batch));
    used->finished = true;
    check_state(used);
    CHECK_INT(rl_journal_file_checkpoint(used->journal, &err), RL_OK);
    CHECK_INT(count_of(used->path, "journal", "1"), 0);
    CHECK(sql_int(used->path, "SELECT settled FROM journal_lease") > last);
    rl_journal_file_batch_free(&batch);
    rl_journal_file_free(used->journal);
    CHECK_INTACT(used->path);
    remove(used->path);
}

static void use_journal(struct used *used)
{
    rl_journal_file_batch batch = {.count = 0};
    rl_err err = {.code = RL_OK};

    used->batch = append(used, 0, FIRST, RL_DISK);
    used->single = append(used, FIRST, 1, RL_JOURNAL);
    used->rejected = reject(used);
    check_state(used);
    if (take_lease(used) && read_all(used, &batch)) {
        check_error(rl_journal_file_checkpoint(used->journal, &err), &err);
        used->finished = finish(used, &batch);
    }
    check_state(used);
    rl_journal_file_batch_free(&batch);
}

static void begin(struct used *used)
{
    unsigned kinds = atomic_exchange(&fault.kinds, 0);
    rl_err err = {.code = RL_OK};

    fresh_path(used->path);
    help_need(rl_journal_file_new(used->path, the_migrations(), NULL, &used->journal,
                                  &err) == RL_OK &&
                  rl_journal_file_open(used->journal, RL_WAIT, &err) == RL_OK,
              "a journal");
    atomic_store(&fault.kinds, kinds);
}

static void on_a_new_file(void)
{
    struct used used = {.journal = NULL};
    rl_err err = {.code = RL_OK};
    rl_status status;

    fresh_path(used.path);
    status = rl_journal_file_new(used.path, the_migrations(), NULL, &used.journal, &err);
    check_error(status, &err);
    if (status == RL_OK) {
        use_journal(&used); /* opened by the first append */
    }
    empty_journal(&used);
}

static void on_an_open_file(void)
{
    struct used used = {.journal = NULL};

    begin(&used);
    use_journal(&used);
    empty_journal(&used);
}

/* The file is deleted while it is open: runs acknowledged later are in a new file. */
static void on_a_deleted_file(void)
{
    struct used used = {.journal = NULL};

    begin(&used);
    (void)append(&used, FIRST, 1, RL_DISK);
    delete_database(used.path);
    rl_journal_file_before_fork(used.journal); /* checks the path at once */
    rl_journal_file_after_fork(used.journal);
    used.batch = append(&used, 0, FIRST, RL_DISK);
    used.rejected = reject(&used);
    empty_journal(&used);
}

static void around_a_fork(void)
{
    struct used used = {.journal = NULL};

    begin(&used);
    used.batch = append(&used, 0, FIRST, RL_DISK);
    rl_journal_file_before_fork(used.journal);
    rl_journal_file_after_fork(used.journal);
    used.single = append(&used, FIRST, 1, RL_JOURNAL);
    check_state(&used);
    empty_journal(&used);
}

static void play(void (*scenario)(void), long dense)
{
    static const long least[] = {5, 100, 20, 8, 2, 10}; /* see fault_sqlite_file */

    fault_install();
    the_migrations();
    make_runs();
    fault_sqlite_file(scenario, least, dense);
    free_batch(runs, FIRST + 3);
}

static void test_faults_on_a_new_file(void)
{
    play(on_a_new_file, 20);
}

static void test_faults_on_an_open_file(void)
{
    play(on_an_open_file, 100);
}

static void test_faults_on_a_deleted_file(void)
{
    play(on_a_deleted_file, 20);
}

static void test_faults_around_a_fork(void)
{
    play(around_a_fork, 20);
}

static const struct check_test tests[] = {
    CHECK_LOOP(test_faults_on_a_new_file),
    CHECK_LOOP(test_faults_on_an_open_file),
    CHECK_LOOP(test_faults_on_a_deleted_file),
    CHECK_LOOP(test_faults_around_a_fork),
};

CHECK_MAIN(tests)
