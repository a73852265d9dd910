/* The core's memory allocator. The only file that calls realloc and free.
 *
 * Threads: the current allocator is read without a lock; it is set before threads start.
 */
#include "core/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *libc_resize(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    return realloc(ptr, size);
}

static void libc_release(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

static const rl_allocator libc_allocator = {libc_resize, libc_release, NULL};
static rl_allocator current = {libc_resize, libc_release, NULL};

void rl_set_allocator(const rl_allocator *allocator)
{
    current = allocator != NULL ? *allocator : libc_allocator;
}

void *rl_malloc(size_t size)
{
    return current.resize(current.ctx, NULL, size != 0 ? size : 1);
}

void *rl_calloc(size_t count, size_t size)
{
    void *ptr = NULL;

    if (size == 0 || count <= SIZE_MAX / size) {
        ptr = rl_malloc(count * size);
    }
    if (ptr != NULL) {
        memset(ptr, 0, count * size);
    }
    return ptr;
}

void *rl_realloc(void *ptr, size_t size)
{
    return current.resize(current.ctx, ptr, size != 0 ? size : 1);
}

char *rl_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = rl_malloc(size);

    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

void rl_free(void *ptr)
{
    if (ptr != NULL) {
        current.release(current.ctx, ptr);
    }
}
