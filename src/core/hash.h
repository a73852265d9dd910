/* FNV-1a, 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/). Not for hostile input:
 * collisions are easy to construct.
 */
#ifndef RL_HASH_H
#define RL_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t rl_hash(const char *text, size_t len)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

#endif
