/* A validator of JSON texts: RFC 8259 and, within strings, RFC 3629. It checks the output
 * of core/json.h, and so shares no code with it.
 */
#ifndef RUNLOG_TESTS_JSON_VALID_H
#define RUNLOG_TESTS_JSON_VALID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Each function returns the end of its part, or NULL. The text ends with a NUL. */

static inline const char *valid_character(const char *at, const char *end)
{
    unsigned char c = (unsigned char)*at;
    int more = c < 0x80 ? 0 : c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;

    if (c < 0x20 || (c >= 0x80 && c < 0xC2) || c > 0xF4 || end - at <= more) {
        return NULL;
    }
    for (at++; more > 0; more--, at++) {
        if (((unsigned char)*at & 0xC0) != 0x80) {
            return NULL;
        }
    }
    return at;
}

static inline const char *valid_string(const char *at, const char *end)
{
    if (at == NULL || at == end || *at++ != '"') {
        return NULL;
    }
    while (at != NULL && at < end && *at != '"') {
        if (*at != '\\') {
            at = valid_character(at, end);
        } else if (end - at >= 2 && memchr("\"\\/bfnrt", at[1], 8) != NULL) {
            at += 2;
        } else if (end - at >= 6 && at[1] == 'u' &&
                   strspn(at + 2, "0123456789abcdefABCDEF") >= 4) {
            at += 6;
        } else {
            at = NULL;
        }
    }
    return at != NULL && at < end ? at + 1 : NULL;
}

static inline const char *valid_scalar(const char *at, const char *end)
{
    static const char *const words[] = {"true", "false", "null"};
    char *number_end;

    for (int i = 0; i < 3; i++) {
        size_t len = strlen(words[i]);

        if ((size_t)(end - at) >= len && memcmp(at, words[i], len) == 0) {
            return at + len;
        }
    }
    (void)strtod(at, &number_end);
    return number_end > at && strchr("-0123456789", *at) != NULL ? number_end : NULL;
}

static inline const char *valid_value(const char *at, const char *end)
{
    char close;

    if (at == NULL || at == end) {
        return NULL;
    }
    if (*at == '"') {
        return valid_string(at, end);
    }
    if (*at != '{' && *at != '[') {
        return valid_scalar(at, end);
    }
    close = *at == '{' ? '}' : ']';
    if (++at < end && *at == close) {
        return at + 1;
    }
    for (;; at++) {
        if (close == '}') {
            at = valid_string(at, end);
            at = at != NULL && at < end && *at == ':' ? at + 1 : NULL;
        }
        at = valid_value(at, end);
        if (at == NULL || at == end || *at != ',') {
            return at != NULL && at < end && *at == close ? at + 1 : NULL;
        }
    }
}

static inline bool is_json(const char *text, size_t len)
{
    return valid_value(text, text + len) == text + len;
}

#endif
