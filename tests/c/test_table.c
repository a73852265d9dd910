/* Test of core/table.h and core/ring.h: records are found, removed and all listed while
 * the table grows; no addition takes long; without memory the records stay. */
#include "core/table.h"

#include "check.h"
#include "core/alloc.h"
#include "core/ring.h"
#include "failing.h"
#include "random.h"

#define RECORDS 20000

struct record {
    rl_link link;
    uint64_t key;
};

/* Few hashes, so that many records share one. */
static uint64_t hash_of(uint64_t key)
{
    return (key / 3) * UINT64_C(0x9E3779B97F4A7C15);
}

static struct record *find(const rl_table *table, uint64_t key)
{
    rl_link *link = rl_table_first(table, hash_of(key));

    while (link != NULL && ((struct record *)link)->key != key) {
        link = rl_table_next(link);
    }
    return (struct record *)link;
}

static void test_records_are_found(void)
{
    static struct record records[RECORDS];
    rl_table table = {.count = 0};
    uint64_t state = 7;
    size_t at = 0, open = 0;

    CHECK(find(&table, 1) == NULL && rl_table_any(&table, &at) == NULL);
    for (uint64_t i = 0; i < RECORDS; i++) {
        uint64_t old = random_below(&state, i + 1);

        records[i].key = i;
        CHECK(rl_table_add(&table, &records[i].link, hash_of(i)));
        open++;
        CHECK(find(&table, i) == &records[i]);
        CHECK(find(&table, i + 1) == NULL);
        if (find(&table, old) != NULL && i % 3 == 0) {
            rl_table_remove(&table, &records[old].link);
            open--;
            CHECK(find(&table, old) == NULL);
        }
        CHECK_INT(table.count, open);
    }
    at = 0;
    while (rl_table_any(&table, &at) != NULL) {
        rl_table_remove(&table, rl_table_any(&table, &at));
        open--;
    }
    CHECK_INT(open, 0);
    rl_table_free(&table);
    CHECK(rl_table_add(&table, &records[0].link, 0)); /* it can be used again */
    rl_table_free(&table);
}

/* Where buckets are split one at a time, no chain that is moved is long. */
static void test_chains_stay_short(void)
{
    static struct record records[RECORDS];
    rl_table table = {.count = 0};
    size_t longest = 0;

    for (uint64_t i = 0; i < RECORDS; i++) {
        CHECK(rl_table_add(&table, &records[i].link,
                           (i + 1) * UINT64_C(0x9E3779B97F4A7C15) >> 13));
        CHECK(table.used <= i + 8 && table.used >= i);
    }
    for (size_t i = 0; i < table.used; i++) {
        size_t len = 0;

        for (const rl_link *link = table.buckets[i]; link != NULL; link = link->next) {
            len++;
        }
        longest = len > longest ? len : longest;
    }
    CHECK(longest <= 12);
    rl_table_free(&table);
}

static rl_status fill(rl_err *err)
{
    static struct record records[1000];
    rl_table table = {.count = 0};
    rl_status status = RL_OK;

    for (uint64_t i = 0; i < 1000 && status == RL_OK; i++) {
        records[i].key = i;
        if (!rl_table_add(&table, &records[i].link, hash_of(i))) {
            status = rl_err_nomem(err);
        }
    }
    for (uint64_t i = 0; i < 1000 && status == RL_OK; i++) {
        CHECK(find(&table, i) == &records[i]);
    }
    rl_table_free(&table);
    return status;
}

static void test_without_memory(void)
{
    fail_everywhere(fill, 1); /* only the first buckets are needed */
}

static void test_rings(void)
{
    rl_ring head, members[3];

    rl_ring_init(&head);
    CHECK(rl_ring_first(&head) == NULL);
    for (int i = 0; i < 3; i++) {
        rl_ring_init(&members[i]);
        CHECK(!rl_ring_is_linked(&members[i]));
        rl_ring_remove(&members[i]); /* of no list: no effect */
        rl_ring_add(&head, &members[i]);
    }
    rl_ring_remove(&members[1]);
    CHECK(!rl_ring_is_linked(&members[1]) && rl_ring_is_linked(&members[0]));
    CHECK(rl_ring_first(&head) == &members[0] && members[0].after == &members[2]);
    rl_ring_remove(&members[0]);
    rl_ring_remove(&members[2]);
    CHECK(rl_ring_first(&head) == NULL);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_records_are_found),
    CHECK_TEST(test_chains_stay_short),
    CHECK_TEST(test_without_memory),
    CHECK_TEST(test_rings),
};

CHECK_MAIN(tests)
