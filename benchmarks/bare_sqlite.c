/* The same insert as runlog's, and nothing else: what SQLite itself costs.
 *
 * Inserts ready-made rows into a database that runlog created, one transaction a row,
 * with the statement of src/store/sqlite_sql.h prepared once, WAL and synchronous=FULL.
 * Prints one line of JSON: rows, CPU time (getrusage) and wall time.
 * One thread. The rows are read into memory before the clock starts and are borrowed by
 * SQLite (SQLITE_STATIC) for one step each.
 *
 * usage: bare_sqlite DATABASE ROWS WARM-UP-ROWS SECONDS | bare_sqlite --sql
 */
#define _GNU_SOURCE
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "store/sqlite_sql.h"

/* One file of rows. A field is a type ('n', 'i', 'f', 't', 'b'), a uint32 length and
 * so many bytes; integers and doubles are eight bytes, all in the machine's order. */
struct rows {
    char *data; /* owned */
    size_t size;
    size_t at;
};

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "bare_sqlite: %s: %s\n", what, why);
    return -1;
}

static int rows_read(struct rows *rows, const char *path)
{
    int rc = -1;
    long size;
    FILE *file = fopen(path, "rb");

    if (file == NULL) {
        return fail(path, "cannot be opened");
    }
    if (fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) {
        goto out;
    }
    rewind(file);
    rows->size = (size_t)size;
    rows->data = malloc(rows->size + 1);
    if (rows->data == NULL || fread(rows->data, 1, rows->size, file) != rows->size) {
        goto out;
    }
    rc = 0;
out:
    if (rc != 0) {
        fail(path, "cannot be read");
    }
    fclose(file);
    return rc;
}

static int bind_field(sqlite3_stmt *stmt, int index, struct rows *rows)
{
    uint32_t length;
    int64_t integer;
    double real;
    const char *value;
    char type;

    if (rows->size - rows->at < 1 + sizeof length) {
        return fail("rows", "end within a field");
    }
    type = rows->data[rows->at];
    memcpy(&length, rows->data + rows->at + 1, sizeof length);
    rows->at += 1 + sizeof length;
    if (rows->size - rows->at < length) {
        return fail("rows", "end within a value");
    }
    value = rows->data + rows->at;
    rows->at += length;
    switch (type) {
    case 'n':
        return sqlite3_bind_null(stmt, index);
    case 'i':
        memcpy(&integer, value, sizeof integer);
        return sqlite3_bind_int64(stmt, index, integer);
    case 'f':
        memcpy(&real, value, sizeof real);
        return sqlite3_bind_double(stmt, index, real);
    case 't':
        return sqlite3_bind_text(stmt, index, value, (int)length, SQLITE_STATIC);
    case 'b':
        return sqlite3_bind_blob(stmt, index, value, (int)length, SQLITE_STATIC);
    default:
        return fail("rows", "hold an unknown type");
    }
}

/* Inserts the next row; outside BEGIN each statement is its own transaction. */
static int insert_row(sqlite3 *db, sqlite3_stmt *stmt, struct rows *rows)
{
    int rc;
    int count = sqlite3_bind_parameter_count(stmt);

    for (int i = 1; i <= count; i++) {
        rc = bind_field(stmt, i, rows);
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

static double cpu_us(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static double wall_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
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

/* Inserts all the rows; closing, which moves the rest of the WAL, is timed apart. */
static int measure(sqlite3 *db, struct rows *rows, long warm_up, double seconds)
{
    sqlite3_stmt *stmt = NULL;
    double cpu, wall, cpu_rows, wall_rows;
    long done = 0;
    int rc = -1;

    if (sqlite3_prepare_v3(db, RL_SQLITE_INSERT, -1, SQLITE_PREPARE_PERSISTENT, &stmt,
                           NULL) != SQLITE_OK) {
        fail("prepare", sqlite3_errmsg(db));
        goto out;
    }
    for (long i = 0; i < warm_up; i++) {
        if (insert_row(db, stmt, rows) != 0) {
            goto out;
        }
    }
    cpu = cpu_us();
    wall = wall_us();
    while (rows->at < rows->size && wall_us() - wall < seconds * 1e6) {
        if (insert_row(db, stmt, rows) != 0) {
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

int main(int argc, char **argv)
{
    struct rows rows = {NULL, 0, 0};
    sqlite3 *db = NULL;
    int rc = -1;

    if (argc == 2 && strcmp(argv[1], "--sql") == 0) {
        puts(RL_SQLITE_INSERT);
        return 0;
    }
    if (argc != 5) {
        fputs("usage: bare_sqlite DATABASE ROWS WARM-UP-ROWS SECONDS | --sql\n", stderr);
        return 2;
    }
    if (rows_read(&rows, argv[2]) == 0 && open_database(&db, argv[1]) == 0) {
        rc = measure(db, &rows, strtol(argv[3], NULL, 10), strtod(argv[4], NULL));
    }
    free(rows.data);
    return rc == 0 ? 0 : 1;
}
