/* An allocator for rl_set_allocator that fails at a chosen call, and a loop that makes
 * each call fail in turn.
 */
#ifndef FAILING_H
#define FAILING_H

#include "core/alloc.h"
#include "core/err.h"

#include "check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

struct failing {
    size_t count;   /* allocations so far */
    size_t fail_at; /* the one that fails */
    bool go_on;     /* all after it fail, too */
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

/* Runs an operation again and again: the first allocation fails, then the second, and so
 * on until the operation succeeds; once with single failures, and once with failures from
 * that allocation on. Each run must return RL_OK or RL_NOMEM, and at least `at_least`
 * runs RL_NOMEM. */
static inline void fail_everywhere(rl_status (*run)(rl_err *err), size_t at_least)
{
    for (int go_on = 0; go_on < 2; go_on++) {
        struct failing failing = {.go_on = go_on != 0};
        const rl_allocator allocator = {failing_resize, failing_release, &failing};
        size_t failed = 0;

        do {
            rl_err err = {.code = RL_OK};
            rl_status status;

            failing.count = 0;
            failing.fail_at++;
            rl_set_allocator(&allocator);
            status = run(&err);
            rl_set_allocator(NULL);
            CHECK(status == RL_OK || status == RL_NOMEM);
            CHECK(status == RL_OK || failing.count >= failing.fail_at);
            CHECK(status == RL_OK || err.code == RL_NOMEM);
            failed += status == RL_NOMEM;
        } while (failing.count >= failing.fail_at && failing.fail_at < 10000);
        CHECK(failed >= at_least);
    }
}

#endif
