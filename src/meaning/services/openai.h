/* Embeddings over OpenAI's interface, POST {base_url}/embeddings
 * (https://platform.openai.com/docs/api-reference/embeddings), from OpenAI and from
 * compatible servers.
 *
 * Threads: one at a time. Ownership: everything passed is borrowed for the call.
 */
#ifndef RL_OPENAI_H
#define RL_OPENAI_H

#include "core/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_OPENAI_TEXTS 2048     /* of a request: the interface's limit */
#define RL_OPENAI_REQUEST 300000 /* bytes of text of a request: a token has one or more */
#define RL_OPENAI_TEXT 24000 /* bytes of a text, which is cut there: about 8,191 tokens */
#define RL_EMBEDDING_DIM_MAX 32768

typedef struct rl_openai rl_openai;

typedef struct rl_openai_options {
    const char *key;            /* never part of an error */
    const char *base_url;       /* "https://api.openai.com/v1" */
    const char *model;          /* "text-embedding-3-small" */
    const char *const *headers; /* extra ones, "Name: value", ended by NULL; or NULL */
    unsigned dimensions;        /* of the vectors to ask for; 0: the model's default */
    uint64_t timeout_ns;        /* of one attempt */
    const atomic_bool *stop;    /* borrowed as long as the client lives, or NULL */
} rl_openai_options;

/* A text to embed. */
typedef struct rl_embed_text {
    const char *text; /* valid UTF-8 */
    size_t len;       /* bytes */
    size_t used;  /* out: bytes that were embedded; less than len if the text was cut */
    bool refused; /* out: the server rejects this text, so its vector is all zeros */
} rl_embed_text;

/* Vectors as the server has returned them; the caller frees them. */
typedef struct rl_embeddings {
    float *values; /* [count][dim], owned (rl_malloc) */
    size_t count;
    uint32_t dim;
} rl_embeddings;

/* Makes a client; connects at the first call. RL_CONFIG for options that can't be used,
 * RL_NOMEM. */
rl_status rl_openai_new(const rl_openai_options *options, rl_openai **openai,
                        rl_err *err);
void rl_openai_free(rl_openai *openai);    /* NULL: does nothing */
void rl_openai_abandon(rl_openai *openai); /* in the child of a fork */

/* Embeds texts, in as many requests as the limits of the interface ask for. Cuts a text
 * that is too long at a UTF-8 boundary, and halves it while the server still finds it too
 * long. Splits a request that the server refuses (400, 413, 422) until the refused text
 * is alone, and marks this text. Makes `attempts` attempts of a request, until the
 * monotonic clock shows `end` nanoseconds.
 *
 * RL_SERVICE: retryable after time-outs, 429 and 5xx; `refused` when the server rejects
 * every text; `garbled` for an invalid answer (another number of vectors, other lengths,
 * NaN); and neither for a refused key (401, 403), an unknown model (404) and a used-up
 * quota (insufficient_quota). RL_CLOSED after a stop; RL_NOMEM. */
rl_status rl_openai_embed(rl_openai *openai, rl_embed_text *texts, size_t count,
                          unsigned attempts, uint64_t end, rl_embeddings *embeddings,
                          rl_err *err);
void rl_embeddings_free(rl_embeddings *embeddings);

#endif
