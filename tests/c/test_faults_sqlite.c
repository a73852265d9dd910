/* Test of the SQLite store while its memory and its system calls fail, each once and from
 * then on: every call ends with success or a clear error, what was acknowledged is in the
 * file, nothing is there by halves, nothing leaks, and it goes on once the fault is over.
 *
 * PARTS: 6
 */
#include "store/store.h"

#include "check.h"
#include "fault_help.h"
#include "store_help.h"

#include <sys/sendfile.h>

#define BATCH 4

/* What a scenario has asked of a store, and what was acknowledged. */
struct used {
    char path[HELP_PATH];
    rl_store *store;
    bool batch, single, removed, moved; /* acknowledged */
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
        if (i == 2 || i == 3) { /* so it is kept as b2~2 */
            make_own(runs[i]);
        }
        set_text(runs[i], RL_OUTPUTS, payload); /* more than a page */
        runs[i]->started_at = runs[i]->created_at;
    }
}

static void free_runs(void)
{
    for (int i = 0; i < BATCH + 2; i++) {
        rl_run_free(runs[i]);
    }
}

static bool write_some(struct used *used, int first, size_t count,
                       rl_durability durability)
{
    const rl_batch batch = {runs + first, count, durability, true};
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
    status = used->store->ops->remove(used->store, &query, &count, &err);
    check_error(status, &err);
    CHECK(status != RL_OK || count == used->batch);
    return status == RL_OK;
}

/* A query that succeeds finds what was acknowledged, whole. */
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

/* The file, once the fault is over and the store is open again. */
static void check_kept(struct used *used)
{
    int64_t batch = count_runs(used->path, "run_id LIKE 'b%'");
    int64_t whole = count_runs(used->path, "length(outputs) = 6000 AND "
                                           "started_at = created_at");

    CHECK(batch == 0 || batch == BATCH || (batch == BATCH - 1 && !used->moved));
    CHECK(!used->batch || batch >= BATCH - 1);
    CHECK(!used->removed || count_runs(used->path, "run_id = 'b0'") == 0);
    CHECK(!used->single || count_runs(used->path, "run_id = 'single'") == 1);
    CHECK_INT(whole, count_runs(used->path, "1"));
}

/* Goes on without faults; takes the store away, and checks the file. */
static void finish(struct used *used)
{
    rl_err err = {.code = RL_OK};

    fault_over();
    if (used->store != NULL) {
        CHECK_INT(used->store->ops->prepare(used->store, &err), RL_OK);
        check_kept(used);
        CHECK(write_some(used, BATCH + 1, 1, RL_DISK));
        ask_all(used);
        CHECK_STR(
            used->store->ops->checkpoint(used->store, &err) == RL_OK ? "" : err.text, "");
        check_kept(used);
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

static void copy_template(const char *path)
{
    struct stat info;
    int from = open(template_path, O_RDONLY), to = open(path, O_WRONLY | O_CREAT, 0600);

    help_need(from >= 0 && to >= 0 && fstat(from, &info) == 0, "a copy");
    help_need(sendfile(to, from, NULL, (size_t)info.st_size) == info.st_size, "a copy");
    close(from);
    close(to);
}

static void begin_on_template(struct used *used)
{
    unsigned kinds = atomic_exchange(&fault.kinds, 0);

    fresh_path(used->path);
    copy_template(used->path);
    used->store = open_store(used->path);
    atomic_store(&fault.kinds, kinds);
}

static void on_a_file_that_is_open(void)
{
    struct used used = {.store = NULL};

    begin_on_template(&used);
    use_store(&used);
    finish(&used);
}

/* A fork closes the file, and it is opened again. */
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

static void remove_file(const char *path)
{
    static const char *const parts[] = {"", "-wal", "-shm"};
    char name[HELP_PATH + 8];

    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", path, parts[i]);
        remove(name);
    }
}

/* The file is deleted under the store: what it acknowledges from then on is in a new one. */
static void deleted_under_it(void)
{
    struct used used = {.store = NULL};

    begin_on_template(&used);
    (void)write_some(&used, BATCH, 1, RL_JOURNAL);
    remove_file(used.path);
    used.store->ops->before_fork(used.store); /* which looks at the path at once */
    used.store->ops->after_fork(used.store, false);
    used.batch = write_some(&used, 0, BATCH, RL_DISK);
    used.single = write_some(&used, BATCH, 1, RL_DISK);
    used.moved = true;
    finish(&used);
}

/* Which calls fail. SQLite makes thousands of allocations for the migrations. */
static void with_all_plans(void (*scenario)(void), long dense)
{
    const struct fault_plan plans[] = {
        {"the core's memory", FAULT_MEMORY, ENOMEM, 10, 0, false},
        {"SQLite's memory", FAULT_SQLITE_MEMORY, ENOMEM, 200, dense, false},
        {"EIO", FAULT_FILE, EIO, 30, 0, false},
        {"ENOSPC", FAULT_WRITE, ENOSPC, 8, 0, false},
        {"short writes", FAULT_SHORT, EIO, 8, 0, false},
        {"locks", FAULT_LOCK, EAGAIN, 10, 0, true},
    };

    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        fault_everywhere(&plans[i], scenario);
    }
}

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

static void test_a_new_file(void)
{
    set_up();
    with_all_plans(on_a_new_file, 20);
    free_runs();
}

static void test_a_file_that_is_open(void)
{
    set_up();
    with_all_plans(on_a_file_that_is_open, 200);
    free_runs();
}

static void test_around_a_fork(void)
{
    set_up();
    with_all_plans(around_a_fork, 20);
    free_runs();
}

static void test_deleted_under_it(void)
{
    set_up();
    with_all_plans(deleted_under_it, 20);
    free_runs();
}

static const struct check_test tests[] = {
    CHECK_LOOP(test_a_new_file),
    CHECK_LOOP(test_a_file_that_is_open),
    CHECK_LOOP(test_around_a_fork),
    CHECK_LOOP(test_deleted_under_it),
};

CHECK_MAIN(tests)
