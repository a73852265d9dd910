/* The heap of the best hits. See vectors_top.h. */
#include "store/vectors_top.h"

#include <string.h>

static bool is_worse(const rl_vector_hit *a, const rl_vector_hit *b)
{
    return a->score != b->score ? a->score < b->score
                                : memcmp(a->id, b->id, sizeof a->id) > 0;
}

/* Puts a hit where it belongs in the heap of `count`, from the free place `at` on upwards. */
static void move_up(rl_vector_hit *hits, size_t at, rl_vector_hit hit)
{
    while (at != 0 && is_worse(&hit, &hits[(at - 1) / 2])) {
        hits[at] = hits[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    hits[at] = hit;
}

/* The same from the root on downwards. */
static void move_down(rl_vector_hit *hits, size_t count, rl_vector_hit hit)
{
    size_t at = 0;

    for (size_t child = 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && is_worse(&hits[child + 1], &hits[child])) {
            child++;
        }
        if (!is_worse(&hits[child], &hit)) {
            break;
        }
        hits[at] = hits[child];
        at = child;
    }
    hits[at] = hit;
}

void rl_top_keep(rl_top *top, float score, const uint8_t id[16])
{
    rl_vector_hit hit = {.score = score};

    memcpy(hit.id, id, sizeof hit.id);
    if (top->count < top->limit) {
        move_up(top->hits, top->count, hit);
        top->count++;
    } else if (is_worse(&top->hits[0], &hit)) {
        move_down(top->hits, top->count, hit);
    }
}

/* The worst goes to the end, then the worst of the others before it. */
void rl_top_sort(rl_top *top)
{
    for (size_t end = top->count; end > 1; end--) {
        rl_vector_hit last = top->hits[end - 1];

        top->hits[end - 1] = top->hits[0];
        move_down(top->hits, end - 1, last);
    }
}
