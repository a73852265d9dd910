/* Inside of the search for secrets in texts: characters, and what is found. Only
 * redact_text.c, redact_looks.c, redact_pairs.c and redact_urls.c include it.
 * Pure functions of memory; thread-safe. Everything here is linear in the text.
 */
#ifndef RL_REDACT_SCAN_H
#define RL_REDACT_SCAN_H

#include "core/redact.h"

/* A text that is searched. `escaped`: it is the inside of a JSON string. */
typedef struct rl_scan {
    const rl_redact *set;
    const char *text;
    size_t len;
    bool escaped;
    bool slack;                 /* RL_WINDOW bytes behind the text are readable */
    size_t dash_from, dash_end; /* the last run of letters, digits, '-' and '_' */
    size_t no_at;               /* from the last URL to here there is no '@' */
} rl_scan;

/* A secret: the bytes [at, end) are replaced. Nothing was found if at == end. */
typedef struct rl_secret {
    size_t at, end;
    unsigned quotes; /* 1 + the backslashes before each quote around the mark; 0: none */
    char quote;
} rl_secret;

static inline bool rl_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool rl_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool rl_is_alnum(char c)
{
    return rl_is_digit(c) || rl_is_letter(c);
}

/* The character at a place, or NUL outside. */
static inline char rl_scan_at(const rl_scan *scan, size_t at)
{
    return at < scan->len ? scan->text[at] : '\0';
}

static inline bool rl_scan_has(const rl_scan *scan, size_t at, const char *text,
                               size_t len)
{
    return at <= scan->len && scan->len - at >= len &&
           __builtin_memcmp(scan->text + at, text, len) == 0;
}

/* A backslash and a letter, which stand for white space: \n, \r, \t, \b, \f. */
static inline bool rl_is_space_letter(char c)
{
    return c == 'n' || c == 'r' || c == 't' || c == 'b' || c == 'f';
}

/* Whether a character is one of a set; NUL never is. */
static inline bool rl_is_in(const char *set, char c)
{
    return c != '\0' && __builtin_strchr(set, c) != NULL;
}

/* How many backslashes follow each other from a place on. */
static inline size_t rl_scan_backslashes(const rl_scan *scan, size_t at)
{
    size_t count = 0;

    while (rl_scan_at(scan, at + count) == '\\') {
        count++;
    }
    return count;
}

/* The place behind a slash and the backslashes before it, as PHP writes it in JSON, or 0.
 */
static inline size_t rl_scan_slash(const rl_scan *scan, size_t at)
{
    at += rl_scan_backslashes(scan, at);
    return rl_scan_at(scan, at) == '/' ? at + 1 : 0;
}

/* The place behind the "://" at a place, or 0. */
static inline size_t rl_scan_authority(const rl_scan *scan, size_t colon)
{
    const size_t at = rl_scan_slash(scan, colon + 1);

    return at != 0 ? rl_scan_slash(scan, at) : 0;
}

/* A key by its look that begins at a place, where a word begins. */
rl_secret rl_look_find(rl_scan *scan, size_t at);

/* What follows "Bearer " or "Basic ", if the word at a place does. */
rl_secret rl_look_after_scheme(const rl_scan *scan, size_t at);

/* The body of a private key whose first line ends with the five dashes at a place. */
rl_secret rl_look_pem(const rl_scan *scan, size_t dashes);

/* The password of a URL whose "://" is at a place. */
rl_secret rl_url_find(rl_scan *scan, size_t colon);

/* The value of the name before the colon or equals sign at a place. */
rl_secret rl_pair_find(const rl_scan *scan, size_t sign);

#endif
