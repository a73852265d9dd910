/* Unary calls of gRPC over HTTP/2
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 *
 * Threads: one at a time. Ownership: everything passed is borrowed for the call.
 */
#ifndef RL_GRPC_H
#define RL_GRPC_H

#include "core/buf.h"
#include "core/err.h"
#include "meaning/services/protobuf.h"
#include "net/http.h"

#include <stddef.h>
#include <stdint.h>

/* Bytes of the largest answer that is accepted; Milvus's own limit is 256 MiB, but the
 * answers to runlog's requests are short. */
#define RL_GRPC_ANSWER_MAX ((size_t)16 << 20)

/* A service of a server. */
typedef struct rl_grpc {
    rl_http *http;
    const char *url;            /* "http://host:port/package.Service" */
    const char *authorization;  /* the header "authorization: ...", or NULL */
    const char *const *secrets; /* that no error may show; ends with NULL */
    const char *name;           /* of the server, in errors */
    const char *token_setting;  /* named in errors for a refused token */
} rl_grpc;

/* Empties a request and reserves room for the frame; append the message after it. */
void rl_grpc_begin(rl_buf *request);

/* Sends the request to a method, in at most `attempts` attempts of HTTP, until the
 * monotonic clock shows `end` nanoseconds; answer->tried gets their number. RL_OK:
 * *message lies in `answer`, which the caller frees. RL_SERVICE for a failure of HTTP, as
 * rl_http_post, and for an error of gRPC: retryable for the statuses 4 (deadline), 8 (too
 * many requests) and 14 (unavailable), and for an incomplete answer. A call with a gRPC
 * status is not retried here; answer->status is 200 then. RL_NOMEM also for a request
 * that has failed. */
rl_status rl_grpc_call(const rl_grpc *grpc, const char *method, rl_buf *request,
                       unsigned attempts, uint64_t end, rl_http_answer *answer,
                       rl_pb_slice *message, rl_err *err);

#endif
