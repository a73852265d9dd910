/* Calls of Milvus: how a client makes them, what the statuses of Milvus mean, and when a
 * call is retried.
 *
 * Threads: one at a time. Ownership: as in milvus.h.
 */
#ifndef RL_MILVUS_CALL_H
#define RL_MILVUS_CALL_H

#include "meaning/services/grpc.h"
#include "meaning/services/milvus_codec.h"

#define RL_MILVUS_RETAINED \
    ((size_t)1 << 20) /* bytes of a buffer, from one request to the next */

typedef struct rl_milvus {
    char *collection, *url, *token, *authorization; /* owned; the last two may be NULL */
    const char
        *secrets[4]; /* of these: the token, its password, its base64; NULL-ended */
    rl_http *http;   /* owned */
    rl_grpc grpc;    /* borrows the texts */
    bool strong;
    bool is_ready; /* the collection existed, fitted and was loaded when last checked */
    uint32_t dim;  /* of the collection */
    size_t max_length[RL_MILVUS_FIELDS]; /* of its fields, bytes */
    rl_buf request, filter;
    rl_http_answer answer; /* of the last call */
    rl_err ignored;        /* for a caller that passes no rl_err */
} rl_milvus;

/* The result of a call. */
typedef enum rl_milvus_code {
    RL_MILVUS_DONE,
    RL_MILVUS_MISSING,    /* no such collection */
    RL_MILVUS_NOT_LOADED, /* the collection has to be loaded */
    RL_MILVUS_NO_INDEX,   /* the field has no index */
    RL_MILVUS_FAILED      /* anything else */
} rl_milvus_code;

/* An operation on the collection: what its calls share. */
typedef struct rl_milvus_operation {
    rl_milvus *milvus;
    unsigned attempts;   /* of each call */
    uint64_t end;        /* monotonic, nanoseconds */
    rl_milvus_code code; /* of the last call */
    rl_pb_slice message; /* the answer of the last call, valid until the next */
    rl_err *err;         /* not NULL */
} rl_milvus_operation;

/* Empties milvus->request and returns it, for the message of the next call. */
rl_buf *rl_milvus_begin_request(rl_milvus_operation *op);

/* Sends the request. `bare`: the answer is a Status and nothing else. RL_OK only for the
 * status of a success; else as rl_grpc_call, and RL_SERVICE for an error of Milvus:
 * retryable when it is overloaded, or the collection is not loaded. */
rl_status rl_milvus_call(rl_milvus_operation *op, const char *method, bool bare);

/* Returns RL_SERVICE, not retryable, with this text. */
rl_status rl_milvus_fail(rl_milvus_operation *op, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same, for an answer that can't be read. */
rl_status rl_milvus_unreadable(rl_milvus_operation *op, const char *method);

/* Waits for `ns` nanoseconds, at most until the end. RL_CLOSED when the client was
 * stopped. */
rl_status rl_milvus_wait(rl_milvus_operation *op, uint64_t ns);

bool rl_milvus_is_timed_out(const rl_milvus_operation *op);

/* Makes sure that the collection exists, fits and is loaded (milvus_collection.c). dim:
 * of the vectors, or 0 for any. A missing collection is created if `may_create`, else
 * *exists is false. */
rl_status rl_milvus_prepare(rl_milvus_operation *op, uint32_t dim, bool may_create,
                            bool *exists);

#endif
