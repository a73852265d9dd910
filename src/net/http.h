/* A client of HTTP servers, over libcurl, with retries.
 *
 * - Connections stay open for the next request.
 * - Certificates are verified, against the authorities of the system or of the
 *   environment, as by the curl command (CURL_CA_BUNDLE, or SSL_CERT_FILE and
 *   SSL_CERT_DIR).
 * - Proxies come from the environment (http_proxy, https_proxy, all_proxy, no_proxy).
 * - Redirects are not followed: they would pass on a key.
 * - An error's text contains nothing of headers and bodies, and no user, path or query of
 *   a URL.
 *
 * An attempt without an answer, or with the answer 408, 429 or 5xx, is repeated: after
 * the time of Retry-After, or else after a pause that doubles from 0.25 s to 8 s, less a
 * random part of up to a half. A 429 also halves the rate at which the client's requests
 * may start; each success raises it again (backoff.h).
 *
 * Threads: one at a time. Ownership: the request is borrowed for the call; the caller
 * owns the answer.
 */
#ifndef RL_HTTP_H
#define RL_HTTP_H

#include "core/buf.h"
#include "core/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rl_http rl_http;

typedef struct rl_http_options {
    const char *name;        /* of the server in errors, "Milvus"; outlives the client */
    uint64_t timeout_ns;     /* of one attempt, connecting included */
    const atomic_bool *stop; /* borrowed, or NULL; when true, calls end with RL_CLOSED */
} rl_http_options;

struct rl_http_answer;

typedef struct rl_http_request {
    const char *url;
    const char *const *headers; /* "Name: value", ended by NULL */
    const void *body;
    size_t len;        /* bytes of the body */
    size_t max_answer; /* bytes; an answer with a longer body is a failure */
    bool grpc;         /* HTTP/2 also over http:// (prior knowledge) */
    /* Whether an answer of 408, 429 or 5xx is final: it is then returned with RL_OK,
     * without a retry. NULL: no such answer is final. */
    bool (*is_final)(const struct rl_http_answer *answer);
} rl_http_request;

typedef struct rl_http_answer {
    long status;             /* of HTTP; 0: no answer */
    int grpc_status;         /* of the trailers, or -1 */
    char grpc_message[256];  /* percent-decoded, or "" */
    uint64_t retry_after_ns; /* the value of Retry-After; 0 without */
    unsigned tried;          /* attempts made */
    rl_buf body;
} rl_http_answer;

/* Makes a client, which the caller owns. RL_NOMEM, or RL_SERVICE when libcurl can't be
 * used. */
rl_status rl_http_new(const rl_http_options *options, rl_http **http, rl_err *err);
void rl_http_free(rl_http *http); /* NULL is fine */

/* In the child of a fork: drops the connections, which are the parent's, and sends
 * nothing over them. The client can be used again, and must still be freed. If the parent
 * was in the middle of a request, libcurl's memory leaks. */
void rl_http_abandon(rl_http *http);

/* The members of an answer, not the struct. */
void rl_http_answer_init(rl_http_answer *answer);
void rl_http_answer_free(rl_http_answer *answer);

/* Posts a request until an answer needs no retry.
 *
 * attempts     at most so many
 * end          no attempt starts after it (monotonic, nanoseconds)
 * RL_OK        for every status but 408, 429 and 5xx, and those that is_final accepts
 * RL_SERVICE   no attempt succeeded. The text has the server's name and host, and the
 *              last failure. `retryable`, unless the URL can't be used or the answer is
 *              longer than max_answer; `retry_after_ns` has the last Retry-After. A
 *              rejected certificate ends the call, as retryable.
 * RL_CLOSED    `stop` is set
 * answer       in all cases that of the last attempt
 */
rl_status rl_http_post(rl_http *http, const rl_http_request *request, unsigned attempts,
                       uint64_t end, rl_http_answer *answer, rl_err *err);

/* Waits `ns` nanoseconds. RL_CLOSED when `stop` is set. */
rl_status rl_http_pause(rl_http *http, uint64_t ns, rl_err *err);

#endif
