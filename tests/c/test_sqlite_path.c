/* Test of creating a SQLite file while another process is held up in the midst of it: the
 * -wal and -shm that belong to the new file are not taken for those of a deleted one.
 *
 * LINK: -Wl,--wrap=unlink
 */
#include "check.h"
#include "store_help.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#define HELD_UP_MS 1000 /* more than anybody waits for a process that creates a file */

int __real_unlink(const char *path);
int __wrap_unlink(const char *path);

static atomic_int *held_up; /* shared: how many processes are, or were */
static bool holds_up;

static void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

int __wrap_unlink(const char *path)
{
    if (holds_up) {
        holds_up = false;
        atomic_fetch_add(held_up, 1);
        sleep_ms(HELD_UP_MS);
    }
    return __real_unlink(path);
}

/* Leaves a -wal and a -shm, as of a file that was deleted alone. */
static void leave_parts(const char *path)
{
    static const char *const suffixes[] = {"-wal", "-shm"};
    char name[HELP_PATH + 8];

    for (int i = 0; i < 2; i++) {
        FILE *file;

        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        file = fopen(name, "w");
        help_need(file != NULL && fputs("old", file) >= 0 && fclose(file) == 0, name);
    }
}

static void test_held_up_while_creating(void)
{
    char path[HELP_PATH];
    rl_store *store;
    pid_t pid;

    held_up = mmap(NULL, sizeof *held_up, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(held_up != MAP_FAILED);
    the_migrations();
    fresh_path(path);
    leave_parts(path);
    fflush(stdout);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        holds_up = true;
        store = new_store(path);
        CHECK_INT(write_run(store, new_run("w", "theirs", "completed"), true, NULL),
                  RL_OK);
        store->ops->close(store);
        leave_child();
    }
    while (atomic_load(held_up) == 0) {
        sleep_ms(1);
    }
    store = new_store(path);
    for (int i = 0; i < 20; i++) {
        char run_id[20];

        snprintf(run_id, sizeof run_id, "ours.%d", i);
        CHECK_INT(write_run(store, new_run("w", run_id, "completed"), true, NULL), RL_OK);
    }
    check_child(pid);
    store->ops->close(store);
    CHECK_INTACT(path);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM workflow_runs"), 21);
    munmap(held_up, sizeof *held_up);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_held_up_while_creating),
};

CHECK_MAIN(tests)
