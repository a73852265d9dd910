/* Memory of exactly the size of its content, so that AddressSanitizer finds an access
 * beyond it.
 */
#ifndef EXACTLY_H
#define EXACTLY_H

#include "check.h"

#include <stdlib.h>
#include <string.h>

#define CHECK_SAME(got, got_len, want, want_len) \
    check_mem((got), (got_len), (want), (want_len), #got, __FILE__, __LINE__)

/* A copy, which the caller frees. */
static void *exactly(const void *data, size_t size)
{
    void *copy = calloc(1, size);

    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

#endif
