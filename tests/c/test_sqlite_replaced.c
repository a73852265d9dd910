/* Test of a SQLite file that somebody deletes or replaces while it is open, or its -wal
 * or -shm. The store reports it once, and later writes go to the file at the path. The
 * same for the journal; with one process and with several.
 */
#include "replaced_help.h"

#include <sys/wait.h>

static void detected_by_write(const struct change *change, bool is_journal)
{
    struct opened file;

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    change->apply(&file);
    wait_for_check();
    CHECK_INT(write_to(&file, "after", false), RL_BUSY); /* the file must be reopened */
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(count_reports(&file, change->notice), 1);
    CHECK_INT(count_of(&file, "after"), 1);
    CHECK_INT(read_count(&file), 1 + change->keeps_runs);
    wait_for_check();
    CHECK_INT(write_to(&file, "more", false), RL_OK);
    CHECK_INT(read_count(&file), 2 + change->keeps_runs);
    finish(&file, change);
}

static void test_detected_by_write(void)
{
    with_all(detected_by_write);
}

/* The new file has the tables, and no rows of the old one. */
static void detected_by_read(const struct change *change, bool is_journal)
{
    struct opened file;

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    CHECK_INT(read_count(&file), 1);
    change->apply(&file);
    wait_for_check();
    CHECK_INT(read_count(&file), change->keeps_runs);
    CHECK_INT(count_reports(&file, change->notice), 1);
    CHECK_INT(write_to(&file, "after", false), RL_OK);
    finish(&file, change);
}

static void test_detected_by_read(void)
{
    with_all(detected_by_read);
}

static void detected_by_checkpoint(const struct change *change, bool is_journal)
{
    struct opened file;

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    change->apply(&file);
    wait_for_check();
    CHECK_INT(checkpoint(&file), RL_OK);
    CHECK_INT(count_reports(&file, change->notice), 1);
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(checkpoint(&file), RL_OK);
    finish(&file, change);
}

static void test_detected_by_checkpoint(void)
{
    with_all(detected_by_checkpoint);
}

/* The change precedes the fork, which closes the file, or happens during it: then both
 * processes detect it. */
static void detected_by_fork(const struct change *change, bool is_journal, bool before)
{
    struct opened file;
    pid_t pid;

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    if (before) {
        change->apply(&file);
    }
    if (is_journal) {
        rl_journal_file_before_fork(file.journal);
    } else {
        file.store->ops->before_fork(file.store);
    }
    CHECK_INT(count_reports(&file, change->notice), before);
    if (!before) { /* no process has the file open now */
        change->apply(&file);
    }
    fflush(stdout);
    pid = fork();
    REQUIRE(pid >= 0);
    if (is_journal) {
        rl_journal_file_after_fork(file.journal);
    } else {
        file.store->ops->after_fork(file.store, pid == 0);
    }
    if (pid == 0) {
        CHECK_INT(read_count(&file), change->keeps_runs);
        CHECK_INT(write_to(&file, "child", true), RL_OK);
        CHECK_INT(count_reports(&file, change->notice), !before);
        leave_child();
    }
    check_child(pid);
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(count_reports(&file, change->notice), !before);
    CHECK_INT(count_of(&file, "child"), 1);
    finish(&file, change);
}

static void changed_before_fork(const struct change *change, bool is_journal)
{
    detected_by_fork(change, is_journal, true);
}

/* Only changes that preserve the old file: no process has it open, so a new file could
 * otherwise get its inode, and be taken for it. */
static void changed_during_fork(const struct change *change, bool is_journal)
{
    if (change->apply == rename_away || change->apply == replace_folder) {
        detected_by_fork(change, is_journal, false);
    }
}

static void test_changed_before_fork(void)
{
    with_all(changed_before_fork);
}

static void test_changed_during_fork(void)
{
    with_all(changed_during_fork);
}

/* The second process detects the change later, when the first has created a new file, and
 * uses that one. */
static void detected_in_two_processes(const struct change *change, bool is_journal)
{
    struct opened file;
    struct meeting meeting;
    pid_t pid;

    fflush(stdout);
    the_migrations();
    open_file(&file, is_journal);
    open_meeting(&meeting);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        CHECK_INT(write_to(&file, "before", true), RL_OK);
        wait_for_parent(&meeting);
        CHECK_INT(write_to(&file, "child", true), RL_OK);
        CHECK_INT(count_reports(&file, change->notice), 1);
        close_file(&file);
        leave_child();
    }
    wait_for_child(&meeting);
    CHECK_INT(read_count(&file), 1);
    change->apply(&file);
    wait_for_check();
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(count_reports(&file, change->notice), 1);
    close_meeting(&meeting, pid);
    CHECK_INT(count_of(&file, "child"), 1);
    CHECK_INT(read_count(&file), 2 + change->keeps_runs);
    finish(&file, change);
}

static void test_detected_in_two_processes(void)
{
    with_all(detected_in_two_processes);
}

/* Without another write, close reports it, and does not touch the new -wal and -shm. */
static void detected_by_close(const struct change *change, bool is_journal)
{
    struct opened file;
    rl_store *other;

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    change->apply(&file);
    other = open_store(file.path);
    CHECK_INT(write_run(other, new_run("w", "theirs", "completed"), true, NULL), RL_OK);
    close_file(&file);
    CHECK_INT(count_reports(&file, change->notice), 1);
    CHECK(access(part_of(&file, "-wal"), F_OK) == 0);
    CHECK(access(part_of(&file, "-shm"), F_OK) == 0);
    other->ops->close(other);
    CHECK_INTACT(file.path);
    CHECK_INT(
        sql_int(file.path, "SELECT count(*) FROM workflow_runs WHERE run_id = 'theirs'"),
        1);
    rl_notices_destroy(&file.notices);
}

/* Not for a deleted -wal or -shm alone: SQLite gives another connection of this process
 * the old -shm. Nor for a replaced file: SQLite takes the old -wal for its own. */
static void detected_by_close_if_deleted(const struct change *change, bool is_journal)
{
    if (change->notice[0] == 'w' && change->apply != replace) {
        detected_by_close(change, is_journal);
    }
}

static void test_detected_by_close(void)
{
    with_all(detected_by_close_if_deleted);
}

/* Without the folder each call fails, and there is one notice. */
static void folder_is_deleted(bool is_journal)
{
    struct opened file;
    const struct change change = {.apply = NULL};

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    delete_all(&file);
    CHECK(rmdir(file.folder) == 0);
    wait_for_check();
    for (int i = 0; i < 3; i++) {
        CHECK_INT(write_to(&file, "between", true), RL_STORE);
    }
    CHECK_INT(count_reports(&file, "was deleted, renamed or replaced"), 1);
    CHECK(mkdir(file.folder, 0700) == 0);
    CHECK_INT(read_count(&file), 0);
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    finish(&file, &change);
}

static void test_folder_is_deleted(void)
{
    folder_is_deleted(false);
    folder_is_deleted(true);
}

static struct {
    const char *path;
    int openings; /* after which to delete the file */
} fault;

/* SQLite calls this when it has opened a file, but not yet the -wal. */
static int delete_opened(sqlite3 *db, char **message, const void *api)
{
    (void)db;
    (void)message;
    (void)api;
    if (fault.openings > 0) {
        fault.openings--;
        CHECK(unlink(fault.path) == 0);
    }
    return SQLITE_OK;
}

/* Acknowledged runs are in the file that is at the path at the end. */
static void test_file_is_deleted_during_open(void)
{
    struct opened file;
    const struct change change = {.apply = NULL};

    open_file(&file, true);
    help_need(sqlite3_auto_extension((void (*)(void))delete_opened) == SQLITE_OK, "hook");
    fault.path = file.path;
    fault.openings = 3;
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    CHECK_INT(fault.openings, 0);
    CHECK_INT(count_of(&file, "before"), 1);
    CHECK_INT(count_reports(&file, ""), 0); /* the file was empty */
    delete_all(&file);
    wait_for_check();
    fault.openings = 3;
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(fault.openings, 0);
    CHECK_INT(count_reports(&file, "was deleted, renamed or replaced"), 1);
    sqlite3_reset_auto_extension();
    finish(&file, &change);
}

/* What somebody deletes while connections are being opened: a part at an opening. */
static const struct {
    const char *name, *parts[2];
} openings[] = {
    {"-wal", {"-wal", ""}},
    {"-shm", {"-shm", ""}},
    {"-wal, then -shm", {"-wal", "-shm"}},
    {"-shm, then -wal", {"-shm", "-wal"}},
    {"-wal twice", {"-wal", "-wal"}},
    {"-shm twice", {"-shm", "-shm"}},
};

static struct {
    const struct opened *file;
    const char *const *parts; /* two; "" for none */
    int opening;              /* the number of the next one */
} between;

/* SQLite calls this when a connection has opened the file, but neither -wal nor -shm. */
static int delete_between(sqlite3 *db, char **message, const void *api)
{
    (void)db;
    (void)message;
    (void)api;
    if (between.opening < 2) {
        const char *part = between.parts[between.opening++];

        if (*part != '\0') { /* it may be gone already */
            (void)unlink(part_of(between.file, part));
        }
    }
    return SQLITE_OK;
}

/* The writing connection has the file open. A read opens another one, which finds a part
 * that the first has open, and one that is new. */
static void deleted_between_openings(size_t which, bool is_journal)
{
    const struct change change = {.keeps_runs = true};
    struct opened file;

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    between.file = &file;
    between.parts = openings[which].parts;
    between.opening = 0;
    help_need(sqlite3_auto_extension((void (*)(void))delete_between) == SQLITE_OK,
              "hook");
    wait_for_look(&file);
    CHECK_INT(read_count(&file), 1);
    CHECK_INT(write_to(&file, "between", true), RL_OK);
    wait_for_look(&file);
    CHECK_INT(read_count(&file), 2);
    CHECK_INT(between.opening, 2);
    sqlite3_reset_auto_extension();
    wait_for_check();
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(read_count(&file), 3);
    CHECK_INT(count_of(&file, "between"), 1);
    CHECK(count_reports(&file, "of the SQLite file") <= 2);
    finish(&file, &change);
}

static void test_deleted_between_openings(void)
{
    static char current[200];
    const char *name = check_current;

    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        for (int is_journal = 0; is_journal < 2; is_journal++) {
            snprintf(current, sizeof current, "%s, %s of the %s", name, openings[i].name,
                     is_journal ? "journal" : "store");
            check_current = current;
            deleted_between_openings(i, is_journal != 0);
        }
    }
    check_current = name;
}

static const struct check_test tests[] = {
    CHECK_TEST(test_detected_by_write),
    CHECK_TEST(test_detected_by_read),
    CHECK_TEST(test_detected_by_checkpoint),
    CHECK_TEST(test_changed_before_fork),
    CHECK_TEST(test_changed_during_fork),
    CHECK_TEST(test_detected_in_two_processes),
    CHECK_TEST(test_detected_by_close),
    CHECK_TEST(test_folder_is_deleted),
    CHECK_TEST(test_file_is_deleted_during_open),
    CHECK_TEST(test_deleted_between_openings),
};

CHECK_MAIN(tests)
