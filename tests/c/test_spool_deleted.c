/* Test of a journal whose files are deleted at bad moments: while the next one is made, or
 * only a part of what belongs to it.
 */
#include "store/spool.h"

#include "check.h"
#include "store_help.h"

#include <sqlite3.h>
#include <time.h>

static struct {
    const char *path;
    int openings; /* whose file is deleted */
} fault;

/* SQLite calls it when it has opened a file, before it opens the -wal, for which it looks at
 * the file by its path. */
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

static rl_status append(rl_spool *spool, const char *run_id)
{
    rl_run *run = new_run("w", run_id, "completed");
    const rl_batch batch = {&run, 1, RL_JOURNAL, true};
    rl_err err = {.code = RL_OK};
    rl_status status = rl_spool_append(spool, &batch, &err);

    CHECK_STR(status == RL_OK ? "" : err.text, "");
    rl_run_free(run);
    return status;
}

static rl_spool *begin(char path[HELP_PATH])
{
    rl_spool *spool = NULL;

    fresh_path(path);
    help_need(rl_spool_new(path, the_migrations(), &spool, NULL) == RL_OK, "a journal");
    return spool;
}

/* When it is first made, and when it is made again: those opened before keep their runs. */
static void test_deleted_while_it_is_opened(void)
{
    char path[HELP_PATH];
    rl_spool *spool = begin(path);

    help_need(sqlite3_auto_extension((void (*)(void))delete_opened) == SQLITE_OK, "hook");
    fault.path = path;
    fault.openings = 3;
    CHECK_INT(append(spool, "a"), RL_OK);
    CHECK_INT(fault.openings, 0);
    CHECK(unlink(path) == 0);
    fault.openings = 3;
    CHECK_INT(append(spool, "b"), RL_OK);
    CHECK_INT(fault.openings, 0);
    CHECK_INT(rl_spool_moves(spool), 1);
    sqlite3_reset_auto_extension();
    rl_spool_free(spool);
    CHECK_INT(sql_int(path, "SELECT count(DISTINCT run_id) FROM journal"), 2);
}

/* Another process would get another one, whose locks and frames are not those of this one:
 * what there is goes to a new file. */
static void check_torn(const char *suffix)
{
    char path[HELP_PATH], name[HELP_PATH + 8];
    rl_spool *spool = begin(path);
    int64_t until = 0;
    char owner[RL_SPOOL_OWNER];

    CHECK_INT(append(spool, "a"), RL_OK);
    snprintf(name, sizeof name, "%s%s", path, suffix);
    CHECK(unlink(name) == 0);
    nanosleep(&(struct timespec){0, 20000000}, NULL); /* it is not looked for each time */
    CHECK_INT(append(spool, "b"), RL_OK);
    CHECK_INT(rl_spool_moves(spool), 1);
    CHECK(access(name, F_OK) == 0);
    CHECK_INT(rl_spool_holder(spool, owner, &until, NULL), RL_OK); /* one more opens it */
    rl_spool_free(spool);
    CHECK_INT(sql_int(path, "SELECT count(DISTINCT run_id) FROM journal"), 2);
    CHECK_SQL(path, "PRAGMA integrity_check", "ok");
}

static void test_only_a_part_is_deleted(void)
{
    check_torn("-wal");
    check_torn("-shm");
}

/* The history of a program that had no server is in the file: it is not given up. */
static void test_more_than_a_journal(void)
{
    char path[HELP_PATH], name[HELP_PATH + 8];
    rl_spool *spool = begin(path);

    CHECK_INT(append(spool, "a"), RL_OK);
    free(sql_text(path,
                  "INSERT INTO workflow_runs (id, wpk_id, run_id, status, created_at, "
                  "updated_at) VALUES ('i', 'w', 'old', 'completed', '', '')"));
    snprintf(name, sizeof name, "%s-wal", path);
    CHECK(unlink(name) == 0);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    CHECK_INT(append(spool, "b"), RL_OK);
    CHECK_INT(rl_spool_moves(spool), 0);
    rl_spool_free(spool);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM workflow_runs"), 1);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_deleted_while_it_is_opened),
    CHECK_TEST(test_only_a_part_is_deleted),
    CHECK_TEST(test_more_than_a_journal),
};

CHECK_MAIN(tests)
