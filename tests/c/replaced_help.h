/* What the tests of deleted and replaced SQLite files share: a file that is open, as a
 * store or as a journal, and what somebody does to it.
 */
#ifndef RUNLOG_TESTS_REPLACED_HELP_H
#define RUNLOG_TESTS_REPLACED_HELP_H

#include "core/notice.h"
#include "store/sqlite/journal_file.h"

#include "check.h"
#include "store_help.h"

#include <fcntl.h>
#include <sys/stat.h>
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

static inline void open_file(struct opened *file, bool is_journal)
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

static inline void close_file(struct opened *file)
{
    if (file->is_journal) {
        rl_journal_file_free(file->journal);
    } else {
        file->store->ops->close(file->store);
    }
}

static inline rl_status write_to(struct opened *file, const char *run_id, bool may_wait)
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
static inline int64_t read_count(struct opened *file)
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
static inline void wait_for_look(struct opened *file)
{
    rl_journal_file_state state;

    while (file->is_journal &&
           rl_journal_file_get_state(file->journal, &state, NULL) == RL_BUSY) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

/* The number of rows of a run in the file at the path. */
static inline int64_t count_of(const struct opened *file, const char *run_id)
{
    char sql[200];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s WHERE run_id = '%s'",
             file->is_journal ? "journal" : "workflow_runs", run_id);
    return sql_int(file->path, sql);
}

/* Takes and counts the notices. Each must be an ERROR with the path and `what`. */
static inline int count_reports(struct opened *file, const char *what)
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
static inline void wait_for_check(void)
{
    nanosleep(&(struct timespec){0, 6000000}, NULL);
}

/* The path of the file, its -wal or its -shm. Valid until the next call. */
static inline const char *part_of(const struct opened *file, const char *suffix)
{
    static char name[PART_PATH];

    snprintf(name, sizeof name, "%s%s", file->path, suffix);
    return name;
}

static inline void unlink_part(const struct opened *file, const char *suffix)
{
    CHECK(unlink(part_of(file, suffix)) == 0);
}

static inline void delete_all(const struct opened *file)
{
    unlink_part(file, "");
    unlink_part(file, "-wal");
    unlink_part(file, "-shm");
}

static inline void delete_alone(const struct opened *file)
{
    unlink_part(file, "");
}

static inline void rename_away(const struct opened *file)
{
    char to[PART_PATH];

    snprintf(to, sizeof to, "%s.old", file->path);
    CHECK(rename(file->path, to) == 0);
}

/* By a database with a table of its own, which must stay. */
static inline void replace(const struct opened *file)
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

static inline void replace_folder(const struct opened *file)
{
    char to[PART_PATH];

    snprintf(to, sizeof to, "%s.old", file->folder);
    CHECK(rename(file->folder, to) == 0);
    CHECK(mkdir(file->folder, 0700) == 0);
}

static inline void delete_wal(const struct opened *file)
{
    unlink_part(file, "-wal");
}

static inline void delete_shm(const struct opened *file)
{
    unlink_part(file, "-shm");
}

static inline void delete_wal_and_shm(const struct opened *file)
{
    unlink_part(file, "-wal");
    unlink_part(file, "-shm");
}

/* As if a connection were being opened at that moment. */
static inline void empty_wal(const struct opened *file)
{
    int fd;

    unlink_part(file, "-wal");
    fd = open(part_of(file, "-wal"), O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0);
    close(fd);
}

static inline void empty_wal_and_delete_shm(const struct opened *file)
{
    empty_wal(file);
    unlink_part(file, "-shm");
}

/* Where a child process waits until its parent lets it go on. */
struct meeting {
    int ready[2], go[2];
};

static inline void open_meeting(struct meeting *meeting)
{
    help_need(pipe(meeting->ready) == 0 && pipe(meeting->go) == 0, "pipe");
}

static inline void wait_for_parent(const struct meeting *meeting)
{
    char byte;

    help_need(write(meeting->ready[1], "1", 1) == 1 &&
                  read(meeting->go[0], &byte, 1) == 1,
              "pipe");
}

static inline void wait_for_child(const struct meeting *meeting)
{
    char byte;

    help_need(read(meeting->ready[0], &byte, 1) == 1, "the other process");
}

/* Lets the child go on, and checks how it ends. */
static inline void close_meeting(const struct meeting *meeting, pid_t pid)
{
    help_need(write(meeting->go[1], "1", 1) == 1, "pipe");
    check_child(pid);
    for (int i = 0; i < 2; i++) {
        close(meeting->ready[i]);
        close(meeting->go[i]);
    }
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
static inline void with_all(void (*scenario)(const struct change *change,
                                             bool is_journal))
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
static inline void finish(struct opened *file, const struct change *change)
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

static inline rl_status checkpoint(struct opened *file)
{
    return file->is_journal ? rl_journal_file_checkpoint(file->journal, NULL)
                            : file->store->ops->checkpoint(file->store, NULL);
}

#endif
