/* Test of record/breaker.h: when it opens, when the next probe is due, when it closes.
 */
#include "record/breaker.h"

#include "check.h"

/* The pause that a failure gives, at a time that does not matter. */
static uint64_t pause_of(rl_breaker *breaker, uint64_t now)
{
    (void)rl_breaker_record_failure(breaker, now);
    return atomic_load(&breaker->retry_at) - now;
}

static void test_opens_and_closes(void)
{
    rl_breaker breaker = {.jitter = 1};

    CHECK(!rl_breaker_is_open(&breaker));
    CHECK(!rl_breaker_record_success(&breaker)); /* it was not open */
    CHECK(rl_breaker_record_failure(&breaker, 1000));
    CHECK(rl_breaker_is_open(&breaker));
    CHECK(!rl_breaker_record_failure(&breaker, 2000)); /* only the first one is news */
    CHECK(rl_breaker_is_open(&breaker));
    CHECK(rl_breaker_record_success(&breaker));
    CHECK(!rl_breaker_is_open(&breaker));
    CHECK(!rl_breaker_record_success(&breaker));
    CHECK(rl_breaker_record_failure(&breaker, 3000)); /* and news again */
}

static void test_pauses_double_up_to_the_cap(void)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        rl_breaker breaker = {.jitter = seed * UINT64_C(0x9E3779B97F4A7C15)};
        uint64_t whole = RL_BREAKER_FIRST_NS, now = seed * 12345;

        for (int i = 0; i < 20; i++) {
            uint64_t pause = pause_of(&breaker, now);

            CHECK(pause >= whole / 2 && pause <= whole);
            whole = whole * 2 < RL_BREAKER_MAX_NS ? whole * 2 : RL_BREAKER_MAX_NS;
            now += pause;
        }
        CHECK_INT(whole, RL_BREAKER_MAX_NS);
    }
}

static void test_begins_again_after_a_success(void)
{
    rl_breaker breaker = {.jitter = 7};

    for (int i = 0; i < 10; i++) {
        (void)rl_breaker_record_failure(&breaker, 0);
    }
    CHECK(pause_of(&breaker, 0) > RL_BREAKER_FIRST_NS);
    CHECK(rl_breaker_record_success(&breaker));
    CHECK(pause_of(&breaker, 0) <= RL_BREAKER_FIRST_NS);
}

/* Processes that lost the server at the same moment come back all over the pause: each
 * quarter of its second half gets its share, the first pause as the longest. */
static void test_pauses_are_spread(void)
{
    enum {
        PROCESSES = 4000
    };

    for (int failures = 1; failures <= 12; failures++) {
        int found[4] = {0};

        for (int i = 0; i < PROCESSES; i++) {
            rl_breaker breaker = {.jitter = 1000000 + (uint64_t)i * 7919};
            uint64_t pause = 0, now = UINT64_C(5000000000), half;

            for (int j = 0; j < failures; j++) {
                pause = pause_of(&breaker, now);
                now += pause;
            }
            half = breaker.pause_ns / 2;
            found[(pause - half) * 4 / half % 4]++;
        }
        for (int i = 0; i < 4; i++) {
            CHECK(found[i] > PROCESSES / 8 && found[i] < PROCESSES / 2);
        }
    }
}

static const struct check_test tests[] = {
    CHECK_TEST(test_opens_and_closes),
    CHECK_TEST(test_pauses_double_up_to_the_cap),
    CHECK_TEST(test_begins_again_after_a_success),
    CHECK_TEST(test_pauses_are_spread),
};

CHECK_MAIN(tests)
