/* Large texts. See value.h. */
#include "core/value.h"

#include "core/alloc.h"
#include "core/random.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define BLOCK ((size_t)512) /* about the size of a message */
#define LONG BLOCK

static uint64_t key[2];
static uint64_t pad[BLOCK / 8]; /* of NH; made from the key */

static void make_key(void)
{
    struct timespec now;

    if (!rl_random_bytes(key, sizeof key, false)) {
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

static void absorb(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    mix(v);
    v[0] ^= word;
}

static uint64_t word_at(const char *text)
{
    uint64_t word;

    memcpy(&word, text, sizeof word);
    return word;
}

/* NH of UMAC (Black, Halevi, Krawczyk, Krovetz and Rogaway, "UMAC: Fast and Secure
 * Message Authentication") on 64-bit words: a block of a long text becomes two words,
 * several times as fast as by SipHash. */
static void absorb_block(uint64_t v[4], const char *text)
{
    unsigned __int128 sum = 0;

    for (size_t i = 0; i < BLOCK / 8; i += 2) {
        uint64_t one = word_at(text + 8 * i) + pad[i];
        uint64_t other = word_at(text + 8 * i + 8) + pad[i + 1];

        sum += (unsigned __int128)one * other;
    }
    absorb(v, (uint64_t)sum);
    absorb(v, (uint64_t)(sum >> 64));
}

/* SipHash-1-3 with 128 bits, of a long text after NH. The words are read in the machine's
 * order: the name means something in this process only. */
static void hash(const char *text, size_t len, uint64_t out[2])
{
    uint64_t v[4] = {
        key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
        key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t word = (uint64_t)len << 56;
    size_t at = 0;

    v[1] ^= 0xee;
    if (len >= LONG) {
        absorb(v, len);
        for (; at + BLOCK <= len; at += BLOCK) {
            absorb_block(v, text + at);
        }
    }
    for (; at + 8 <= len; at += 8) {
        absorb(v, word_at(text + at));
    }
    for (int shift = 0; at < len; at++, shift += 8) {
        word |= (uint64_t)(unsigned char)text[at] << shift;
    }
    absorb(v, word);
    v[2] ^= 0xee;
    out[0] = finish(v);
    v[1] ^= 0xdd;
    out[1] = finish(v);
}

static void make_pad(void)
{
    uint64_t words[2];

    for (uint64_t i = 0; i < BLOCK / 8; i += 2) {
        hash((const char *)&i, sizeof i, words);
        pad[i] = words[0];
        pad[i + 1] = words[1];
    }
}

static void make_keys(void)
{
    make_key();
    make_pad();
}

void rl_value_hash(const char *text, size_t len, uint64_t to[2])
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, make_keys);
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
