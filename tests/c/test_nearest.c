/* Test of meaning/search/nearest.h on a SQLite file: the hits are exact and in a fixed
 * order, for any vectors, and while others write or calls fail.
 *
 * LINK: -Wl,--wrap=open -Wl,--wrap=fstat -Wl,--wrap=ftruncate -Wl,--wrap=fcntl
 * LINK: -Wl,--wrap=pread -Wl,--wrap=pwrite -Wl,--wrap=mmap
 */
#include "meaning/outbox/sqlite_outbox.h"
#include "meaning/search/nearest.h"

#include "check.h"
#include "fault_files.h"
#include "random.h"

#include <math.h>
#include <pthread.h>

#define DIM 37 /* not a multiple of the sums that are added in parallel */
#define MODEL "m"
#define ROWS 2500 /* three blocks */
#define ROUNDING 1e-6

/* A file, a connection of the test to it, and a store on it. */
typedef struct place {
    char path[HELP_PATH];
    sqlite3 *db;
    rl_store *store;
    rl_outbox *outbox;
} place;

static void run_sql(const place *at, const char *sql)
{
    char *error = NULL;

    if (sqlite3_exec(at->db, sql, NULL, NULL, &error) != SQLITE_OK) {
        help_need(false, error);
    }
}

static void open_outbox(place *at)
{
    rl_err err;

    help_need(rl_sqlite_outbox_new(rl_sqlite_file_of(at->store), &at->outbox, &err) ==
                  RL_OK,
              "an outbox");
}

static void open_place(place *at)
{
    fresh_path(at->path);
    at->store = open_store(at->path);
    open_outbox(at);
    help_need(sqlite3_open(at->path, &at->db) == SQLITE_OK, "a connection");
    sqlite3_busy_timeout(at->db, 60000);
}

static void close_place(place *at)
{
    sqlite3_close(at->db); /* first: runlog keeps descriptors while others have locks */
    at->outbox->ops->free(at->outbox);
    at->store->ops->close(at->store);
}

static void id_of(unsigned number, uint8_t id[16])
{
    memset(id, 0, 16);
    for (int i = 0; i < 4; i++) {
        id[15 - i] = (uint8_t)(number >> (8 * i));
    }
}

static unsigned number_of(const uint8_t id[16])
{
    return (unsigned)id[12] << 24 | (unsigned)id[13] << 16 | (unsigned)id[14] << 8 |
           id[15];
}

/* A run with a vector [dim]; an even number is in the workflow "even" and has failed, and
 * each was created in the second of its number. */
static void add_vector(const place *at, unsigned number, const char *model,
                       const float *vector, unsigned dim)
{
    char id[RL_UUID_TEXT], created[RL_TIME_TEXT];
    uint8_t bytes[16];
    sqlite3_stmt *stmt = NULL;
    const char *const statements[] = {
        "INSERT INTO workflow_runs (id, wpk_id, run_id, status, created_at, updated_at) "
        "VALUES (?1, ?2, ?1, ?3, ?4, ?4)",
        "INSERT INTO run_embeddings (id, wpk_id, state, next_attempt_at, model, dim, "
        "vector) VALUES (?1, ?2, 'embedded', 0, ?5, ?6, ?7)"};

    id_of(number, bytes);
    rl_uuid_format(bytes, id);
    rl_time_format((int64_t)number * 1000000, created);
    for (size_t i = 0; i < 2; i++) {
        help_need(sqlite3_prepare_v2(at->db, statements[i], -1, &stmt, NULL) == SQLITE_OK,
                  "a statement");
        sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 2, number % 2 == 0 ? "even" : "odd", -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 3, number % 2 == 0 ? "failed" : "completed", -1,
                          SQLITE_STATIC);
        sqlite3_bind_text(stmt, 4, created, -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 5, model, -1, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 6, dim);
        sqlite3_bind_blob(stmt, 7, vector, (int)(dim * sizeof *vector), SQLITE_STATIC);
        help_need(sqlite3_step(stmt) == SQLITE_DONE, sqlite3_errmsg(at->db));
        sqlite3_finalize(stmt);
    }
}

/* A vector of its own for each number, of any length. */
static void make_vector(unsigned number, float out[DIM])
{
    uint64_t state = number;

    for (size_t i = 0; i < DIM; i++) {
        out[i] = (float)random_below(&state, 2000001) / 1e4F - 100;
    }
}

static void add_vectors(const place *at, unsigned first, unsigned end)
{
    float vector[DIM];

    run_sql(at, "BEGIN IMMEDIATE");
    for (unsigned i = first; i < end; i++) {
        make_vector(i, vector);
        add_vector(at, i, MODEL, vector, DIM);
    }
    run_sql(at, "COMMIT");
}

static rl_near_query near_to(const float *vector, size_t limit)
{
    return (rl_near_query){.model = MODEL,
                           .vector = vector,
                           .dim = DIM,
                           .since = RL_TIME_NONE,
                           .limit = limit};
}

static size_t search(const place *at, const rl_near_query *query, rl_vector_hit *hits)
{
    rl_err err = {.code = RL_OK};
    size_t count = 0;

    if (rl_nearest_search(at->outbox, query, hits, &count, &err) != RL_OK) {
        printf("%s\n", err.text);
        CHECK(false);
    }
    return count;
}

static double cosine(const float *a, const float *b)
{
    double product = 0, one = 0, other = 0;

    for (size_t i = 0; i < DIM; i++) {
        product += (double)a[i] * (double)b[i];
        one += (double)a[i] * (double)a[i];
        other += (double)b[i] * (double)b[i];
    }
    return product / sqrt(one) / sqrt(other);
}

/* Checks that hits [count] are the best of the numbers first, first + step, ... */
static void check_best(const float *query, const rl_vector_hit *hits, size_t count,
                       unsigned first, unsigned step)
{
    float vector[DIM];
    size_t better = 0;

    for (size_t i = 0; i < count; i++) {
        unsigned number = number_of(hits[i].id);

        make_vector(number, vector);
        CHECK(number < ROWS && number % step == first % step);
        CHECK(fabs((double)hits[i].score - cosine(query, vector)) < ROUNDING);
        CHECK(i == 0 || hits[i].score < hits[i - 1].score ||
              (hits[i].score == hits[i - 1].score &&
               memcmp(hits[i].id, hits[i - 1].id, sizeof hits[i].id) > 0));
    }
    for (unsigned number = first; number < ROWS; number += step) {
        make_vector(number, vector);
        better += cosine(query, vector) > (double)hits[count - 1].score + ROUNDING;
    }
    CHECK(better < count);
}

static void test_the_ranking_is_that_of_a_naive_scan(void)
{
    static const size_t limits[] = {1, 2, 10, 500, ROWS, 2 * ROWS};
    static rl_vector_hit hits[2 * ROWS];
    float vector[DIM];
    place at;

    open_place(&at);
    add_vectors(&at, 0, ROWS);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        size_t want = limits[i] < ROWS ? limits[i] : ROWS;
        rl_near_query query = near_to(vector, limits[i]);

        make_vector((unsigned)i * 400, vector);
        CHECK_INT(search(&at, &query, hits), want);
        CHECK_INT(number_of(hits[0].id), i * 400);
        check_best(vector, hits, want, 0, 1);
    }
    close_place(&at);
}

static void test_hits_match_the_filters(void)
{
    static rl_vector_hit hits[ROWS];
    float vector[DIM];
    rl_near_query query = near_to(vector, ROWS);
    place at;

    open_place(&at);
    add_vectors(&at, 0, ROWS);
    make_vector(77, vector);
    query.wpk_id = "odd";
    CHECK_INT(search(&at, &query, hits), ROWS / 2);
    check_best(vector, hits, ROWS / 2, 1, 2);
    query.status = "failed"; /* no odd one has */
    CHECK_INT(search(&at, &query, hits), 0);
    query.wpk_id = NULL;
    CHECK_INT(search(&at, &query, hits), ROWS / 2);
    check_best(vector, hits, ROWS / 2, 0, 2);
    query.since = INT64_C(2000) * 1000000;
    CHECK_INT(search(&at, &query, hits), (ROWS - 2000) / 2);
    query.status = NULL;
    query.wpk_id = "odd";
    CHECK_INT(search(&at, &query, hits), (ROWS - 2000) / 2);
    query.wpk_id = "nobody's";
    CHECK_INT(search(&at, &query, hits), 0);
    close_place(&at);
}

/* Equal vectors, stored in another order than that of their ids. */
static void test_of_equals_the_smaller_id_is_first(void)
{
    rl_vector_hit hits[20];
    float vector[DIM];
    rl_near_query query = near_to(vector, 20);
    place at;

    open_place(&at);
    make_vector(1, vector);
    for (unsigned i = 0; i < 101; i++) {
        add_vector(&at, i * 37 % 101, MODEL, vector, DIM);
    }
    CHECK_INT(search(&at, &query, hits), 20);
    for (unsigned i = 0; i < 20; i++) {
        CHECK_INT(number_of(hits[i].id), i);
        CHECK(hits[i].score == hits[0].score && hits[i].score > 0.999999F);
    }
    close_place(&at);
}

static void test_vectors_without_a_direction_are_no_hits(void)
{
    static const float values[] = {NAN, INFINITY, -INFINITY, 0, -0.0F};
    rl_vector_hit hits[10];
    float vector[DIM], longer[DIM + 1];
    rl_near_query query = near_to(vector, 10);
    place at;

    open_place(&at);
    for (unsigned i = 0; i < 5; i++) {
        for (size_t k = 0; k < DIM; k++) {
            vector[k] = i < 3 && k != i ? 1 : values[i];
        }
        add_vector(&at, i, MODEL, vector, DIM);
        CHECK_INT(search(&at, &query, hits), 0);
    }
    for (size_t k = 0; k <= DIM; k++) {
        vector[k % DIM] = longer[k] = 1;
    }
    add_vector(&at, 5, MODEL, longer, DIM + 1);
    add_vector(&at, 6, MODEL, longer, DIM - 1);
    add_vector(&at, 7, "another model", longer, DIM);
    CHECK_INT(search(&at, &query, hits), 0);
    run_sql(&at,
            "UPDATE run_embeddings SET dim = 37"); /* not the length of the vectors */
    CHECK_INT(search(&at, &query, hits), 0);
    close_place(&at);
}

/* float32 can't hold the squares. */
static void test_very_long_and_very_short_vectors_are_hits(void)
{
    static const float lengths[] = {1e-38F, 1e-30F, 1e-10F, 1, 1e10F, 1e30F, 3e38F};
    rl_vector_hit hits[10];
    float vector[DIM];
    place at;

    open_place(&at);
    for (unsigned i = 0; i < 7; i++) {
        for (size_t k = 0; k < DIM; k++) {
            vector[k] = k % 2 == 0 ? lengths[i] : -lengths[i] / 2;
        }
        add_vector(&at, i, MODEL, vector, DIM);
    }
    for (unsigned i = 0; i < 7; i++) {
        rl_near_query query = near_to(vector, 10);

        for (size_t k = 0; k < DIM; k++) {
            vector[k] = k % 2 == 0 ? lengths[i] : -lengths[i] / 2;
        }
        CHECK_INT(search(&at, &query, hits), 7);
        for (size_t k = 0; k < 7; k++) {
            CHECK(hits[k].score > 0.99999F && hits[k].score <= 1);
        }
    }
    close_place(&at);
}

/* A sink that changes the file when it gets the last row of the first block. */
typedef struct changer {
    const place *at;
    const char *sql;
    unsigned given;       /* vectors */
    unsigned first, last; /* of these numbers */
} changer;

static rl_status change_file(void *ctx, const uint8_t id[16], const void *vector,
                             uint32_t dim, rl_err *err)
{
    changer *self = ctx;

    (void)vector;
    (void)dim;
    (void)err;
    if (self->given++ == 0) {
        self->first = number_of(id);
    }
    self->last = number_of(id);
    if (self->given == (unsigned)rl_vector_block(DIM) && self->sql != NULL) {
        run_sql(self->at, self->sql);
        if (strstr(self->sql, "DELETE") != NULL) {
            add_vectors(self->at, ROWS, ROWS + 700);
        }
    }
    return RL_OK;
}

/* The scan reads a row once if the row exists all the time. */
static void test_a_scan_reads_each_row_once_while_the_file_changes(void)
{
    static const struct {
        const char *sql;
        unsigned given;
    } changes[] = {
        {NULL, ROWS - 100},
        {"VACUUM", ROWS - 100},
        /* as VACUUM may do by its documentation */
        {"UPDATE run_embeddings SET rowid = rowid - 100", ROWS - 100},
        {"DELETE FROM workflow_runs WHERE rowid <= 1100", ROWS - 100 + 700},
        {"DELETE FROM workflow_runs WHERE rowid BETWEEN 200 AND 1200",
         ROWS - 100 - 100 + 700},
    };
    float vector[DIM];
    rl_near_query query = near_to(vector, 1);
    rl_err err = {.code = RL_OK};

    make_vector(3, vector);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        place at;
        changer self = {.at = &at, .sql = changes[i].sql};

        open_place(&at);
        add_vectors(&at, 0, ROWS);
        run_sql(&at, "DELETE FROM workflow_runs WHERE rowid <= 100");
        CHECK_INT(at.outbox->ops->nearest(at.outbox, &query, change_file, &self, &err),
                  RL_OK);
        CHECK_INT(self.given, changes[i].given);
        CHECK_INT(self.first, 100);
        CHECK_INT(self.last, i < 3 ? ROWS - 1 : ROWS + 699);
        close_place(&at);
    }
}

static rl_status refuse(void *ctx, const uint8_t id[16], const void *vector, uint32_t dim,
                        rl_err *err)
{
    (void)id;
    (void)vector;
    (void)dim;
    ++*(unsigned *)ctx;
    return rl_err_nomem(err);
}

static void test_a_sink_ends_the_scan(void)
{
    float vector[DIM];
    rl_near_query query = near_to(vector, 1);
    rl_err err = {.code = RL_OK};
    unsigned calls = 0;
    place at;

    open_place(&at);
    add_vectors(&at, 0, 10);
    CHECK_INT(at.outbox->ops->nearest(at.outbox, &query, refuse, &calls, &err), RL_NOMEM);
    CHECK_INT(calls, 1);
    close_place(&at);
}

/* For threads that search while another one adds and deletes. */
typedef struct scene {
    place at;
    atomic_bool ends;
} scene;

static void *search_on(void *ctx)
{
    scene *self = ctx;
    static const unsigned stable = 1200; /* the first ones exist all the time */
    rl_vector_hit *hits = calloc(ROWS, sizeof *hits);
    float vector[DIM];
    rl_near_query query = near_to(vector, ROWS);

    for (unsigned round = 0; !atomic_load(&self->ends); round++) {
        size_t count, found = 0;

        make_vector(round % stable, vector);
        count = search(&self->at, &query, hits);
        for (size_t i = 0; i < count; i++) {
            found += number_of(hits[i].id) < stable;
        }
        CHECK_INT(found, stable);
        CHECK(count > 0 && number_of(hits[0].id) == round % stable);
    }
    free(hits);
    return NULL;
}

static void test_searches_are_exact_while_another_writes(void)
{
    pthread_t threads[3];
    scene self = {.ends = false};

    open_place(&self.at);
    add_vectors(&self.at, 0, 1200);
    for (int i = 0; i < 3; i++) {
        help_need(pthread_create(&threads[i], NULL, search_on, &self) == 0, "a thread");
    }
    for (int round = 0; round < 20; round++) {
        add_vectors(&self.at, 1200, 1500);
        run_sql(&self.at, "DELETE FROM workflow_runs WHERE rowid > 1200");
    }
    atomic_store(&self.ends, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    close_place(&self.at);
}

static place faulty; /* made before the faults */

static void search_once(void)
{
    unsigned kinds = atomic_exchange(&fault.kinds, 0);
    rl_vector_hit hits[5];
    float vector[DIM];
    rl_near_query query = near_to(vector, 5);
    rl_err err = {.code = RL_OK};
    size_t count = 5;
    rl_status status;

    faulty.store = new_store(faulty.path);
    open_outbox(&faulty);
    make_vector(7, vector);
    atomic_store(&fault.kinds, kinds);
    status = rl_nearest_search(faulty.outbox, &query, hits, &count, &err);
    fault_over();
    check_error(status, &err);
    CHECK_INT(count, status == RL_OK ? 5 : 0);
    CHECK_INT(search(&faulty, &query, hits), 5);
    check_best(vector, hits, 5, 0, 1);
    faulty.outbox->ops->free(faulty.outbox);
    faulty.store->ops->close(faulty.store);
}

static void test_failed_calls_give_errors_and_no_hits(void)
{
    static const struct fault_plan plans[] = {
        {"the core's memory", FAULT_MEMORY, ENOMEM, 2, 0, false},
        {"SQLite's memory", FAULT_SQLITE_MEMORY, ENOMEM, 50, 100, false},
        {"EIO", FAULT_FILE, EIO, 50, 100, false},
    };

    fault_install();
    open_place(&faulty);
    add_vectors(&faulty, 0, ROWS);
    close_place(&faulty);
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        fault_everywhere(&plans[i], search_once);
    }
}

static const struct check_test tests[] = {
    CHECK_TEST(
        test_failed_calls_give_errors_and_no_hits), /* first: SQLite is set up for it */
    CHECK_TEST(test_the_ranking_is_that_of_a_naive_scan),
    CHECK_TEST(test_hits_match_the_filters),
    CHECK_TEST(test_of_equals_the_smaller_id_is_first),
    CHECK_TEST(test_vectors_without_a_direction_are_no_hits),
    CHECK_TEST(test_very_long_and_very_short_vectors_are_hits),
    CHECK_TEST(test_a_scan_reads_each_row_once_while_the_file_changes),
    CHECK_TEST(test_a_sink_ends_the_scan),
    CHECK_TEST(test_searches_are_exact_while_another_writes),
};
CHECK_MAIN(tests)
