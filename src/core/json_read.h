/* A reader of JSON texts that builds no tree: a value is a slice of the text.
 *
 * A slice that rl_json_read, rl_json_next or rl_json_find returns is a whole, valid
 * value. White space between tokens is skipped (PostgreSQL prints some in jsonb). Bytes
 * beyond ASCII are not checked, so a text from elsewhere may contain invalid UTF-8.
 * Nothing is read beyond the given length.
 *
 * Threads: any; pure functions. Ownership: a slice is borrowed from the text. Format: RFC
 * 8259.
 */
#ifndef RL_JSON_READ_H
#define RL_JSON_READ_H

#include "core/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define RL_JSON_READ_DEPTH 512 /* nested containers; a text with more is invalid */

typedef enum rl_json_kind {
    RL_JSON_NONE, /* no value */
    RL_JSON_NULL,
    RL_JSON_FALSE,
    RL_JSON_TRUE,
    RL_JSON_NUMBER,
    RL_JSON_STRING,
    RL_JSON_ARRAY,
    RL_JSON_OBJECT,
} rl_json_kind;

/* A value's text, without white space around it: `"a"`, `[1, 2]`. {NULL, 0} is no
 * value. */
typedef struct rl_json_value {
    const char *text;
    size_t len; /* bytes */
} rl_json_value;

/* A position in an object or an array. */
typedef struct rl_json_reader {
    const char *at, *end;
    bool is_object, started, ended, failed;
} rl_json_reader;

/* Reads a text of one value. False when it is not valid JSON, or nested too deeply. */
bool rl_json_read(const char *text, size_t len, rl_json_value *value);

/* The same without validation, for a text that the caller enters once: the reader then
 * finds out whether it is valid. */
rl_json_value rl_json_unchecked(const char *text, size_t len);

/* The kind of a value, by its first character. */
rl_json_kind rl_json_kind_of(rl_json_value value);

/* Places a reader at the start of an object or an array. Any other value has no
 * members. */
void rl_json_enter(rl_json_reader *reader, rl_json_value value);

/* Reads the next member: its key, a string (in an array no value), and its value. False
 * at the end, and when the text is not valid: `failed` is then set. */
bool rl_json_next(rl_json_reader *reader, rl_json_value *key, rl_json_value *value);

/* Appends the characters of a string, with its escapes decoded (a lone surrogate as
 * U+FFFD). False when the value is not a string. A failed append sets out->failed. */
bool rl_json_unescape(rl_json_value value, rl_buf *out);

/* Decodes one character of the inside of a string (rl_json_inside) and advances *at.
 * Writes at most four bytes; returns their number, 0 at the end. A character beyond ASCII
 * that is not escaped takes one call for each byte. */
size_t rl_json_character(const char **at, const char *end, char out[4]);

/* The text between the quotes of a string, still escaped. */
rl_json_value rl_json_inside(rl_json_value string);

/* Whether the value is a string with these characters. */
bool rl_json_equals(rl_json_value value, const char *text, size_t len);

/* Sets *number to the nearest double, or an infinity, in any locale. False when the value
 * is not a number. */
bool rl_json_number(rl_json_value value, double *number);

/* The value of an object's key, or no value. Of several members with the key the last, as
 * in PostgreSQL and Python. */
rl_json_value rl_json_member(rl_json_value object, const char *key, size_t len);

/* The last element of an array, or no value. */
rl_json_value rl_json_last(rl_json_value array);

/* The value at a path of keys and indices, "messages.-1.content", or no value. A negative
 * index counts from the end of the array; "" is the value itself. A path can't name a key
 * that contains a dot. */
rl_json_value rl_json_find(rl_json_value value, const char *path);

#endif
