/* Test of runlog's VFS beside the default one, in one process: each respects all locks of
 * the other, in rollback mode and in WAL mode; files are opened as the default one does.
 * What it writes to a database is synced in pieces.
 *
 * LINK: -Wl,--wrap=pwrite -Wl,--wrap=fdatasync
 */
#include "store/sqlite/sqlite_vfs.h"

#include "check.h"
#include "store_help.h"

#include <sys/stat.h>
#include <sys/wait.h>

/* Bytes that runlog's VFS has written to a database since its last sync, the most of them
 * at any time, and all that it wrote. The default VFS is in the library, out of reach. */
static size_t unsynced, most_unsynced, written;

ssize_t __real_pwrite(int fd, const void *data, size_t len, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t at);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t at)
{
    written += len;
    unsynced += len;
    most_unsynced = unsynced > most_unsynced ? unsynced : most_unsynced;
    return __real_pwrite(fd, data, len, at);
}

int __wrap_fdatasync(int fd)
{
    unsynced = 0;
    return __real_fdatasync(fd);
}

static sqlite3 *open_with(const char *path, const char *vfs)
{
    sqlite3 *db = NULL;

    help_need(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                              vfs) == SQLITE_OK,
              path);
    return db;
}

static int run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* The sum of what a connection sees in the table; -1 on errors. */
static int sum(sqlite3 *db)
{
    sqlite3_stmt *stmt = NULL;
    int value = -1;

    if (sqlite3_prepare_v2(db, "SELECT sum(n) FROM t", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW) {
        value = sqlite3_column_int(stmt, 0);
    }
    sqlite3_finalize(stmt);
    return value;
}

/* Two connections to a new file with a table, in one of the modes. */
struct pair {
    char path[HELP_PATH];
    sqlite3 *ours, *theirs;
};

static void open_pair(struct pair *pair, const char *mode, bool swapped)
{
    char sql[100];
    const char *name = rl_sqlite_vfs();

    REQUIRE(name != NULL);
    fresh_path(pair->path);
    pair->ours = open_with(pair->path, swapped ? "unix" : name);
    snprintf(sql, sizeof sql, "PRAGMA journal_mode = %s; CREATE TABLE t (n)", mode);
    CHECK_INT(run(pair->ours, sql), SQLITE_OK);
    pair->theirs = open_with(pair->path, swapped ? name : "unix");
    CHECK_INT(run(pair->theirs, "SELECT * FROM t"), SQLITE_OK);
}

static void close_pair(struct pair *pair)
{
    CHECK_INT(sqlite3_close(pair->theirs), SQLITE_OK);
    CHECK_INT(sqlite3_close(pair->ours), SQLITE_OK);
    CHECK_INTACT(pair->path);
}

static bool exists(const char *path, const char *suffix)
{
    char name[HELP_PATH + 8];

    snprintf(name, sizeof name, "%s%s", path, suffix);
    return access(name, F_OK) == 0;
}

static bool is_reserved(sqlite3 *db)
{
    sqlite3_file *file = NULL;
    int reserved = -1;

    CHECK_INT(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file),
              SQLITE_OK);
    CHECK_INT(file->pMethods->xCheckReservedLock(file, &reserved), SQLITE_OK);
    return reserved != 0;
}

/* A writer excludes another; a commit waits for readers, and keeps new ones out. */
static void rollback_mode(bool swapped)
{
    struct pair pair;
    sqlite3_stmt *reading = NULL;

    open_pair(&pair, "delete", swapped);
    CHECK(!is_reserved(pair.ours));
    CHECK_INT(run(pair.ours, "BEGIN IMMEDIATE; INSERT INTO t VALUES (1)"), SQLITE_OK);
    CHECK(is_reserved(pair.theirs));
    CHECK_INT(run(pair.theirs, "BEGIN IMMEDIATE"), SQLITE_BUSY);
    CHECK_INT(sqlite3_prepare_v2(pair.theirs, "SELECT 1 FROM sqlite_schema", -1, &reading,
                                 NULL),
              SQLITE_OK);
    CHECK_INT(sqlite3_step(reading), SQLITE_ROW);
    CHECK_INT(run(pair.ours, "COMMIT"), SQLITE_BUSY);
    sqlite3_finalize(reading);
    CHECK_INT(run(pair.theirs, "SELECT * FROM t"), SQLITE_BUSY); /* a commit waits */
    CHECK_INT(run(pair.ours, "COMMIT"), SQLITE_OK);
    CHECK_INT(run(pair.theirs, "SELECT * FROM t"), SQLITE_OK);
    CHECK(!is_reserved(pair.theirs));
    CHECK_INT(run(pair.ours, "BEGIN EXCLUSIVE"), SQLITE_OK);
    CHECK_INT(run(pair.theirs, "SELECT * FROM t"), SQLITE_BUSY);
    CHECK_INT(run(pair.ours, "ROLLBACK"), SQLITE_OK);
    CHECK_INT(run(pair.theirs, "INSERT INTO t VALUES (2)"), SQLITE_OK);
    CHECK_SQL(pair.path, "SELECT sum(n) FROM t", "3");
    close_pair(&pair);
}

/* A writer excludes another, but no reader; only the last connection removes the WAL. */
static void wal_mode(bool swapped)
{
    struct pair pair;
    sqlite3 *third;

    open_pair(&pair, "wal", swapped);
    CHECK_INT(run(pair.ours, "BEGIN IMMEDIATE; INSERT INTO t VALUES (1)"), SQLITE_OK);
    CHECK_INT(run(pair.theirs, "SELECT * FROM t"), SQLITE_OK);
    CHECK_INT(run(pair.theirs, "BEGIN IMMEDIATE"), SQLITE_BUSY);
    CHECK_INT(run(pair.ours, "COMMIT"), SQLITE_OK);
    CHECK_INT(run(pair.theirs, "BEGIN; SELECT * FROM t"), SQLITE_OK);
    CHECK_INT(run(pair.ours, "INSERT INTO t VALUES (2)"), SQLITE_OK);
    CHECK_INT(run(pair.ours, "PRAGMA wal_checkpoint(RESTART)"), SQLITE_OK);
    CHECK_INT(run(pair.ours, "INSERT INTO t VALUES (4)"), SQLITE_OK);
    CHECK_INT(sum(pair.theirs), 1); /* a snapshot */
    CHECK_INT(run(pair.theirs, "COMMIT"), SQLITE_OK);
    CHECK_INT(run(pair.theirs, "PRAGMA journal_mode = delete"), SQLITE_BUSY);
    third = open_with(pair.path, rl_sqlite_vfs());
    CHECK_INT(run(third, "SELECT * FROM t"), SQLITE_OK);
    CHECK_INT(sqlite3_close(third), SQLITE_OK);
    CHECK_INT(sqlite3_close(pair.ours), SQLITE_OK);
    CHECK(exists(pair.path, "-wal") && exists(pair.path, "-shm"));
    CHECK_INT(sqlite3_close(pair.theirs), SQLITE_OK);
    CHECK(!exists(pair.path, "-wal") && !exists(pair.path, "-shm"));
    CHECK_SQL(pair.path, "SELECT sum(n) FROM t", "7");
    CHECK_INTACT(pair.path);
}

static void test_rollback_mode(void)
{
    rollback_mode(false);
    rollback_mode(true);
}

static void test_wal_mode(void)
{
    wal_mode(false);
    wal_mode(true);
}

/* With a database of more pages than one region of the -shm has. */
static void test_a_long_wal(void)
{
    struct pair pair;
    const char fill[] = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c "
                        "LIMIT 12000) INSERT INTO t SELECT zeroblob(4000) FROM c";

    open_pair(&pair, "wal", false);
    CHECK_INT(run(pair.ours, fill), SQLITE_OK);
    CHECK_INT(run(pair.theirs, "SELECT count(*) FROM t"), SQLITE_OK);
    CHECK_INT(run(pair.theirs, "INSERT INTO t VALUES (1)"), SQLITE_OK);
    CHECK_INT(run(pair.ours, "PRAGMA wal_checkpoint(TRUNCATE)"), SQLITE_OK);
    CHECK_SQL(pair.path, "SELECT count(*) FROM t", "12001");
    close_pair(&pair);
}

/* A commit of another connection waits for the disk: for little of a checkpoint. */
static void test_a_checkpoint_is_synced_in_pieces(void)
{
    const size_t total = 2000 * 4000, piece = 128 * 1024;
    struct pair pair;

    open_pair(&pair, "wal", false);
    CHECK_INT(run(pair.ours, "PRAGMA wal_autocheckpoint = 0; WITH RECURSIVE c(n) AS ("
                             "SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 2000) "
                             "INSERT INTO t SELECT zeroblob(4000) FROM c"),
              SQLITE_OK);
    written = unsynced = most_unsynced = 0;
    CHECK_INT(run(pair.ours, "PRAGMA wal_checkpoint(PASSIVE)"), SQLITE_OK);
    CHECK(written >= total);
    CHECK(most_unsynced <= piece);
    CHECK_INT(unsynced, 0);
    close_pair(&pair);
}

/* Another user's process that may open the database may open the -shm too. */
static void test_shm_has_the_rights_of_the_database(void)
{
    struct pair pair;
    struct stat info;
    char name[HELP_PATH + 8];
    mode_t mask = umask(077);

    fresh_path(pair.path);
    sqlite3_close(open_with(pair.path, rl_sqlite_vfs()));
    REQUIRE(chmod(pair.path, 0664) == 0);
    pair.ours = open_with(pair.path, rl_sqlite_vfs());
    CHECK_INT(run(pair.ours, "PRAGMA journal_mode = wal; CREATE TABLE t (n)"), SQLITE_OK);
    snprintf(name, sizeof name, "%s-shm", pair.path);
    REQUIRE(stat(name, &info) == 0);
    CHECK_INT(info.st_mode & 0777, 0664);
    sqlite3_close(pair.ours);
    umask(mask);
}

/* What a program writes to a closed standard stream must not land in the database. */
static void test_no_descriptor_of_a_standard_stream(void)
{
    char path[HELP_PATH];
    pid_t pid;

    fresh_path(path);
    fflush(stdout);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        struct stat standard, database;
        sqlite3 *db;

        close(0);
        db = open_with(path, rl_sqlite_vfs());
        CHECK_INT(run(db, "PRAGMA journal_mode = wal; CREATE TABLE t (n)"), SQLITE_OK);
        REQUIRE(stat(path, &database) == 0);
        CHECK(fstat(0, &standard) != 0 || standard.st_ino != database.st_ino);
        sqlite3_close(db);
        _exit(atomic_load(&check_failures) != 0);
    }
    check_child(pid);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_rollback_mode),
    CHECK_TEST(test_wal_mode),
    CHECK_TEST(test_a_long_wal),
    CHECK_TEST(test_a_checkpoint_is_synced_in_pieces),
    CHECK_TEST(test_shm_has_the_rights_of_the_database),
    CHECK_TEST(test_no_descriptor_of_a_standard_stream),
};

CHECK_MAIN(tests)
