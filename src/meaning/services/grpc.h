/* One unary call of gRPC over HTTP/2
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md): the message with its five
 * bytes of frame, and the status of the trailers.
 *
 * Threads: one at a time. Ownership: all that is passed is borrowed for the call.
 */
#ifndef RL_GRPC_H
#define RL_GRPC_H

#include "core/buf.h"
#include "core/err.h"
#include "meaning/services/protobuf.h"
#include "net/http.h"

#include <stddef.h>
#include <stdint.h>

/* The largest message that is taken: what Milvus sends at most by itself is 256 MiB, but what
 * is asked for here is short. */
#define RL_GRPC_ANSWER_MAX ((size_t)16 << 20)

/* A service of a server. */
typedef struct rl_grpc {
    rl_http *http;
    const char *url;           /* "http://host:port/package.Service" */
    const char *authorization; /* the header "authorization: ...", or NULL */
    const char *name;          /* of the server in errors */
    const char *token_setting; /* what a refused token is set by, "MILVUS_TOKEN" */
} rl_grpc;

/* Empties a request, for its message to be appended: leaves room for the frame. */
void rl_grpc_begin(rl_buf *request);

/* Sends the request (its frame is filled in) to a method, in at most `attempts` attempts of
 * HTTP; *tried is how many of them there were. RL_OK: *message is the answer's, and lies in
 * `answer`, which the caller frees. RL_SERVICE for a server that is not reached, as
 * rl_http_post says it, and for another gRPC status than 0: retryable for 4 (deadline), 8
 * (too many requests) and 14 (unavailable), and when the answer is not whole; not retryable
 * for 16 (the token is refused) and others. Calls with a gRPC status are not made again here:
 * answer->status is then 200. RL_NOMEM also when the request has failed. */
rl_status rl_grpc_call(const rl_grpc *grpc, const char *method, rl_buf *request,
                       unsigned attempts, uint64_t end, rl_http_answer *answer,
                       rl_pb_slice *message, rl_err *err);

#endif
