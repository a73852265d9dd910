/* Test of a -wal or -shm that somebody deletes while several processes have them open: one
 * of them copies what is only in the WAL and retires it, and no other, however long it is
 * held up, loses a run or damages the file.
 */
#include "replaced_help.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* Opens the file with another SQLite, which keeps it open. */
static sqlite3 *open_other(const struct opened *file)
{
    sqlite3 *db = NULL;

    CHECK_INT(sqlite3_open(file->path, &db), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, "SELECT * FROM workflow_runs", NULL, NULL, NULL),
              SQLITE_OK);
    return db;
}

/* While somebody has a deleted -shm open, a new one would not exclude him: nothing is
 * written until he has closed it. */
static void check_refused(rl_store *store)
{
    rl_err err = {.code = RL_OK};

    CHECK_INT(write_run(store, new_run("w", "after", "completed"), true, &err), RL_STORE);
    CHECK_STR(strstr(err.text, "another connection still has the old one open") != NULL
                  ? ""
                  : err.text,
              "");
    CHECK(err.retryable);
}

static void check_taken(rl_store *store, struct opened *file)
{
    CHECK_INT(write_run(store, new_run("w", "after", "completed"), true, NULL), RL_OK);
    store->ops->close(store);
    CHECK_INTACT(file->path);
    CHECK_INT(count_of(file, "before"), 1);
    CHECK_INT(count_of(file, "after"), 1);
    rl_notices_destroy(&file->notices);
}

static void test_another_connection_has_the_deleted_wal(void)
{
    struct opened file;
    rl_store *store;
    sqlite3 *db;

    open_file(&file, false);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    db = open_other(&file);
    close_file(&file);
    delete_wal_and_shm(&file);
    store = new_store(file.path);
    check_refused(store);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
    check_taken(store, &file);
}

static void test_another_process_has_the_deleted_wal(void)
{
    struct opened file;
    struct meeting meeting;
    rl_store *store;
    sqlite3 *db;
    pid_t pid;

    fflush(stdout);
    the_migrations();
    open_file(&file, false);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    open_meeting(&meeting);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        db = open_other(&file);
        wait_for_parent(&meeting);
        CHECK_INT(sqlite3_close(db), SQLITE_OK);
        leave_child();
    }
    wait_for_child(&meeting);
    close_file(&file);
    delete_wal_and_shm(&file);
    store = new_store(file.path);
    check_refused(store);
    close_meeting(&meeting, pid);
    check_taken(store, &file);
}

/* With a connection to the old files, which another process has retired: neither a commit
 * nor a checkpoint may take them for the database's. */
static void use_retired(const struct opened *file, const struct meeting *meeting)
{
    sqlite3 *db = NULL;

    CHECK_INT(sqlite3_open(file->path, &db), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, "CREATE TABLE theirs (n)", NULL, NULL, NULL), SQLITE_OK);
    wait_for_parent(meeting);
    CHECK_INT(sqlite3_exec(db, "INSERT INTO theirs VALUES (1)", NULL, NULL, NULL),
              SQLITE_CANTOPEN);
    CHECK_INT(sqlite3_exec(db, "SELECT * FROM theirs", NULL, NULL, NULL),
              SQLITE_CANTOPEN);
    CHECK_INT(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL),
              SQLITE_CANTOPEN);
    (void)sqlite3_close(db);
    leave_child();
}

/* A process that is held up for longer than the others wait for it can't do harm. */
static void retired_for_others(const struct change *change, bool is_journal)
{
    struct opened file;
    struct meeting meeting;
    pid_t pid;

    if (!change->keeps_runs) {
        return; /* the file itself is another one */
    }
    fflush(stdout);
    the_migrations();
    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    open_meeting(&meeting);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        use_retired(&file, &meeting);
    }
    wait_for_child(&meeting);
    change->apply(&file);
    wait_for_check();
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(count_reports(&file, change->notice), 1);
    close_meeting(&meeting, pid);
    CHECK_INT(sql_int(file.path, "SELECT count(*) FROM theirs"), 0);
    CHECK_INT(read_count(&file), 2);
    finish(&file, change);
}

static void test_retired_for_others(void)
{
    with_all(retired_for_others);
}

enum {
    WRITERS = 2,
    DELETIONS = 20
};

/* Memory that the processes of a test share. */
struct shared {
    atomic_int reports[WRITERS], written[WRITERS]; /* notices, acknowledged runs */
    atomic_bool stop;
};

/* Writes and checkpoints without pause until `stop`. */
static void write_until_stopped(struct opened *file, struct shared *shared, int number)
{
    char run_id[40];

    for (int i = 0; !atomic_load(&shared->stop); i++) {
        snprintf(run_id, sizeof run_id, "%d.%d", number, i);
        CHECK_INT(write_to(file, run_id, true), RL_OK);
        if (i % 20 == 0) {
            (void)checkpoint(file);
        }
        atomic_fetch_add(&shared->written[number], 1);
        atomic_fetch_add(&shared->reports[number],
                         count_reports(file, "of the SQLite file"));
    }
    snprintf(run_id, sizeof run_id, "%d.last", number);
    CHECK_INT(write_to(file, run_id, true), RL_OK);
    close_file(file);
    leave_child();
}

/* Waits until each process has given this number of notices, and then 50 runs. */
static void wait_for_writers(struct shared *shared, int reports)
{
    const struct timespec pause = {0, 1000000};

    for (int i = 0; i < WRITERS; i++) {
        while (atomic_load(&shared->reports[i]) < reports) {
            nanosleep(&pause, NULL);
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        int written = atomic_load(&shared->written[i]);

        while (atomic_load(&shared->written[i]) < written + 50) {
            nanosleep(&pause, NULL);
        }
    }
}

/* While two processes write, their -wal and -shm are deleted 20 times. Both detect it
 * each time, the file is not damaged, and no run is lost. */
static void test_deletions_during_writes_lose_no_runs(void)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct opened file;
    pid_t pids[WRITERS];

    REQUIRE(shared != MAP_FAILED);
    the_migrations();
    open_file(&file, false);
    fflush(stdout);
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        REQUIRE(pids[i] >= 0);
        if (pids[i] == 0) {
            write_until_stopped(&file, shared, i);
        }
    }
    wait_for_writers(shared, 0);
    for (int i = 1; i <= DELETIONS; i++) {
        if (i % 3 != 0) {
            (void)unlink(part_of(&file, "-shm"));
        }
        if (i % 3 != 1) {
            (void)unlink(part_of(&file, "-wal"));
        }
        wait_for_writers(shared, i);
    }
    atomic_store(&shared->stop, true);
    for (int i = 0; i < WRITERS; i++) {
        check_child(pids[i]);
        CHECK_INT(atomic_load(&shared->reports[i]), DELETIONS);
    }
    close_file(&file);
    CHECK_INTACT(file.path);
    CHECK_INT(sql_int(file.path, "SELECT count(*) FROM workflow_runs"),
              atomic_load(&shared->written[0]) + atomic_load(&shared->written[1]) + 2);
    rl_notices_destroy(&file.notices);
    munmap(shared, sizeof *shared);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_another_connection_has_the_deleted_wal),
    CHECK_TEST(test_another_process_has_the_deleted_wal),
    CHECK_TEST(test_retired_for_others),
    CHECK_TEST(test_deletions_during_writes_lose_no_runs),
};

CHECK_MAIN(tests)
