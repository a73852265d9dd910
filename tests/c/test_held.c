/* Workflows whose runs wait: which are held, for how long, and what happens when there are
 * too many. */
#include "record/commit/held.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

static void test_held_until_its_time(void)
{
    rl_held held;

    memset(&held, 0, sizeof held);
    CHECK(!rl_held_tidy(&held, 0));
    rl_held_add(&held, "a", 10);
    rl_held_add(&held, "b", 20);
    CHECK(rl_held_has(&held, "a", 9) && !rl_held_has(&held, "a", 10));
    CHECK(rl_held_has(&held, "b", 10) && !rl_held_has(&held, "c", 0));
    CHECK(rl_held_tidy(&held, 10) && held.count == 1);
    CHECK(rl_held_has(&held, "b", 10));
    CHECK(!rl_held_tidy(&held, 20) && held.count == 0);
}

static void test_held_forgets_what_ends_first(void)
{
    rl_held held;
    char name[16];

    memset(&held, 0, sizeof held);
    for (unsigned i = 0; i <= RL_HELD_MAX; i++) {
        snprintf(name, sizeof name, "w%u", i);
        rl_held_add(&held, name, 100 + i);
    }
    CHECK(held.count == RL_HELD_MAX);
    CHECK(!rl_held_has(&held, "w0", 0) && rl_held_has(&held, "w1", 0));
    CHECK(rl_held_has(&held, "w256", 0));
}

static const struct check_test tests[] = {
    CHECK_TEST(test_held_until_its_time),
    CHECK_TEST(test_held_forgets_what_ends_first),
};

CHECK_MAIN(tests)
