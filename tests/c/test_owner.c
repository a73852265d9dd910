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
    CHECK(!rl_owner_has_exited(owner));
}

static void test_child_runs_until_it_exits(void)
{
    char self[RL_OWNER_TEXT];
    struct child child = start_child();

    rl_owner_self(self);
    CHECK(strcmp(self, child.owner) != 0);
    CHECK(!rl_owner_has_exited(child.owner));
    close(child.go);
    CHECK(waitpid(child.pid, NULL, 0) == child.pid);
    CHECK(rl_owner_has_exited(child.owner));
}

static void test_killed_child_has_exited(void)
{
    struct child child = start_child();

    CHECK(kill(child.pid, SIGKILL) == 0);
    CHECK(waitpid(child.pid, NULL, 0) == child.pid);
    CHECK(rl_owner_has_exited(child.owner));
    close(child.go);
}

/* A killed process that its parent has not reaped. */
static void test_zombie_has_exited(void)
{
    struct child child = start_child();
    siginfo_t info;

    CHECK(kill(child.pid, SIGKILL) == 0);
    CHECK(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT) == 0);
    CHECK(rl_owner_has_exited(child.owner));
    CHECK(waitpid(child.pid, NULL, 0) == child.pid);
    close(child.go);
}

/* This process's id with another start time. */
static void test_reused_process_id_has_exited(void)
{
    char owner[RL_OWNER_TEXT], *last;

    rl_owner_self(owner);
    last = strrchr(owner, ' ');
    REQUIRE(last != NULL && last[1] >= '1' && last[1] <= '9');
    last[1] = last[1] == '9' ? '8' : (char)(last[1] + 1);
    CHECK(rl_owner_has_exited(owner));
}

/* An owner that this process can't check counts as running. */
static void test_unknown_owners_count_as_running(void)
{
    static const char *const owners[] = {"", " ", "elsewhere 1 1", "elsewhere", "x y z"};
    char owner[RL_OWNER_TEXT + 20], self[RL_OWNER_TEXT];
    char *space;

    for (size_t i = 0; i < sizeof owners / sizeof *owners; i++) {
        CHECK(!rl_owner_has_exited(owners[i]));
    }
    rl_owner_self(self);
    snprintf(owner, sizeof owner, "x%s", self); /* another host */
    CHECK(!rl_owner_has_exited(owner));
    space = strchr(self, ' ');
    REQUIRE(space != NULL);
    space[1] = '\0'; /* no process */
    CHECK(!rl_owner_has_exited(self));
    space[0] = '\0';
    CHECK(!rl_owner_has_exited(self));
}

static const struct check_test tests[] = {
    CHECK_TEST(test_own_process_runs),
    CHECK_TEST(test_child_runs_until_it_exits),
    CHECK_TEST(test_killed_child_has_exited),
    CHECK_TEST(test_zombie_has_exited),
    CHECK_TEST(test_reused_process_id_has_exited),
    CHECK_TEST(test_unknown_owners_count_as_running),
};

CHECK_MAIN(tests)
