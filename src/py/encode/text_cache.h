/* A cache of the JSON of long texts, by the address of the str: a str never changes.
 *
 * LangGraph hands the whole state to every node, and most of its texts are the same
 * objects each time. The cache holds a reference to each text, so that no other object
 * can get its address. Threads: with the GIL. Ownership: the owner of the struct owns its
 * contents.
 */
#ifndef RL_PY_TEXT_CACHE_H
#define RL_PY_TEXT_CACHE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

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

typedef struct rl_text_cache {
    rl_cached_text texts[RL_CACHED_TEXTS];
    size_t bytes; /* of all JSON in it */
} rl_text_cache;

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

/* Removes every text. */
void rl_text_cache_clear(rl_text_cache *cache);

#endif
