/* Test of the SQLite store while its memory and its system calls fail, each once and then
 * for good. Every call ends with success or a clear error, the file has all acknowledged
 * runs and no half batch, nothing leaks, and the store works again once the fault is
 * over.
 *
 * PARTS: 6
 * LINK: -Wl,--wrap=open -Wl,--wrap=fstat -Wl,--wrap=ftruncate -Wl,--wrap=fcntl
 * LINK: -Wl,--wrap=pread -Wl,--wrap=pwrite -Wl,--wrap=mmap
 */
#include "store/store.h"

#include "check.h"
#include "fault_files.h"
#include "store_help.h"

#define BATCH 4

/* A scenario's store, and which of its calls succeeded. */
struct used {
    char path[HELP_PATH];
    rl_store *store;
    bool batch, single, removed;
    bool replaced; /* the file was deleted before these calls */
};

static rl_run *runs[BATCH + 2]; /* made before anything fails */

static void make_runs(void)
{
    static const char *const names[] = {"b0", "b1", "b2", "b2", "single", "later"};
    char payload[6001];

    memset(payload, 'x', sizeof payload - 1);
    payload[0] = payload[sizeof payload - 2] = '"';
    payload[sizeof payload - 1] = '\0';
    for (int i = 0; i < BATCH + 2; i++) {
        runs[i] = new_run("w", names[i], "completed");
        if (i == 2 || i == 3) { /* so the second is stored as b2~2 */
            make_own(runs[i]);
        }
        if (i == 1) {
            set_parts(runs[i], "{\"00\":\"v\",\"n0\":1,\"n1\":2}", RL_PARTS_JOIN);
        } else if (i == 2 || i == 3) {
            set_parts(runs[i], "{\"00\":\"v\"}", RL_PARTS_ADD);
        }
        set_text(runs[i], RL_OUTPUTS, payload); /* more than a page */
        runs[i]->started_at = runs[i]->created_at;
    }
}

static bool write_some(struct used *used, int first, size_t count,
                       rl_durability durability)
{
    const rl_batch batch = {runs + first, count, durability, RL_WAIT};
    rl_err err = {.code = RL_OK};
    rl_status status = used->store->ops->write(used->store, &batch, &err);

    check_error(status, &err);
    CHECK(status != RL_STORE || strstr(err.text, used->path) != NULL);
    return status == RL_OK;
}

static bool remove_first(struct used *used)
{
    rl_err err = {.code = RL_OK};
    rl_status status;
    rl_query query;
    int64_t count = 0;

    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.texts[RL_RUN_ID] = "b0";
    status = remove_all(used->store, &query, &count, &err);
    check_error(status, &err);
    CHECK(status != RL_OK || count == used->batch);
    return status == RL_OK;
}

/* A query that succeeds finds all acknowledged runs, complete. */
static void ask_all(struct used *used)
{
    rl_err err = {.code = RL_OK};
    rl_status status;
    rl_query query;
    rl_rows rows;
    size_t count, cells;

    rl_query_init(&query, RL_SHAPE_WHOLE);
    query.texts[RL_WPK_ID] = "w";
    query.limit = 100;
    rl_rows_init(&rows);
    status = used->store->ops->query(used->store, &query, &rows, &err);
    check_error(status, &err);
    rl_shape_columns(query.shape, &cells);
    count = rl_rows_cells(&rows) / cells;
    CHECK(status != RL_OK || count >= (size_t)(used->batch * BATCH + used->single));
    for (size_t row = 0; status == RL_OK && row < count; row++) {
        CHECK_INT(cell_of(&rows, query.shape, row, RL_OUTPUTS)->len, 6000);
        CHECK_INT(cell_of(&rows, query.shape, row, RL_STARTED_AT)->number,
                  cell_of(&rows, query.shape, row, RL_CREATED_AT)->number);
    }
    rl_rows_free(&rows);
}

static int64_t count_runs(const char *path, const char *where)
{
    char sql[200];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM workflow_runs WHERE %s", where);
    return sql_int(path, sql);
}

/* Checks the file, once the fault is over and the store is open again. */
static void check_file(struct used *used)
{
    int64_t batch = count_runs(used->path, "run_id LIKE 'b%'");
    int64_t whole = count_runs(used->path, "length(outputs) = 6000 AND "
                                           "started_at = created_at");

    CHECK(batch == 0 || batch == BATCH || (batch == BATCH - 1 && !used->replaced));
    CHECK(!used->batch || batch >= BATCH - 1);
    CHECK(!used->removed || count_runs(used->path, "run_id = 'b0'") == 0);
    CHECK(!used->single || count_runs(used->path, "run_id = 'single'") == 1);
    CHECK_INT(whole, count_runs(used->path, "1"));
    CHECK_INT(count_runs(used->path, "run_id = 'b1' AND node_logs IS NOT '[1,2]'"), 0);
    CHECK_INT(sql_int(used->path, "SELECT count(*) FROM run_parts"),
              count_runs(used->path, "run_id = 'b1' OR run_id LIKE 'b2%'"));
}

/* Uses the store without faults, closes it, and checks the file. */
static void finish(struct used *used)
{
    rl_err err = {.code = RL_OK};

    fault_over();
    if (used->store != NULL) {
        CHECK_INT(used->store->ops->prepare(used->store, &err), RL_OK);
        check_file(used);
        CHECK(write_some(used, BATCH + 1, 1, RL_DISK));
        ask_all(used);
        CHECK_STR(
            used->store->ops->checkpoint(used->store, &err) == RL_OK ? "" : err.text, "");
        check_file(used);
        CHECK_INT(count_runs(used->path, "run_id = 'later'"), 1);
        used->store->ops->close(used->store);
        CHECK_INTACT(used->path);
    }
    remove(used->path);
}

static void use_store(struct used *used)
{
    rl_err err = {.code = RL_OK};

    used->batch = write_some(used, 0, BATCH, RL_DISK);
    used->single = write_some(used, BATCH, 1, RL_JOURNAL);
    ask_all(used);
    check_error(used->store->ops->checkpoint(used->store, &err), &err);
    used->removed = used->batch && remove_first(used);
}

static void on_a_new_file(void)
{
    struct used used = {.store = NULL};
    rl_err err = {.code = RL_OK};
    rl_status status;

    fresh_path(used.path);
    status = rl_sqlite_new(used.path, the_migrations(), NULL, NULL, &used.store, &err);
    check_error(status, &err);
    if (status == RL_OK) {
        status = used.store->ops->prepare(used.store, &err);
        check_error(status, &err);
        use_store(&used);
    }
    finish(&used);
}

/* A file with the tables, made once and copied. */
static char template_path[HELP_PATH];

static void begin_on_template(struct used *used)
{
    unsigned kinds = atomic_exchange(&fault.kinds, 0);

    fresh_path(used->path);
    copy_file(template_path, used->path);
    used->store = open_store(used->path);
    atomic_store(&fault.kinds, kinds);
}

static void on_an_open_file(void)
{
    struct used used = {.store = NULL};

    begin_on_template(&used);
    use_store(&used);
    finish(&used);
}

/* A fork closes the file; the next call reopens it. */
static void around_a_fork(void)
{
    struct used used = {.store = NULL};

    begin_on_template(&used);
    used.batch = write_some(&used, 0, BATCH, RL_JOURNAL);
    ask_all(&used);
    used.store->ops->before_fork(used.store);
    used.store->ops->after_fork(used.store, false);
    used.single = write_some(&used, BATCH, 1, RL_DISK);
    ask_all(&used);
    finish(&used);
}

/* The file is deleted while it is open: runs acknowledged later are in a new file. */
static void on_a_deleted_file(void)
{
    struct used used = {.store = NULL};

    begin_on_template(&used);
    (void)write_some(&used, BATCH, 1, RL_JOURNAL);
    delete_database(used.path);
    used.store->ops->before_fork(used.store); /* checks the path at once */
    used.store->ops->after_fork(used.store, false);
    used.batch = write_some(&used, 0, BATCH, RL_DISK);
    used.single = write_some(&used, BATCH, 1, RL_DISK);
    used.replaced = true;
    finish(&used);
}

static const long least[] = {10, 200, 30, 8, 8, 10}; /* see fault_sqlite_file */

static void set_up(void)
{
    fault_install();
    the_migrations();
    make_runs();
    if (template_path[0] == '\0') {
        fresh_path(template_path);
        rl_store *store = open_store(template_path);
        store->ops->close(store);
    }
}

static void test_faults_on_a_new_file(void)
{
    set_up();
    fault_sqlite_file(on_a_new_file, least, 20);
    free_batch(runs, BATCH + 2);
}

static void test_faults_on_an_open_file(void)
{
    set_up();
    fault_sqlite_file(on_an_open_file, least, 200);
    free_batch(runs, BATCH + 2);
}

static void test_faults_around_a_fork(void)
{
    set_up();
    fault_sqlite_file(around_a_fork, least, 20);
    free_batch(runs, BATCH + 2);
}

static void test_faults_on_a_deleted_file(void)
{
    set_up();
    fault_sqlite_file(on_a_deleted_file, least, 20);
    free_batch(runs, BATCH + 2);
}

static const struct check_test tests[] = {
    CHECK_LOOP(test_faults_on_a_new_file),
    CHECK_LOOP(test_faults_on_an_open_file),
    CHECK_LOOP(test_faults_around_a_fork),
    CHECK_LOOP(test_faults_on_a_deleted_file),
};

CHECK_MAIN(tests)
