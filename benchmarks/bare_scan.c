/* rl_vectors_search against the shortest loop that does the same: dot products with AVX2 and
 * FMA over one block of memory, the best ten kept by insertion.
 *
 * Fills both with the same random vectors, searches both for the same queries, in turns, and
 * prints one line of JSON: the CPU time (getrusage) of each turn, a search, and the memory
 * that the store states and that the process got. That both find the same rows is checked.
 *
 * usage: bare_scan DIM ROWS TURNS SEARCHES-A-TURN SECONDS
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdbool.h>
#include <unistd.h>

#include "bare.h"
#include "store/vectors.h"
#include "store/vectors_dot.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define BEST 10
#define GROUPS 100
#define LEAST_TURNS 3

typedef struct found {
    float score;
    size_t row;
} found;

typedef struct sides {
    size_t dim;
    size_t rows;
    float *block;   /* [rows, dim], unit vectors; owned */
    float *queries; /* [searches, dim], unit vectors; owned */
    rl_vectors *vectors;
} sides;

typedef float product(const float *a, const float *b, size_t dim);

static float product_plain(const float *a, const float *b, size_t dim)
{
    float sum = 0;

    for (size_t i = 0; i < dim; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

#if defined(__x86_64__)
#define FMA(sums, at) \
    _mm256_fmadd_ps(_mm256_loadu_ps(a + (at)), _mm256_loadu_ps(b + (at)), sums)

__attribute__((target("avx2,fma"))) static float product_avx2(const float *a,
                                                              const float *b, size_t dim)
{
    __m256 s = _mm256_setzero_ps(), t = s, u = s, v = s;
    __m128 half;
    size_t i = 0;
    float sum;

    for (; i + 32 <= dim; i += 32) {
        s = FMA(s, i);
        t = FMA(t, i + 8);
        u = FMA(u, i + 16);
        v = FMA(v, i + 24);
    }
    s = _mm256_add_ps(_mm256_add_ps(s, t), _mm256_add_ps(u, v));
    half = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    sum = _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
    for (; i < dim; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}
#endif

static product *choose_product(const char **name)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        *name = "AVX2 and FMA";
        return product_avx2;
    }
#endif
    *name = "plain C";
    return product_plain;
}

static void search_bare(const sides *both, product *multiply, const float *query,
                        found best[BEST])
{
    for (size_t i = 0; i < BEST; i++) {
        best[i] = (found){-INFINITY, SIZE_MAX};
    }
    for (size_t row = 0; row < both->rows; row++) {
        float score = multiply(query, both->block + row * both->dim, both->dim);
        size_t at = BEST - 1;

        if (score <= best[at].score) {
            continue;
        }
        for (; at != 0 && best[at - 1].score < score; at--) {
            best[at] = best[at - 1];
        }
        best[at] = (found){score, row};
    }
}

/* From -1 to 1; S. Vigna's splitmix64. */
static float random_number(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (float)((double)(z >> 11) / 4503599627370496.0 - 1.0);
}

static void fill_unit(float *vector, size_t dim, uint64_t *state)
{
    double sum = 0;

    for (size_t i = 0; i < dim; i++) {
        vector[i] = random_number(state);
        sum += (double)vector[i] * (double)vector[i];
    }
    for (size_t i = 0; i < dim; i++) {
        vector[i] = (float)((double)vector[i] / sqrt(sum));
    }
}

static long resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;

    if (file != NULL) {
        if (fscanf(file, "%*d %ld", &pages) != 1) {
            pages = 0;
        }
        fclose(file);
    }
    return pages * sysconf(_SC_PAGESIZE);
}

/* Fills both sides; resident is what the store alone made the process grow by. */
static int fill(sides *both, size_t queries, long *resident)
{
    uint64_t state = 1;

    both->block =
        aligned_alloc(64, (both->rows * both->dim * sizeof(float) + 63) & ~63UL);
    both->queries = malloc(queries * both->dim * sizeof(float));
    both->vectors = rl_vectors_new((uint32_t)both->dim, SIZE_MAX);
    if (both->block == NULL || both->queries == NULL || both->vectors == NULL) {
        return fail("memory", "is short");
    }
    for (size_t row = 0; row < both->rows; row++) {
        fill_unit(both->block + row * both->dim, both->dim, &state);
    }
    for (size_t i = 0; i < queries; i++) {
        fill_unit(both->queries + i * both->dim, both->dim, &state);
    }
    *resident = resident_bytes();
    for (size_t row = 0; row < both->rows; row++) {
        uint64_t number = row;
        uint8_t id[16] = {0};

        memcpy(id, &number, sizeof number);
        if (rl_vectors_put(both->vectors, id, row % GROUPS,
                           both->block + row * both->dim) != RL_VECTORS_KEPT) {
            return fail("memory", "is short");
        }
    }
    *resident = resident_bytes() - *resident;
    return 0;
}

/* The two may differ in the last digits, so in the order of what is nearly equal. */
static int compare(const rl_vector_hit *hits, const found *best)
{
    for (size_t i = 0; i < BEST; i++) {
        uint64_t number;

        memcpy(&number, hits[i].id, sizeof number);
        if (number != best[i].row && fabsf(hits[i].score - best[i].score) > 1e-6F) {
            return fail("the two sides", "found other rows");
        }
    }
    return 0;
}

/* One turn of each side, and one restricted to a hundredth of the rows; prints them. */
static int turn(const sides *both, product *multiply, size_t searches, bool bare_first)
{
    uint64_t group = 1;
    rl_vector_hit hits[BEST];
    found best[BEST];
    double start, ours = 0, peer = 0, restricted;

    for (int half = 0; half < 2; half++) {
        bool bare = (half == 0) == bare_first;

        start = cpu_us();
        for (size_t i = 0; i < searches; i++) {
            const float *query = both->queries + i * both->dim;

            if (bare) {
                search_bare(both, multiply, query, best);
            } else if (rl_vectors_search(both->vectors, query, NULL, BEST, hits) !=
                       BEST) {
                return fail("rl_vectors_search", "found too few");
            }
        }
        *(bare ? &peer : &ours) = (cpu_us() - start) / (double)searches;
    }
    start = cpu_us();
    for (size_t i = 0; i < searches; i++) {
        rl_vector_hit some[BEST];

        (void)rl_vectors_search(both->vectors, both->queries + i * both->dim, &group,
                                BEST, some);
    }
    restricted = (cpu_us() - start) / (double)searches;
    printf("[%.1f, %.1f, %.1f]", ours, peer, restricted);
    return compare(hits, best);
}

static int measure(sides *both, size_t turns, size_t searches, double seconds)
{
    const rl_dot_kernel *kernels[RL_DOT_KERNELS_MAX];
    const char *name;
    product *multiply = choose_product(&name);
    double start;
    long resident;

    if (fill(both, searches, &resident) != 0) {
        return -1;
    }
    (void)rl_dot_kernels(kernels);
    printf("{\"kernel\": \"%s\", \"bare\": \"%s\", \"bytes\": %zu, \"resident\": %ld, "
           "\"turns\": [",
           kernels[0]->name, name, rl_vectors_bytes(both->vectors), resident);
    start = wall_us();
    for (size_t i = 0; i < turns; i++) {
        if (i >= LEAST_TURNS && wall_us() - start > seconds * 1e6) {
            break;
        }
        if (i != 0) {
            printf(", ");
        }
        if (turn(both, multiply, searches, i % 2 != 0) != 0) {
            return -1;
        }
    }
    puts("]}");
    return 0;
}

int main(int argc, char **argv)
{
    sides both = {0};
    int rc;

    if (argc != 6) {
        fputs("usage: bare_scan DIM ROWS TURNS SEARCHES-A-TURN SECONDS\n", stderr);
        return 2;
    }
    both.dim = strtoul(argv[1], NULL, 10);
    both.rows = strtoul(argv[2], NULL, 10);
    rc = measure(&both, strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10),
                 strtod(argv[5], NULL));
    rl_vectors_free(both.vectors);
    free(both.queries);
    free(both.block);
    return rc == 0 ? 0 : 1;
}
