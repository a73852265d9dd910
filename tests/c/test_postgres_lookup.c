/* Tests of connecting to PostgreSQL with a lookup of the host's name that hangs: a call
 * waits no longer than for a server, nobody waits for the lookup, and what it finds in the
 * end is used.
 *
 * This program's getaddrinfo replaces the C library's, also for libpq: of the host
 * slow.test it gives the address of the test's server, once it may.
 *
 * NEEDS: postgres
 */
#include "server_help.h"

#include "core/fork.h"
#include "store/postgres/pg_writer.h"

#include "check.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT_NS UINT64_C(50000000) /* libpq makes 2 s of it */
#define STATEMENT_NS UINT64_C(20000000000)

typedef int lookup(const char *, const char *, const struct addrinfo *,
                   struct addrinfo **);

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int started, ended;
    bool held; /* lookups may not end */
} lookups = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, true};

__attribute__((visibility("default"))) int getaddrinfo(const char *node,
                                                       const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **result)
{
    lookup *next;

    *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    if (node != NULL && strcmp(node, "slow.test") == 0) {
        pthread_mutex_lock(&lookups.lock);
        lookups.started++;
        while (lookups.held) {
            pthread_cond_wait(&lookups.changed, &lookups.lock);
        }
        lookups.ended++;
        pthread_cond_broadcast(&lookups.changed);
        pthread_mutex_unlock(&lookups.lock);
        node = "127.0.0.1";
    }
    return next(node, service, hints, result);
}

static int started(void)
{
    int count;

    pthread_mutex_lock(&lookups.lock);
    count = lookups.started;
    pthread_mutex_unlock(&lookups.lock);
    return count;
}

static void hold(bool held)
{
    pthread_mutex_lock(&lookups.lock);
    lookups.held = held;
    pthread_cond_broadcast(&lookups.changed);
    while (!held && lookups.ended < lookups.started) {
        pthread_cond_wait(&lookups.changed, &lookups.lock);
    }
    pthread_mutex_unlock(&lookups.lock);
}

static char dsn[400];

static rl_pg_server make_server(void)
{
    rl_pg_server server = {.dsn = dsn, .timeout_ns = TIMEOUT_NS};

    help_need(getenv("TEST_DSN") != NULL, "TEST_DSN names no database");
    snprintf(dsn, sizeof dsn, "%s host=slow.test", getenv("TEST_DSN"));
    rl_pg_sessions_init(&server.lost);
    return server;
}

static void check_no_connection(rl_pg_conn *conn)
{
    rl_err err = {.code = RL_OK};

    CHECK_INT(rl_pg_conn_open(conn, &err), RL_STORE);
    CHECK(err.retryable);
    if (strstr(err.text, "the lookup of the server's name") == NULL) {
        CHECK_STR(err.text, "");
    }
}

static void test_what_a_lookup_finds_late_is_used(void)
{
    rl_pg_server server = make_server();
    rl_err err = {.code = RL_OK};
    rl_pg_conn conn;

    hold(true);
    rl_pg_conn_init(&conn, &server, NULL);
    for (int i = 0; i < 2; i++) { /* the second call waits for the first one's lookup */
        check_no_connection(&conn);
        CHECK_INT(started(), 1);
    }
    hold(false);
    CHECK_INT(rl_pg_conn_open(&conn, &err), RL_OK);
    CHECK_STR(err.text, "");
    CHECK_INT(rl_pg_conn_exec(&conn, "SELECT 1", 0, NULL, false, NULL, &err), RL_OK);
    CHECK_INT(started(), 1);
    rl_pg_conn_free(&conn);
    rl_pg_sessions_destroy(&server.lost);
}

static void test_closing_waits_for_no_lookup(void)
{
    rl_pg_server server = make_server();
    const int before = started();
    rl_pg_conn conn;

    hold(true);
    rl_pg_conn_init(&conn, &server, NULL);
    check_no_connection(&conn);
    rl_pg_conn_free(&conn);
    CHECK_INT(started(), before + 1);
    hold(false); /* the thread frees what it has made: LeakSanitizer sees to that */
    rl_pg_sessions_destroy(&server.lost);
}

static void test_a_stop_ends_the_wait(void)
{
    rl_pg_server server = make_server();
    const atomic_bool stop = true;
    rl_pg_conn conn;

    hold(true);
    server.timeout_ns = UINT64_C(3600000000000);
    rl_pg_conn_init(&conn, &server, &stop);
    check_no_connection(&conn);
    rl_pg_conn_free(&conn);
    hold(false);
    rl_pg_sessions_destroy(&server.lost);
}

/* The child of a fork starts a lookup of its own: its parent's thread is not there. */
static int connects_by_itself(rl_pg_conn *conn)
{
    rl_err err = {.code = RL_OK};

    rl_pg_conn_abandon(conn, true);
    lookups.held = false; /* the locks may be held by threads of the parent */
    pthread_mutex_init(&lookups.lock, NULL);
    pthread_cond_init(&lookups.changed, NULL);
    if (rl_pg_conn_open(conn, &err) != RL_OK) {
        return 1;
    }
    conn->timeout_ns = STATEMENT_NS;
    return rl_pg_conn_exec(conn, "SELECT 1", 0, NULL, false, NULL, &err) != RL_OK;
}

static void test_a_fork_during_a_lookup(void)
{
    rl_pg_server server = make_server();
    rl_err err = {.code = RL_OK};
    rl_pg_conn conn;
    pid_t child;

    hold(true);
    rl_pg_conn_init(&conn, &server, NULL);
    check_no_connection(&conn);
    child = fork();
    if (child == 0) {
        _exit(connects_by_itself(&conn));
    }
    check_child(child);
    hold(false);
    CHECK_INT(rl_pg_conn_open(&conn, &err), RL_OK);
    rl_pg_conn_free(&conn);
    rl_pg_sessions_destroy(&server.lost);
}

/* The child of a fork after the lookup has no say in its parent's connection. */
static void test_a_fork_after_a_lookup(void)
{
    rl_pg_server server = make_server();
    rl_err err = {.code = RL_OK};
    rl_pg_conn conn;
    pid_t child;

    hold(true);
    rl_pg_conn_init(&conn, &server, NULL);
    check_no_connection(&conn);
    hold(false);
    child = fork();
    if (child == 0) {
        rl_pg_conn_abandon(&conn, true);
        _exit(conn.pg != NULL);
    }
    check_child(child);
    CHECK_INT(rl_pg_conn_open(&conn, &err), RL_OK);
    conn.timeout_ns = STATEMENT_NS;
    CHECK_INT(rl_pg_conn_exec(&conn, "SELECT 1", 0, NULL, false, NULL, &err), RL_OK);
    rl_pg_conn_free(&conn);
    rl_pg_sessions_destroy(&server.lost);
}

/* As log_run does with the writer's lock: others get it after the time-out. */
static void test_a_writer_gives_its_lock_back(void)
{
    rl_pg_server server = make_server();
    const rl_migrations *migrations = postgres_migrations();
    rl_err err = {.code = RL_OK};
    rl_target target = {.place = ""};
    rl_pg_writer writer;

    hold(true);
    rl_pg_writer_init(&writer, &server, NULL);
    CHECK_INT(rl_pg_writer_migrate(&writer, migrations, &target, &err), RL_STORE);
    CHECK_INT(pthread_mutex_trylock(&writer.lock), 0);
    pthread_mutex_unlock(&writer.lock);
    hold(false);
    writer.conn.timeout_ns = STATEMENT_NS;
    CHECK_INT(rl_pg_writer_migrate(&writer, migrations, &target, &err), RL_OK);
    rl_pg_writer_free(&writer);
    rl_pg_sessions_destroy(&server.lost);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_what_a_lookup_finds_late_is_used),
    CHECK_TEST(test_closing_waits_for_no_lookup),
    CHECK_TEST(test_a_stop_ends_the_wait),
    CHECK_TEST(test_a_fork_during_a_lookup),
    CHECK_TEST(test_a_fork_after_a_lookup),
    CHECK_TEST(test_a_writer_gives_its_lock_back),
};
CHECK_MAIN(tests)
