/* Requests over HTTP: libcurl's multi interface, with retries.
 *
 * A client keeps its connections for the next request. HTTPS is verified, against the
 * authorities of the system or those that the environment names as it does for the curl
 * command (CURL_CA_BUNDLE, or SSL_CERT_FILE and SSL_CERT_DIR); proxies come from the
 * environment (libcurl's http_proxy, https_proxy, all_proxy, no_proxy); redirects are not
 * followed, as a key would go along. What is in headers and bodies never gets into an error's
 * text, nor do the user, the path and the query of an URL.
 *
 * An attempt that was not answered, or with 408, 429 or 5xx, is made again: after a pause that
 * doubles from 0.25 s to 8 s, of which a random half is taken off, or after what Retry-After
 * says. A 429 also takes from the client's token bucket: it halves the rate at which requests
 * may start, which grows back with those that succeed.
 *
 * Threads: one at a time. Ownership: the request is borrowed for the call; the answer is
 * the caller's.
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
    const atomic_bool *stop; /* borrowed, or NULL: when set, a wait ends with RL_CLOSED */
} rl_http_options;

struct rl_http_answer;

typedef struct rl_http_request {
    const char *url;
    const char *const *headers; /* "Name: value", ended by NULL */
    const void *body;           /* POST */
    size_t len;                 /* bytes */
    size_t max_answer;          /* bytes of a body above which the answer is a failure */
    bool grpc;                  /* HTTP/2 also over http:// (prior knowledge) */
    /* Whether an answer of 408, 429 or 5xx is not to be tried again: that is RL_OK then. NULL:
     * no such answer is final. */
    bool (*is_final)(const struct rl_http_answer *answer);
} rl_http_request;

typedef struct rl_http_answer {
    long status;             /* of HTTP */
    int grpc_status;         /* of the trailers, or -1 */
    char grpc_message[256];  /* percent-decoded; "" without */
    uint64_t retry_after_ns; /* what Retry-After said; 0 without */
    unsigned tried;          /* attempts that were made */
    rl_buf body;
} rl_http_answer;

/* RL_NOMEM, or RL_SERVICE when libcurl can't be used. */
rl_status rl_http_new(const rl_http_options *options, rl_http **http, rl_err *err);
void rl_http_free(rl_http *http); /* NULL is fine */

/* In the child of a fork: forgets the connections, which are the parent's, without a word to
 * their other ends. The client can be used again, and is still to be freed. When the parent was
 * in the middle of a request, what libcurl held is left as it is. */
void rl_http_abandon(rl_http *http);

void rl_http_answer_init(rl_http_answer *answer);
void rl_http_answer_free(rl_http_answer *answer);

/* Sends a request until it is answered with something that is not to be tried again: RL_OK,
 * also for a 4xx, which the caller looks at. RL_SERVICE with `retryable` when the attempts
 * that fit before the monotonic clock shows `end` (nanoseconds), or `attempts` of them, all
 * failed: the text names the server's host and the last failure (the host is not found,
 * refused, the certificate, time-out, "answered 503"). A certificate that is not accepted is
 * not tried again within a call. RL_SERVICE that is not retryable for an URL that can't be
 * used, and for an answer of more than max_answer. With the last Retry-After in
 * `retry_after_ns`. RL_CLOSED when it was stopped. The answer
 * is in any case what the last attempt got: with status 0 nothing. */
rl_status rl_http_post(rl_http *http, const rl_http_request *request, unsigned attempts,
                       uint64_t end, rl_http_answer *answer, rl_err *err);

/* Waits so many nanoseconds. RL_CLOSED when it was stopped. */
rl_status rl_http_pause(rl_http *http, uint64_t ns, rl_err *err);

#endif
