/* The cost of SQLite: runlog's insert, and nothing else.
 *
 * Inserts ready-made rows into a database that runlog created, into the table of runs or
 * the journal: one row per transaction, with a statement of src/store/sqlite/sqlite_sql.h
 * that is prepared once, in WAL mode with synchronous=FULL. Prints one line of JSON: the
 * rows, the CPU time (getrusage) and the wall time. SQLite borrows the values for one
 * step each (SQLITE_STATIC).
 *
 * usage: bare_sqlite workflow_runs|journal DATABASE ROWS WARM-UP-ROWS SECONDS
 *        bare_sqlite workflow_runs|journal --sql
 */
#define _GNU_SOURCE
#include <sqlite3.h>

#include "bare.h"
#include "store/sqlite/sqlite_sql.h"

static int bind_field(sqlite3_stmt *stmt, int index, rows *all)
{
    field next;
    int64_t integer;
    double real;

    if (rows_next(all, &next) != 0) {
        return -1;
    }
    switch (next.type) {
    case 'n':
        return sqlite3_bind_null(stmt, index);
    case 'i':
        memcpy(&integer, next.value, sizeof integer);
        return sqlite3_bind_int64(stmt, index, integer);
    case 'f':
        memcpy(&real, next.value, sizeof real);
        return sqlite3_bind_double(stmt, index, real);
    case 't':
        return sqlite3_bind_text(stmt, index, next.value, (int)next.length,
                                 SQLITE_STATIC);
    case 'b':
        return sqlite3_bind_blob(stmt, index, next.value, (int)next.length,
                                 SQLITE_STATIC);
    default:
        return fail("rows", "hold an unknown type");
    }
}

/* Inserts the next row; without BEGIN, each statement is a transaction. */
static int insert_row(sqlite3 *db, sqlite3_stmt *stmt, rows *all)
{
    int rc;
    int count = sqlite3_bind_parameter_count(stmt);

    for (int i = 1; i <= count; i++) {
        rc = bind_field(stmt, i, all);
        if (rc > SQLITE_OK) {
            fail("bind", sqlite3_errmsg(db));
        }
        if (rc != SQLITE_OK) {
            return -1;
        }
    }
    do {
        rc = sqlite3_step(stmt);
    } while (rc == SQLITE_ROW);
    if (rc != SQLITE_DONE) {
        fail("insert", sqlite3_errmsg(db));
    }
    return sqlite3_reset(stmt) == SQLITE_OK ? 0 : -1;
}

static int open_database(sqlite3 **db, const char *path)
{
    static const char pragmas[] = RL_SQLITE_WAL ";" RL_SQLITE_SYNC_FULL;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;

    if (sqlite3_open_v2(path, db, flags, NULL) != SQLITE_OK) {
        return fail(path, sqlite3_errmsg(*db));
    }
    if (sqlite3_exec(*db, pragmas, NULL, NULL, NULL) != SQLITE_OK) {
        return fail("pragmas", sqlite3_errmsg(*db));
    }
    return 0;
}

/* Inserts all rows. The closing checkpoint is timed separately. */
static int measure(sqlite3 *db, const char *sql, rows *all, long warm_up, double seconds)
{
    sqlite3_stmt *stmt = NULL;
    double cpu, wall, cpu_rows, wall_rows;
    long done = 0;
    int rc = -1;

    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) !=
        SQLITE_OK) {
        fail("prepare", sqlite3_errmsg(db));
        goto out;
    }
    for (long i = 0; i < warm_up; i++) {
        if (insert_row(db, stmt, all) != 0) {
            goto out;
        }
    }
    cpu = cpu_us();
    wall = wall_us();
    while (all->at < all->size && wall_us() - wall < seconds * 1e6) {
        if (insert_row(db, stmt, all) != 0) {
            goto out;
        }
        done++;
    }
    cpu_rows = cpu_us() - cpu;
    wall_rows = wall_us() - wall;
    sqlite3_finalize(stmt);
    stmt = NULL;
    if (sqlite3_close(db) != SQLITE_OK) {
        fail("close", "statements are open");
        goto out;
    }
    printf("{\"rows\": %ld, \"cpu_us\": %.0f, \"wall_us\": %.0f, "
           "\"cpu_with_close_us\": %.0f, \"sqlite\": \"%s\"}\n",
           done, cpu_rows, wall_rows, cpu_us() - cpu, sqlite3_libversion());
    rc = 0;
out:
    sqlite3_finalize(stmt);
    return rc;
}

static const char *statement(const char *table)
{
    if (strcmp(table, "workflow_runs") == 0) {
        return RL_SQLITE_INSERT;
    }
    return strcmp(table, "journal") == 0 ? RL_SQLITE_JOURNAL_APPEND : NULL;
}

int main(int argc, char **argv)
{
    rows all = {NULL, 0, 0};
    sqlite3 *db = NULL;
    const char *sql = argc > 1 ? statement(argv[1]) : NULL;
    int rc = -1;

    if (sql != NULL && argc == 3 && strcmp(argv[2], "--sql") == 0) {
        puts(sql);
        return 0;
    }
    if (sql == NULL || argc != 6) {
        fputs("usage: bare_sqlite workflow_runs|journal "
              "DATABASE ROWS WARM-UP-ROWS SECONDS | --sql\n",
              stderr);
        return 2;
    }
    if (rows_read(&all, argv[3]) == 0 && open_database(&db, argv[2]) == 0) {
        rc = measure(db, sql, &all, strtol(argv[4], NULL, 10), strtod(argv[5], NULL));
    }
    rows_free(&all);
    return rc == 0 ? 0 : 1;
}
