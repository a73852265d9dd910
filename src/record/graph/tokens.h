/* The tokens that calls of models used, and their sums.
 *
 * Ownership: tokens of zeros are empty, and own their details until rl_tokens_free. Not
 * thread-safe.
 */
#ifndef RL_TOKENS_H
#define RL_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_DETAILS_MAX 32 /* kinds of input, or of output; further ones are "other" */
#define RL_DETAIL_NAME 46 /* bytes of a name */

/* A part of the input or of the output: cached, written to a cache, reasoning, audio. */
typedef struct rl_detail {
    int64_t count;
    bool is_output;
    unsigned char len;
    char name[RL_DETAIL_NAME];
} rl_detail;

typedef struct rl_tokens {
    bool given;
    int64_t input, output, total;
    rl_detail *details; /* owned */
    size_t detail_count;
} rl_tokens;

/* Adds a part. A name that is none of a provider's (long, or with other characters than
 * letters, digits and _ - .) counts as "other". False when there is no memory. */
bool rl_tokens_add_detail(rl_tokens *to, bool is_output, const char *name, size_t len,
                          int64_t count);

/* Adds tokens. A sum ends at INT64_MAX. False when there was no memory for a part. */
bool rl_tokens_add(rl_tokens *to, const rl_tokens *tokens);

size_t rl_tokens_bytes(const rl_tokens *tokens); /* on the heap */
void rl_tokens_free(rl_tokens *tokens);

#endif
