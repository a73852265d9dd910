/* A large text of a payload. A run keeps each such text once, however often it occurs.
 *
 * The payload has a mark where the text stood:
 *
 *     {"$value": "<name>", "bytes": 3145728, "head": "data:image/png;base64,..."}
 *
 * The name is a hash of the text's JSON: SipHash-1-3 with 128 bits (Aumasson and
 * Bernstein, "SipHash: a fast short-input PRF"), of a long text after NH (value.c), with
 * a random key that each process makes. So nobody can construct two texts with one name,
 * and two processes give one text two names.
 * Threads: any; a value never changes, and its references are counted atomically.
 * Ownership: who calls rl_value_new or rl_value_ref calls rl_value_unref.
 */
#ifndef RL_VALUE_H
#define RL_VALUE_H

#include "core/buf.h"

#include <stdatomic.h>
#include <stdint.h>

/* A text is a value if its JSON has at least so many bytes. */
#define RL_VALUE_FROM ((size_t)8192)

#define RL_VALUE_NAME 33 /* 32 hexadecimal digits and a NUL */

typedef struct rl_value {
    atomic_uint refs;
    size_t len; /* of json, in bytes */
    char name[RL_VALUE_NAME];
    char json[]; /* with its quotes; no NUL */
} rl_value;

/* The hash that names values. */
void rl_value_hash(const char *text, size_t len, uint64_t to[2]);

/* Makes a value with a copy of the JSON; NULL when there is no memory. */
rl_value *rl_value_new(const char *json, size_t len);
rl_value *rl_value_ref(rl_value *value); /* returns it */
void rl_value_unref(rl_value *value);    /* NULL is fine */

/* The values that a payload refers to, borrowed: each once or more often, in any order.
 */
typedef struct rl_values {
    rl_value *const *list;
    size_t count;
} rl_values;

#endif
