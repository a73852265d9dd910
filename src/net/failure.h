/* Why a request failed, in words: libcurl's results as texts for an error.
 *
 * The texts hold the scheme, the host and the port of an URL, never its user, path or query;
 * nor those of a proxy's URL.
 * Threads: any. Ownership: none; nothing is kept.
 */
#ifndef RL_FAILURE_H
#define RL_FAILURE_H

#include "core/err.h"

#include <curl/curl.h>
#include <stddef.h>
#include <stdint.h>

#define RL_ORIGIN 300  /* bytes of "https://host:port", which may be cut, with the NUL */
#define RL_ADDRESS 200 /* of "[::1]:19530, 127.0.0.1:19530" */
#define RL_FAILURE 400 /* of what went wrong */

/* Writes "https://host:port" of an URL of http or https, without a port that is the default.
 * RL_SERVICE, not retryable, when it is none; RL_NOMEM. `name` is the server's. */
rl_status rl_origin(const char *name, const char *url, char out[RL_ORIGIN], rl_err *err);

/* What was known of an attempt that failed. */
typedef struct rl_failure {
    CURLcode code;
    CURL *easy;          /* borrowed */
    const char *detail;  /* what libcurl wrote to CURLOPT_ERRORBUFFER */
    const char *address; /* those that were connected to, or "" */
    uint64_t timeout_ns; /* of the attempt */
} rl_failure;

void rl_failure_text(const rl_failure *failure, char out[RL_FAILURE]);

/* Whether the server's certificate, or that of a proxy, was not accepted. */
bool rl_failure_is_certificate(CURLcode code);

#endif
