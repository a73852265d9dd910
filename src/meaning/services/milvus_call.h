/* Calls of Milvus, with what its statuses mean and when a call is made again; and the state of
 * a client.
 *
 * Threads: one at a time. Ownership: as in milvus.h.
 */
#ifndef RL_MILVUS_CALL_H
#define RL_MILVUS_CALL_H

#include "meaning/services/grpc.h"
#include "meaning/services/milvus_codec.h"

#define RL_MILVUS_KEPT \
    ((size_t)1 << 20) /* bytes of a request that are kept for the next */

typedef struct rl_milvus {
    char *collection, *url, *token, *authorization; /* owned; the last two may be NULL */
    rl_http *http;                                  /* owned */
    rl_grpc grpc;                                   /* borrows the texts */
    bool strong;
    bool is_ready; /* the collection is there, fits, and is loaded, as far as we know */
    uint32_t dim;  /* of it */
    size_t max_length[RL_MILVUS_FIELDS]; /* of it, bytes */
    rl_buf request, filter;
    rl_http_answer answer; /* of the last call */
    rl_err ignored;        /* of a caller who does not want to know */
} rl_milvus;

/* What came of a call. */
typedef enum rl_milvus_code {
    RL_MILVUS_DONE,
    RL_MILVUS_MISSING,    /* there is no such collection */
    RL_MILVUS_NOT_LOADED, /* it has to be loaded */
    RL_MILVUS_NO_INDEX,   /* the field has none */
    RL_MILVUS_FAILED      /* anything else */
} rl_milvus_code;

/* An operation: what its calls have in common. */
typedef struct rl_milvus_work {
    rl_milvus *milvus;
    unsigned attempts;   /* of each call */
    uint64_t end;        /* monotonic, nanoseconds */
    rl_milvus_code code; /* of the last call */
    rl_pb_slice message; /* its answer, until the next */
    rl_err *err;         /* not NULL */
} rl_milvus_work;

/* Empties milvus->request for the message of the next call. */
rl_buf *rl_milvus_begin(rl_milvus_work *work);

/* Sends it. `bare`: the answer is a Status and nothing else. RL_OK only when it was done; else
 * as rl_grpc_call, and RL_SERVICE for a status of Milvus: retryable where it has to do with
 * load, and when a collection is not loaded. */
rl_status rl_milvus_call(rl_milvus_work *work, const char *method, bool bare);

/* RL_SERVICE with this text, which is not retryable. */
rl_status rl_milvus_fail(rl_milvus_work *work, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The answer can't be read. */
rl_status rl_milvus_misread(rl_milvus_work *work, const char *method);

/* Waits, at most until the end. RL_CLOSED when it was stopped. */
rl_status rl_milvus_wait(rl_milvus_work *work, uint64_t ns);
bool rl_milvus_is_over(const rl_milvus_work *work);

/* Sees to it that the collection is there, fits and is loaded (milvus_collection.c). dim: of
 * the vectors, or 0 when that does not matter. When there is none it is made if `create`, else
 * *exists is false. */
rl_status rl_milvus_prepare(rl_milvus_work *work, uint32_t dim, bool create,
                            bool *exists);

#endif
