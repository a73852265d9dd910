/* The nearest vectors. See nearest.h. */
#include "meaning/search/nearest.h"

#include "core/alloc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* More candidates than hits, as a database rounds its cosines in another way. */
#define MARGIN 16

/* Independent sums, which the compiler can keep in one vector register without reordering
 * any additions. */
#define LANES 16

/* Outside of these bounds sums of squares lose digits in float32. */
#define SQUARE_MIN 1e-20F
#define SQUARE_MAX 1e20F

/* The best hits so far. The search gathers twice as many as it needs, then sorts and cuts
 * them. A vector that was read twice is a neighbour of itself then. */
typedef struct search {
    size_t dim;
    float *unit;         /* owned: the query's vector with length 1, padded with zeros */
    rl_vector_hit *best; /* owned: [2 * limit] */
    size_t limit, count;
    float threshold; /* a hit with a lower score is not among the best */
} search;

int rl_vector_hit_compare(const void *a, const void *b)
{
    const rl_vector_hit *one = a, *other = b;

    if (one->score != other->score) {
        return one->score > other->score ? -1 : 1;
    }
    return memcmp(one->id, other->id, sizeof one->id);
}

/* Sorts the hits, and cuts them to the limit. */
static void cut_to_best(search *self)
{
    size_t best = 0;

    qsort(self->best, self->count, sizeof *self->best, rl_vector_hit_compare);
    for (size_t i = 0; i < self->count && best < self->limit; i++) {
        if (best == 0 ||
            rl_vector_hit_compare(&self->best[best - 1], &self->best[i]) != 0) {
            self->best[best++] = self->best[i];
        }
    }
    self->count = best;
    if (best == self->limit) {
        self->threshold = self->best[best - 1].score;
    }
}

/* The sums of the products of two vectors, and of the squares of the second, which need
 * not be aligned. */
static void multiply(const float *unit, const char *vector, size_t dim, float *product,
                     float *square)
{
    float products[LANES] = {0}, squares[LANES] = {0}, numbers[LANES];

    for (size_t i = 0; i < dim; i += LANES) {
        if (dim - i >= LANES) {
            memcpy(numbers, vector + i * sizeof(float), sizeof numbers);
        } else {
            memset(numbers, 0, sizeof numbers);
            memcpy(numbers, vector + i * sizeof(float), (dim - i) * sizeof(float));
        }
        for (size_t lane = 0; lane < LANES; lane++) {
            products[lane] += unit[i + lane] * numbers[lane];
            squares[lane] += numbers[lane] * numbers[lane];
        }
    }
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t lane = 0; lane < half; lane++) {
            products[lane] += products[lane + half];
            squares[lane] += squares[lane + half];
        }
    }
    *product = products[0];
    *square = squares[0];
}

/* The same in double precision, in which no float32 is too large or too small. */
static void multiply_exactly(const float *unit, const char *vector, size_t dim,
                             double *product, double *square)
{
    *product = *square = 0;
    for (size_t i = 0; i < dim; i++) {
        float number;

        memcpy(&number, vector + i * sizeof number, sizeof number);
        *product += (double)unit[i] * (double)number;
        *square += (double)number * (double)number;
    }
}

/* The cosine of the query and a vector; NaN for one that is zero or not finite. */
static float score_of(const search *self, const char *vector)
{
    float product, square;
    double score;

    multiply(self->unit, vector, self->dim, &product, &square);
    if (square > SQUARE_MIN && square < SQUARE_MAX) {
        score = (double)product / sqrt((double)square);
    } else {
        double exact, length;

        multiply_exactly(self->unit, vector, self->dim, &exact, &length);
        score = isfinite(length) && length > 0 ? exact / sqrt(length) : (double)NAN;
    }
    /* Rounding can miss 1 by a few of the last digits. fmax would hide a NaN. */
    return (float)(score > 1 ? 1 : score < -1 ? -1 : score);
}

/* The sink: adds a vector to the hits if it may be among the best. */
static rl_status add_vector(void *ctx, const uint8_t id[16], const void *vector,
                            uint32_t dim, rl_err *err)
{
    search *self = ctx;
    rl_vector_hit *hit = &self->best[self->count];

    (void)err;
    if (dim != self->dim) {
        return RL_OK;
    }
    hit->score = score_of(self, vector);
    if (hit->score >= self->threshold) { /* false for NaN */
        memcpy(hit->id, id, sizeof hit->id);
        self->count++;
    }
    if (self->count == 2 * self->limit) {
        cut_to_best(self);
    }
    return RL_OK;
}

/* Scales the query's vector to length 1; false when it is zero or not finite. */
static bool set_unit(search *self, const float *vector)
{
    double product, square;

    multiply_exactly(vector, (const char *)vector, self->dim, &product, &square);
    for (size_t i = 0; i < self->dim; i++) {
        self->unit[i] = (float)((double)vector[i] / sqrt(square));
    }
    return isfinite(square) && square > 0;
}

rl_status rl_nearest_search(rl_outbox *outbox, const rl_near_query *query,
                            rl_vector_hit *hits, size_t *count, rl_err *err)
{
    rl_near_query wanted = *query;
    search self = {.dim = query->dim, .limit = query->limit, .threshold = -INFINITY};
    rl_status status = RL_OK;

    *count = 0;
    wanted.limit += MARGIN;
    self.unit = rl_calloc(self.dim + LANES, sizeof *self.unit);
    self.best = rl_calloc(2 * self.limit, sizeof *self.best);
    if (self.unit == NULL || self.best == NULL) {
        status = rl_err_nomem(err);
    } else if (set_unit(&self, query->vector)) {
        status = outbox->ops->nearest(outbox, &wanted, add_vector, &self, err);
    }
    if (status == RL_OK) {
        cut_to_best(&self);
        memcpy(hits, self.best, self.count * sizeof *hits);
        *count = self.count;
    }
    rl_free(self.best);
    rl_free(self.unit);
    return status;
}
