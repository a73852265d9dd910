/* Shared by the tests of the stores: temporary files, the repository's migrations, runs
 * to write, and SQL on a connection of the test's own.
 */
#ifndef RUNLOG_TESTS_STORE_HELP_H
#define RUNLOG_TESTS_STORE_HELP_H

#include "core/alloc.h"
#include "core/run.h"
#include "record/recorder/recorder.h"
#include "store/sqlite/sqlite.h"

#include "check.h"

#include <ftw.h>
#include <glob.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELP_PATH 4096

static char help_folder[HELP_PATH];

/* Ends the program, unless `holds`: for conditions without which no test can run. */
static inline void help_need(bool holds, const char *what)
{
    if (!holds) {
        printf("FAILED to set up: %s\n", what);
        _exit(1);
    }
}

static inline int help_remove_one(const char *path, const struct stat *info, int type,
                                  struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

static inline void help_remove_folder(void)
{
    (void)nftw(help_folder, help_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* The absolute path of a new file, in a folder of this program below the current
 * directory. The program removes the folder at its exit; children must end by _exit. */
static inline void fresh_path(char path[HELP_PATH])
{
    static int count;

    if (help_folder[0] == '\0') {
        char here[HELP_PATH - 20];

        help_need(getcwd(here, sizeof here) != NULL, "getcwd");
        snprintf(help_folder, sizeof help_folder, "%s/c.XXXXXX", here);
        help_need(mkdtemp(help_folder) != NULL, "mkdtemp");
        atexit(help_remove_folder);
    }
    snprintf(path, HELP_PATH, "%.4000s/%d.db", help_folder, ++count);
}

static inline char *help_read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t size = 0;

    help_need(file != NULL && getdelim(&text, &size, EOF, file) > 0, path);
    fclose(file);
    return text;
}

/* Reads the migrations in a folder of the repository; they are never freed. The stores
 * only compare checksums, so any function of the file will do. */
static inline void load_migrations(const char *folder, rl_migration *list,
                                   rl_migrations *known)
{
    glob_t files;
    char pattern[HELP_PATH];
    size_t top = sizeof __FILE__ - sizeof "tests/c/store_help.h";

    snprintf(pattern, sizeof pattern, "%.*s%s/*.sql", (int)top, __FILE__, folder);
    help_need(glob(pattern, 0, NULL, &files) == 0 && files.gl_pathc < 100, pattern);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        char *sql = help_read_file(files.gl_pathv[i]), *checksum = malloc(65);
        uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */

        for (const char *at = sql; *at != '\0'; at++) {
            hash = (hash ^ (unsigned char)*at) * UINT64_C(1099511628211);
        }
        snprintf(checksum, 65, "%016" PRIx64 "%048d", hash, 0);
        list[i] = (rl_migration){(int)i + 1, strdup(strrchr(files.gl_pathv[i], '/') + 1),
                                 sql, checksum};
    }
    known->count = files.gl_pathc;
    globfree(&files);
}

static inline const rl_migrations *the_migrations(void)
{
    static rl_migration list[100];
    static rl_migrations known = {list, 0};

    if (known.count == 0) {
        load_migrations("migrations/sqlite", list, &known);
    }
    return &known;
}

static inline const rl_migrations *postgres_migrations(void)
{
    static rl_migration list[100];
    static rl_migrations known = {list, 0};

    if (known.count == 0) {
        load_migrations("migrations", list, &known);
    }
    return &known;
}

/* A store on a file that is not open yet. */
static inline rl_store *new_store(const char *path)
{
    rl_store *store = NULL;
    rl_err err;

    help_need(rl_sqlite_new(path, the_migrations(), NULL, NULL, &store, &err) == RL_OK,
              "a store");
    return store;
}

/* The same, opened. */
static inline rl_store *open_store(const char *path)
{
    rl_store *store = new_store(path);
    rl_err err = {.code = RL_OK};

    if (store->ops->prepare(store, &err) != RL_OK) {
        help_need(false, err.text);
    }
    return store;
}

/* Copies migrations into a set that a recorder will own; false without memory. */
static inline bool own_migrations(rl_migration_set *set, const rl_migrations *known)
{
    bool whole = true;

    set->list = rl_calloc(known->count, sizeof *set->list);
    for (size_t i = 0; set->list != NULL && i < known->count; i++) {
        rl_migration *own = &set->list[set->count++];

        own->number = known->list[i].number;
        own->name = rl_strdup(known->list[i].name);
        own->sql = rl_strdup(known->list[i].sql);
        own->checksum = rl_strdup(known->list[i].checksum);
        whole = whole && own->name != NULL && own->sql != NULL && own->checksum != NULL;
    }
    return whole && set->list != NULL;
}

/* Creates a recorder with companions (or NULL) on a SQLite file. */
static inline rl_status new_recorder_with(const char *path, rl_companion *companions,
                                          rl_recorder **recorder, rl_err *err)
{
    rl_config config = {.sqlite_path = rl_strdup(path), .max_payload = 1 << 20};
    bool whole = config.sqlite_path != NULL;

    if (!own_migrations(&config.sqlite, the_migrations()) || !whole ||
        rl_redact_add(&config.redact, RL_REDACT_DEFAULT, err) != RL_OK) {
        rl_config_free(&config);
        return rl_err_nomem(err);
    }
    return rl_recorder_new(&config, companions, recorder, err);
}

static inline rl_status new_recorder(const char *path, rl_recorder **recorder,
                                     rl_err *err)
{
    return new_recorder_with(path, NULL, recorder, err);
}

/* Closes a recorder within the usual time. */
static inline void close_recorder(rl_recorder *recorder)
{
    rl_recorder_close(recorder, rl_monotonic_ns() + RL_CLOSE_NS);
}

static inline void set_text(rl_run *run, rl_column column, const char *text)
{
    rl_run_set(run, column, text, strlen(text));
}

/* A sealed run. */
static inline rl_run *new_run(const char *wpk_id, const char *run_id, const char *status)
{
    rl_run *run = rl_run_new();

    help_need(run != NULL, "a run");
    set_text(run, RL_WPK_ID, wpk_id);
    set_text(run, RL_RUN_ID, run_id);
    set_text(run, RL_STATUS, status);
    help_need(rl_run_seal(run, NULL) == RL_OK, "sealing a run");
    return run;
}

/* Makes the run one with an id of its own and an owner, as a handler records it. */
static inline void make_own(rl_run *run)
{
    run->is_own = true;
    set_text(run, RL_OWNER, "here 1 1");
}

/* A sealed run with an id of its own, in the workflow "w". The id is `number`. */
static inline rl_run *new_own_run(unsigned number, const char *run_id, const char *status,
                                  const char *outputs)
{
    rl_run *run = new_run("w", run_id, status);

    if (outputs != NULL) {
        set_text(run, RL_OUTPUTS, outputs);
    }
    memset(run->id, 0, sizeof run->id);
    for (int i = 0; i < 4; i++) {
        run->id[15 - i] = (uint8_t)(number >> (8 * i));
    }
    make_own(run);
    help_need(rl_run_seal(run, NULL) == RL_OK, "sealing a run");
    return run;
}

/* Gives the run parts: a JSON object. */
static inline void set_parts(rl_run *run, const char *parts, rl_parts_use use)
{
    size_t at = rl_run_begin(run);

    rl_buf_add_text(&run->arena, parts);
    rl_run_end_parts(run, at, use);
}

/* Writes a run, and frees it. */
static inline rl_status write_run(rl_store *store, rl_run *run, bool may_wait,
                                  rl_err *err)
{
    rl_batch batch = {&run, 1, RL_JOURNAL, may_wait ? RL_WAIT : RL_NO_WAIT};
    rl_status status = store->ops->write(store, &batch, err);

    rl_run_free(run);
    return status;
}

static inline void free_batch(rl_run **runs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        rl_run_free(runs[i]);
    }
}

/* Four logs of two runs named "r": each is running, then ended. */
static inline void new_two_runs(rl_run *logs[4])
{
    logs[0] = new_own_run(1, "r", "running", NULL);
    logs[1] = new_own_run(2, "r", "running", NULL);
    logs[2] = new_own_run(1, "r", "completed", "1");
    logs[3] = new_own_run(2, "r", "failed", "2");
}

/* A batch of six logs: of three runs named "r", and of another. The last one has no
 * status, so a store rejects the batch until texts[RL_STATUS].given is set. */
static inline void new_mixed_batch(rl_run *runs[6])
{
    runs[0] = new_own_run(1, "r", "running", NULL);
    runs[1] = new_own_run(2, "r", "running", NULL);
    runs[2] = new_run("w", "other", "completed");
    runs[3] = new_own_run(2, "r", "completed", "2");
    runs[4] = new_own_run(1, "r", "completed", "1");
    runs[5] = new_own_run(3, "r", "running", NULL);
    runs[5]->texts[RL_STATUS].given = false;
}

/* Deletes a database with its -wal and -shm. */
static inline void delete_database(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char name[HELP_PATH + 8];

    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        remove(name);
    }
}

/* Ends a child process of a test; check_child sees whether all its checks held. */
static inline void leave_child(void)
{
    fflush(stdout);
    _exit(atomic_load(&check_failures) != 0);
}

/* Waits for a child process, and checks that it exits with 0. */
static inline void check_child(pid_t pid)
{
    int status = -1;

    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
          WEXITSTATUS(status) == 0);
}

/* The cell of a column in a row. */
static inline const rl_cell *cell_of(const rl_rows *rows, rl_shape shape, size_t row,
                                     rl_column column)
{
    size_t count, at = rl_shape_index(shape, column);

    rl_shape_columns(shape, &count);
    help_need(at < count && row * count + at < rl_rows_cells(rows), "a cell");
    return rl_rows_cell(rows, row * count + at);
}

/* Deletes the runs that a query selects. *count: how many, also after a failure. */
static inline rl_status remove_all(rl_store *store, const rl_query *query, int64_t *count,
                                   rl_err *err)
{
    rl_status status = RL_OK;
    rl_deletion deletion;

    rl_deletion_begin(&deletion, query);
    while (status == RL_OK && deletion.more) {
        status = rl_deletion_work(&deletion, store, err);
    }
    *count = deletion.removal.deleted;
    rl_deletion_end(&deletion);
    return status;
}

/* The same through a recorder. */
static inline rl_status remove_by(rl_recorder *recorder, const rl_query *query,
                                  int64_t *count, rl_err *err)
{
    rl_deletion deletion;
    rl_status status;

    rl_deletion_begin(&deletion, query);
    status = rl_recorder_remove(recorder, &deletion, UINT64_MAX, err);
    *count = deletion.removal.deleted;
    rl_deletion_end(&deletion);
    return status;
}

/* Reads the rows that a query selects; returns their number. */
static inline size_t ask(rl_store *store, const rl_query *query, rl_rows *rows)
{
    rl_err err = {.code = RL_OK};
    size_t count;

    rl_rows_init(rows);
    if (store->ops->query(store, query, rows, &err) != RL_OK) {
        help_need(false, err.text);
    }
    rl_shape_columns(query->shape, &count);
    return rl_rows_cells(rows) / count;
}

/* The first cell of a statement's result, as text: "" without rows, "(null)" for NULL, or
 * the error message. Opens a connection of its own. Owned by the caller. */
static inline char *sql_text(const char *path, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = NULL;
    char *text;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL);

    sqlite3_busy_timeout(db, 10000);
    if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }
    if (rc == SQLITE_ROW) {
        const char *cell = (const char *)sqlite3_column_text(stmt, 0);

        text = strdup(cell != NULL ? cell : "(null)");
    } else {
        text = strdup(rc == SQLITE_DONE ? "" : sqlite3_errmsg(db));
    }
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return text;
}

static inline int64_t sql_int(const char *path, const char *sql)
{
    char *text = sql_text(path, sql), *end;
    int64_t value = strtoll(text, &end, 10);

    if (end == text || *end != '\0') {
        printf("no number from %s: %s\n", sql, text);
        value = INT64_MIN;
    }
    free(text);
    return value;
}

#define CHECK_SQL(path, sql, want)              \
    do {                                        \
        char *check_cell = sql_text(path, sql); \
        CHECK_STR(check_cell, want);            \
        free(check_cell);                       \
    } while (0)

/* Checks that SQLite finds no damage in the file. */
#define CHECK_INTACT(path) CHECK_SQL(path, "PRAGMA integrity_check", "ok")

#endif
