/* The cache of long texts' JSON. See text_cache.h. */
#include "py/encode/text_cache.h"

#include "core/alloc.h"

#define BYTES_MAX ((size_t)1 << 20)

static size_t slot_of(const PyObject *text)
{
    uint64_t mixed = (uint64_t)(uintptr_t)text * UINT64_C(0x9E3779B97F4A7C15);

    return (size_t)(mixed >> 40) % RL_CACHED_TEXTS;
}

const rl_cached_text *rl_text_cache_find(const rl_text_cache *cache, PyObject *text)
{
    size_t slot = slot_of(text);
    const rl_cached_text *first = &cache->texts[slot], *second = &cache->texts[slot ^ 1];

    return first->text == text ? first : second->text == text ? second : NULL;
}

static void drop(rl_text_cache *cache, rl_cached_text *cached)
{
    if (cached->text != NULL) {
        cache->bytes -= cached->len;
        rl_free(cached->json);
        cached->json = NULL;
        Py_CLEAR(cached->text); /* an exact str: nothing of the user's runs */
    }
}

void rl_text_cache_clear(rl_text_cache *cache)
{
    for (size_t i = 0; i < RL_CACHED_TEXTS; i++) {
        drop(cache, &cache->texts[i]);
    }
}

void rl_text_cache_add(rl_text_cache *cache, PyObject *text, const char *json, size_t len)
{
    rl_cached_text *cached = &cache->texts[slot_of(text)];
    char *copy = len <= BYTES_MAX / 4 ? rl_malloc(len) : NULL;

    if (copy == NULL) {
        return;
    }
    if (cache->bytes + len > BYTES_MAX) {
        rl_text_cache_clear(cache);
    }
    if (cached->text !=
        NULL) { /* its slot is taken: use the neighbour, if that is free */
        rl_cached_text *other = &cache->texts[slot_of(text) ^ 1];

        cached = other->text == NULL ? other : cached;
    }
    drop(cache, cached);
    memcpy(copy, json, len);
    cached->text = Py_NewRef(text);
    cached->json = copy;
    cached->len = len;
    cache->bytes += len;
}
