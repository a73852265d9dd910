/* Test of record/owner.h: whether the process that an owner text names still runs.
 */
#include "record/owner.h"

#include "check.h"
#include "store_help.h"

#include <signal.h>
#include <sys/wait.h>

/* A child that reports its owner text, and runs until its pipe is closed. */
struct child {
    pid_t pid;
    int go;
    char owner[RL_OWNER_TEXT];
};

static struct child start_child(void)
{
    struct child child = {.pid = 0};
    int up[2], down[2];
    char byte;

    help_need(pipe(up) == 0 && pipe(down) == 0, "pipe");
    fflush(stdout);
    child.pid = fork();
    help_need(child.pid >= 0, "fork");
    if (child.pid == 0) {
        close(down[1]);
        rl_owner_self(child.owner);
        help_need(write(up[1], child.owner, RL_OWNER_TEXT) == RL_OWNER_TEXT, "write");
        (void)!read(down[0], &byte, 1);
        _exit(0);
    }
    help_need(read(up[0], child.owner, RL_OWNER_TEXT) == RL_OWNER_TEXT, "read");
    close(up[0]);
    close(up[1]);
    close(down[0]);
    child.go = down[1];
    return child;
}

static void test_own_process_runs(void)
{
    char owner[RL_OWNER_TEXT], again[RL_OWNER_TEXT];

    rl_owner_self(owner);
    rl_owner_self(again);
    CHECK_STR(owner, again);
    CHECK_INT(rl_owner_check(owner), RL_OWNER_RUNS);
}

static void test_child_runs_until_it_exits(void)
{
    char self[RL_OWNER_TEXT];
    struct child child = start_child();

    rl_owner_self(self);
    CHECK(strcmp(self, child.owner) != 0);
    CHECK_INT(rl_owner_check(child.owner), RL_OWNER_RUNS);
    close(child.go);
    CHECK(waitpid(child.pid, NULL, 0) == child.pid);
    CHECK_INT(rl_owner_check(child.owner), RL_OWNER_EXITED);
}

static void test_killed_child_has_exited(void)
{
    struct child child = start_child();

    CHECK(kill(child.pid, SIGKILL) == 0);
    CHECK(waitpid(child.pid, NULL, 0) == child.pid);
    CHECK_INT(rl_owner_check(child.owner), RL_OWNER_EXITED);
    close(child.go);
}

/* A killed process that its parent has not reaped. */
static void test_zombie_has_exited(void)
{
    struct child child = start_child();
    siginfo_t info;

    CHECK(kill(child.pid, SIGKILL) == 0);
    CHECK(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT) == 0);
    CHECK_INT(rl_owner_check(child.owner), RL_OWNER_EXITED);
    CHECK(waitpid(child.pid, NULL, 0) == child.pid);
    close(child.go);
}

/* The fields of an owner. */
struct fields {
    char host[RL_OWNER_TEXT], boot[RL_OWNER_TEXT];
    long pid;
    unsigned long long start;
};

static struct fields fields_of(const char *owner)
{
    struct fields fields;

    help_need(sscanf(owner, "%127s %ld %llu %127s", fields.host, &fields.pid,
                     &fields.start, fields.boot) == 4,
              owner);
    return fields;
}

static rl_owner_state check(struct fields fields)
{
    char owner[3 * RL_OWNER_TEXT];

    snprintf(owner, sizeof owner, "%s %ld %llu %s", fields.host, fields.pid, fields.start,
             fields.boot);
    return rl_owner_check(owner);
}

static struct fields self_fields(void)
{
    char owner[RL_OWNER_TEXT];

    rl_owner_self(owner);
    return fields_of(owner);
}

/* This process's id with another start time. */
static void test_reused_process_id_has_exited(void)
{
    struct fields fields = self_fields();

    CHECK(fields.start > 0);
    fields.start++;
    CHECK_INT(check(fields), RL_OWNER_EXITED);
}

/* The id of a process that has exited. */
static struct fields exited_fields(void)
{
    struct child child = start_child();

    close(child.go);
    CHECK(waitpid(child.pid, NULL, 0) == child.pid);
    return fields_of(child.owner);
}

/* The boot and the namespace say where a process id belongs, not the host's name. */
static void test_boot_and_namespace_tell_the_machine(void)
{
    struct fields gone = exited_fields(), runs = self_fields(), other;
    char *space = strstr(gone.host, "pid:");

    CHECK_INT(strlen(gone.boot), 32);
    REQUIRE(space != NULL);
    other = gone;
    snprintf(other.host, sizeof other.host, "another.name%s", space);
    CHECK_INT(check(other), RL_OWNER_EXITED);
    snprintf(runs.host, sizeof runs.host, "another.name%s", space);
    CHECK_INT(check(runs), RL_OWNER_RUNS);
    other = gone;
    other.boot[0] = other.boot[0] == 'a' ? 'b' : 'a';
    CHECK_INT(check(other), RL_OWNER_ELSEWHERE);
    snprintf(other.boot, sizeof other.boot, "-"); /* an unknown boot */
    CHECK_INT(check(other), RL_OWNER_ELSEWHERE);
    snprintf(other.boot, sizeof other.boot, "77777");
    CHECK_INT(check(other), RL_OWNER_ELSEWHERE);
    other = gone;
    other.host[strlen(other.host) - 2] ^= 1; /* another namespace */
    CHECK_INT(check(other), RL_OWNER_ELSEWHERE);
    other = gone;
    *strstr(other.host, "pid:") = '\0'; /* none */
    CHECK_INT(check(other), RL_OWNER_ELSEWHERE);
}

/* From before migration 007: only the host's name tells. */
static void test_owner_without_a_boot(void)
{
    struct fields gone = exited_fields(), runs = self_fields();
    char owner[2 * RL_OWNER_TEXT];

    snprintf(owner, sizeof owner, "%s %ld %llu", gone.host, gone.pid, gone.start);
    CHECK_INT(rl_owner_check(owner), RL_OWNER_EXITED);
    snprintf(owner, sizeof owner, "%s %ld %llu", runs.host, runs.pid, runs.start);
    CHECK_INT(rl_owner_check(owner), RL_OWNER_RUNS);
    snprintf(owner, sizeof owner, "x%s %ld %llu", gone.host, gone.pid, gone.start);
    CHECK_INT(rl_owner_check(owner), RL_OWNER_ELSEWHERE);
}

/* The name of a lease is an owner and more. */
static void test_holder_of_a_lease(void)
{
    char name[2 * RL_OWNER_TEXT], self[RL_OWNER_TEXT];
    struct fields gone = exited_fields();

    rl_owner_self(self);
    snprintf(name, sizeof name, "%s 3", self);
    CHECK_INT(rl_owner_check(name), RL_OWNER_RUNS);
    snprintf(name, sizeof name, "%.60s %ld %llu %.32s 3", gone.host, gone.pid, gone.start,
             gone.boot);
    CHECK_INT(rl_owner_check(name), RL_OWNER_EXITED);
}

/* An owner that this process can't check. */
static void test_unknown_owners_are_elsewhere(void)
{
    static const char *const owners[] = {"",        " ",           "elsewhere 1 1",
                                         "x y z",   "elsewhere",   "a b c d",
                                         "a 1 1 -", "a -1 -1 - -", "pid: 1 1 x"};
    char self[RL_OWNER_TEXT], *space;

    for (size_t i = 0; i < sizeof owners / sizeof *owners; i++) {
        CHECK_INT(rl_owner_check(owners[i]), RL_OWNER_ELSEWHERE);
    }
    rl_owner_self(self);
    space = strchr(self, ' ');
    REQUIRE(space != NULL);
    space[1] = '\0'; /* no process */
    CHECK_INT(rl_owner_check(self), RL_OWNER_ELSEWHERE);
    space[0] = '\0';
    CHECK_INT(rl_owner_check(self), RL_OWNER_ELSEWHERE);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_own_process_runs),
    CHECK_TEST(test_child_runs_until_it_exits),
    CHECK_TEST(test_killed_child_has_exited),
    CHECK_TEST(test_zombie_has_exited),
    CHECK_TEST(test_reused_process_id_has_exited),
    CHECK_TEST(test_boot_and_namespace_tell_the_machine),
    CHECK_TEST(test_owner_without_a_boot),
    CHECK_TEST(test_holder_of_a_lease),
    CHECK_TEST(test_unknown_owners_are_elsewhere),
};

CHECK_MAIN(tests)
