/* Test of Milvus's client without memory: each allocation of an operation fails in turn,
 * once alone and once with all that follow. Every time the operation succeeds or returns
 * RL_NOMEM, and the same client succeeds once there is memory. libcurl's own allocations
 * do not fail here.
 *
 * NEEDS: milvus
 */
#include "core/alloc.h"
#include "core/clock.h"
#include "meaning/services/milvus.h"

#include "check.h"
#include "failing.h"

#include <stdlib.h>

#define DIM 600 /* a row's request needs more than a buffer's first size */
#define SECONDS UINT64_C(1000000000)

static float vector[DIM];

static rl_status make(rl_milvus **milvus, rl_err *err)
{
    const rl_milvus_options options = {.endpoint = getenv("TEST_MILVUS"),
                                       .token = "a:b",
                                       .collection = "without_memory",
                                       .timeout_ns = 20 * SECONDS,
                                       .strong = true};

    return rl_milvus_new(&options, milvus, err);
}

static rl_status use(rl_milvus *milvus, rl_err *err)
{
    const rl_milvus_row rows[2] = {{"a", "w", "completed", "r", 1, vector},
                                   {"b", "w", "completed", "r", 2, vector}};
    const rl_milvus_search search = {
        .vector = vector, .dim = DIM, .wpk_id = "w", .since = RL_TIME_NONE, .limit = 5};
    const char *const ids[] = {"b"};
    const uint64_t end = rl_monotonic_ns() + 60 * SECONDS;
    rl_milvus_hit hits[5];
    size_t count = 0;
    rl_status status = rl_milvus_upsert(milvus, rows, 2, DIM, 3, end, err);

    if (status == RL_OK) {
        status = rl_milvus_delete(milvus, ids, 1, 3, end, err);
    }
    if (status == RL_OK) {
        status = rl_milvus_find(milvus, &search, 3, end, hits, &count, err);
        CHECK(status != RL_OK || (count == 1 && strcmp(hits[0].id, "a") == 0));
    }
    return status;
}

static void test_a_failed_allocation_is_an_error_and_no_more(void)
{
    for (size_t i = 0; i < DIM; i++) {
        vector[i] = 1.0F / (float)(i + 1);
    }
    for (int go_on = 0; go_on < 2; go_on++) {
        struct failing failing = {.go_on = go_on != 0};
        const rl_allocator allocator = {failing_resize, failing_release, &failing};
        size_t refused = 0;

        do {
            rl_milvus *milvus = NULL;
            rl_err err = {0};
            rl_status status;

            failing.count = 0;
            failing.fail_at++;
            rl_set_allocator(&allocator);
            status = make(&milvus, &err);
            if (status == RL_OK) {
                status = use(milvus, &err);
            }
            rl_set_allocator(NULL);
            CHECK(status == RL_OK || status == RL_NOMEM);
            if (status != RL_OK && status != RL_NOMEM) {
                printf("%s\n", err.text);
            }
            refused += status == RL_NOMEM;
            if (milvus != NULL) {
                CHECK_INT(use(milvus, &err), RL_OK);
            }
            rl_milvus_free(milvus);
        } while (failing.count >= failing.fail_at && failing.fail_at < 1000);
        CHECK(refused >= 8);
    }
}

/* As in the child of a fork, where the client opens new connections. */
static void test_an_abandoned_client_connects_anew(void)
{
    rl_milvus *milvus = NULL;
    rl_err err = {0};

    REQUIRE(make(&milvus, &err) == RL_OK);
    CHECK_INT(use(milvus, &err), RL_OK);
    rl_milvus_abandon(milvus);
    CHECK_INT(use(milvus, &err), RL_OK);
    CHECK_INT(use(milvus, NULL), RL_OK);
    rl_milvus_free(milvus);
    rl_milvus_free(NULL);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_a_failed_allocation_is_an_error_and_no_more),
    CHECK_TEST(test_an_abandoned_client_connects_anew),
};
CHECK_MAIN(tests)
