/* Passwords in URLs. See redact_scan.h. */
#include "core/redact_scan.h"

#include <string.h>

/* Whether a URL ends at a place. \u00e4 inside of JSON does not end one. */
static bool ends_url(const rl_scan *scan, size_t at)
{
    const char c = scan->text[at];

    return (unsigned char)c <= ' ' || rl_is_in("\"'<>`|{}", c) ||
           (c == '\\' && rl_scan_at(scan, at + rl_scan_backslashes(scan, at)) != 'u');
}

/* The last '@' of a URL from a place on, or its length. */
static size_t last_at(rl_scan *scan, size_t from)
{
    size_t at = from, found = scan->len;

    if (from < scan->no_at) {
        return found;
    }
    for (; at < scan->len && !ends_url(scan, at); at++) {
        if (scan->text[at] == '@') {
            found = at;
        }
    }
    if (found == scan->len) {
        scan->no_at = at;
    }
    return found;
}

/* Whether the bytes are those of a port. */
static bool is_port(const rl_scan *scan, size_t from, size_t end)
{
    bool port = end - from <= 5;

    for (size_t i = from; i < end && port; i++) {
        port = rl_is_digit(scan->text[i]);
    }
    return port;
}

static bool is_http(const rl_scan *scan, size_t colon)
{
    return (colon >= 4 && memcmp(scan->text + colon - 4, "http", 4) == 0) ||
           (colon >= 5 && memcmp(scan->text + colon - 5, "https", 5) == 0);
}

/* A password that was not percent-encoded may have '/', '?', '#' and '@' in it: what is
 * before the last '@' is then no host with its port. */
rl_secret rl_url_find(rl_scan *scan, size_t colon)
{
    const size_t from = rl_scan_authority(scan, colon);
    rl_secret found = {.at = colon, .end = colon};
    size_t at = from, password = 0, sign = scan->len;

    if (colon == 0 || !rl_is_alnum(scan->text[colon - 1])) {
        return found;
    }
    while (at < scan->len && !ends_url(scan, at) && !rl_is_in("/?#", scan->text[at])) {
        if (scan->text[at] == ':' && password == 0) {
            password = at + 1;
        } else if (scan->text[at] == '@') {
            sign = at;
        }
        at++;
    }
    if (password != 0 && at < scan->len && scan->text[from] != '[' &&
        rl_is_in("/?#", scan->text[at]) && sign == scan->len &&
        (!is_port(scan, password, at) || !is_http(scan, colon))) {
        sign = last_at(scan, at);
    }
    if (sign != scan->len && password != 0 && password < sign) {
        found = (rl_secret){.at = password, .end = sign};
    } else if (sign != scan->len && password == 0 && sign - from >= 20 &&
               is_http(scan, colon)) {
        found = (rl_secret){.at = from, .end = sign}; /* a token in place of a user */
    }
    return found;
}
