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

static void clear_texts(rl_text_cache *cache)
{
    for (size_t i = 0; i < RL_CACHED_TEXTS; i++) {
        drop(cache, &cache->texts[i]);
    }
}

static void drop_value(rl_text_cache *cache, rl_cached_value *cached)
{
    if (cached->object != NULL) {
        cache->value_bytes -= cached->value->len;
        rl_value_unref(cached->value);
        cached->value = NULL;
        Py_CLEAR(cached->object); /* an exact str or bytes: nothing of the user's runs */
    }
}

void rl_text_cache_clear(rl_text_cache *cache)
{
    clear_texts(cache);
    for (size_t i = 0; i < RL_CACHED_SETS * RL_CACHED_WAYS; i++) {
        drop_value(cache, &cache->values[i]);
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
        clear_texts(cache);
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

static rl_cached_value *set_of(rl_text_cache *cache, const PyObject *object)
{
    return cache->values + slot_of(object) % RL_CACHED_SETS * RL_CACHED_WAYS;
}

rl_value *rl_text_cache_value(rl_text_cache *cache, const PyObject *object)
{
    rl_cached_value *set = set_of(cache, object);

    for (size_t i = 0; i < RL_CACHED_WAYS; i++) {
        if (set[i].object == object) {
            set[i].used = ++cache->now;
            return set[i].value;
        }
    }
    return NULL;
}

/* The value that was not used for the longest time, or a free place, of `count`. */
static rl_cached_value *oldest_of(rl_cached_value *values, size_t count, bool free_too)
{
    rl_cached_value *oldest = NULL;

    for (size_t i = 0; i < count; i++) {
        rl_cached_value *one = &values[i];

        if (one->object == NULL && free_too) {
            return one;
        }
        if (one->object != NULL && (oldest == NULL || one->used < oldest->used)) {
            oldest = one;
        }
    }
    return oldest;
}

void rl_text_cache_add_value(rl_text_cache *cache, PyObject *object, rl_value *value)
{
    rl_cached_value *cached;

    while (cache->value_bytes > 0 && cache->value_bytes + value->len > RL_CACHED_BYTES) {
        drop_value(cache,
                   oldest_of(cache->values, RL_CACHED_SETS * RL_CACHED_WAYS, false));
    }
    cached = oldest_of(set_of(cache, object), RL_CACHED_WAYS, true);
    drop_value(cache, cached);
    cached->object = Py_NewRef(object);
    cached->value = rl_value_ref(value);
    cached->used = ++cache->now;
    cache->value_bytes += value->len;
}
