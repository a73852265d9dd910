/* Test of core/breaker.h: when a breaker opens and closes, and the pauses between
 * probes.
 */
#include "core/breaker.h"

#include "check.h"

/* The pause that a failure at `now` causes. */
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
    CHECK(!rl_breaker_record_failure(&breaker, 2000)); /* it was open already */
    CHECK(rl_breaker_is_open(&breaker));
    CHECK(rl_breaker_record_success(&breaker));
    CHECK(!rl_breaker_is_open(&breaker));
    CHECK(!rl_breaker_record_success(&breaker));
    CHECK(rl_breaker_record_failure(&breaker, 3000));
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

static void test_success_resets_the_pause(void)
{
    rl_breaker breaker = {.jitter = 7};

    for (int i = 0; i < 10; i++) {
        (void)rl_breaker_record_failure(&breaker, 0);
    }
    CHECK(pause_of(&breaker, 0) > RL_BREAKER_FIRST_NS);
    CHECK(rl_breaker_record_success(&breaker));
    CHECK(pause_of(&breaker, 0) <= RL_BREAKER_FIRST_NS);
}

/* Processes that lose the server at the same moment probe it at different times: about as
 * many in each quarter of the pause's second half, in the first pause as in the
 * longest. */
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
    CHECK_TEST(test_success_resets_the_pause),
    CHECK_TEST(test_pauses_are_spread),
};

CHECK_MAIN(tests)
