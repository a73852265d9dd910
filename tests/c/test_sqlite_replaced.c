/* Test of a SQLite file that is deleted or replaced while it is open, or what belongs to it:
 * it is reported once, and what is written from then on is in the file at the path. For the
 * store and for the journal; by this process and by others.
 */
#include "core/notice.h"
#include "store/sqlite/journal_file.h"

#include "check.h"
#include "store_help.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define BESIDE (HELP_PATH + 8)

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
    const rl_batch batch = {&run, 1, RL_JOURNAL, may_wait};
    rl_status status = file->is_journal
                           ? rl_journal_file_append(file->journal, &batch, NULL)
                           : file->store->ops->write(file->store, &batch, NULL);

    rl_run_free(run);
    return status;
}

/* Rows that the open file finds itself. */
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

/* Rows at the path of a run, for somebody else. */
static int64_t count_of(const struct opened *file, const char *run_id)
{
    char sql[200];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s WHERE run_id = '%s'",
             file->is_journal ? "journal" : "workflow_runs", run_id);
    return sql_int(file->path, sql);
}

/* Takes the notices: each must be an ERROR with the path and `what` in it. */
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

/* The path is not looked at each time. */
static void wait_for_look(void)
{
    nanosleep(&(struct timespec){0, 6000000}, NULL);
}

static const char *beside(const struct opened *file, const char *suffix)
{
    static char name[BESIDE];

    snprintf(name, sizeof name, "%s%s", file->path, suffix);
    return name;
}

static void unlink_beside(const struct opened *file, const char *suffix)
{
    CHECK(unlink(beside(file, suffix)) == 0);
}

static void leave_child(void)
{
    fflush(stdout);
    _exit(atomic_load(&check_failures) != 0);
}

/* What may happen to a file that is open. */
static void delete_all(const struct opened *file)
{
    unlink_beside(file, "");
    unlink_beside(file, "-wal");
    unlink_beside(file, "-shm");
}

static void delete_alone(const struct opened *file)
{
    unlink_beside(file, "");
}

static void rename_away(const struct opened *file)
{
    char to[BESIDE];

    snprintf(to, sizeof to, "%s.old", file->path);
    CHECK(rename(file->path, to) == 0);
}

/* By a database that has a table of its own, and keeps it. */
static void replace(const struct opened *file)
{
    char other[BESIDE];
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
    char to[BESIDE];

    snprintf(to, sizeof to, "%s.old", file->folder);
    CHECK(rename(file->folder, to) == 0);
    CHECK(mkdir(file->folder, 0700) == 0);
}

static void delete_wal(const struct opened *file)
{
    unlink_beside(file, "-wal");
}

static void delete_shm(const struct opened *file)
{
    unlink_beside(file, "-shm");
}

static void delete_wal_and_shm(const struct opened *file)
{
    unlink_beside(file, "-wal");
    unlink_beside(file, "-shm");
}

static const struct fate {
    const char *name;
    void (*happens)(const struct opened *file);
    const char *reported;
    bool keeps_runs;
} fates[] = {
    {"all deleted", delete_all, "was deleted, renamed or replaced", false},
    {"deleted alone", delete_alone, "was deleted, renamed or replaced", false},
    {"renamed", rename_away, "was deleted, renamed or replaced", false},
    {"replaced", replace, "was deleted, renamed or replaced", false},
    {"another folder", replace_folder, "was deleted, renamed or replaced", false},
    {"-wal deleted", delete_wal, "the -wal of", true},
    {"-shm deleted", delete_shm, "the -shm of", true},
    {"both deleted", delete_wal_and_shm, "the -wal of", true},
};

/* Plays a scenario with each fate, on the store and on the journal. */
static void with_all(void (*scenario)(const struct fate *fate, bool is_journal))
{
    static char current[200];
    const char *name = check_current;

    for (size_t i = 0; i < sizeof fates / sizeof *fates; i++) {
        for (int is_journal = 0; is_journal < 2; is_journal++) {
            snprintf(current, sizeof current, "%s, %s of the %s", name, fates[i].name,
                     is_journal ? "journal" : "store");
            check_current = current;
            scenario(&fates[i], is_journal != 0);
        }
    }
    check_current = name;
}

/* Closes it; it is whole, and nothing more is reported. */
static void finish(struct opened *file, const struct fate *fate)
{
    close_file(file);
    CHECK_INT(count_reports(file, ""), 0);
    CHECK_INTACT(file->path);
    CHECK_INT(count_of(file, "after"), 1);
    CHECK_INT(count_of(file, "before"), fate->keeps_runs);
    if (fate->happens == replace) {
        CHECK_INT(sql_int(file->path, "SELECT n FROM theirs"), 7);
    }
    rl_notices_destroy(&file->notices);
}

static void found_by_a_writer(const struct fate *fate, bool is_journal)
{
    struct opened file;

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    fate->happens(&file);
    wait_for_look();
    CHECK_INT(write_to(&file, "after", false), RL_BUSY); /* opening a file takes long */
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(count_reports(&file, fate->reported), 1);
    CHECK_INT(count_of(&file, "after"), 1);
    CHECK_INT(read_count(&file), 1 + fate->keeps_runs);
    wait_for_look();
    CHECK_INT(write_to(&file, "more", false), RL_OK);
    CHECK_INT(read_count(&file), 2 + fate->keeps_runs);
    finish(&file, fate);
}

static void test_found_by_a_writer(void)
{
    with_all(found_by_a_writer);
}

/* It gets tables, and not the rows of the old file. */
static void found_by_a_reader(const struct fate *fate, bool is_journal)
{
    struct opened file;

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    CHECK_INT(read_count(&file), 1);
    fate->happens(&file);
    wait_for_look();
    CHECK_INT(read_count(&file), fate->keeps_runs);
    CHECK_INT(count_reports(&file, fate->reported), 1);
    CHECK_INT(write_to(&file, "after", false), RL_OK);
    finish(&file, fate);
}

static void test_found_by_a_reader(void)
{
    with_all(found_by_a_reader);
}

static rl_status checkpoint(struct opened *file)
{
    return file->is_journal ? rl_journal_file_checkpoint(file->journal, NULL)
                            : file->store->ops->checkpoint(file->store, NULL);
}

/* At once: its look at the path is not put off. */
static void found_by_a_checkpoint(const struct fate *fate, bool is_journal)
{
    struct opened file;

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    fate->happens(&file);
    wait_for_look();
    CHECK_INT(checkpoint(&file), RL_OK);
    CHECK_INT(count_reports(&file, fate->reported), 1);
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(checkpoint(&file), RL_OK);
    finish(&file, fate);
}

static void test_found_by_a_checkpoint(void)
{
    with_all(found_by_a_checkpoint);
}

/* And by a fork, which closes the file anyway, and on both sides after one. */
static void found_around_a_fork(const struct fate *fate, bool is_journal, bool before)
{
    struct opened file;
    int status = -1;
    pid_t pid;

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    if (before) {
        fate->happens(&file);
    }
    if (is_journal) {
        rl_journal_file_before_fork(file.journal);
    } else {
        file.store->ops->before_fork(file.store);
    }
    CHECK_INT(count_reports(&file, fate->reported), before);
    if (!before) { /* the -wal and the -shm are nobody's now */
        fate->happens(&file);
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
        CHECK_INT(read_count(&file), fate->keeps_runs);
        CHECK_INT(write_to(&file, "child", true), RL_OK);
        CHECK_INT(count_reports(&file, fate->reported), !before);
        leave_child();
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
          WEXITSTATUS(status) == 0);
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(count_reports(&file, fate->reported), !before);
    CHECK_INT(count_of(&file, "child"), 1);
    finish(&file, fate);
}

static void found_before_a_fork(const struct fate *fate, bool is_journal)
{
    found_around_a_fork(fate, is_journal, true);
}

/* Nobody has the old file open then, so a new one must have another inode to be told apart. */
static void found_after_a_fork(const struct fate *fate, bool is_journal)
{
    if (fate->happens == rename_away || fate->happens == replace_folder) {
        found_around_a_fork(fate, is_journal, false);
    }
}

static void test_found_before_a_fork(void)
{
    with_all(found_before_a_fork);
}

static void test_found_after_a_fork(void)
{
    with_all(found_after_a_fork);
}

/* A process that does nothing meanwhile finds it out when it goes on, and does not bring back
 * what the other one has left behind. */
static void found_in_two_processes(const struct fate *fate, bool is_journal)
{
    struct opened file;
    int ready[2], go[2], status = -1;
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
        CHECK_INT(count_reports(&file, fate->reported), 1);
        close_file(&file);
        leave_child();
    }
    help_need(read(ready[0], &byte, 1) == 1, "the other process");
    CHECK_INT(read_count(&file), 1);
    fate->happens(&file);
    wait_for_look();
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(count_reports(&file, fate->reported), 1);
    help_need(write(go[1], "1", 1) == 1, "pipe");
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
          WEXITSTATUS(status) == 0);
    CHECK_INT(count_of(&file, "child"), 1);
    CHECK_INT(read_count(&file), 2 + fate->keeps_runs);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(go[i]);
    }
    finish(&file, fate);
}

static void test_found_in_two_processes(void)
{
    with_all(found_in_two_processes);
}

/* Nothing is written after it: closing tells, and leaves the files of others alone. */
static void found_at_the_end(const struct fate *fate, bool is_journal)
{
    struct opened file;
    rl_store *other;

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    fate->happens(&file);
    other = open_store(file.path);
    CHECK_INT(write_run(other, new_run("w", "theirs", "completed"), true, NULL), RL_OK);
    close_file(&file);
    CHECK_INT(count_reports(&file, fate->reported), 1);
    CHECK(access(beside(&file, "-wal"), F_OK) == 0);
    CHECK(access(beside(&file, "-shm"), F_OK) == 0);
    other->ops->close(other);
    CHECK_INTACT(file.path);
    CHECK_INT(
        sql_int(file.path, "SELECT count(*) FROM workflow_runs WHERE run_id = 'theirs'"),
        1);
    rl_notices_destroy(&file.notices);
}

/* Where only the -wal or the -shm is gone, SQLite gives the other one of the same process the
 * old -shm; and a database that is put in place of the old one gets the old -wal. */
static void found_at_the_end_if_deleted(const struct fate *fate, bool is_journal)
{
    if (fate->reported[0] == 'w' && fate->happens != replace) {
        found_at_the_end(fate, is_journal);
    }
}

static void test_found_at_the_end(void)
{
    with_all(found_at_the_end_if_deleted);
}

/* Without a folder there is an error at each call, and one report. */
static void folder_is_deleted(bool is_journal)
{
    struct opened file;
    const struct fate fate = {.happens = NULL};

    open_file(&file, is_journal);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    delete_all(&file);
    CHECK(rmdir(file.folder) == 0);
    wait_for_look();
    for (int i = 0; i < 3; i++) {
        CHECK_INT(write_to(&file, "between", true), RL_STORE);
    }
    CHECK_INT(count_reports(&file, "was deleted, renamed or replaced"), 1);
    CHECK(mkdir(file.folder, 0700) == 0);
    CHECK_INT(read_count(&file), 0);
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    finish(&file, &fate);
}

static void test_folder_is_deleted(void)
{
    folder_is_deleted(false);
    folder_is_deleted(true);
}

/* SQLite's -shm is shared in a process: while another connection there has the deleted one
 * open, a new one would get it too, with a -wal that does not belong to it. */
static void test_another_connection_of_the_process(void)
{
    struct opened file;
    sqlite3 *db = NULL;
    rl_run *run = new_run("w", "after", "completed");
    const rl_batch batch = {&run, 1, RL_JOURNAL, true};
    const struct fate fate = {.keeps_runs =
                                  true}; /* the other connection checkpoints it */
    rl_err err = {.code = RL_OK};

    open_file(&file, false);
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    CHECK_INT(sqlite3_open(file.path, &db), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, "SELECT * FROM workflow_runs", NULL, NULL, NULL),
              SQLITE_OK);
    delete_wal(&file);
    wait_for_look();
    CHECK_INT(file.store->ops->write(file.store, &batch, &err), RL_STORE);
    CHECK_STR(strstr(err.text, "another connection of this process") ? "" : err.text, "");
    CHECK(err.retryable);
    sqlite3_close(db);
    CHECK_INT(file.store->ops->write(file.store, &batch, &err), RL_OK);
    CHECK_INT(count_reports(&file, "the -wal of"), 1);
    rl_run_free(run);
    finish(&file, &fate);
}

static struct {
    const char *path;
    int openings; /* whose file is deleted */
} fault;

/* SQLite calls it when it has opened a file, before it opens the -wal, which it finds by the
 * path. */
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

/* What is acknowledged then is in the file that is there at last. */
static void test_deleted_while_it_is_opened(void)
{
    struct opened file;
    const struct fate fate = {.happens = NULL};

    open_file(&file, true);
    help_need(sqlite3_auto_extension((void (*)(void))delete_opened) == SQLITE_OK, "hook");
    fault.path = file.path;
    fault.openings = 3;
    CHECK_INT(write_to(&file, "before", true), RL_OK);
    CHECK_INT(fault.openings, 0);
    CHECK_INT(count_of(&file, "before"), 1);
    CHECK_INT(count_reports(&file, ""), 0); /* nothing was in it */
    delete_all(&file);
    wait_for_look();
    fault.openings = 3;
    CHECK_INT(write_to(&file, "after", true), RL_OK);
    CHECK_INT(fault.openings, 0);
    CHECK_INT(count_reports(&file, "was deleted, renamed or replaced"), 1);
    sqlite3_reset_auto_extension();
    finish(&file, &fate);
}

enum {
    WRITERS = 2,
    DELETIONS = 20
};

/* What the processes of a test tell each other. */
struct shared {
    atomic_int reports[WRITERS], written[WRITERS]; /* what was acknowledged */
    atomic_bool stop;
};

/* Writes at full speed, checkpoints included, until it is told to stop. */
static void write_on(struct opened *file, struct shared *shared, int number)
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

/* Until each has reported so often, and then has written some. */
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

/* Two processes at work on a file: what belongs to it is deleted again and again, and each time
 * both find that out. The file stays whole, and no run is lost. */
static void test_processes_at_work(void)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct opened file;
    pid_t pids[WRITERS];
    int status = -1;

    REQUIRE(shared != MAP_FAILED);
    the_migrations();
    open_file(&file, false);
    fflush(stdout);
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        REQUIRE(pids[i] >= 0);
        if (pids[i] == 0) {
            write_on(&file, shared, i);
        }
    }
    wait_for_writers(shared, 0);
    for (int i = 1; i <= DELETIONS; i++) {
        if (i % 3 != 0) {
            (void)unlink(beside(&file, "-shm"));
        }
        if (i % 3 != 1) {
            (void)unlink(beside(&file, "-wal"));
        }
        wait_for_writers(shared, i);
    }
    atomic_store(&shared->stop, true);
    for (int i = 0; i < WRITERS; i++) {
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status) &&
              WEXITSTATUS(status) == 0);
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
    CHECK_TEST(test_found_by_a_writer),
    CHECK_TEST(test_found_by_a_reader),
    CHECK_TEST(test_found_by_a_checkpoint),
    CHECK_TEST(test_found_before_a_fork),
    CHECK_TEST(test_found_after_a_fork),
    CHECK_TEST(test_found_in_two_processes),
    CHECK_TEST(test_found_at_the_end),
    CHECK_TEST(test_folder_is_deleted),
    CHECK_TEST(test_another_connection_of_the_process),
    CHECK_TEST(test_deleted_while_it_is_opened),
    CHECK_TEST(test_processes_at_work),
};

CHECK_MAIN(tests)
