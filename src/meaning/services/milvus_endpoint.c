/* The setting MILVUS_ENDPOINT. See milvus_endpoint.h. */
#include "meaning/services/milvus_endpoint.h"

#include "core/alloc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LETTERS_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define HOST_MAX 253 /* RFC 1035, 2.3.4, as text */

static rl_status reject(const char *why, rl_err *err)
{
    return rl_err_set(
        err, RL_CONFIG,
        "MILVUS_ENDPOINT %s: it must be http://host:port, https://host:port "
        "or host:port",
        why);
}

/* Skips a scheme, if the text starts with it. */
static bool skip(const char **text, const char *scheme)
{
    const bool found = strncasecmp(*text, scheme, strlen(scheme)) == 0;

    *text += found ? strlen(scheme) : 0;
    return found;
}

/* The length of a name, an IPv4 address or an IPv6 address in brackets; 0 for anything
 * else. */
static size_t host_length(const char *text)
{
    size_t len;

    if (*text != '[') {
        len = strspn(text, LETTERS_DIGITS "-._");
    } else {
        len = 1 + strspn(text + 1, "0123456789abcdefABCDEF:.");
        len = text[len] == ']' && len > 2 ? len + 1 : 0;
    }
    return len <= HOST_MAX ? len : 0;
}

static bool read_port(const char **text, unsigned *port)
{
    unsigned value = 0;
    size_t digits = 0;

    for (; **text >= '0' && **text <= '9' && digits < 6; digits++, (*text)++) {
        value = value * 10 + (unsigned)(**text - '0');
    }
    *port = value;
    return digits > 0 && value >= 1 && value <= 65535;
}

rl_status rl_milvus_parse_endpoint(const char *endpoint, char **url, rl_err *err)
{
    const char *at = endpoint, *host;
    const bool is_https = skip(&at, "https://");
    unsigned port = is_https ? 443 : 19530;
    char made[HOST_MAX + 20];
    size_t len;

    *url = NULL;
    if (!is_https && !skip(&at, "http://") && strstr(at, "://") != NULL) {
        return reject("has another scheme than http and https", err);
    }
    if (strchr(at, '@') != NULL) {
        return reject("holds a user or password, which belong in MILVUS_TOKEN", err);
    }
    host = at;
    len = host_length(host);
    if (len == 0) {
        return reject("has no host", err);
    }
    at += len;
    if (*at == ':') {
        at++;
        if (!read_port(&at, &port)) {
            return reject("has a port that is not a number from 1 to 65535", err);
        }
    }
    if (*at != '\0' && strcmp(at, "/") != 0) {
        return reject("has something after the host and port", err);
    }
    snprintf(made, sizeof made, "%s://%.*s:%u", is_https ? "https" : "http", (int)len,
             host, port);
    *url = rl_strdup(made);
    return *url != NULL ? RL_OK : rl_err_nomem(err);
}
