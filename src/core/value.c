/* Large texts. See value.h. */
#include "core/value.h"

#include "core/alloc.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

static uint64_t key[2];

static void make_key(void)
{
    struct timespec now;

    if (getrandom(key, sizeof key, GRND_NONBLOCK) != (ssize_t)sizeof key) {
        clock_gettime(CLOCK_MONOTONIC, &now); /* early in the boot: harder to guess */
        key[0] ^= (uint64_t)now.tv_nsec ^ (uint64_t)(uintptr_t)&now;
        key[1] ^= (uint64_t)now.tv_sec << 32;
    }
}

static uint64_t rotate(uint64_t word, int bits)
{
    return word << bits | word >> (64 - bits);
}

static void mix(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static uint64_t finish(uint64_t v[4])
{
    for (int i = 0; i < 3; i++) {
        mix(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* SipHash-1-3 with 128 bits. The words are read in the machine's order: the name means
 * something in this process only. */
static void hash(const char *text, size_t len, uint64_t out[2])
{
    uint64_t v[4] = {
        key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
        key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t word;
    size_t at = 0;

    v[1] ^= 0xee;
    for (; at + 8 <= len; at += 8) {
        memcpy(&word, text + at, 8);
        v[3] ^= word;
        mix(v);
        v[0] ^= word;
    }
    word = (uint64_t)len << 56;
    for (int shift = 0; at < len; at++, shift += 8) {
        word |= (uint64_t)(unsigned char)text[at] << shift;
    }
    v[3] ^= word;
    mix(v);
    v[0] ^= word;
    v[2] ^= 0xee;
    out[0] = finish(v);
    v[1] ^= 0xdd;
    out[1] = finish(v);
}

void rl_value_hash(const char *text, size_t len, uint64_t to[2])
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, make_key);
    hash(text, len, to);
}

rl_value *rl_value_new(const char *json, size_t len)
{
    rl_value *value = rl_malloc(sizeof *value + len);
    uint64_t name[2];

    if (value != NULL) {
        rl_value_hash(json, len, name);
        atomic_init(&value->refs, 1);
        value->len = len;
        snprintf(value->name, sizeof value->name, "%016llx%016llx",
                 (unsigned long long)name[0], (unsigned long long)name[1]);
        memcpy(value->json, json, len);
    }
    return value;
}

rl_value *rl_value_ref(rl_value *value)
{
    atomic_fetch_add_explicit(&value->refs, 1, memory_order_relaxed);
    return value;
}

void rl_value_unref(rl_value *value)
{
    if (value != NULL &&
        atomic_fetch_sub_explicit(&value->refs, 1, memory_order_acq_rel) == 1) {
        rl_free(value);
    }
}
