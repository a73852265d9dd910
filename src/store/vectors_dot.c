/* The dot products: AVX2, NEON and portable C. See vectors_dot.h. */
#include "store/vectors_dot.h"

#if defined(__x86_64__)
#define HAVE_AVX2 1
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define HAVE_NEON 1
#include <arm_neon.h>
#endif

/* The product has a statement of its own, or a compiler may fuse it with the sum. */
static void rows_portable(const float *query, const float *rows, size_t width,
                          size_t count, float *products)
{
    for (size_t row = 0; row < count; row++, rows += width) {
        float lanes[RL_DOT_LANES] = {0};

        for (size_t i = 0; i < width; i += RL_DOT_LANES) {
            for (size_t lane = 0; lane < RL_DOT_LANES; lane++) {
                float product = query[i + lane] * rows[i + lane];

                lanes[lane] += product;
            }
        }
        /* As vectors of eight lanes add up: first their pairs, then the pairs' sums. */
        for (size_t lane = 0; lane < 8; lane++) {
            float first = lanes[lane] + lanes[lane + 8];
            float second = lanes[lane + 16] + lanes[lane + 24];

            lanes[lane] = first + second;
        }
        for (size_t half = 4; half != 0; half /= 2) {
            for (size_t lane = 0; lane < half; lane++) {
                lanes[lane] += lanes[lane + half];
            }
        }
        products[row] = lanes[0];
    }
}

static const rl_dot_kernel portable = {"portable", rows_portable};

#if defined(HAVE_AVX2)

#define AVX2 __attribute__((target("avx2")))

/* sums + the products of eight numbers */
AVX2 static inline __m256 add_products(__m256 sums, const float *query, const float *row)
{
    return _mm256_add_ps(sums, _mm256_mul_ps(_mm256_load_ps(query), _mm256_load_ps(row)));
}

AVX2 static inline float add_lanes(__m256 sums)
{
    __m128 half =
        _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));

    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

AVX2 static void rows_avx2(const float *query, const float *rows, size_t width,
                           size_t count, float *products)
{
    for (size_t row = 0; row < count; row++, rows += width) {
        __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;

        for (size_t i = 0; i < width; i += RL_DOT_LANES) {
            a = add_products(a, query + i, rows + i);
            b = add_products(b, query + i + 8, rows + i + 8);
            c = add_products(c, query + i + 16, rows + i + 16);
            d = add_products(d, query + i + 24, rows + i + 24);
        }
        products[row] =
            add_lanes(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));
    }
}

static const rl_dot_kernel avx2 = {"avx2", rows_avx2};

#elif defined(HAVE_NEON)

static void rows_neon(const float *query, const float *rows, size_t width, size_t count,
                      float *products)
{
    for (size_t row = 0; row < count; row++, rows += width) {
        float32x4_t sums[RL_DOT_LANES / 4];
        float32x4_t low, high;
        float32x2_t half;

        for (size_t part = 0; part < RL_DOT_LANES / 4; part++) {
            sums[part] = vdupq_n_f32(0);
        }
        for (size_t i = 0; i < width; i += RL_DOT_LANES) {
            for (size_t part = 0; part < RL_DOT_LANES / 4; part++) {
                float32x4_t product = vmulq_f32(vld1q_f32(query + i + 4 * part),
                                                vld1q_f32(rows + i + 4 * part));

                sums[part] = vaddq_f32(sums[part], product);
            }
        }
        low = vaddq_f32(vaddq_f32(sums[0], sums[2]), vaddq_f32(sums[4], sums[6]));
        high = vaddq_f32(vaddq_f32(sums[1], sums[3]), vaddq_f32(sums[5], sums[7]));
        low = vaddq_f32(low, high);
        half = vadd_f32(vget_low_f32(low), vget_high_f32(low));
        products[row] = vget_lane_f32(half, 0) + vget_lane_f32(half, 1);
    }
}

static const rl_dot_kernel neon = {"neon", rows_neon};

#endif

size_t rl_dot_kernels(const rl_dot_kernel *kernels[RL_DOT_KERNELS_MAX])
{
    size_t count = 0;

#if defined(HAVE_AVX2)
    if (__builtin_cpu_supports("avx2")) {
        kernels[count++] = &avx2;
    }
#elif defined(HAVE_NEON)
    kernels[count++] = &neon;
#endif
    kernels[count++] = &portable;
    return count;
}
