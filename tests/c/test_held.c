/* What waits in the journal: what is held, for how long, and what happens when there is
 * too much. */
#include "record/commit/held.h"

#include "check.h"

#include <string.h>

static void test_held_until_its_time(void)
{
    rl_held held;

    memset(&held, 0, sizeof held);
    CHECK(!rl_held_tidy(&held, 0, 0));
    CHECK(rl_held_add(&held, 1, 0, 10, 10));
    CHECK(rl_held_add(&held, 2, 0, 20, 20));
    CHECK(rl_held_has(&held, 1, 9) && !rl_held_has(&held, 1, 10));
    CHECK(rl_held_has(&held, 2, 10) && !rl_held_has(&held, 3, 0));
    CHECK(rl_held_tidy(&held, 10, 1) && held.count == 2);
    CHECK(rl_held_tidy(&held, 10, 0) && held.count == 1);
    CHECK(rl_held_has(&held, 2, 10) && !rl_held_knows(&held, 1));
    CHECK(!rl_held_tidy(&held, 20, 0) && held.count == 0);
}

static void test_held_for_longer_each_time(void)
{
    static const uint64_t ends[] = {5, 10, 20, 30, 30};
    rl_held held;

    memset(&held, 0, sizeof held);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        CHECK_INT(rl_held_add(&held, 1, 100, 5, 30), i == 0);
        CHECK(rl_held_has(&held, 1, 100 + ends[i] - 1));
        CHECK(!rl_held_has(&held, 1, 100 + ends[i]) && rl_held_knows(&held, 1));
    }
    rl_held_add(&held, 2, 100, 5, 30);
    rl_held_remove(&held, 1);
    CHECK(!rl_held_knows(&held, 1) && rl_held_knows(&held, 2));
    rl_held_remove(&held, 1);
    CHECK_INT(held.count, 1);
}

static void test_held_forgets_what_ends_first(void)
{
    rl_held held;

    memset(&held, 0, sizeof held);
    for (unsigned i = 0; i <= RL_HELD_MAX; i++) {
        rl_held_add(&held, i, i, 100, 100);
    }
    CHECK(held.count == RL_HELD_MAX);
    CHECK(!rl_held_has(&held, 0, 0) && rl_held_has(&held, 1, 0));
    CHECK(rl_held_has(&held, RL_HELD_MAX, 0));
}

static const struct check_test tests[] = {
    CHECK_TEST(test_held_until_its_time),
    CHECK_TEST(test_held_for_longer_each_time),
    CHECK_TEST(test_held_forgets_what_ends_first),
};

CHECK_MAIN(tests)
