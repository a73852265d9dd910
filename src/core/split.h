/* Cuts JSON texts into members and elements. Only for texts without spaces between their
 * tokens, as rl_json and SQLite write them.
 * Not thread-safe.
 */
#ifndef RL_SPLIT_H
#define RL_SPLIT_H

#include "core/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* A member of a JSON object, by offsets into the object's text; the key includes its
 * quotes. */
typedef struct rl_member {
    size_t key_at, key_len;
    size_t value_at, value_len;
} rl_member;

/* An element of a JSON array, by its offset into the array's text. */
typedef struct rl_element {
    size_t at, len;
} rl_element;

/* Appends an rl_member to `members` for each member of an object. False when the text is
 * not an object, or without memory. */
bool rl_object_split(const char *text, size_t len, rl_buf *members);

/* Appends an rl_element to `elements` for each element of an array. False when the text is
 * not an array, or without memory. */
bool rl_array_split(const char *text, size_t len, rl_buf *elements);

#define RL_PATH_MAX 16 /* containers around a value */

/* Appends the path of the value that begins at offset `value` of a JSON text, as a JSON array
 * of keys and indices. False, with nothing appended, when no value begins there, when it is
 * too deep, or without memory. */
bool rl_json_path(const char *text, size_t len, size_t value, rl_buf *path);

#endif
