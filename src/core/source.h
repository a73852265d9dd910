/* A text as it stands in memory: written as JSON or as plain UTF-8, whole or with its
 * middle cut, without the secrets that are in it.
 *
 * A text that is cut keeps its head and its tail around "<cut: N bytes>", and only these
 * are read: a text of a gigabyte costs no more than one of the room that it gets.
 * Pure functions of memory; thread-safe as buf.h is.
 */
#ifndef RL_SOURCE_H
#define RL_SOURCE_H

#include "core/json.h"
#include "core/redact.h"

typedef enum rl_units {
    RL_UTF8,
    RL_UCS1, /* Latin-1 and wider, as CPython stores a str (PEP 393) */
    RL_UCS2,
    RL_UCS4,
    RL_BASE64, /* bytes, which are written as base64 */
} rl_units;

typedef struct rl_source {
    const void *data; /* borrowed */
    size_t count;     /* of units */
    rl_units units;
    const rl_redact *redact; /* borrowed: the secrets in it are not written; or NULL */
} rl_source;

/* The least room for a text that is cut, with its quotes. */
#define RL_CUT_MIN ((size_t)48)

/* Units of which the N of the mark is counted exactly, if they are not bytes: of a longer
 * middle the mark counts characters. */
#define RL_CUT_COUNTED ((size_t)1 << 20)

/* The least number of bytes of the text in UTF-8. */
size_t rl_source_least(const rl_source *source);

/* Writes a whole text as a string with `tail` (a comma, or a colon behind a key) after
 * it, or sets json->over as soon as it can't fit. */
void rl_source_put(rl_json *json, const rl_source *source, char tail);

/* Replaces the secrets in the string that was written last: it begins at `at` in the
 * buffer, and one character stands after it. */
void rl_source_redact(rl_json *json, size_t at, const rl_redact *redact);

/* Appends a text that is longer than `room` bytes as a string of at most `room`, which is
 * RL_CUT_MIN or more: its head, the mark and its tail. */
void rl_source_cut(rl_buf *buf, const rl_source *source, size_t room);

/* Appends a text as plain UTF-8, in at most `room` bytes, which is RL_CUT_MIN or more;
 * NUL and lone surrogates become U+FFFD. */
void rl_source_plain(rl_buf *buf, const rl_source *source, size_t room);

#endif
