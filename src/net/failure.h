/* The reason of a failed request as a text for an error, from libcurl's results.
 *
 * A text may contain the scheme, host and port of a URL, but never its user, path or
 * query, and nothing of a proxy's URL.
 * Threads: any. Nothing is retained.
 */
#ifndef RL_FAILURE_H
#define RL_FAILURE_H

#include "core/err.h"

#include <curl/curl.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the texts, with the NUL; a longer one is cut. */
#define RL_ORIGIN 300  /* "https://host:port" */
#define RL_ADDRESS 200 /* "[::1]:19530, 127.0.0.1:19530" */
#define RL_FAILURE 400 /* a reason */

/* Writes the origin of a URL, "https://host:port", without the port if it is the default.
 * RL_SERVICE, not retryable, when it is not a URL of http or https; RL_NOMEM. `name` is
 * the server's, for the error. */
rl_status rl_origin(const char *name, const char *url, char out[RL_ORIGIN], rl_err *err);

/* A failed attempt. All pointers are borrowed. */
typedef struct rl_failure {
    CURLcode code;
    CURL *easy;
    const char *detail;  /* libcurl's message, from CURLOPT_ERRORBUFFER */
    const char *address; /* the addresses that were tried, or "" */
    uint64_t timeout_ns; /* of the attempt */
} rl_failure;

/* Writes the reason of the failure. */
void rl_failure_text(const rl_failure *failure, char out[RL_FAILURE]);

/* Whether the certificate of the server, or of a proxy, was rejected. */
bool rl_failure_is_certificate(CURLcode code);

#endif
