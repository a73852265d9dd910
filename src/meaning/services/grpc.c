/* Unary calls of gRPC. See grpc.h. */
#include "meaning/services/grpc.h"

#include "net/printable.h"

#include <stdio.h>
#include <string.h>

#define FRAME ((size_t)5) /* a flag (0: not compressed), four bytes of length */

/* https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
enum {
    GRPC_OK = 0,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_UNAVAILABLE = 14,
    GRPC_UNAUTHENTICATED = 16
};

void rl_grpc_begin(rl_buf *request)
{
    static const char frame[FRAME] = {0};

    request->len = 0;
    rl_buf_add(request, frame, sizeof frame);
}

static rl_status frame_request(rl_buf *request, rl_err *err)
{
    const size_t len = request->len - FRAME;

    if (request->failed || len > UINT32_MAX) {
        return rl_err_nomem(err);
    }
    for (size_t i = 0; i < 4; i++) {
        request->data[1 + i] = (char)(uint8_t)(len >> (24 - 8 * i));
    }
    return RL_OK;
}

static rl_status fail(const rl_grpc *grpc, bool retryable, const char *what, rl_err *err)
{
    rl_err_set(err, RL_SERVICE, "%s: %s", grpc->name, what);
    if (err != NULL) {
        err->retryable = retryable;
    }
    return RL_SERVICE;
}

/* A status that is not 0. For a refused token the error names the setting, not the
 * server's text. */
static rl_status fail_with_status(const rl_grpc *grpc, const rl_http_answer *answer,
                                  rl_err *err)
{
    const int code = answer->grpc_status;
    const bool retryable = code == GRPC_DEADLINE_EXCEEDED ||
                           code == GRPC_RESOURCE_EXHAUSTED || code == GRPC_UNAVAILABLE;
    char said[sizeof answer->grpc_message], what[400];

    memcpy(said, answer->grpc_message, sizeof said);
    rl_hide_all(said, grpc->secrets);

    if (code == GRPC_UNAUTHENTICATED) {
        snprintf(what, sizeof what, "%s was refused (gRPC status %d)%s",
                 grpc->token_setting, code,
                 grpc->authorization == NULL ? ": it is not set" : "");
    } else if (code == GRPC_UNIMPLEMENTED) {
        snprintf(what, sizeof what, "the server does not know this call (gRPC status %d)",
                 code);
    } else {
        snprintf(what, sizeof what, "gRPC status %d%s%s", code, *said != '\0' ? ": " : "",
                 said);
    }
    return fail(grpc, retryable, what, err);
}

/* Reads the frame of the message. */
static rl_status unframe(const rl_grpc *grpc, const rl_buf *body, rl_pb_slice *message,
                         rl_err *err)
{
    const uint8_t *data = (const uint8_t *)body->data;
    size_t len = 0;

    if (body->len < FRAME) {
        return fail(grpc, true, "the answer is incomplete", err);
    }
    for (size_t i = 0; i < 4; i++) {
        len = len << 8 | data[1 + i];
    }
    if (data[0] != 0) {
        return fail(grpc, false,
                    "the answer is compressed, but the request did not allow it", err);
    }
    if (len != body->len - FRAME) {
        return fail(grpc, len > body->len - FRAME, "the answer is not one message", err);
    }
    *message = (rl_pb_slice){data + FRAME, len};
    return RL_OK;
}

/* An answer of HTTP without a gRPC status: from a proxy, or not from a gRPC server. */
static rl_status fail_without_status(const rl_grpc *grpc, const rl_http_answer *answer,
                                     rl_err *err)
{
    char what[120];

    if (answer->status == 200) {
        return fail(grpc, true, "the answer ended before its gRPC status", err);
    }
    if (answer->status == 401 || answer->status == 403) {
        snprintf(what, sizeof what, "%s was refused (%ld)", grpc->token_setting,
                 answer->status);
    } else {
        snprintf(what, sizeof what,
                 "answered %ld, so there is no gRPC server at this address",
                 answer->status);
    }
    return fail(grpc, false, what, err);
}

rl_status rl_grpc_call(const rl_grpc *grpc, const char *method, rl_buf *request,
                       unsigned attempts, uint64_t end, rl_http_answer *answer,
                       rl_pb_slice *message, rl_err *err)
{
    const char *const headers[] = {"content-type: application/grpc", "te: trailers",
                                   grpc->authorization, NULL};
    char url[512];
    const int len = snprintf(url, sizeof url, "%s/%s", grpc->url, method);
    rl_http_request post = {.url = url,
                            .headers = headers,
                            .max_answer = RL_GRPC_ANSWER_MAX + FRAME,
                            .grpc = true};
    rl_status status = frame_request(request, err);

    if (status == RL_OK && (len < 0 || (size_t)len >= sizeof url)) {
        status = fail(grpc, false, "the URL is too long", err);
    }
    if (status != RL_OK) {
        return status;
    }
    post.body = request->data;
    post.len = request->len;
    status = rl_http_post(grpc->http, &post, attempts, end, answer, err);
    if (status != RL_OK) {
        return status;
    }
    if (answer->grpc_status < 0) {
        return fail_without_status(grpc, answer, err);
    }
    if (answer->grpc_status != GRPC_OK) {
        return fail_with_status(grpc, answer, err);
    }
    return unframe(grpc, &answer->body, message, err);
}
