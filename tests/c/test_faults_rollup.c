/* Test of the roll-up on SQLite while allocations and system calls fail, one alone and all
 * from one on. Every call ends with success or a clear error; after the fault the figures
 * are those of a count from scratch, and no statement, transaction or lock is left.
 *
 * PARTS: 2
 * LINK: -Wl,--wrap=open -Wl,--wrap=fstat -Wl,--wrap=ftruncate -Wl,--wrap=fcntl
 * LINK: -Wl,--wrap=pread -Wl,--wrap=pwrite -Wl,--wrap=mmap
 * LINK: -Wl,--wrap=sqlite3_prepare_v3 -Wl,--wrap=sqlite3_step
 * LINK: -Wl,--wrap=sqlite3_bind_text -Wl,--wrap=sqlite3_bind_blob64
 */
#include "check.h"
#include "fault_files.h"
#include "rollup_help.h"

WRAP(FAULT_SQLITE, SQLITE_NOMEM, int, sqlite3_prepare_v3,
     (sqlite3 * db, const char *sql, int len, unsigned flags, sqlite3_stmt **stmt,
      const char **tail),
     (db, sql, len, flags, stmt, tail))
WRAP(FAULT_SQLITE, SQLITE_NOMEM, int, sqlite3_step, (sqlite3_stmt * stmt), (stmt))
WRAP(FAULT_SQLITE, SQLITE_NOMEM, int, sqlite3_bind_text,
     (sqlite3_stmt * stmt, int at, const char *text, int len, void (*release)(void *)),
     (stmt, at, text, len, release))
WRAP(FAULT_SQLITE, SQLITE_NOMEM, int, sqlite3_bind_blob64,
     (sqlite3_stmt * stmt, int at, const void *data, sqlite3_uint64 len,
      void (*release)(void *)),
     (stmt, at, data, len, release))

static char template[HELP_PATH];

static rl_rollup_db *open_rollup(rl_store *store)
{
    rl_rollup_db *db = NULL;
    rl_err err = {.code = RL_OK};

    help_need(rl_sqlite_rollup_new(store, &db, &err) == RL_OK, "a roll-up");
    return db;
}

static void delete_elsewhere(const char *run_id)
{
    char sql[100];

    snprintf(sql, sizeof sql, "DELETE FROM workflow_runs WHERE run_id = '%s'", run_id);
    CHECK_SQL(template, sql, "");
}

/* Has a store and its roll-up at a new path make what a round needs. */
static void make(char path[HELP_PATH], void (*fill)(rl_store *store, rl_rollup_db *db))
{
    rl_rollup_db *db;
    rl_store *store;

    fresh_path(path);
    store = open_store(path);
    db = open_rollup(store);
    fill(store, db);
    db->ops->free(db);
    store->ops->close(store);
}

static void make_template(rl_store *store, rl_rollup_db *db)
{
    make_history(store, db, delete_elsewhere);
}

static void play(void (*part)(rl_store *store, rl_rollup_db *db))
{
    const unsigned kinds = atomic_exchange(&fault.kinds, 0);
    char path[HELP_PATH];
    rl_rollup_db *db;
    rl_store *store;

    fresh_path(path);
    copy_file(template, path);
    store = open_store(path);
    db = open_rollup(store);
    atomic_store(&fault.kinds, kinds);
    part(store, db);
    fault_over();
    /* no reader has a snapshot, and nobody the lock */
    CHECK_SQL(path, "PRAGMA wal_checkpoint(TRUNCATE)", "0");
    check_history(db);
    db->ops->free(db);
    store->ops->close(store);
    CHECK_INTACT(path);
    delete_database(path);
}

static void first_part(void)
{
    play(count_and_read);
}

static void second_part(void)
{
    play(count_anew);
}

static void test_the_figures_survive_faults(void)
{
    static const struct fault_plan plans[] = {
        {"the core's memory", FAULT_MEMORY, ENOMEM, 40, 0, false},
        {"SQLite's memory", FAULT_SQLITE_MEMORY, ENOMEM, 200, 200, false},
        {"SQLite", FAULT_SQLITE, ENOMEM, 60, 0, false},
        {"EIO", FAULT_FILE, EIO, 5, 0, false},
        {"ENOSPC", FAULT_WRITE, ENOSPC, 2, 0, false},
        {"short writes", FAULT_SHORT, EIO, 2, 0, false},
        {"locks", FAULT_LOCK, EAGAIN, 5, 0, true},
    };
    char path[HELP_PATH];

    fault_install();
    make(path, make_figures);
    make(template, make_template);
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        fault_everywhere(&plans[i], first_part);
        fault_everywhere(&plans[i], second_part);
    }
    rl_buf_free(&wanted);
}

static const struct check_test tests[] = {CHECK_LOOP(test_the_figures_survive_faults)};

CHECK_MAIN(tests)
