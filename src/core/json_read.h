/* A reader of JSON texts that builds nothing: values are slices of the text, and one asks for
 * what one needs.
 *
 * A slice that rl_json_read, rl_json_next or rl_json_find gave is a whole valid value; white
 * space between the parts of a text is passed over, as PostgreSQL prints jsonb with some. Bytes
 * beyond ASCII are taken as they are: who reads a text from elsewhere must expect UTF-8 that is
 * not valid. Nothing is read beyond the length that is given.
 *
 * Threads: any; pure functions. Ownership: a slice is borrowed from the text. Format: RFC 8259.
 */
#ifndef RL_JSON_READ_H
#define RL_JSON_READ_H

#include "core/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define RL_JSON_READ_DEPTH \
    512 /* containers within one another; with more a text is refused */

typedef enum rl_json_kind {
    RL_JSON_NONE, /* no value at all */
    RL_JSON_NULL,
    RL_JSON_FALSE,
    RL_JSON_TRUE,
    RL_JSON_NUMBER,
    RL_JSON_STRING,
    RL_JSON_ARRAY,
    RL_JSON_OBJECT,
} rl_json_kind;

/* A value's text, without white space around it: `"a"`, `[1, 2]`; or nothing, NULL and 0. */
typedef struct rl_json_value {
    const char *text;
    size_t len; /* bytes */
} rl_json_value;

/* Where one is within an object or an array. */
typedef struct rl_json_reader {
    const char *at, *end;
    bool is_object, started, ended, failed;
} rl_json_reader;

/* The value that a text is. False when it is not valid JSON, or nested too deep. */
bool rl_json_read(const char *text, size_t len, rl_json_value *value);

/* The same without a look at what comes behind its first character: for a text that is only to
 * be entered once, by a reader that finds out by itself whether it is valid. */
rl_json_value rl_json_unread(const char *text, size_t len);

rl_json_kind rl_json_kind_of(rl_json_value value);

/* Enters an object or an array. Anything else has no members, like an empty one. */
void rl_json_enter(rl_json_reader *reader, rl_json_value value);

/* The next member: its key, a string (in an array nothing), and its value. False when there is
 * none; or when the text is not valid, then `failed` is set. */
bool rl_json_next(rl_json_reader *reader, rl_json_value *key, rl_json_value *value);

/* Appends the characters of a string, its escapes resolved (a surrogate without its other half
 * as U+FFFD). False for what is no string; what can't be appended sets out->failed. */
bool rl_json_unescape(rl_json_value value, rl_buf *out);

/* The same, one character after the other: at most four bytes to out; returns how many, 0 at
 * the end. *at starts with rl_json_inside. Bytes beyond ASCII come one by one. */
size_t rl_json_character(const char **at, const char *end, char out[4]);

/* The inside of a string, between its quotes, escaped as it is. */
rl_json_value rl_json_inside(rl_json_value string);

/* Whether it is a string of these characters. */
bool rl_json_equals(rl_json_value value, const char *text, size_t len);

/* The double that is nearest to a number; one that is too large gives an infinity. False for
 * what is no number. Whatever the locale is. */
bool rl_json_number(rl_json_value value, double *number);

/* The member of an object; nothing when there is none. Of several with one key the last, as
 * PostgreSQL and Python have it. */
rl_json_value rl_json_member(rl_json_value object, const char *key, size_t len);

/* The last element of an array; nothing when there is none. */
rl_json_value rl_json_last(rl_json_value array);

/* The value at a path of keys and indices, "messages.-1.content": in an array a decimal index,
 * from the end if it is negative. "" is the value itself. Nothing where there is none; keys with
 * a dot in them can't be reached. */
rl_json_value rl_json_find(rl_json_value value, const char *path);

#endif
