/* The nearest vectors of a store: many searches beside who adds vectors, with and without the
 * memory for all of them, over forks, and when the file is replaced.
 */
#include "record/nearest.h"
#include "record/search.h"

#include "check.h"
#include "store_help.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIM 64
#define MODEL "m"
#define LARGE ((size_t)64 << 20)
#define SMALL ((size_t)65536) /* some 200 vectors */

static const rl_embed_rule rule = {NULL};

static rl_store *open_embedding_store(const char *path)
{
    rl_store *store = NULL;
    rl_err err = {.code = RL_OK};

    help_need(rl_sqlite_new(path, the_migrations(), &rule, NULL, &store, &err) == RL_OK,
              "a store");
    help_need(store->ops->prepare(store, &err) == RL_OK, err.text);
    return store;
}

/* Of a number: near to those of numbers close by, and of its own length. */
static void make_vector(unsigned number, float out[DIM])
{
    for (unsigned i = 0; i < DIM; i++) {
        out[i] = i == number % DIM ? 2.0F : 0.01F;
    }
    out[(number / DIM) % DIM] += 1.0F + (float)number / 1000.0F;
}

/* Logs runs and gives each its vector, as the indexer does. */
static void add_vectors(rl_store *store, unsigned first, unsigned count)
{
    rl_box_claim claim = {RL_BOX_PENDING, count, 1, 2};
    rl_err err = {.code = RL_OK};
    rl_box_jobs jobs;
    float vector[DIM];

    for (unsigned i = first; i < first + count; i++) {
        char name[16];
        rl_run *run;

        snprintf(name, sizeof name, "r%u", i);
        run = new_own_run(i, name, "completed", "{\"text\":\"t\"}");
        help_need(write_run(store, run, true, &err) == RL_OK, "a run");
    }
    rl_box_jobs_init(&jobs);
    help_need(store->ops->claim(store, &claim, &jobs, &err) == RL_OK, err.text);
    help_need(rl_box_count(&jobs) == count, "a claim of all");
    for (size_t i = 0; i < count; i++) {
        const rl_box_job *job = rl_box_job_at(&jobs, i);
        unsigned number =
            (unsigned)strtoul(rl_box_text(&jobs, job->run_id) + 1, NULL, 10);
        rl_box_result result = {.name = {job->id, rl_box_text(&jobs, job->wpk_id)},
                                .version = job->version,
                                .lease = job->lease,
                                .outcome = RL_BOX_HAS_VECTOR,
                                .model = MODEL,
                                .vector = vector,
                                .dim = DIM};

        make_vector(number, vector);
        help_need(store->ops->settle(store, &result, 1, &err) == RL_OK, err.text);
    }
    rl_box_jobs_free(&jobs);
}

static unsigned number_of(const uint8_t id[16])
{
    return (unsigned)id[12] << 24 | (unsigned)id[13] << 16 | (unsigned)id[14] << 8 |
           id[15];
}

/* Removes the run of that name; NULL: all. */
static void remove_runs(rl_store *store, const char *run_id)
{
    rl_err err = {.code = RL_OK};
    int64_t count = 0;
    rl_query query;

    rl_query_init(&query, RL_SHAPE_SUMMARY);
    query.texts[RL_STATUS] = "completed";
    query.texts[RL_RUN_ID] = run_id;
    CHECK(store->ops->remove(store, &query, &count, &err) == RL_OK && count > 0);
}

/* Hits [limit] near to a number's vector, the best of which is that of the number, and how
 * many. */
static size_t search_hits(rl_nearest *nearest, unsigned number, size_t limit,
                          rl_vector_hit *hits, uint64_t *as_of)
{
    rl_err err = {.code = RL_OK};
    float vector[DIM];
    size_t count = 0;
    rl_nearest_query query = {
        .vector = vector, .dim = DIM, .since = RL_TIME_NONE, .limit = limit};

    make_vector(number, vector);
    if (rl_nearest_search(nearest, &query, hits, &count, as_of, &err) != RL_OK) {
        printf("%s\n", err.text);
        CHECK(false);
    }
    if (count > 0) {
        CHECK_INT(number_of(hits[0].id), number);
        CHECK(hits[0].score > 0.99999F);
    }
    for (size_t i = 1; i < count; i++) {
        CHECK(hits[i].score <= hits[i - 1].score);
        CHECK(memcmp(hits[i].id, hits[i - 1].id, sizeof hits[i].id) != 0);
    }
    return count;
}

static size_t search(rl_nearest *nearest, unsigned number, size_t limit)
{
    rl_vector_hit *hits = calloc(limit, sizeof *hits);
    uint64_t as_of;
    size_t count = search_hits(nearest, number, limit, hits, &as_of);

    free(hits);
    return count;
}

static void test_what_is_new_is_found(void)
{
    char path[HELP_PATH];
    rl_nearest nearest;
    rl_store *store;

    fresh_path(path);
    store = open_embedding_store(path);
    rl_nearest_init(&nearest, store, MODEL, LARGE);
    CHECK_INT(search(&nearest, 0, 10), 0);
    for (unsigned i = 0; i < 5; i++) {
        add_vectors(store, i * 10, 10);
        CHECK_INT(search(&nearest, i * 10 + 9, 100), (i + 1) * 10);
    }
    CHECK(rl_nearest_bytes(&nearest) > 50 * DIM * sizeof(float));
    rl_nearest_destroy(&nearest);
    store->ops->close(store);
}

static void test_what_does_not_fit_is_found_too(void)
{
    char path[HELP_PATH];
    rl_nearest small, large;
    rl_store *store;

    fresh_path(path);
    store = open_embedding_store(path);
    add_vectors(store, 0, 1000);
    rl_nearest_init(&small, store, MODEL, SMALL);
    rl_nearest_init(&large, store, MODEL, LARGE);
    for (unsigned i = 0; i < 1000; i += 111) {
        CHECK_INT(search(&small, i, 5), 5);
        CHECK_INT(search(&small, i, 2000), 1000);
        CHECK_INT(search(&large, i, 2000), 1000);
    }
    CHECK(rl_nearest_bytes(&small) <= SMALL);
    rl_nearest_destroy(&small);
    rl_nearest_destroy(&large);
    store->ops->close(store);
}

static void test_who_is_gone_is_forgotten(void)
{
    char path[HELP_PATH];
    rl_vector_hit hits[200];
    const size_t sizes[] = {LARGE, SMALL};
    uint64_t before, as_of;

    for (int i = 0; i < 2; i++) {
        rl_nearest nearest;
        rl_store *store;

        fresh_path(path);
        store = open_embedding_store(path);
        add_vectors(store, 0, 100);
        rl_nearest_init(&nearest, store, MODEL, sizes[i]);
        CHECK_INT(search_hits(&nearest, 1, 200, hits, &before), 100);
        remove_runs(store, NULL);
        add_vectors(store, 0, 100); /* the same runs once more */
        CHECK_INT(search_hits(&nearest, 1, 200, hits, &as_of), 100);
        rl_nearest_forget(&nearest, hits, 100, before); /* they have been read since */
        CHECK_INT(search_hits(&nearest, 1, 200, hits, &as_of), 100);
        remove_runs(store, NULL);
        CHECK_INT(search_hits(&nearest, 1, 200, hits, &as_of), 100);
        rl_nearest_forget(&nearest, hits, 100, as_of);
        CHECK_INT(search(&nearest, 1, 200), 0);
        CHECK_INT(rl_vectors_count(nearest.vectors), 0);
        add_vectors(store, 0, 100);
        CHECK_INT(search(&nearest, 1, 200), 100);
        rl_nearest_destroy(&nearest);
        store->ops->close(store);
    }
}

/* How many runs are like that of number 1. */
static size_t search_like_it(rl_searcher *searcher, const char *status)
{
    const rl_search wanted = {
        .like_run_id = "r1", .status = status, .since = RL_TIME_NONE, .limit = 1000};
    rl_err err = {.code = RL_OK};
    rl_buf scores;
    rl_rows rows;
    size_t count;

    rl_rows_init(&rows);
    rl_buf_init(&scores, RL_BUF_MAX);
    CHECK(rl_search_runs(searcher, &wanted, rl_monotonic_ns() + RL_CLOSE_NS, &rows,
                         &scores, &err) == RL_OK);
    count = scores.len / sizeof(float);
    rl_buf_free(&scores);
    rl_rows_free(&rows);
    return count;
}

/* By a search that asks for nothing else: what another one does not find may be there. */
static void test_a_search_forgets_who_is_gone(void)
{
    const rl_service_options options = {.openai = {.model = MODEL}};
    char path[HELP_PATH];
    rl_services services;
    rl_searcher searcher;
    rl_store *store;

    fresh_path(path);
    store = open_embedding_store(path);
    add_vectors(store, 0, 100);
    rl_services_init(&services, &options);
    rl_searcher_init(&searcher, store, &services, LARGE);
    CHECK_INT(search_like_it(&searcher, NULL), 99);
    remove_runs(store, "r7");
    remove_runs(store, "r99");
    CHECK_INT(search_like_it(&searcher, "failed"), 0);
    CHECK_INT(rl_vectors_count(searcher.nearest.vectors), 100);
    CHECK_INT(search_like_it(&searcher, NULL), 97);
    CHECK_INT(rl_vectors_count(searcher.nearest.vectors), 98);
    CHECK_INT(search_like_it(&searcher, NULL), 97);
    rl_searcher_destroy(&searcher);
    rl_services_destroy(&services);
    store->ops->close(store);
}

/* The memory is full of vectors that are gone. Reading anew makes room for those that are
 * there, and does not happen before its time. */
static void test_what_is_full_is_read_anew_in_time(void)
{
    char path[HELP_PATH];
    rl_nearest nearest;
    rl_store *store;

    fresh_path(path);
    store = open_embedding_store(path);
    add_vectors(store, 0, 1000);
    rl_nearest_init(&nearest, store, MODEL, SMALL);
    CHECK_INT(search(&nearest, 1, 2000), 1000);
    remove_runs(store, NULL);
    add_vectors(store, 2000, 10);
    CHECK(search(&nearest, 2001, 2000) > 10);
    CHECK(nearest.full);
    nearest.anew_ns = 0;
    CHECK_INT(search(&nearest, 2001, 2000), 10);
    CHECK(!nearest.full);
    rl_nearest_destroy(&nearest);
    store->ops->close(store);
}

/* Several threads that search, beside one that adds. */
typedef struct scene {
    rl_store *store;
    rl_nearest nearest;
    atomic_uint there; /* vectors that are settled */
    atomic_bool ends;
} scene;

static void *search_on(void *ctx)
{
    scene *self = ctx;

    for (unsigned round = 0; !atomic_load(&self->ends); round++) {
        unsigned there = atomic_load(&self->there);

        CHECK(search(&self->nearest, round % there, 1000) >= there);
    }
    return NULL;
}

static void race(size_t max_bytes, unsigned batches, bool forks)
{
    char path[HELP_PATH];
    pthread_t threads[3];
    scene self = {.ends = false};

    fresh_path(path);
    self.store = open_embedding_store(path);
    rl_nearest_init(&self.nearest, self.store, MODEL, max_bytes);
    add_vectors(self.store, 0, 20);
    atomic_store(&self.there, 20);
    for (int i = 0; i < 3; i++) {
        help_need(pthread_create(&threads[i], NULL, search_on, &self) == 0, "a thread");
    }
    for (unsigned i = 1; i < batches; i++) {
        if (forks) {
            pid_t child;
            int status = -1;

            rl_nearest_before_fork(&self.nearest);
            self.store->ops->before_fork(self.store);
            child = fork();
            self.store->ops->after_fork(self.store, child == 0);
            rl_nearest_after_fork(&self.nearest, child == 0);
            if (child == 0) {
                alarm(60);
                _exit(search(&self.nearest, 7, 1000) >= 20 ? 0 : 1);
            }
            CHECK(waitpid(child, &status, 0) == child && status == 0);
        }
        add_vectors(self.store, i * 20, 20);
        atomic_store(&self.there, (i + 1) * 20);
    }
    atomic_store(&self.ends, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_INT(search(&self.nearest, 3, 1000), batches * 20);
    rl_nearest_destroy(&self.nearest);
    self.store->ops->close(self.store);
}

static void test_searches_beside_a_writer(void)
{
    race(LARGE, 15, false);
}

static void test_searches_without_the_memory(void)
{
    race(SMALL, 15, false);
}

static void test_forks_beside_searches(void)
{
    race(LARGE, 12, true);
    race(SMALL, 12, true);
}

static void test_a_file_that_was_replaced(void)
{
    char path[HELP_PATH], other[HELP_PATH], suffixed[HELP_PATH + 8];
    const size_t sizes[] = {LARGE, SMALL};
    rl_err err = {.code = RL_OK};

    for (int i = 0; i < 2; i++) {
        rl_nearest nearest;
        rl_store *store;
        rl_run *run;

        fresh_path(other);
        store = open_embedding_store(other); /* written first: its stamps are smaller */
        add_vectors(store, 5000, 30);
        store->ops->close(store);
        fresh_path(path);
        store = open_embedding_store(path);
        add_vectors(store, 0, 400);
        rl_nearest_init(&nearest, store, MODEL, sizes[i]);
        CHECK_INT(search(&nearest, 1, 1000), 400);
        for (int k = 0; k < 2; k++) {
            snprintf(suffixed, sizeof suffixed, "%s%s", path, k == 0 ? "-wal" : "-shm");
            (void)unlink(suffixed);
        }
        help_need(rename(other, path) == 0, "rename");
        nanosleep(&(struct timespec){0, 6000000},
                  NULL); /* it is not looked at each time */
        run = new_run("w", "more", "completed");
        CHECK(write_run(store, run, true, &err) == RL_OK);
        CHECK_INT(search(&nearest, 5001, 1000), 30);
        rl_nearest_destroy(&nearest);
        store->ops->close(store);
    }
}

static const struct check_test tests[] = {
    CHECK_TEST(test_what_is_new_is_found),
    CHECK_TEST(test_what_does_not_fit_is_found_too),
    CHECK_TEST(test_who_is_gone_is_forgotten),
    CHECK_TEST(test_a_search_forgets_who_is_gone),
    CHECK_TEST(test_what_is_full_is_read_anew_in_time),
    CHECK_TEST(test_searches_beside_a_writer),
    CHECK_TEST(test_searches_without_the_memory),
    CHECK_TEST(test_forks_beside_searches),
    CHECK_TEST(test_a_file_that_was_replaced),
};
CHECK_MAIN(tests)
