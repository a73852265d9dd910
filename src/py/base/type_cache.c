/* The cache of types. See type_cache.h. */
#include "py/base/type_cache.h"

#include "core/alloc.h"

#include <stdint.h>

/* The place of a type, or the one beside it. */
static size_t place_of(const PyTypeObject *type, size_t beside)
{
    uint64_t mixed = (uint64_t)(uintptr_t)type * UINT64_C(0x9E3779B97F4A7C15);

    return ((size_t)(mixed >> 40) ^ beside) % RL_CACHED_TYPES;
}

/* Whether an entry is of this type, not of one that was at its address before. */
static bool is_of(const rl_cached_type *entry, const PyTypeObject *type)
{
    bool same = false;

    if (entry->type == type) {
#if PY_VERSION_HEX >= 0x030D0000
        PyObject *alive = NULL;

        same = PyWeakref_GetRef(entry->reference, &alive) == 1 &&
               alive == (const PyObject *)type;
        Py_XDECREF(alive); /* the caller has a reference, too */
#else
        same = PyWeakref_GET_OBJECT(entry->reference) == (const PyObject *)type;
#endif
    }
    return same;
}

bool rl_type_cache_find(const rl_type_cache *cache, const PyTypeObject *type, int *kind,
                        PyObject **fields)
{
    bool found = false;

    for (size_t beside = 0; beside < 2 && cache->places != NULL && !found; beside++) {
        const rl_cached_type *entry = &cache->places[place_of(type, beside)];

        if (is_of(entry, type)) {
            *kind = entry->kind;
            *fields = Py_XNewRef(entry->fields);
            found = true;
        }
    }
    return found;
}

/* Empties a place. Its objects are strings and a weak reference: none of the user's code
 * runs. */
static void drop(rl_cached_type *entry)
{
    const rl_cached_type old = *entry;

    *entry = (rl_cached_type){.type = NULL};
    Py_XDECREF(old.reference);
    Py_XDECREF(old.fields);
}

void rl_type_cache_add(rl_type_cache *cache, PyTypeObject *type, int kind,
                       PyObject *fields)
{
    PyObject *reference = PyWeakref_NewRef((PyObject *)type, NULL);
    rl_cached_type *entry;

    if (cache->places == NULL) {
        cache->places = rl_calloc(RL_CACHED_TYPES, sizeof *cache->places);
    }
    if (reference == NULL || cache->places == NULL) {
        PyErr_Clear();
        Py_XDECREF(reference);
        return;
    }
    entry = &cache->places[place_of(type, 0)];
    if (entry->type != NULL && cache->places[place_of(type, 1)].type == NULL) {
        entry = &cache->places[place_of(type, 1)];
    }
    drop(entry);
    *entry = (rl_cached_type){type, reference, Py_XNewRef(fields), kind};
}

void rl_type_cache_clear(rl_type_cache *cache)
{
    for (size_t i = 0; i < RL_CACHED_TYPES && cache->places != NULL; i++) {
        drop(&cache->places[i]);
    }
    rl_free(cache->places);
    cache->places = NULL;
}
