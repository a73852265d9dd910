/* A cache of what long texts became, by the address of the str or bytes: these never
 * change.
 *
 * LangGraph hands the whole state to every node, and most of its texts are the same
 * objects each time. Of a long text the cache has the JSON, of a large one the value
 * (core/value.h). It holds a reference to each object, so that no other one can get its
 * address.
 * Threads: with the GIL. Ownership: the owner of the struct owns its contents.
 */
#ifndef RL_PY_TEXT_CACHE_H
#define RL_PY_TEXT_CACHE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core/value.h"

#include <stdbool.h>
#include <stdint.h>

/* The least length of a text in the cache, in characters: shorter ones are encoded as
 * fast as they are found. Text that is not ASCII takes ten times as long to encode. */
#define RL_CACHED_FROM 512
#define RL_CACHED_WIDE_FROM 192
#define RL_CACHED_TEXTS 256

typedef struct rl_cached_text {
    PyObject *text; /* owned: a str, or NULL */
    char *json;     /* owned: with its quotes */
    size_t len;
} rl_cached_text;

typedef struct rl_cached_value {
    PyObject *object; /* owned: a str or bytes, or NULL */
    rl_value *value;  /* a reference */
    uint64_t used;    /* when: a number that grows */
} rl_cached_value;

/* Values: sets of so many, in one of which an object has its place. */
#define RL_CACHED_SETS 64
#define RL_CACHED_WAYS 8
#define RL_CACHED_BYTES \
    ((size_t)32 << 20) /* of all values; a larger one is there alone */

typedef struct rl_text_cache {
    rl_cached_text texts[RL_CACHED_TEXTS];
    size_t bytes; /* of all JSON in `texts` */
    rl_cached_value values[RL_CACHED_SETS * RL_CACHED_WAYS];
    size_t value_bytes;
    uint64_t now;
    uint64_t salt; /* of the rules by which all of it was redacted */
} rl_text_cache;

/* Removes everything. */
void rl_text_cache_clear(rl_text_cache *cache);

/* Before each use of the cache: what was redacted by other rules is removed. */
static inline void rl_text_cache_use(rl_text_cache *cache, uint64_t salt)
{
    if (cache->salt != salt) {
        rl_text_cache_clear(cache);
        cache->salt = salt;
    }
}

/* Whether a text is long enough for the cache. */
static inline bool rl_text_cache_wants(PyObject *text)
{
    Py_ssize_t len = PyUnicode_GET_LENGTH(text);

    return len >= RL_CACHED_WIDE_FROM &&
           (len >= RL_CACHED_FROM || !PyUnicode_IS_ASCII(text));
}

/* The cached JSON of a text, borrowed; NULL when there is none. */
const rl_cached_text *rl_text_cache_find(const rl_text_cache *cache, PyObject *text);

/* Adds a copy of a text's JSON; does nothing when memory is lacking or it is too long. */
void rl_text_cache_add(rl_text_cache *cache, PyObject *text, const char *json,
                       size_t len);

/* The value of a text, borrowed; NULL when there is none. */
rl_value *rl_text_cache_value(rl_text_cache *cache, const PyObject *object);

/* Adds a value. Those that were not used for the longest time make room for it. */
void rl_text_cache_add_value(rl_text_cache *cache, PyObject *object, rl_value *value);

#endif
