/* Test of the journal's file while its memory and its system calls fail, each once and from
 * then on: what was appended is there once, whole and in order, a batch is settled as a whole
 * or not at all, no seq is given twice, and it goes on once the fault is over.
 *
 * PARTS: 8
 */
#include "store/sqlite/journal_file.h"

#include "check.h"
#include "fault_help.h"
#include "store_help.h"

#define FIRST 4 /* runs in the first batch */
#define SELF "a process"
#define FAR_AWAY INT64_C(9000000000000000) /* the end of a lease */

/* What a scenario has asked of a journal, and what was acknowledged. */
struct used {
    char path[HELP_PATH];
    rl_journal_file *journal;
    bool batch, single, refused, settled;
};

static rl_run *runs[FIRST + 3]; /* the batch, single, refused, later */

static void make_runs(void)
{
    static const char *const names[] = {"b0", "b1", "b2", "b3", "single", "no", "later"};
    char payload[6001];

    memset(payload, 'x', sizeof payload - 1);
    payload[sizeof payload - 1] = '\0';
    for (int i = 0; i < FIRST + 3; i++) {
        runs[i] = new_run("w", names[i], "completed");
        runs[i]->is_own = i % 2 == 1;
        set_text(runs[i], RL_OUTPUTS, payload);
        runs[i]->started_at = runs[i]->created_at;
    }
}

static void free_runs(void)
{
    for (int i = 0; i < FIRST + 3; i++) {
        rl_run_free(runs[i]);
    }
}

static bool append(struct used *used, int first, size_t count, rl_durability durability)
{
    const rl_batch batch = {runs + first, count, durability, true};
    rl_err err = {.code = RL_OK};
    rl_status status = rl_journal_file_append(used->journal, &batch, &err);

    check_error(status, &err);
    return status == RL_OK;
}

static bool refuse(struct used *used)
{
    rl_err err = {.code = RL_OK}, reason;
    rl_status status;

    rl_err_set(&reason, RL_STORE, "it breaks a rule");
    memcpy(reason.sqlstate, "23514", 6);
    status = rl_journal_file_reject(used->journal, runs[FIRST + 1], &reason, &err);
    check_error(status, &err);
    return status == RL_OK;
}

static bool take(struct used *used)
{
    char holder[RL_JOURNAL_FILE_OWNER];
    rl_err err = {.code = RL_OK};
    int64_t until = -1;
    bool mine = false;
    rl_status status = rl_journal_file_lease_holder(used->journal, holder, &until, &err);

    check_error(status, &err);
    if (status == RL_OK) {
        CHECK_STR(holder, "");
        status = rl_journal_file_take_lease(used->journal, holder, SELF, FAR_AWAY, &mine,
                                            &err);
        check_error(status, &err);
        CHECK(status != RL_OK || mine);
    }
    return status == RL_OK && mine;
}

/* Reads what waits, and checks that each run came back as it went in. */
static bool read_all(struct used *used, rl_journal_file_batch *batch)
{
    rl_err err = {.code = RL_OK};
    rl_status status = rl_journal_file_read(used->journal, 0, batch, &err);

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

/* Settles what was read, the first of it as rejected. */
static bool settle(struct used *used, rl_journal_file_batch *batch)
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

static void look(struct used *used)
{
    rl_journal_file_state state = {0};
    rl_err err = {.code = RL_OK};
    rl_status status = rl_journal_file_get_state(used->journal, &state, &err);

    check_error(status, &err);
    if (status == RL_OK) {
        CHECK(state.first <= state.last);
        CHECK(state.last - state.first + 1 >= used->batch * FIRST + used->single ||
              used->settled);
        CHECK(state.rejected >= used->refused);
    }
}

static int64_t count_of(const char *path, const char *table, const char *where)
{
    char sql[200];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s WHERE %s", table, where);
    return sql_int(path, sql);
}

/* A batch that was appended waits as a whole, or was settled as a whole. */
static void check_kept(struct used *used)
{
    int64_t waits = count_of(used->path, "journal", "run_id LIKE 'b%'");
    int64_t rejected = count_of(used->path, "journal_rejected", "run_id <> 'no'");
    int64_t single = count_of(used->path, "journal", "run_id = 'single'");

    CHECK(waits == 0 || waits == FIRST);
    CHECK(!used->batch || waits == FIRST || rejected == 1);
    CHECK(!used->settled || count_of(used->path, "journal", "run_id <> 'later'") == 0);
    CHECK(!used->single || rejected == 1 || single == 1);
    CHECK(rejected <= 1);
    CHECK(!used->refused ||
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
}

/* Goes on without faults, to an empty journal. */
static void finish(struct used *used)
{
    rl_journal_file_batch batch = {.count = 0};
    rl_err err = {.code = RL_OK};
    int64_t last;

    fault_over();
    if (used->journal == NULL) {
        return;
    }
    CHECK_STR(rl_journal_file_open(used->journal, &err) == RL_OK ? "" : err.text, "");
    check_kept(used);
    last = sql_int(used->path, "SELECT max(ifnull((SELECT max(seq) FROM journal), 0), "
                               "(SELECT settled FROM journal_lease))");
    CHECK(append(used, FIRST + 2, 1, RL_DISK));
    CHECK(sql_int(used->path, "SELECT seq FROM journal WHERE run_id = 'later'") > last);
    CHECK_SQL(used->path, "UPDATE journal_lease SET owner = NULL, until = 0", "");
    CHECK(take(used));
    CHECK(read_all(used, &batch));
    CHECK(settle(used, &batch));
    used->settled = true;
    look(used);
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
    used->refused = refuse(used);
    look(used);
    if (take(used) && read_all(used, &batch)) {
        check_error(rl_journal_file_checkpoint(used->journal, &err), &err);
        used->settled = settle(used, &batch);
    }
    look(used);
    rl_journal_file_batch_free(&batch);
}

static void begin(struct used *used)
{
    unsigned kinds = atomic_exchange(&fault.kinds, 0);
    rl_err err = {.code = RL_OK};

    fresh_path(used->path);
    help_need(rl_journal_file_new(used->path, the_migrations(), NULL, &used->journal,
                                  &err) == RL_OK &&
                  rl_journal_file_open(used->journal, &err) == RL_OK,
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
    finish(&used);
}

static void on_a_file_that_is_open(void)
{
    struct used used = {.journal = NULL};

    begin(&used);
    use_journal(&used);
    finish(&used);
}

/* The file is deleted: what is acknowledged from then on is in a new one. */
static void deleted_under_it(void)
{
    struct used used = {.journal = NULL};
    char name[HELP_PATH + 8];

    begin(&used);
    (void)append(&used, FIRST, 1, RL_DISK);
    for (int i = 0; i < 3; i++) {
        const char *const parts[] = {"", "-wal", "-shm"};

        snprintf(name, sizeof name, "%s%s", used.path, parts[i]);
        remove(name);
    }
    rl_journal_file_before_fork(used.journal); /* which looks at the path at once */
    rl_journal_file_after_fork(used.journal);
    used.batch = append(&used, 0, FIRST, RL_DISK);
    used.refused = refuse(&used);
    finish(&used);
}

static void around_a_fork(void)
{
    struct used used = {.journal = NULL};

    begin(&used);
    used.batch = append(&used, 0, FIRST, RL_DISK);
    rl_journal_file_before_fork(used.journal);
    rl_journal_file_after_fork(used.journal);
    used.single = append(&used, FIRST, 1, RL_JOURNAL);
    look(&used);
    finish(&used);
}

static void with_all_plans(void (*scenario)(void), long dense)
{
    const struct fault_plan plans[] = {
        {"the core's memory", FAULT_MEMORY, ENOMEM, 5, 0, false},
        {"SQLite's memory", FAULT_SQLITE_MEMORY, ENOMEM, 100, dense, false},
        {"EIO", FAULT_FILE, EIO, 20, 0, false},
        {"ENOSPC", FAULT_WRITE, ENOSPC, 8, 0, false},
        {"short writes", FAULT_SHORT, EIO, 2, 0, false},
        {"locks", FAULT_LOCK, EAGAIN, 10, 0, true},
    };

    fault_install();
    the_migrations();
    make_runs();
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        fault_everywhere(&plans[i], scenario);
    }
    free_runs();
}

static void test_a_new_file(void)
{
    with_all_plans(on_a_new_file, 20);
}

static void test_a_file_that_is_open(void)
{
    with_all_plans(on_a_file_that_is_open, 100);
}

static void test_deleted_under_it(void)
{
    with_all_plans(deleted_under_it, 20);
}

static void test_around_a_fork(void)
{
    with_all_plans(around_a_fork, 20);
}

static const struct check_test tests[] = {
    CHECK_LOOP(test_a_new_file),
    CHECK_LOOP(test_a_file_that_is_open),
    CHECK_LOOP(test_deleted_under_it),
    CHECK_LOOP(test_around_a_fork),
};

CHECK_MAIN(tests)
