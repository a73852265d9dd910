/* A cache of what types were classified as, by their addresses.
 *
 * It holds each type weakly, because programs make classes while they run: the weak
 * reference shows whether the type at an address is still the same. It has a fixed number
 * of places.
 * Threads: with the GIL. Ownership: the owner of the struct owns its contents.
 */
#ifndef RL_PY_TYPE_CACHE_H
#define RL_PY_TYPE_CACHE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#define RL_CACHED_TYPES 1024 /* a power of two */

typedef struct rl_cached_type {
    const PyTypeObject *type; /* only compared; NULL: a free place */
    PyObject *reference;      /* owned: a weak reference to it */
    PyObject *fields;         /* owned: a tuple of str, or NULL */
    int kind;
} rl_cached_type;

typedef struct rl_type_cache { /* at first all zeros */
    rl_cached_type *places;    /* owned; NULL before the first type */
} rl_type_cache;

/* Finds a type: false if it is not there. *fields gets a new reference, or NULL. */
bool rl_type_cache_find(const rl_type_cache *cache, const PyTypeObject *type, int *kind,
                        PyObject **fields);

/* Adds a type, in place of another one if need be; does nothing without memory. `fields`
 * may be NULL. May run the user's code. No exception is left set. */
void rl_type_cache_add(rl_type_cache *cache, PyTypeObject *type, int kind,
                       PyObject *fields);

/* Removes everything. */
void rl_type_cache_clear(rl_type_cache *cache);

#endif
