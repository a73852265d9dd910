/* What the tests of the stores share: files that are removed at the end, the migrations of
 * the repository, runs to write, and a look into a file by SQL of the test's own.
 */
#ifndef RUNLOG_TESTS_STORE_HELP_H
#define RUNLOG_TESTS_STORE_HELP_H

#include "core/alloc.h"
#include "core/run.h"
#include "record/recorder/recorder.h"
#include "store/sqlite/sqlite.h"

#include <ftw.h>
#include <glob.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELP_PATH 4096

static char help_folder[HELP_PATH];

/* What a test can't go on without. */
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

/* The absolute path of a file that does not exist yet, in a folder of this program below
 * the working folder. Children leave by _exit, so that they don't remove it. */
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

/* The migrations in a folder of the repository. The stores only compare checksums, so any
 * text that depends on the file will do. They live as long as the program. */
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

/* A store on a file, not yet opened. */
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

/* The migrations of the repository, as a recorder owns them. */
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

/* A recorder on a SQLite file, or the reason why there is none. */
static inline rl_status new_recorder(const char *path, rl_recorder **recorder,
                                     rl_err *err)
{
    rl_config config = {.sqlite_path = rl_strdup(path), .max_payload = 1 << 20};
    bool whole = config.sqlite_path != NULL;

    if (!own_migrations(&config.sqlite, the_migrations()) || !whole ||
        rl_redact_add(&config.redact, RL_REDACT_DEFAULT, err) != RL_OK) {
        rl_config_free(&config);
        return rl_err_nomem(err);
    }
    return rl_recorder_new(&config, NULL, recorder, err);
}

/* How long a test's close may take. */
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

/* Makes a run's id its own, as that of a graph's run is, which has an owner as well. */
static inline void make_own(rl_run *run)
{
    run->is_own = true;
    set_text(run, RL_OWNER, "here 1 1");
}

/* A sealed run whose id is its own, in the workflow "w": one number is one record. */
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

/* Writes one run, and frees it. */
static inline rl_status write_run(rl_store *store, rl_run *run, bool may_wait,
                                  rl_err *err)
{
    rl_batch batch = {&run, 1, RL_JOURNAL, may_wait};
    rl_status status = store->ops->write(store, &batch, err);

    rl_run_free(run);
    return status;
}

/* The cell of a column in a row of an answer. */
static inline const rl_cell *cell_of(const rl_rows *rows, rl_shape shape, size_t row,
                                     rl_column column)
{
    size_t count, at = 0;
    const rl_column *columns = rl_shape_columns(shape, &count);

    while (at < count && columns[at] != column) {
        at++;
    }
    help_need(at < count && row * count + at < rl_rows_cells(rows), "a cell");
    return rl_rows_cell(rows, row * count + at);
}

/* Reads what a query finds; gives the number of rows. */
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

/* The first cell that a statement gives on a connection of its own, as text: "" for none,
 * "(null)" for NULL, the message of an error. Owned by the caller. */
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

/* That nothing in the file is broken. */
#define CHECK_INTACT(path) CHECK_SQL(path, "PRAGMA integrity_check", "ok")

#endif
