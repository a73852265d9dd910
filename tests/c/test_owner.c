/* Test of record/owner.h: whether the process that a text names still runs.
 */
#include "record/owner.h"

#include "check.h"
#include "store_help.h"

#include <signal.h>
#include <sys/wait.h>

/* A child that says who it is, and runs until its pipe is closed. */
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

static void test_self_is_there(void)
{
    char owner[RL_OWNER_TEXT], again[RL_OWNER_TEXT];

    rl_owner_self(owner);
    rl_owner_self(again);
    CHECK_STR(owner, again);
    CHECK(!rl_owner_has_exited(owner));
}

static void test_child_is_another_until_it_ends(void)
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

static void test_killed_child_is_gone(void)
{
    struct child child = start_child();

    CHECK(kill(child.pid, SIGKILL) == 0);
    CHECK(waitpid(child.pid, NULL, 0) == child.pid);
    CHECK(rl_owner_has_exited(child.owner));
    close(child.go);
}

/* Killed, and its parent has not asked for its end: nothing of it runs any more. */
static void test_zombie_is_gone(void)
{
    struct child child = start_child();
    siginfo_t info;

    CHECK(kill(child.pid, SIGKILL) == 0);
    CHECK(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT) == 0);
    CHECK(rl_owner_has_exited(child.owner));
    CHECK(waitpid(child.pid, NULL, 0) == child.pid);
    close(child.go);
}

/* The process id of this very process, but started at another time. */
static void test_process_id_used_again(void)
{
    char owner[RL_OWNER_TEXT], *last;

    rl_owner_self(owner);
    last = strrchr(owner, ' ');
    REQUIRE(last != NULL && last[1] >= '1' && last[1] <= '9');
    last[1] = last[1] == '9' ? '8' : (char)(last[1] + 1);
    CHECK(rl_owner_has_exited(owner));
}

/* Of what can't be told nothing is said to be gone. */
static void test_what_can_not_be_told(void)
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
    CHECK_TEST(test_self_is_there),
    CHECK_TEST(test_child_is_another_until_it_ends),
    CHECK_TEST(test_killed_child_is_gone),
    CHECK_TEST(test_zombie_is_gone),
    CHECK_TEST(test_process_id_used_again),
    CHECK_TEST(test_what_can_not_be_told),
};

CHECK_MAIN(tests)
