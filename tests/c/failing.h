/* An allocator for rl_set_allocator that fails where it is told to. */
#ifndef FAILING_H
#define FAILING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

struct failing {
    size_t count;   /* allocations so far */
    size_t fail_at; /* the one that fails */
    bool go_on;     /* and those after it */
};

static inline void *failing_resize(void *ctx, void *ptr, size_t size)
{
    struct failing *failing = ctx;

    failing->count++;
    if (failing->count == failing->fail_at ||
        (failing->go_on && failing->count > failing->fail_at)) {
        return NULL;
    }
    return realloc(ptr, size);
}

static inline void failing_release(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

#endif
