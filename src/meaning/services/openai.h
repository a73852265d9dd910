/* Embeddings over OpenAI's interface, POST {base_url}/embeddings
 * (https://platform.openai.com/docs/api-reference/embeddings), also of servers that are
 * compatible with it.
 *
 * Threads: one at a time. Ownership: options and texts are borrowed for the call.
 */
#ifndef RL_OPENAI_H
#define RL_OPENAI_H

#include "core/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_OPENAI_TEXTS 2048 /* in a request, by the interface */
#define RL_OPENAI_REQUEST \
    300000 /* bytes of text in a request: a token is a byte or more */
#define RL_OPENAI_TEXT \
    24000 /* bytes of a text, above which it is cut: about 8,191 tokens */
#define RL_EMBEDDING_DIM_MAX 32768

typedef struct rl_openai rl_openai;

typedef struct rl_openai_options {
    const char *key;            /* goes into no text of an error */
    const char *base_url;       /* "https://api.openai.com/v1" */
    const char *model;          /* "text-embedding-3-small" */
    const char *const *headers; /* more of them, "Name: value", ended by NULL; or NULL */
    unsigned dimensions;        /* that the model is asked for; 0: its own */
    uint64_t timeout_ns;        /* of one attempt */
    const atomic_bool *stop;    /* borrowed as long as the client lives, or NULL */
} rl_openai_options;

/* A text, and how much of it was embedded. */
typedef struct rl_embed_text {
    const char *text; /* valid UTF-8 */
    size_t len;       /* bytes */
    size_t used;      /* out: the bytes that were embedded; less than len if it was cut */
    bool refused; /* out: the server refuses this text for good, and it has no vector */
} rl_embed_text;

/* Vectors of float32 [count][dim], as the server gave them; owned by the caller. */
typedef struct rl_embeddings {
    float *values; /* owned (rl_malloc) */
    size_t count;
    uint32_t dim;
} rl_embeddings;

rl_status rl_openai_new(const rl_openai_options *options, rl_openai **openai,
                        rl_err *err);
void rl_openai_free(rl_openai *openai);    /* NULL is fine */
void rl_openai_abandon(rl_openai *openai); /* in the child of a fork */

/* Embeds texts, in as many requests as the interface's limits ask for. A text that is too
 * long is cut at a UTF-8 boundary, and by halves where the server still finds it too long. A
 * request that the server refuses (400, 413, 422) is split until the text that it refuses is
 * alone: that one is marked, and its vector is all zero; only when all are refused the call
 * fails, as `refused`. RL_SERVICE else: retryable after time-outs, 429 and 5xx (tried
 * `attempts` times, until the monotonic clock shows `end`); not retryable for a key that
 * is refused (401, 403), an unknown model (404), an exhausted quota (insufficient_quota), and an answer
 * that can't be right (`garbled`): another number of vectors, of other lengths, or with NaN. */
rl_status rl_openai_embed(rl_openai *openai, rl_embed_text *texts, size_t count,
                          unsigned attempts, uint64_t end, rl_embeddings *embeddings,
                          rl_err *err);
void rl_embeddings_free(rl_embeddings *embeddings);

#endif
