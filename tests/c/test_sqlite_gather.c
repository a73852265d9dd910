/* Test of the commits that go into the WAL by one write: how many writes there are, what
 * becomes of a commit whose write fails, is cut or is the last thing a process does, and
 * that others who know nothing of it read and write the same file: SQLite's own connections
 * in this process and in another, and whoever recovers the WAL.
 */
#include "core/clock.h"
#include "store/sqlite_conn.h"

#include "check.h"
#include "store_help.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define FRAME (24 + 4096)
#define BUFFER (64 * 1024)
#define COUNT "SELECT count(*) FROM t"
#define ADD "INSERT INTO t(v) VALUES (randomblob(20000))" /* five pages or six */
#define ADD_MANY                                                                       \
    "INSERT INTO t(v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n " \
    "WHERE i < 300) SELECT randomblob(3000) FROM n"

/* Writes to a WAL, as SQLite's unix VFS makes them. */
static struct {
    int calls;
    size_t bytes;
    int fail_at; /* the call that fails; 0: none */
    int times;   /* how many calls fail from there on */
    int error;   /* errno; 0: the call writes a part, which is no error */
    size_t part; /* what the first of them writes before it fails */
    bool die;    /* the process ends there */
} disk;

static bool is_wal(int fd)
{
    char link[64], path[HELP_PATH];
    ssize_t size;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof path);
    return size > 4 && memcmp(path + size - 4, "-wal", 4) == 0;
}

static ssize_t disk_pwrite(int fd, const void *data, size_t size, off_t at)
{
    ssize_t wrote;
    int call;

    if (!is_wal(fd)) {
        return pwrite(fd, data, size, at);
    }
    call = ++disk.calls;
    disk.bytes += size;
    if (disk.fail_at == 0 || call < disk.fail_at || call >= disk.fail_at + disk.times) {
        return pwrite(fd, data, size, at);
    }
    wrote = 0;
    if (call == disk.fail_at && disk.part > 0) {
        wrote = pwrite(fd, data, disk.part < size ? disk.part : size, at);
    }
    if (disk.die) {
        kill(getpid(), SIGKILL);
    }
    errno = disk.error;
    return wrote > 0 ? wrote : -1;
}

static void disk_reset(void)
{
    static bool installed;

    if (!installed) {
        sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

        installed = true;
        help_need(vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)disk_pwrite) ==
                          SQLITE_OK &&
                      vfs->xSetSystemCall(vfs, "pwrite64",
                                          (sqlite3_syscall_ptr)disk_pwrite) == SQLITE_OK,
                  "SQLite's writes");
    }
    memset(&disk, 0, sizeof disk);
}

static sqlite3 *open_plain(const char *path)
{
    sqlite3 *db = NULL;

    help_need(sqlite3_open(path, &db) == SQLITE_OK, path);
    sqlite3_busy_timeout(db, 10000);
    sqlite3_wal_autocheckpoint(db, 0);
    return db;
}

static void plain(sqlite3 *db, const char *sql)
{
    char *text = NULL;

    CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, &text), SQLITE_OK);
    CHECK_STR(text != NULL ? text : "", "");
    sqlite3_free(text);
}

static int count_plain(sqlite3 *db)
{
    sqlite3_stmt *stmt = NULL;
    int count = -1;

    if (sqlite3_prepare_v2(db, COUNT, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW) {
        count = sqlite3_column_int(stmt, 0);
    }
    sqlite3_finalize(stmt);
    return count;
}

/* A database with one table; an index makes the order of the pages less simple. */
static void make_database(char path[HELP_PATH], int page)
{
    char pragma[64];
    sqlite3 *db;

    fresh_path(path);
    db = open_plain(path);
    snprintf(pragma, sizeof pragma, "PRAGMA page_size = %d", page);
    plain(db, pragma);
    plain(db, "PRAGMA journal_mode = WAL");
    plain(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v BLOB)");
    plain(db, "CREATE INDEX i ON t(substr(v, 1, 8))");
    sqlite3_close(db);
}

static rl_status run(rl_sqlite_conn *conn, const char *sql)
{
    rl_err err = {.code = RL_OK};
    rl_status status = rl_sqlite_conn_run(conn, sql, &err);

    CHECK(status == RL_OK || disk.fail_at != 0);
    CHECK(conn->gather.file == NULL); /* nothing is under way between statements */
    return status;
}

static void open_conn(rl_sqlite_conn *conn, const char *path, bool full)
{
    rl_err err = {.code = RL_OK};

    help_need(rl_sqlite_conn_open(conn, path, &err) == RL_OK, err.text);
    help_need(rl_sqlite_conn_sync(conn, full, &err) == RL_OK, err.text);
    disk_reset();
}

/* The file and its WAL as another finds them who comes after a crash: it has to recover,
 * for which each checksum must be right, and what it finds is what was committed. */
static void check_recovered(const char *path, int want)
{
    static const char *const parts[] = {"", "-wal"};
    char copy[HELP_PATH];

    fresh_path(copy);
    for (int i = 0; i < 2; i++) {
        char from[HELP_PATH + 8], to[HELP_PATH + 8], data[65536];
        ssize_t size;
        int in, out;

        snprintf(from, sizeof from, "%s%s", path, parts[i]);
        snprintf(to, sizeof to, "%s%s", copy, parts[i]);
        in = open(from, O_RDONLY);
        out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0600);
        help_need(in >= 0 && out >= 0, "a copy");
        while ((size = read(in, data, sizeof data)) > 0) {
            help_need(write(out, data, (size_t)size) == size, "a copy");
        }
        close(out);
        /* a descriptor of the database is not closed here: its locks would go */
        if (i == 1) {
            close(in);
        }
    }
    CHECK_INT(sql_int(copy, COUNT), want);
    CHECK_INTACT(copy);
}

static void test_a_commit_is_one_write(void)
{
    char path[HELP_PATH];
    rl_sqlite_conn conn;
    sqlite3 *other;

    for (int full = 0; full < 2; full++) {
        make_database(path, 4096);
        open_conn(&conn, path, full != 0);
        run(&conn, ADD); /* with the header of a new WAL */
        disk_reset();
        run(&conn, ADD);
        CHECK_INT(disk.calls, 1);
        CHECK(disk.bytes >= 6 * FRAME && disk.bytes % FRAME == 0);
        disk_reset();
        run(&conn, "BEGIN IMMEDIATE");
        run(&conn, ADD);
        run(&conn, ADD);
        CHECK_INT(disk.calls, 0);
        run(&conn, "COMMIT");
        CHECK_INT(disk.calls, 1);
        disk_reset();
        run(&conn, "BEGIN IMMEDIATE");
        run(&conn, "COMMIT"); /* of nothing */
        CHECK_INT(disk.calls, 0);
        run(&conn, "UPDATE t SET k = k WHERE k = -1");
        CHECK_INT(disk.calls, 0);

        /* that the calls are counted at all */
        other = open_plain(path);
        plain(other, ADD);
        CHECK(disk.calls >= 2 * 6);
        CHECK_INT(count_plain(other), 5);
        sqlite3_close(other);
        check_recovered(path, 5);
        rl_sqlite_conn_close(&conn);
        CHECK_INT(sql_int(path, COUNT), 5);
        CHECK_INTACT(path);
    }
}

static void test_more_than_the_buffer(void)
{
    static const int pages[] = {512, 1024, 4096, 32768, 65536};

    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        char path[HELP_PATH];
        rl_sqlite_conn conn;
        size_t frame = 24 + (size_t)pages[i], whole = BUFFER / frame;

        make_database(path, pages[i]);
        open_conn(&conn, path, false);
        run(&conn, "PRAGMA cache_size = -100000");
        run(&conn, ADD);
        disk_reset();
        run(&conn, ADD_MANY);
        CHECK(disk.bytes > 300 * 3000 && disk.bytes % frame == 0);
        /* each write is as full as it gets, or a header and its page go by themselves */
        CHECK(disk.calls <= (int)(whole == 0 ? disk.bytes / frame * 2
                                             : disk.bytes / (whole * frame) + 1));
        check_recovered(path, 301);
        rl_sqlite_conn_close(&conn);
        CHECK_INTACT(path);
    }
}

/* What the cache spills goes out before the commit; frames are overwritten, and their
 * checksums made again. */
static void test_spilled_pages(void)
{
    char path[HELP_PATH];
    rl_sqlite_conn conn;
    sqlite3 *other;

    make_database(path, 4096);
    open_conn(&conn, path, false);
    other = open_plain(path);
    run(&conn, "PRAGMA cache_size = 10");
    for (int round = 0; round < 4; round++) {
        int before = count_plain(other);

        disk_reset();
        run(&conn, "BEGIN IMMEDIATE");
        run(&conn, ADD_MANY);
        run(&conn, "UPDATE t SET v = randomblob(3100) WHERE k % 2 = 1");
        run(&conn, "UPDATE t SET v = randomblob(2900) WHERE k % 3 = 1");
        CHECK(disk.calls > 300);
        CHECK_INT(count_plain(other), before);
        run(&conn, round % 2 == 0 ? "COMMIT" : "ROLLBACK");
        before += round % 2 == 0 ? 300 : 0;
        CHECK_INT(count_plain(other), before);
        check_recovered(path, before);

        /* Where the frames were that were rolled back another's are now. */
        plain(other, ADD);
        plain(other, ADD);
        run(&conn, "UPDATE t SET v = randomblob(100) WHERE k % 10 = 0");
        run(&conn, ADD);
        CHECK_INT(count_plain(other), before + 3);
        check_recovered(path, before + 3);
    }
    sqlite3_close(other);
    rl_sqlite_conn_close(&conn);
    CHECK_INTACT(path);
}

/* One statement that is its own transaction, spills, and fails at its end. */
static void test_a_statement_that_spills_and_fails(void)
{
    char path[HELP_PATH];
    rl_sqlite_conn conn;
    rl_err err;
    sqlite3 *other;

    make_database(path, 4096);
    open_conn(&conn, path, false);
    other = open_plain(path);
    run(&conn, "PRAGMA cache_size = 10");
    run(&conn, ADD);
    for (int i = 0; i < 3; i++) {
        disk_reset();
        CHECK_INT(
            rl_sqlite_conn_run(
                &conn,
                "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL "
                "SELECT i - 1 FROM n WHERE i > 1) SELECT i, randomblob(3000) FROM n",
                &err),
            RL_STORE);
        CHECK(disk.calls > 300);
        plain(other, ADD);
        run(&conn, ADD);
        CHECK_INT(count_plain(other), 3 + 2 * i);
        check_recovered(path, 3 + 2 * i);
    }
    sqlite3_close(other);
    rl_sqlite_conn_close(&conn);
    CHECK_INTACT(path);
}

/* Commits while one write of the WAL fails in that way; checks that all of it is there or
 * nothing, for whoever looks, and that the next commit works. */
static void commit_with_fault(const char *path, const char *sql, int rows, bool fails)
{
    int fail_at = disk.fail_at, times = disk.times, error = disk.error;
    size_t part = disk.part;
    rl_sqlite_conn conn;
    sqlite3 *other = open_plain(path);
    int before = count_plain(other);
    rl_status status;

    open_conn(&conn, path, fail_at % 2 == 0);
    run(&conn, "PRAGMA cache_size = -100000");
    run(&conn, ADD);
    CHECK_INT(count_plain(other), ++before);
    disk_reset();
    disk.fail_at = fail_at;
    disk.times = times;
    disk.error = error;
    disk.part = part;
    status = run(&conn, sql);
    CHECK_INT(status, fails ? RL_STORE : RL_OK);
    CHECK(disk.calls >= fail_at);
    CHECK(sqlite3_get_autocommit(conn.db) != 0);
    before += status == RL_OK ? rows : 0;
    CHECK_INT(count_plain(other), before);
    check_recovered(path, before);
    disk_reset();
    plain(other, ADD);
    run(&conn, ADD);
    CHECK_INT(disk.calls > 1, true); /* both have written */
    CHECK_INT(count_plain(other), before + 2);
    check_recovered(path, before + 2);
    sqlite3_close(other);
    rl_sqlite_conn_close(&conn);
    CHECK_INTACT(path);
}

static void test_writes_that_fail(void)
{
    static const struct {
        int times, error;
        size_t part;
        bool fails;
    } faults[] = {
        {1, ENOSPC, 0, true}, {1, EIO, 0, true},    {2, ENOSPC, 5000, true},
        {2, EIO, 24, true},   {3, EINTR, 0, false}, {1, 0, 5000, false},
        {1, 0, 1, false},
    };
    char path[HELP_PATH];

    make_database(path, 4096);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        for (int at = 1; at <= 13; at += at == 1 ? 1 : 11) { /* 1, 2, 13 */
            disk.fail_at = at;
            disk.times = faults[i].times;
            disk.error = faults[i].error;
            disk.part = faults[i].part;
            commit_with_fault(path, at == 1 ? ADD : ADD_MANY, at == 1 ? 1 : 300,
                              faults[i].fails);
        }
    }
}

/* Without memory for the buffer a commit is as SQLite makes it. */
static void *no_memory(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    return size >= BUFFER ? NULL : realloc(ptr, size);
}

static void release(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

static void test_without_memory(void)
{
    static const rl_allocator poor = {no_memory, release, NULL};
    char path[HELP_PATH];
    rl_sqlite_conn conn;

    make_database(path, 4096);
    rl_set_allocator(&poor);
    open_conn(&conn, path, true);
    run(&conn, ADD);
    disk_reset();
    run(&conn, ADD);
    CHECK_INT(disk.bytes, (size_t)disk.calls / 2 * FRAME);
    rl_set_allocator(NULL);
    disk_reset();
    run(&conn, ADD);
    CHECK_INT(disk.calls, 1);
    rl_sqlite_conn_close(&conn);
    CHECK_INT(sql_int(path, COUNT), 3);
    CHECK_INTACT(path);
}

/* SQLite calls this when a commit is published: by then it must be in the file. */
static int look(void *ctx, sqlite3 *db, const char *name, int frames)
{
    char file[HELP_PATH + 8];
    sqlite3 *other = ctx;
    struct stat info = {0};

    (void)db;
    (void)name;
    snprintf(file, sizeof file, "%s-wal", sqlite3_db_filename(other, "main"));
    CHECK(stat(file, &info) == 0 && info.st_size >= 32 + (off_t)frames * FRAME);
    CHECK_INT(count_plain(other), sqlite3_last_insert_rowid(db));
    return SQLITE_OK;
}

static void test_published_is_written(void)
{
    char path[HELP_PATH];
    rl_sqlite_conn conn;
    sqlite3 *other;

    make_database(path, 4096);
    open_conn(&conn, path, false);
    other = open_plain(path);
    sqlite3_wal_hook(conn.db, look, other);
    for (int i = 0; i < 40; i++) {
        run(&conn, ADD);
    }
    run(&conn, ADD_MANY);
    CHECK_INT(count_plain(other), 340);
    sqlite3_close(other);
    rl_sqlite_conn_close(&conn);
}

/* synchronous=FULL on a disk that may spoil what lies beside a write: the last frame is
 * written again until a sector is full. */
static void test_frames_that_fill_a_sector(void)
{
    char path[HELP_PATH], uri[HELP_PATH + 20];
    rl_sqlite_gather gather = {.file = NULL};
    sqlite3 *db = NULL;

    make_database(path, 512);
    snprintf(uri, sizeof uri, "file:%s?psow=0", path);
    REQUIRE(sqlite3_open_v2(uri, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, NULL) ==
            SQLITE_OK);
    plain(db, "PRAGMA synchronous = FULL");
    plain(db, "PRAGMA wal_autocheckpoint = 0");
    rl_sqlite_gather_set(&gather, db);
    plain(db, ADD); /* with the header of a new WAL */
    for (int i = 2; i <= 20; i++) {
        disk_reset();
        plain(db, ADD);
        CHECK(gather.file == NULL);
        rl_sqlite_gather_end(&gather);
        CHECK(disk.calls >= 2 && disk.calls < 24); /* a sector holds up to eight frames */
        CHECK_INT(sql_int(path, COUNT), i);
        check_recovered(path, i);
    }
    sqlite3_close(db);
    rl_sqlite_gather_free(&gather);
    CHECK_INTACT(path);
}

static void test_the_wal_begins_again(void)
{
    static const int modes[] = {SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_RESTART,
                                SQLITE_CHECKPOINT_TRUNCATE, SQLITE_CHECKPOINT_FULL};
    char path[HELP_PATH];
    rl_sqlite_conn conn;
    sqlite3 *other;

    make_database(path, 4096);
    open_conn(&conn, path, true);
    other = open_plain(path);
    for (int i = 0; i < 40; i++) {
        run(&conn, i % 7 == 0 ? ADD_MANY : ADD);
        CHECK_INT(sqlite3_wal_checkpoint_v2(i % 3 == 0 ? conn.db : other, NULL,
                                            modes[i % 4], NULL, NULL),
                  SQLITE_OK);
        plain(other, ADD);
        check_recovered(path, count_plain(other));
    }
    CHECK_INT(count_plain(other), 6 * 300 + 34 + 40);
    sqlite3_close(other);
    rl_sqlite_conn_close(&conn);
    CHECK_INTACT(path);
}

/* Another process, which has SQLite's own connection: it adds a row each time it is told
 * to, and tells how many it has found before. */
struct other {
    pid_t pid;
    int ask, answer;
};

static void other_process(const char *path, int ask, int answer)
{
    sqlite3 *db = open_plain(path);
    char byte;

    atomic_store(&check_failures, 0); /* its own from here on */
    while (read(ask, &byte, 1) == 1) {
        int count = count_plain(db);

        plain(db, byte == 'm' ? ADD_MANY : ADD);
        help_need(write(answer, &count, sizeof count) == sizeof count, "pipe");
    }
    sqlite3_close(db);
    _exit(atomic_load(&check_failures) != 0);
}

static struct other start_other(const char *path)
{
    struct other other;
    int ask[2], answer[2];

    help_need(pipe(ask) == 0 && pipe(answer) == 0, "pipe");
    fflush(stdout);
    other.pid = fork();
    help_need(other.pid >= 0, "fork");
    if (other.pid == 0) {
        close(ask[1]);
        other_process(path, ask[0], answer[1]);
    }
    close(ask[0]);
    close(answer[1]);
    other.ask = ask[1];
    other.answer = answer[0];
    return other;
}

static void end_other(struct other *other)
{
    int status = 0;

    close(other->ask);
    CHECK(waitpid(other->pid, &status, 0) == other->pid && status == 0);
    close(other->answer);
}

static void test_taking_turns(void)
{
    char path[HELP_PATH];
    struct other other;
    rl_sqlite_conn conn;
    sqlite3 *here;
    int rows = 0, found;

    make_database(path, 4096);
    other = start_other(path); /* before anything is open */
    open_conn(&conn, path, false);
    here = open_plain(path);
    for (int i = 0; i < 60; i++) {
        bool many = i % 13 == 5;

        run(&conn, many ? ADD_MANY : ADD);
        rows += many ? 300 : 1;
        CHECK_INT(count_plain(here), rows);
        help_need(write(other.ask, many ? "m" : "1", 1) == 1, "pipe");
        help_need(read(other.answer, &found, sizeof found) == sizeof found, "pipe");
        CHECK_INT(found, rows);
        rows += many ? 300 : 1;
        plain(here, "UPDATE t SET v = randomblob(200) WHERE k % 5 = 0");
        CHECK_INT(count_plain(here), rows);
    }
    end_other(&other);
    check_recovered(path, rows);
    sqlite3_close(here);
    rl_sqlite_conn_close(&conn);
    CHECK_INT(sql_int(path, COUNT), rows);
    CHECK_INTACT(path);
}

static void test_at_the_same_time(void)
{
    char path[HELP_PATH];
    struct other other;
    rl_sqlite_conn conn;
    int found;

    make_database(path, 4096);
    other = start_other(path);
    open_conn(&conn, path, false);
    help_need(write(other.ask, "11111m1111111m11111111m111111111", 32) == 32, "pipe");
    for (int i = 0; i < 200; i++) {
        run(&conn, i % 50 == 0 ? ADD_MANY : ADD);
    }
    for (int i = 0; i < 32; i++) {
        help_need(read(other.answer, &found, sizeof found) == sizeof found, "pipe");
    }
    end_other(&other);
    rl_sqlite_conn_close(&conn);
    CHECK_INT(sql_int(path, COUNT), 196 + 4 * 300 + 29 + 3 * 300);
    CHECK_INTACT(path);
}

/* A process that commits and tells each commit, until it is killed: in its `at`th write,
 * of which it has made a part, or from outside. */
static void commit_and_tell(const char *path, int tell, int at, size_t part)
{
    rl_sqlite_conn conn;

    open_conn(&conn, path, false);
    disk.fail_at = at;
    disk.times = 1;
    disk.part = part;
    disk.die = true;
    for (int i = 0; i < 1000000; i++) {
        if (run(&conn, ADD) != RL_OK || write(tell, "1", 1) != 1) {
            break;
        }
    }
    _exit(1);
}

/* Gives how many commits were told. */
static int let_die(const char *path, int at, size_t part, int millis)
{
    const struct timespec pause = {0, millis * 1000000L};
    int ends[2], told = 0, status = 0;
    char byte;
    pid_t pid;

    help_need(pipe(ends) == 0, "pipe");
    fflush(stdout);
    pid = fork();
    help_need(pid >= 0, "fork");
    if (pid == 0) {
        close(ends[0]);
        commit_and_tell(path, ends[1], at, part);
    }
    close(ends[1]);
    if (at == 0) {
        help_need(read(ends[0], &byte, 1) == 1, "a first commit");
        told = 1;
        nanosleep(&pause, NULL);
        kill(pid, SIGKILL);
    }
    while (read(ends[0], &byte, 1) == 1) {
        told++;
    }
    close(ends[0]);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    return told;
}

static void test_killed_in_a_write(void)
{
    static const size_t parts[] = {0,     1,          24,        100,
                                   FRAME, FRAME + 24, 3 * FRAME, 5 * FRAME};
    char path[HELP_PATH];

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        int told;

        make_database(path, 4096);
        told = let_die(path, 30, parts[i], 0);
        CHECK(told > 10);
        CHECK_INT(sql_int(path, COUNT), told);
        CHECK_INTACT(path);
    }
}

static void test_killed_at_any_time(void)
{
    char path[HELP_PATH];
    int rows = 0;

    make_database(path, 4096);
    for (int i = 0; i < 25; i++) {
        int told = let_die(path, 0, 0, i % 9 + 1);
        int found = (int)sql_int(path, COUNT);

        CHECK(found == rows + told || found == rows + told + 1);
        CHECK_INTACT(path);
        rows = found;
    }
    CHECK(rows > 25);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_a_commit_is_one_write),
    CHECK_TEST(test_more_than_the_buffer),
    CHECK_TEST(test_spilled_pages),
    CHECK_TEST(test_a_statement_that_spills_and_fails),
    CHECK_TEST(test_writes_that_fail),
    CHECK_TEST(test_without_memory),
    CHECK_TEST(test_published_is_written),
    CHECK_TEST(test_frames_that_fill_a_sector),
    CHECK_TEST(test_the_wal_begins_again),
    CHECK_TEST(test_taking_turns),
    CHECK_TEST(test_at_the_same_time),
    CHECK_TEST(test_killed_in_a_write),
    CHECK_TEST(test_killed_at_any_time),
};

CHECK_MAIN(tests)
