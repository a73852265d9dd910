/* The reason of a failed request. See failure.h. */
#include "net/failure.h"

#include "net/printable.h"

#include <stdio.h>
#include <string.h>

rl_status rl_origin(const char *name, const char *url, char out[RL_ORIGIN], rl_err *err)
{
    char *scheme = NULL, *host = NULL, *port = NULL;
    CURLU *parts = curl_url();
    CURLUcode code = CURLUE_OUT_OF_MEMORY;
    rl_status status = RL_OK;

    if (parts != NULL) {
        code = curl_url_set(parts, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
    }
    if (code == CURLUE_OK) {
        code = curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0);
    }
    if (code == CURLUE_OK) {
        code = curl_url_get(parts, CURLUPART_HOST, &host, 0);
    }
    if (code == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT) ==
            CURLUE_OUT_OF_MEMORY) {
        code = CURLUE_OUT_OF_MEMORY;
    }
    if (code == CURLUE_OUT_OF_MEMORY) {
        status = rl_err_nomem(err);
    } else if (code != CURLUE_OK ||
               (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)) {
        status = rl_err_set(err, RL_SERVICE,
                            "%s: the URL can't be used: it must be http://host[:port] or "
                            "https://host[:port], optionally with a path",
                            name);
    } else {
        snprintf(out, RL_ORIGIN, "%s://%.255s%s%s", scheme, host, port != NULL ? ":" : "",
                 port != NULL ? port : "");
    }
    curl_free(port);
    curl_free(host);
    curl_free(scheme);
    curl_url_cleanup(parts);
    return status;
}

bool rl_failure_is_certificate(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_ISSUER_ERROR ||
           code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_INVALIDCERTSTATUS;
}

/* Whether libcurl's message says more than its code, and nothing secret. The messages of
 * other codes quote URLs and proxies. */
static bool is_detail_useful(CURLcode code)
{
    static const CURLcode codes[] = {
        CURLE_SSL_CONNECT_ERROR, CURLE_SSL_CIPHER, CURLE_SSL_ENGINE_INITFAILED,
        CURLE_SEND_ERROR,        CURLE_RECV_ERROR, CURLE_HTTP2,
        CURLE_HTTP2_STREAM,      CURLE_GOT_NOTHING};
    bool found = rl_failure_is_certificate(code);

    for (size_t i = 0; i < sizeof codes / sizeof *codes && !found; i++) {
        found = code == codes[i];
    }
    return found;
}

static void connect_text(const rl_failure *failure, char out[RL_FAILURE])
{
    long number = 0;

    (void)curl_easy_getinfo(failure->easy, CURLINFO_OS_ERRNO, &number);
    if (failure->address[0] != '\0') {
        snprintf(out, RL_FAILURE, "no connection to %s: %s", failure->address,
                 number != 0 ? strerror((int)number) : "refused");
    } else {
        snprintf(out, RL_FAILURE, "no connection: %s",
                 number != 0 ? strerror((int)number)
                             : "libcurl can't use the proxy that the environment names");
    }
}

static void timeout_text(const rl_failure *failure, char out[RL_FAILURE])
{
    const double seconds = (double)failure->timeout_ns / 1e9;
    double resolved = 0, connected = 0;

    (void)curl_easy_getinfo(failure->easy, CURLINFO_NAMELOOKUP_TIME, &resolved);
    (void)curl_easy_getinfo(failure->easy, CURLINFO_PRETRANSFER_TIME, &connected);
    if (connected > 0) {
        snprintf(out, RL_FAILURE, "no answer within %.3g s", seconds);
    } else if (resolved > 0 || failure->address[0] != '\0') {
        snprintf(out, RL_FAILURE, "no connection%s%s within %.3g s",
                 failure->address[0] != '\0' ? " to " : "", failure->address, seconds);
    } else {
        snprintf(out, RL_FAILURE, "the host's name was not found within %.3g s", seconds);
    }
}

void rl_failure_text(const rl_failure *failure, char out[RL_FAILURE])
{
    const char *reason = curl_easy_strerror(failure->code);
    char detail[200];

    if (is_detail_useful(failure->code) && failure->detail[0] != '\0') {
        reason = failure->detail;
    }
    rl_printable(detail, sizeof detail, reason, strlen(reason));
    switch (failure->code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        snprintf(out, RL_FAILURE, "the host was not found");
        break;
    case CURLE_COULDNT_RESOLVE_PROXY:
        snprintf(out, RL_FAILURE, "the proxy that the environment names was not found");
        break;
    case CURLE_COULDNT_CONNECT:
        connect_text(failure, out);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        timeout_text(failure, out);
        break;
    case CURLE_UNSUPPORTED_PROTOCOL: /* libcurl took the answer for HTTP/0.9 */
    case CURLE_WEIRD_SERVER_REPLY:
        snprintf(out, RL_FAILURE, "the answer is not HTTP");
        break;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        snprintf(out, RL_FAILURE, "the connection was lost: %s", detail);
        break;
    default:
        if (rl_failure_is_certificate(failure->code)) {
            snprintf(out, RL_FAILURE, "the certificate was rejected: %s", detail);
        } else {
            snprintf(out, RL_FAILURE, "%s", detail);
        }
    }
}
