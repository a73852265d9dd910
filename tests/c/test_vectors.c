/* Test of store/vectors.h: the scan against searches that are plain to see, one in double
 * precision and one, to the last bit, over the rows as they are kept.
 */
#include "store/vectors.h"

#include "check.h"
#include "core/alloc.h"
#include "failing.h"
#include "random.h"
#include "store/vectors_dot.h"

#include <float.h>
#include <math.h>
#include <pthread.h>

enum {
    ROWS_MAX = 3000,
    DIM_MAX = 3072
};

/* What a store should hold. */
struct model_row {
    uint8_t id[16];
    uint64_t group;
    bool kept;
    float *vector; /* [dim] */
};

struct model {
    uint32_t dim;
    size_t rows;
    struct model_row row[ROWS_MAX];
    float *numbers;
};

static struct model *model_new(uint32_t dim, size_t rows)
{
    struct model *model = calloc(1, sizeof *model);

    model->dim = dim;
    model->rows = rows;
    model->numbers = calloc(rows * dim, sizeof(float));
    for (size_t i = 0; i < rows; i++) {
        model->row[i].vector = model->numbers + i * dim;
    }
    return model;
}

static void model_free(struct model *model)
{
    free(model->numbers);
    free(model);
}

/* From -1 to 1. */
static float random_number(uint64_t *state)
{
    return (float)((double)(random_next(state) >> 11) / 4503599627370496.0 - 1.0);
}

static void fill_vector(float *vector, uint32_t dim, uint64_t *state)
{
    for (uint32_t i = 0; i < dim; i++) {
        vector[i] = random_number(state);
    }
}

static void random_id(uint8_t id[16], uint64_t *state)
{
    for (int i = 0; i < 2; i++) {
        uint64_t half = random_next(state);

        memcpy(id + (size_t)8 * (size_t)i, &half, sizeof half);
    }
}

/* Ids that follow one another, as those of rows made in the same millisecond nearly do. */
static void numbered_id(uint8_t id[16], uint64_t number)
{
    memset(id, 0, 16);
    for (size_t i = 0; i < 8; i++) {
        id[15 - i] = (uint8_t)(number >> (8 * i));
    }
}

/* Puts a vector that starts at an odd address. */
static rl_vectors_put_result put(rl_vectors *vectors, const struct model *model,
                                 size_t row)
{
    static char unaligned[DIM_MAX * sizeof(float) + 1];
    size_t size = model->dim * sizeof(float);

    memcpy(unaligned + 1, model->row[row].vector, size);
    return rl_vectors_put(vectors, model->row[row].id, model->row[row].group,
                          unaligned + 1);
}

static rl_vectors *store_of(struct model *model, uint64_t groups, uint64_t *state)
{
    rl_vectors *vectors = rl_vectors_new(model->dim, (size_t)1 << 30);

    for (size_t i = 0; i < model->rows; i++) {
        random_id(model->row[i].id, state);
        fill_vector(model->row[i].vector, model->dim, state);
        model->row[i].group = random_below(state, groups);
        model->row[i].kept = true;
        CHECK_INT(put(vectors, model, i), RL_VECTORS_KEPT);
    }
    CHECK_INT(rl_vectors_count(vectors), model->rows);
    return vectors;
}

static double cosine(const float *a, const float *b, uint32_t dim)
{
    double ab = 0, aa = 0, bb = 0;

    for (uint32_t i = 0; i < dim; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa) / sqrt(bb);
}

static int by_rank(const void *left, const void *right)
{
    const rl_vector_hit *a = left, *b = right;

    if (a->score != b->score) {
        return a->score > b->score ? -1 : 1;
    }
    return memcmp(a->id, b->id, sizeof a->id);
}

static int downwards(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a < b) - (a > b);
}

/* The portable product of two rows as they are kept. */
static float product_of(const float *a, const float *b, uint32_t dim)
{
    const rl_dot_kernel *kernels[RL_DOT_KERNELS_MAX];
    size_t count = rl_dot_kernels(kernels);
    float product;

    kernels[count - 1]->rows(a, b, (dim + 31) / 32 * 32, 1, &product);
    return product > 1 ? 1 : product < -1 ? -1 : product;
}

/* All the hits of a model, the best first; returns how many. */
static size_t rank_all(const struct model *model, const rl_vectors *vectors,
                       const float *query, const uint64_t *group, rl_vector_hit *ranked)
{
    rl_vectors *one = rl_vectors_new(model->dim, (size_t)1 << 20);
    const uint8_t id[16] = {0};
    size_t count = 0;

    CHECK_INT(rl_vectors_put(one, id, 0, query), RL_VECTORS_KEPT);
    for (size_t i = 0; i < model->rows; i++) {
        const struct model_row *row = &model->row[i];

        if (row->kept && (group == NULL || row->group == *group)) {
            memcpy(ranked[count].id, row->id, sizeof row->id);
            ranked[count++].score = product_of(
                rl_vectors_get(one, id), rl_vectors_get(vectors, row->id), model->dim);
        }
    }
    qsort(ranked, count, sizeof *ranked, by_rank);
    rl_vectors_free(one);
    return count;
}

/* Searches, and compares the hits and what lies behind them to the last bit. */
static void check_search(const struct model *model, const rl_vectors *vectors,
                         const float *query, const uint64_t *group, size_t limit)
{
    static rl_vector_hit ranked[ROWS_MAX], hits[ROWS_MAX + 1];
    size_t all = rank_all(model, vectors, query, group, ranked);
    size_t found;

    memset(hits, 0xa5, sizeof hits);
    found = rl_vectors_search(vectors, query, group, limit, hits);
    CHECK_INT(found, all < limit ? all : limit);
    for (size_t i = 0; i < found && i < all; i++) {
        CHECK(memcmp(hits[i].id, ranked[i].id, sizeof hits[i].id) == 0);
        CHECK(hits[i].score == ranked[i].score);
    }
    CHECK_INT(((const uint8_t *)&hits[found])[0], 0xa5);
}

/* The scores of the ranks, within what float32 can do, are those in double precision. */
static void check_scores(const struct model *model, const rl_vectors *vectors,
                         const float *query, size_t limit)
{
    static double scores[ROWS_MAX];
    static rl_vector_hit hits[ROWS_MAX];
    size_t found = rl_vectors_search(vectors, query, NULL, limit, hits);
    size_t count = 0;

    for (size_t i = 0; i < model->rows; i++) {
        if (model->row[i].kept) {
            scores[count++] = cosine(query, model->row[i].vector, model->dim);
        }
    }
    qsort(scores, count, sizeof *scores, downwards);
    CHECK_INT(found, count < limit ? count : limit);
    for (size_t i = 0; i < found; i++) {
        CHECK(fabs((double)hits[i].score - scores[i]) < 2e-6);
    }
}

static void check_dim(uint32_t dim, size_t rows, uint64_t *state)
{
    struct model *model = model_new(dim, rows);
    rl_vectors *vectors = store_of(model, 1, state);
    float query[DIM_MAX];

    CHECK_INT(rl_vectors_dim(vectors), dim);
    for (size_t limit = 1; limit <= rows + 1; limit = limit * 3 + 1) {
        fill_vector(query, dim, state);
        check_search(model, vectors, query, NULL, limit);
        check_scores(model, vectors, query, limit);
    }
    for (size_t i = 0; i < rows; i += 7) {
        const float *unit = rl_vectors_get(vectors, model->row[i].id);

        CHECK(fabs(cosine(unit, unit, dim) - 1) < 1e-12);
        CHECK(fabs(cosine(unit, model->row[i].vector, dim) - 1) < 1e-6);
    }
    rl_vectors_free(vectors);
    model_free(model);
}

static void test_every_dim(void)
{
    static const uint32_t large[] = {127, 128, 129, 255, 383, 384, 385, 768, 1023, 1536};
    uint64_t state = 1;

    for (uint32_t dim = 1; dim <= 70; dim++) {
        check_dim(dim, 200, &state);
    }
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        check_dim(large[i], 300, &state);
    }
    check_dim(DIM_MAX, 300, &state);
    check_dim(2, ROWS_MAX, &state);
    check_dim(384, 2500, &state); /* several blocks */
}

/* All the kernels give the same bits, for one row and for many. */
static void test_kernels_agree(void)
{
    enum {
        COUNT = 67
    };
    const rl_dot_kernel *kernels[RL_DOT_KERNELS_MAX];
    size_t have = rl_dot_kernels(kernels);
    float *numbers = aligned_alloc(RL_DOT_ALIGN, (COUNT + 1) * (size_t)1024 * 4);
    float want[COUNT], got[COUNT + 1];
    uint64_t state = 2;

    CHECK(have >= 1 && have <= RL_DOT_KERNELS_MAX);
    CHECK_STR(kernels[have - 1]->name, "portable");
    for (size_t width = RL_DOT_LANES; width <= 1024; width += RL_DOT_LANES) {
        float *rows = numbers + width;

        for (size_t i = 0; i < (COUNT + 1) * width; i++) {
            /* of many sizes, so that the order of the sums shows */
            numbers[i] = ldexpf(random_number(&state), (int)random_below(&state, 20));
        }
        for (size_t count = 1; count <= COUNT; count += 11) {
            kernels[have - 1]->rows(numbers, rows, width, count, want);
            for (size_t i = 0; i < have; i++) {
                memset(got, 0xa5, sizeof got);
                kernels[i]->rows(numbers, rows, width, count, got);
                CHECK(memcmp(got, want, count * sizeof *got) == 0);
                CHECK_INT(((const uint8_t *)&got[count])[0], 0xa5);
            }
        }
    }
    free(numbers);
}

/* The same bits on every machine: what vectors_dot.h says, worked out in Python. */
static void test_kernels_give_known_bits(void)
{
    const rl_dot_kernel *kernels[RL_DOT_KERNELS_MAX];
    size_t have = rl_dot_kernels(kernels);
    float *numbers = aligned_alloc(RL_DOT_ALIGN, 2 * (size_t)384 * sizeof(float));
    uint64_t state = 18;

    fill_vector(numbers, 2 * 384, &state);
    for (size_t i = 0; i < have; i++) {
        float product = 0;

        kernels[i]->rows(numbers, numbers + 384, 384, 1, &product);
        CHECK(product == -0x1.37abbep+2F);
    }
    free(numbers);
}

static void test_searches_of_the_kernels_agree(void)
{
    const rl_dot_kernel *kernels[RL_DOT_KERNELS_MAX];
    size_t have = rl_dot_kernels(kernels);
    uint64_t state = 3, group = 1;
    struct model *model = model_new(100, 1500);
    rl_vectors *vectors = store_of(model, 3, &state);
    float query[100];

    for (int round = 0; round < 5; round++) {
        fill_vector(query, 100, &state);
        for (size_t i = 0; i < have; i++) {
            rl_vectors_use_kernel(vectors, kernels[i]);
            check_search(model, vectors, query, NULL, 50);
            check_search(model, vectors, query, &group, 50);
        }
    }
    rl_vectors_free(vectors);
    model_free(model);
}

/* Few directions, each at many lengths: of equal scores the smaller id is first, and which
 * are cut off does not depend on where they lie. */
static void test_ties(void)
{
    uint64_t state = 4;
    struct model *model = model_new(50, 1000);
    rl_vectors *vectors = store_of(model, 1, &state);
    float query[50];
    rl_vector_hit hits[200];

    for (size_t i = 0; i < model->rows; i++) {
        float *vector = model->row[i].vector;

        memcpy(vector, model->row[i % 4].vector, 50 * sizeof(float));
        for (size_t j = 0; i >= 4 && j < 50; j++) {
            vector[j] = ldexpf(vector[j], (int)(i % 60) - 30);
        }
        CHECK_INT(put(vectors, model, i), RL_VECTORS_KEPT);
    }
    CHECK_INT(rl_vectors_count(vectors), model->rows);
    for (size_t limit = 1; limit < model->rows; limit += 83) {
        memcpy(query, model->row[limit % 4].vector, sizeof query);
        check_search(model, vectors, query, NULL, limit);
    }
    memcpy(query, model->row[0].vector, sizeof query);
    CHECK_INT(rl_vectors_search(vectors, query, NULL, 200, hits), 200);
    for (size_t i = 1; i < 200; i++) {
        CHECK(hits[i].score == hits[0].score && hits[0].score <= 1);
        CHECK(memcmp(hits[i - 1].id, hits[i].id, sizeof hits[i].id) < 0);
    }
    rl_vectors_free(vectors);
    model_free(model);
}

/* Puts, replacements and drops in any order, in blocks of a few rows. */
static void check_changes(void (*make_id)(uint8_t[16], uint64_t), size_t max_bytes,
                          uint64_t seed)
{
    enum {
        IDS = 400,
        DIM = 20
    };
    uint64_t state = seed;
    struct model *model = model_new(DIM, IDS);
    rl_vectors *vectors = rl_vectors_new(DIM, max_bytes);
    size_t kept = 0;
    float query[DIM];

    for (size_t i = 0; i < IDS; i++) {
        make_id(model->row[i].id, i);
    }
    for (int step = 0; step < 12000; step++) {
        /* grows for 3000 steps, then shrinks for 3000 */
        bool drops = random_below(&state, 10) < (step / 3000 % 2 == 0 ? 3U : 7U);
        size_t i = random_below(&state, IDS);
        struct model_row *row = &model->row[i];

        if (drops) {
            rl_vectors_drop(vectors, row->id);
            kept -= row->kept;
            row->kept = false;
        } else {
            fill_vector(row->vector, DIM, &state);
            row->group = random_below(&state, 3);
            CHECK_INT(put(vectors, model, i), RL_VECTORS_KEPT);
            kept += !row->kept;
            row->kept = true;
        }
        CHECK_INT(rl_vectors_count(vectors), kept);
        CHECK(rl_vectors_bytes(vectors) <= max_bytes);
        if (step % 100 == 0) {
            for (size_t j = 0; j < IDS; j++) {
                CHECK((rl_vectors_get(vectors, model->row[j].id) != NULL) ==
                      model->row[j].kept);
            }
            fill_vector(query, DIM, &state);
            check_search(model, vectors, query, NULL, 30);
            check_search(model, vectors, query, &row->group, 30);
        }
    }
    rl_vectors_free(vectors);
    model_free(model);
}

static void mixed_id(uint8_t id[16], uint64_t number)
{
    uint64_t state = number + 77;

    random_id(id, &state);
}

/* As UUIDv7: the time comes first, and is the same for many. */
static void timed_id(uint8_t id[16], uint64_t number)
{
    mixed_id(id, number);
    memcpy(id, "\x01\x9a\xc0\x11\x22\x33\x70", 7);
}

static void test_changes(void)
{
    check_changes(mixed_id, (size_t)1 << 17, 5);
    check_changes(numbered_id, (size_t)1 << 17, 6);
    check_changes(timed_id, (size_t)1 << 24, 7);
}

/* What was dropped leaves blocks behind it that are given back. */
static void test_memory_is_given_back(void)
{
    uint64_t state = 8;
    struct model *model = model_new(384, ROWS_MAX);
    rl_vectors *vectors = store_of(model, 1, &state);
    size_t most = rl_vectors_bytes(vectors);

    for (size_t i = 0; i < model->rows; i++) {
        rl_vectors_drop(vectors, model->row[i].id);
    }
    CHECK_INT(rl_vectors_count(vectors), 0);
    CHECK(rl_vectors_bytes(vectors) < most / 3);
    for (size_t i = 0; i < model->rows; i++) {
        CHECK_INT(put(vectors, model, i), RL_VECTORS_KEPT);
    }
    CHECK_INT(rl_vectors_bytes(vectors), most);
    rl_vectors_free(vectors);
    model_free(model);
}

/* Tables, blocks that are half empty and all: a tenth more than the numbers at most. */
static void test_memory_is_stated(void)
{
    enum {
        DIM = 384,
        ROWS = 20000
    };
    rl_vectors *vectors = rl_vectors_new(DIM, (size_t)1 << 30);
    float vector[DIM];
    uint64_t state = 9;
    uint8_t id[16];

    for (size_t i = 0; i < ROWS; i++) {
        numbered_id(id, i);
        fill_vector(vector, DIM, &state);
        REQUIRE(rl_vectors_put(vectors, id, 0, vector) == RL_VECTORS_KEPT);
    }
    CHECK(rl_vectors_bytes(vectors) > ROWS * DIM * sizeof(float));
    CHECK(rl_vectors_bytes(vectors) < ROWS * DIM * sizeof(float) / 10 * 11);
    rl_vectors_free(vectors);
}

static void test_groups(void)
{
    uint64_t state = 10;
    struct model *model = model_new(40, 2000);
    rl_vectors *vectors = store_of(model, 4, &state);
    uint64_t none = 4, most = UINT64_MAX;
    rl_vector_hit hit;
    float query[40];

    for (size_t i = 500; i < 1200; i++) { /* a long run of one */
        model->row[i].group = most;
        CHECK_INT(put(vectors, model, i), RL_VECTORS_KEPT);
    }
    fill_vector(query, 40, &state);
    for (uint64_t group = 0; group < 4; group++) {
        for (size_t limit = 1; limit <= 1000; limit *= 10) {
            check_search(model, vectors, query, &group, limit);
        }
    }
    check_search(model, vectors, query, &most, 10);
    check_search(model, vectors, query, &most, 1000);
    CHECK_INT(rl_vectors_search(vectors, query, &none, 1, &hit), 0);
    rl_vectors_free(vectors);
    model_free(model);
}

static void check_full(uint32_t dim, size_t max_bytes)
{
    uint64_t state = 11;
    struct model *model = model_new(dim, ROWS_MAX);
    rl_vectors *vectors = rl_vectors_new(dim, max_bytes);
    float query[DIM_MAX];
    size_t count = 0;

    for (size_t i = 0; i < model->rows; i++) {
        rl_vectors_put_result result;

        numbered_id(model->row[i].id, i);
        fill_vector(model->row[i].vector, dim, &state);
        result = put(vectors, model, i);
        model->row[i].kept = result == RL_VECTORS_KEPT;
        count += model->row[i].kept;
        CHECK(result == RL_VECTORS_KEPT || result == RL_VECTORS_FULL);
        CHECK_INT(rl_vectors_count(vectors), count);
        CHECK(rl_vectors_bytes(vectors) <= max_bytes);
        CHECK((rl_vectors_get(vectors, model->row[i].id) != NULL) == model->row[i].kept);
    }
    REQUIRE(count != 0 && count < model->rows);
    CHECK(count * dim * sizeof(float) > max_bytes / 2); /* it is used */
    fill_vector(query, dim, &state);
    check_search(model, vectors, query, NULL, 20);
    fill_vector(model->row[0].vector, dim, &state); /* replacing needs no room */
    CHECK_INT(put(vectors, model, 0), RL_VECTORS_KEPT);
    rl_vectors_drop(vectors, model->row[0].id);
    model->row[0].kept = false;
    CHECK_INT(put(vectors, model, model->rows - 1), RL_VECTORS_KEPT);
    model->row[model->rows - 1].kept = true;
    check_search(model, vectors, query, NULL, 20);
    rl_vectors_free(vectors);
    model_free(model);
}

static void test_full(void)
{
    uint8_t id[16] = {1};
    const float vector[1] = {1};
    rl_vectors *vectors;

    check_full(32, 50000);
    check_full(384, (size_t)1 << 20);
    check_full(DIM_MAX, (size_t)20 << 20);
    for (size_t max_bytes = 0; max_bytes < 700; max_bytes += 100) {
        vectors = rl_vectors_new(1, max_bytes);
        REQUIRE(vectors != NULL);
        CHECK_INT(rl_vectors_put(vectors, id, 0, vector), RL_VECTORS_FULL);
        CHECK_INT(rl_vectors_count(vectors), 0);
        rl_vectors_free(vectors);
    }
}

static void test_what_is_no_direction(void)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    uint64_t state = 12;
    struct model *model = model_new(45, 10);
    rl_vectors *vectors = store_of(model, 1, &state);
    float good[45], bad[45] = {0};
    rl_vector_hit hit;
    uint8_t id[16] = {9};

    fill_vector(good, 45, &state);
    CHECK_INT(rl_vectors_put(vectors, id, 0, bad), RL_VECTORS_BAD);
    bad[3] = -0.0F;
    CHECK_INT(rl_vectors_put(vectors, id, 0, bad), RL_VECTORS_BAD);
    CHECK_INT(rl_vectors_search(vectors, bad, NULL, 1, &hit), 0);
    for (size_t i = 0; i < 3 * 45; i++) {
        memcpy(bad, good, sizeof bad);
        bad[i / 3] = odd[i % 3];
        CHECK_INT(rl_vectors_put(vectors, id, 0, bad), RL_VECTORS_BAD);
        CHECK_INT(rl_vectors_put(vectors, model->row[i % 10].id, 5, bad), RL_VECTORS_BAD);
        CHECK_INT(rl_vectors_search(vectors, bad, NULL, 1, &hit), 0);
    }
    CHECK(rl_vectors_get(vectors, id) == NULL);
    CHECK_INT(rl_vectors_count(vectors), 10);
    check_search(model, vectors, good, NULL, 10); /* what was there is there */
    check_scores(model, vectors, good, 10);
    check_search(model, vectors, good, &model->row[0].group, 10);
    rl_vectors_free(vectors);
    model_free(model);
}

/* Numbers whose squares are no float32, and those that are subnormal. */
static void test_lengths(void)
{
    static const int exponents[] = {127, 100, 64, 1, 0, -1, -64, -100, -126};
    uint64_t state = 13;
    struct model *model = model_new(33, 90);
    rl_vectors *vectors = store_of(model, 1, &state);
    const float longest[33] = {FLT_MAX, -FLT_MAX, FLT_MAX};
    const float shortest[33] = {[32] = FLT_TRUE_MIN};
    const float uneven[33] = {1e30F, 1e-30F};
    float query[33];
    rl_vector_hit hit;

    for (size_t i = 0; i < model->rows; i++) {
        for (size_t j = 0; j < 33; j++) {
            model->row[i].vector[j] = ldexpf(model->row[i].vector[j], exponents[i % 9]);
        }
        CHECK_INT(put(vectors, model, i), RL_VECTORS_KEPT);
    }
    fill_vector(query, 33, &state);
    check_scores(model, vectors, query, 90);
    for (size_t i = 0; i < 9; i++) {
        float scaled[33];

        for (size_t j = 0; j < 33; j++) {
            scaled[j] = ldexpf(query[j], exponents[i]);
        }
        check_search(model, vectors, scaled, NULL, 20);
        check_scores(model, vectors, scaled, 20);
    }
    memcpy(model->row[0].vector, longest, sizeof longest);
    memcpy(model->row[1].vector, shortest, sizeof shortest);
    memcpy(model->row[2].vector, uneven, sizeof uneven);
    for (size_t i = 0; i < 3; i++) {
        CHECK_INT(put(vectors, model, i), RL_VECTORS_KEPT);
        CHECK_INT(rl_vectors_search(vectors, model->row[i].vector, NULL, 1, &hit), 1);
        CHECK(memcmp(hit.id, model->row[i].id, sizeof hit.id) == 0);
        CHECK(hit.score > 0.999999F && hit.score <= 1);
    }
    CHECK(rl_vectors_get(vectors, model->row[2].id)[1] ==
          0); /* not a subnormal product */
    check_scores(model, vectors, query, 90);
    rl_vectors_free(vectors);
    model_free(model);
}

/* A vector's opposite has -1; no score is beyond 1, however the roundings fall. */
static void test_scores_are_cosines(void)
{
    uint64_t state = 14;
    struct model *model = model_new(700, 500);
    rl_vectors *vectors = store_of(model, 1, &state);
    float opposite[700];
    rl_vector_hit hits[500];

    for (size_t i = 0; i < model->rows; i++) {
        CHECK_INT(rl_vectors_search(vectors, model->row[i].vector, NULL, 1, hits), 1);
        CHECK(memcmp(hits[0].id, model->row[i].id, sizeof hits[0].id) == 0);
        CHECK(hits[0].score <= 1 && hits[0].score > 0.999999F);
        for (size_t j = 0; j < 700; j++) {
            opposite[j] = -model->row[i].vector[j];
        }
        CHECK_INT(rl_vectors_search(vectors, opposite, NULL, 500, hits), 500);
        CHECK(memcmp(hits[499].id, model->row[i].id, sizeof hits[0].id) == 0);
        CHECK(hits[499].score >= -1 && hits[499].score < -0.999999F);
    }
    rl_vectors_free(vectors);
    model_free(model);
}

static void test_limits(void)
{
    uint64_t state = 15, group = 0;
    struct model *model = model_new(10, 300);
    rl_vectors *vectors = rl_vectors_new(10, (size_t)1 << 20);
    float query[10];
    rl_vector_hit hit;

    fill_vector(query, 10, &state);
    CHECK_INT(rl_vectors_search(vectors, query, NULL, 1, &hit), 0); /* empty */
    CHECK_INT(rl_vectors_search(vectors, query, &group, 1, &hit), 0);
    CHECK(rl_vectors_get(vectors, hit.id) == NULL);
    rl_vectors_drop(vectors, model->row[0].id);
    CHECK_INT(rl_vectors_count(vectors), 0);
    rl_vectors_free(vectors);
    vectors = store_of(model, 2, &state);
    check_search(model, vectors, query, NULL, 0);
    CHECK_INT(rl_vectors_search(vectors, query, NULL, 0, NULL), 0);
    for (size_t limit = 1; limit < 20; limit++) {
        check_search(model, vectors, query, NULL, limit);
    }
    check_search(model, vectors, query, NULL, 299);
    check_search(model, vectors, query, NULL, 300);
    check_search(model, vectors, query, NULL, 301);
    check_search(model, vectors, query, NULL, ROWS_MAX);
    check_search(model, vectors, query, &group, ROWS_MAX);
    rl_vectors_free(vectors);
    rl_vectors_free(NULL);
    CHECK(rl_vectors_new(0, (size_t)1 << 20) == NULL);
    CHECK(rl_vectors_new(UINT32_MAX, (size_t)1 << 20) == NULL);
    model_free(model);
}

struct searcher {
    const rl_vectors *vectors;
    const float *queries;
    const rl_vector_hit *want; /* [8, 10] */
    size_t wrong;
};

static void *search_on(void *ctx)
{
    struct searcher *searcher = ctx;
    rl_vector_hit hits[10];

    for (size_t i = 0; i < 200; i++) {
        const rl_vector_hit *want = searcher->want + i % 8 * 10;

        memset(hits, 0, sizeof hits);
        if (rl_vectors_search(searcher->vectors, searcher->queries + i % 8 * 64, NULL, 10,
                              hits) != 10 ||
            memcmp(hits, want, sizeof hits) != 0) {
            searcher->wrong++;
        }
    }
    return NULL;
}

static void test_searches_at_once(void)
{
    uint64_t state = 16;
    struct model *model = model_new(64, 1000);
    rl_vectors *vectors = store_of(model, 1, &state);
    struct searcher searchers[4];
    pthread_t threads[4];
    float queries[8 * 64];
    rl_vector_hit want[8 * 10];

    memset(want, 0, sizeof want);
    fill_vector(queries, 8 * 64, &state);
    for (size_t i = 0; i < 8; i++) {
        check_search(model, vectors, queries + i * 64, NULL, 10);
        CHECK_INT(rl_vectors_search(vectors, queries + i * 64, NULL, 10, want + i * 10),
                  10);
    }
    for (int i = 0; i < 4; i++) {
        searchers[i] = (struct searcher){vectors, queries, want, 0};
        pthread_create(&threads[i], NULL, search_on, &searchers[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CHECK_INT(searchers[i].wrong, 0);
    }
    rl_vectors_free(vectors);
    model_free(model);
}

/* Goes on where memory fails, and asks again; false when there was not even a store. */
static bool use_without_memory(struct failing *failing, struct model *model,
                               size_t *refused)
{
    rl_vectors *vectors = rl_vectors_new(model->dim, (size_t)1 << 17);
    rl_vector_hit hits[10];
    size_t found;

    if (vectors == NULL) {
        ++*refused;
        return false;
    }
    for (size_t i = 0; i < model->rows; i++) {
        rl_vectors_put_result result = put(vectors, model, i);

        if (result == RL_VECTORS_NOMEM) {
            ++*refused;
            CHECK_INT(rl_vectors_count(vectors), i);
            CHECK(rl_vectors_get(vectors, model->row[i].id) == NULL);
            failing->go_on = false;
            result = put(vectors, model, i);
        }
        CHECK_INT(result, RL_VECTORS_KEPT);
    }
    found = rl_vectors_search(vectors, model->row[0].vector, NULL, 10, hits);
    if (found == RL_VECTORS_NO_MEMORY) {
        ++*refused;
        failing->go_on = false;
        found = rl_vectors_search(vectors, model->row[0].vector, NULL, 10, hits);
    }
    CHECK_INT(found, 10);
    CHECK(memcmp(hits[0].id, model->row[0].id, sizeof hits[0].id) == 0);
    failing->go_on = false;
    failing->fail_at = 0;
    check_search(model, vectors, model->row[1].vector, NULL, 10);
    rl_vectors_free(vectors);
    return true;
}

static void test_no_memory(void)
{
    uint64_t state = 17;
    struct model *model = model_new(30, 400);
    size_t refused, tried = 0;

    for (size_t i = 0; i < model->rows; i++) {
        random_id(model->row[i].id, &state);
        fill_vector(model->row[i].vector, 30, &state);
        model->row[i].kept = true;
    }
    for (size_t fail_at = 1;; fail_at++) {
        refused = 0;
        for (int go_on = 0; go_on < 2; go_on++) {
            struct failing failing = {.fail_at = fail_at, .go_on = go_on != 0};
            const rl_allocator allocator = {failing_resize, failing_release, &failing};

            rl_set_allocator(&allocator);
            CHECK(use_without_memory(&failing, model, &refused) || fail_at == 1);
            rl_set_allocator(NULL);
        }
        if (refused == 0) {
            break;
        }
        CHECK_INT(refused, 2); /* no failure is passed over */
        tried++;
    }
    CHECK(tried > 10);
    model_free(model);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_every_dim),
    CHECK_TEST(test_kernels_agree),
    CHECK_TEST(test_kernels_give_known_bits),
    CHECK_TEST(test_searches_of_the_kernels_agree),
    CHECK_TEST(test_ties),
    CHECK_TEST(test_changes),
    CHECK_TEST(test_memory_is_given_back),
    CHECK_TEST(test_memory_is_stated),
    CHECK_TEST(test_groups),
    CHECK_TEST(test_full),
    CHECK_TEST(test_what_is_no_direction),
    CHECK_TEST(test_lengths),
    CHECK_TEST(test_scores_are_cosines),
    CHECK_TEST(test_limits),
    CHECK_TEST(test_searches_at_once),
    CHECK_TEST(test_no_memory),
};

CHECK_MAIN(tests)
