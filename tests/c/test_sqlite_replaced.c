/* Test of a SQLite file that somebody deletes or replaces while it is open, or its -wal
 * or -shm. The store reports it once, and later writes go to the file at the path. The
 * same for the journal; with one process and with several.
 */
#include "core/notice.h"
#include "store/sqlite/journal_file.h"

#include "check.h"
#include "store_help.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define PART_PATH (HELP_PATH + 8)

/* A file in a folder of its own, opened as a store or as a journal. */
struct opened {
    bool is_journal;
    char folder[HELP_PATH], path[HELP_PATH];
    rl_store *store;
    rl_journal_file *journal;
    rl_notices notices;
};

static void open_file(struct opened *file, bool is_journal)
{
    rl_err err = {.code = RL_OK};
    rl_status status;

    memset(file, 0, sizeof *file);
    file->is_journal = is_journal;
    rl_notices_init(&file->notices);
    fresh_path(file->folder);
    help_need(mkdir(file->folder, 0700) == 0, file->folder);
    snprintf(file->path, sizeof file->path, "%.4000s/runs.db", file->folder);
    status = is_journal ? rl_journal_file_new(file->path, the_migrations(),
                                              &file->notices, &file->journal, &err)
                        : rl_sqlite_new(file->path, the_migrations(), NULL,
                                        &file->notices, &file->store, &err);
    help_need(status == RL_OK, err.text);
}

static void close_file(struct opened *file)
{
    if (file->is_journal) {
        rl_journal_file_free(file->journal);
    } else {
        file->store->ops->close(file->store);
    }
}

static rl_status write_to(struct opened *file, const char *run_id, bool may_wait)
{
    rl_run *run = new_run("w", run_id, "completed");
    const rl_batch batch = {&run, 1, RL_JOURNAL, may_wait ? RL_WAIT : RL_NO_WAIT};
    rl_status status = file->is_journal
                           ? rl_journal_file_append(file->journal, &batch, NULL)
                           : file->store->ops->write(file->store, &batch, NULL);

    rl_run_free(run);
    return status;
}

/* The number of runs that the store or the journal reads. */
static int64_t read_count(struct opened *file)
{
    rl_journal_file_state state = {0};
    rl_query query;
    rl_rows rows;
    int64_t count;

    if (file->is_journal) {
        CHECK_INT(rl_journal_file_get_state(file->journal, &state, NULL), RL_OK);
        return state.last > 0 ? state.last - state.first + 1 : 0;
    }
    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.limit = 1000;
    count = (int64_t)ask(file->store, &query, &rows);
    rl_rows_free(&rows);
    return count;
}

/* A look at the state of a journal does not wait until its file has been reopened. */
static void wait_for_look(struct opened *file)
{
    rl_journal_file_state state;

    while (file->is_journal &&
           rl_journal_file_get_state(file->journal, &state, NULL) == RL_BUSY) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

/* The number of rows of a run in the file at the path. */
static int64_t count_of(const struct opened *file, const char *run_id)
{
    char sql[200];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s WHERE run_id = '%s'",
             file->is_journal ? "journal" : "workflow_runs", run_id);
    return sql_int(file->path, sql);
}

/* Takes and counts the notices. Each must be an ERROR with the path and `what`. */
static int count_reports(struct opened *file, const char *what)
{
    rl_notice notice;
    int count = 0;

    while (rl_notices_take(&file->notices, &notice)) {
        CHECK_INT(notice.level, RL_NOTICE_ERROR);
        CHECK(strstr(notice.text, file->path) != NULL);
        CHECK(strstr(notice.text, "lost") != NULL);
        CHECK_STR(strstr(notice.text, what) != NULL ? "" : notice.text, "");
        count++;
    }
    return count;
}

/* Sleeps until the next call checks the path. */
static void wait_for_check(void)
{
    nanosleep(&(struct timespec){0, 6000000}, NULL);
}

/* The path of the file, its -wal or its -shm. Valid until the next call. */
static const char *part_of(const struct opened *file, const char *suffix)
{
    static char name[PART_PATH];

    snprintf(name, sizeof name, "%s%s", file->path, suffix);
    return name;
}

static void unlink_part(const struct opened *file, const char *suffix)
{
    CHECK(unlink(part_of(file, suffix)) == 0);
}

static void delete_all(const struct opened *file)
{
    unlink_part(file, "");
    unlink_part(file, "-wal");
    unlink_part(file, "-shm");
}

static void delete_alone(const struct opened *file)
{
    unlink_part(file, "");
}

static void rename_away(const struct opened *file)
{
    char to[PART_PATH];

    snprintf(to, sizeof to, "%s.old", file->path);
    CHECK(rename(file->path, to) == 0);
}

/* By a database with a table of its own, which must stay. */
static void replace(const struct opened *file)
{
    char other[PART_PATH];
    sqlite3 *db = NULL;

    snprintf(other, sizeof other, "%s.new", file->path);
    CHECK_INT(sqlite3_open(other, &db), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, "CREATE TABLE theirs AS SELECT 7 AS n", NULL, NULL, NULL),
              SQLITE_OK);
    sqlite3_close(db);
    CHECK(rename(other, file->path) == 0);
}

static void replace_folder(const struct opened *file)
{
    char to[PART_PATH];

    snprintf(to, sizeof to, "%s.old", file->folder);
    CHECK(rename(file->folder, to) == 0);
    CHECK(mkdir(file->folder, 0700) == 0);
}

static void delete_wal(const struct opened *file)
{
    unlink_part(file, "-wal");
}

static void delete_shm(const struct opened *file)
{
    unlink_part(file, "-shm");
}

static void delete_wal_and_shm(const struct opened *file)
{
    unlink_part(file, "-wal");
    unlink_part(file, "-shm");
}

/* As if a connection were being opened at that moment. */
static void empty_wal(const struct opened *file)
{
    int fd;

    unlink_part(file, "-wal");
    fd = open(part_of(file, "-wal"), O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0);
    close(fd);
}

static void empty_wal_and_delete_shm(const struct opened *file)
{
    empty_wal(file);
    unlink_part(file, "-shm");
}

/* What somebody does to the open file. */
static const struct change {
    const char *name;
    void (*apply)(const struct opened *file);
    const char *notice; /* a part of its text */
    bool keeps_runs;
} changes[] = {
    {"all deleted", delete_all, "was deleted, renamed or replaced", false},
    {"deleted alone", delete_alone, "was deleted, renamed or replaced", false},
    {"renamed", rename_away, "was deleted, renamed or replaced", false},
    {"replaced", replace, "was deleted, renamed or replaced", false},
    {"another folder", replace_folder, "was deleted, renamed or replaced", false},
    {"-wal deleted", delete_wal, "the -wal of", true},
    {"-shm deleted", delete_shm, "the -shm of", true},
    {"both deleted", delete_wal_and_shm, "the -wal of", true},
    {"-wal replaced by an empty one", empty_wal, "the -wal of", true},
    {"and -shm deleted", empty_wal_and_delete_shm, "the -wal of", true},
};

/* Plays a scenario with each change, on the store and on the journal. */
static void with_all(void (*scenario)(const struct change *change, bool is_journal))
{
    static char current[200];
    const char *name = check_current;

    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        for (int is_journal = 0; is_journal < 2; is_journal++) {
            snprintf(current, sizeof current, "%s, %s of the %s", name, changes[i].name,
                     is_journal ? "journal" : "store");
            check_current = current;
            scenario(&changes[i], is_journal != 0);
        }
    }
    check_current = name;
}

/* Closes the file; it has no damage, and there are no more notices. */
static void finish(struct opened *file, const struct change *change)
{
    close_file(file);
    CHECK_INT(count_reports(file, ""), 0);
    CHECK_INTACT(file->path);
    CHECK_INT(count_of(file, "after"), 1);
    CHECK_INT(count_of(file, "before"), change->keeps_runs);
    if (change->apply == replace) {
        CHECK_INT(sql_int(file->path, "SELECT n FROM theirs"), 7);
    }
    rl_notices_destroy(&file->notices);
}

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

static rl_status checkpoint(struct opened *file)
{
    return file->is_journal ? rl_journal_file_checkpoint(file->journal, NULL)
                            : file->store->ops->checkpoint(file->store, NULL);
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
    int ready[2], go[2];
    char byte;
    pid_t pid;

    fflush(stdout);
    the_migrations();
    open_file(&file, is_journal);
    help_need(pipe(ready) == 0 && pipe(go) == 0, "pipe");
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        CHECK_INT(write_to(&file, "before", true), RL_OK);
        help_need(write(ready[1], "1", 1) == 1 && read(go[0], &byte, 1) == 1, "pipe");
        CHECK_INT(write_to(&file, "child", true), RL_OK);
        CHECK_INT(count_reports(&file, change->notice), 1);
        close_file(&file);
        leave_child();
    }
    help_need(read(ready[0], &byte, 1) == 1, "the other process");
    CHECK_INT(read_count(&file), 1);
    change->apply(&file);
    wait_for_check();
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(count_reports(&file, change->notice), 1);
    help_need(write(go[1], "1", 1) == 1, "pipe");
    check_child(pid);
    CHECK_INT(count_of(&file, "child"), 1);
    CHECK_INT(read_count(&file), 2 + change->keeps_runs);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(go[i]);
    }
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
static void test_another_connection_has_the_deleted_wal(void)
{
    struct opened file;
    rl_store *store;
    rl_err err = {.code = RL_OK};

    for (int in_child = 0; in_child < 2; in_child++) {
        int ready[2], go[2];
        char byte;
        sqlite3 *db = NULL;
        pid_t pid = 0;

        fflush(stdout);
        open_file(&file, false);
        CHECK_INT(write_to(&file, "before", true), RL_OK);
        help_need(pipe(ready) == 0 && pipe(go) == 0, "pipe");
        if (in_child) {
            pid = fork();
            REQUIRE(pid >= 0);
        }
        if (!in_child || pid == 0) {
            db = open_other(&file);
        }
        if (in_child && pid == 0) {
            help_need(write(ready[1], "1", 1) == 1 && read(go[0], &byte, 1) == 1, "pipe");
            CHECK_INT(sqlite3_close(db), SQLITE_OK);
            leave_child();
        }
        help_need(!in_child || read(ready[0], &byte, 1) == 1, "the other process");
        close_file(&file);
        delete_wal_and_shm(&file);
        store = new_store(file.path);
        CHECK_INT(write_run(store, new_run("w", "after", "completed"), true, &err),
                  RL_STORE);
        CHECK_STR(strstr(err.text, "another connection still has the old one open") !=
                          NULL
                      ? ""
                      : err.text,
                  "");
        CHECK(err.retryable);
        if (in_child) {
            help_need(write(go[1], "1", 1) == 1, "pipe");
            check_child(pid);
        } else {
            sqlite3_close(db);
        }
        CHECK_INT(write_run(store, new_run("w", "after", "completed"), true, &err),
                  RL_OK);
        store->ops->close(store);
        CHECK_INTACT(file.path);
        CHECK_INT(count_of(&file, "before"), 1);
        CHECK_INT(count_of(&file, "after"), 1);
        rl_notices_destroy(&file.notices);
        for (int i = 0; i < 2; i++) {
            close(ready[i]);
            close(go[i]);
        }
    }
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

/* With a connection to the old files, which another process has retired: neither a commit
 * nor a checkpoint may take them for the database's. */
static void use_retired(const struct opened *file, int ready, int go)
{
    sqlite3 *db = NULL;
    char byte;

    CHECK_INT(sqlite3_open(file->path, &db), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, "CREATE TABLE theirs (n)", NULL, NULL, NULL), SQLITE_OK);
    help_need(write(ready, "1", 1) == 1 && read(go, &byte, 1) == 1, "pipe");
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
    int ready[2], go[2];
    char byte;
    pid_t pid;

    if (!change->keeps_runs) {
        return; /* the file itself is another one */
    }
    fflush(stdout);
    the_migrations();
    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    help_need(pipe(ready) == 0 && pipe(go) == 0, "pipe");
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        use_retired(&file, ready[1], go[0]);
    }
    help_need(read(ready[0], &byte, 1) == 1, "the other process");
    change->apply(&file);
    wait_for_check();
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(count_reports(&file, change->notice), 1);
    help_need(write(go[1], "1", 1) == 1, "pipe");
    check_child(pid);
    CHECK_INT(sql_int(file.path, "SELECT count(*) FROM theirs"), 0);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(go[i]);
    }
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
    atomic_int opened; /* runs that were acknowledged to the process that opens anew */
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

/* Opens the file for each run, until `stop`. */
static void open_until_stopped(const char *path, struct shared *shared)
{
    char run_id[40];

    while (!atomic_load(&shared->stop)) {
        rl_store *store = new_store(path);

        snprintf(run_id, sizeof run_id, "opened.%d", atomic_load(&shared->opened));
        if (write_run(store, new_run("w", run_id, "completed"), true, NULL) == RL_OK) {
            atomic_fetch_add(&shared->opened, 1);
        }
        store->ops->close(store);
    }
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

/* While two processes write, and a third opens the file for each run, the -wal and -shm
 * are deleted 20 times. The two detect it each time, the file is not damaged, and no run is
 * lost. */
static void test_deletions_during_writes_lose_no_runs(void)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct opened file;
    pid_t pids[WRITERS], opener;

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
    opener = fork();
    REQUIRE(opener >= 0);
    if (opener == 0) {
        open_until_stopped(file.path, shared);
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
    check_child(opener);
    CHECK(atomic_load(&shared->opened) > 0);
    close_file(&file);
    CHECK_INTACT(file.path);
    CHECK_INT(sql_int(file.path, "SELECT count(*) FROM workflow_runs"),
              atomic_load(&shared->written[0]) + atomic_load(&shared->written[1]) + 2 +
                  atomic_load(&shared->opened));
    rl_notices_destroy(&file.notices);
    munmap(shared, sizeof *shared);
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
    CHECK_TEST(test_another_connection_has_the_deleted_wal),
    CHECK_TEST(test_file_is_deleted_during_open),
    CHECK_TEST(test_deleted_between_openings),
    CHECK_TEST(test_retired_for_others),
    CHECK_TEST(test_deletions_during_writes_lose_no_runs),
};

CHECK_MAIN(tests)
