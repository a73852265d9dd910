/* A reader of JSON texts. See json_read.h. */
#include "core/json_read.h"

#include "core/text.h"

#include <stdint.h>

static const rl_json_value nothing = {NULL, 0};

/* ---- skipping: each returns the end of the skipped text, or NULL if it is invalid -- */

static inline bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static inline const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at)) {
        at++;
    }
    return at;
}

static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The escape whose backslash is at `at`. */
static const char *skip_escape(const char *at, const char *end)
{
    const char *after = NULL;

    if (end - at >= 2 && at[1] != '\0' && strchr("\"\\/bfnrt", at[1]) != NULL) {
        after = at + 2;
    } else if (end - at >= 6 && at[1] == 'u' && rl_hex_digit(at[2]) < 16 &&
               rl_hex_digit(at[3]) < 16 && rl_hex_digit(at[4]) < 16 &&
               rl_hex_digit(at[5]) < 16) {
        after = at + 6;
    }
    return after;
}

/* The string whose quote is at `at`. */
static const char *skip_string(const char *at, const char *end)
{
    const char *after = NULL;

    at++;
    while (at != NULL && after == NULL && at < end) {
#if RL_BLOCKS
        while (end - at >= 16) {
            uint64_t dirty = rl_block_dirty(rl_block_load(at));

            if (dirty != 0) {
                at += (unsigned)__builtin_ctzll(dirty) >> RL_BLOCK_SHIFT;
                break;
            }
            at += 16;
        }
#endif
        while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20) {
            at++;
        }
        if (at < end && *at == '"') {
            after = at + 1;
        } else {
            at = at < end && *at == '\\' ? skip_escape(at, end) : NULL;
        }
    }
    return after;
}

static const char *skip_digits(const char *at, const char *end)
{
    const char *from = at;

    while (at < end && is_digit(*at)) {
        at++;
    }
    return at > from ? at : NULL;
}

static const char *skip_number(const char *at, const char *end)
{
    if (at < end && *at == '-') {
        at++;
    }
    at = at < end && *at == '0' ? at + 1 : skip_digits(at, end);
    if (at != NULL && at < end && *at == '.') {
        at = skip_digits(at + 1, end);
    }
    if (at != NULL && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-')) {
            at++;
        }
        at = skip_digits(at, end);
    }
    return at;
}

static const char *skip_word(const char *at, const char *end, const char *word)
{
    const size_t len = strlen(word);

    return (size_t)(end - at) >= len && memcmp(at, word, len) == 0 ? at + len : NULL;
}

/* A value that is not a container. */
static const char *skip_scalar(const char *at, const char *end)
{
    switch (*at) {
    case '"':
        return skip_string(at, end);
    case 't':
        return skip_word(at, end, "true");
    case 'f':
        return skip_word(at, end, "false");
    case 'n':
        return skip_word(at, end, "null");
    default:
        return skip_number(at, end);
    }
}

/* A key with its colon, up to the value. */
static const char *skip_key(const char *at, const char *end)
{
    at = at < end && *at == '"' ? skip_string(at, end) : NULL;
    if (at != NULL) {
        at = skip_space(at, end);
        at = at < end && *at == ':' ? skip_space(at + 1, end) : NULL;
    }
    return at;
}

/* The containers that are open. */
typedef struct rl_nest {
    uint64_t objects[RL_JSON_READ_DEPTH / 64]; /* a bit each, of the first 512 */
    unsigned depth;
} rl_nest;

static inline bool in_object(const rl_nest *nest)
{
    unsigned at = nest->depth - 1;

    return (nest->objects[at / 64] >> at % 64 & 1) != 0;
}

/* Enters the container at `at`: returns its first value. An empty container is skipped,
 * and the nest is unchanged. */
static const char *skip_opening(const char *at, const char *end, rl_nest *nest)
{
    const unsigned depth = nest->depth;
    const uint64_t bit = UINT64_C(1) << depth % 64;
    const bool object = *at == '{';

    if (depth == RL_JSON_READ_DEPTH) {
        return NULL;
    }
    at = skip_space(at + 1, end);
    if (at < end && *at == (object ? '}' : ']')) {
        return at + 1;
    }
    nest->objects[depth / 64] =
        object ? nest->objects[depth / 64] | bit : nest->objects[depth / 64] & ~bit;
    nest->depth++;
    return object ? skip_key(at, end) : at;
}

/* From the end of a value to the next one, or to the end of the outermost container. */
static const char *skip_closing(const char *at, const char *end, rl_nest *nest)
{
    bool next = false;

    while (at != NULL && nest->depth > 0 && !next) {
        const bool object = in_object(nest);

        at = skip_space(at, end);
        if (at < end && *at == ',') {
            at = skip_space(at + 1, end);
            at = object ? skip_key(at, end) : at;
            next = true;
        } else if (at < end && *at == (object ? '}' : ']')) {
            at++;
            nest->depth--;
        } else {
            at = NULL;
        }
    }
    return at;
}

/* A value whose first character is at `at`. Not recursive: the text must not determine
 * the depth of the stack. */
static const char *skip_value(const char *at, const char *end)
{
    rl_nest nest;

    nest.depth = 0;
    do {
        const unsigned depth = nest.depth;

        if (at >= end) {
            return NULL;
        }
        if (*at == '{' || *at == '[') {
            at = skip_opening(at, end, &nest);
        } else {
            at = skip_scalar(at, end);
        }
        if (at != NULL && nest.depth <= depth) {
            at = skip_closing(at, end, &nest);
        }
    } while (at != NULL && nest.depth > 0);
    return at;
}

/* ---- values ---------------------------------------------------------------------- */

bool rl_json_read(const char *text, size_t len, rl_json_value *value)
{
    const char *end = len > 0 ? text + len : text;
    const char *from = skip_space(text, end), *after;

    *value = nothing;
    after = from < end ? skip_value(from, end) : NULL;
    if (after == NULL || skip_space(after, end) != end) {
        return false;
    }
    *value = (rl_json_value){from, (size_t)(after - from)};
    return true;
}

rl_json_value rl_json_unchecked(const char *text, size_t len)
{
    const char *end = len > 0 ? text + len : text;
    const char *from = skip_space(text, end);

    return from < end ? (rl_json_value){from, (size_t)(end - from)} : nothing;
}

rl_json_kind rl_json_kind_of(rl_json_value value)
{
    switch (value.len > 0 ? *value.text : '\0') {
    case '\0':
        return RL_JSON_NONE;
    case '{':
        return RL_JSON_OBJECT;
    case '[':
        return RL_JSON_ARRAY;
    case '"':
        return RL_JSON_STRING;
    case 't':
        return RL_JSON_TRUE;
    case 'f':
        return RL_JSON_FALSE;
    case 'n':
        return RL_JSON_NULL;
    default:
        return RL_JSON_NUMBER;
    }
}

void rl_json_enter(rl_json_reader *reader, rl_json_value value)
{
    const rl_json_kind kind = rl_json_kind_of(value);
    const bool container = kind == RL_JSON_OBJECT || kind == RL_JSON_ARRAY;

    *reader = (rl_json_reader){.at = container ? value.text + 1 : NULL,
                               .end = container ? value.text + value.len : NULL,
                               .is_object = kind == RL_JSON_OBJECT,
                               .ended = !container};
}

/* The start of the next member, or the end of the container. NULL when the text is
 * invalid. */
static const char *next_member(const rl_json_reader *reader)
{
    const char *at = skip_space(reader->at, reader->end), *end = reader->end;
    const char bracket = reader->is_object ? '}' : ']';

    if (at < end && *at == bracket) {
        at = end;
    } else if (at < end && reader->started) {
        at = *at == ',' ? skip_space(at + 1, end) : NULL;
        at = at != end ? at : NULL;
    } else if (at == end) {
        at = NULL;
    }
    return at;
}

bool rl_json_next(rl_json_reader *reader, rl_json_value *key, rl_json_value *value)
{
    const char *from, *after, *name = NULL, *name_end = NULL;

    *key = nothing;
    *value = nothing;
    if (reader->failed || reader->ended) {
        return false;
    }
    from = next_member(reader);
    if (from == reader->end) {
        reader->ended = true;
        return false;
    }
    if (from != NULL && reader->is_object) {
        name = from;
        name_end = *name == '"' ? skip_string(name, reader->end) : NULL;
        from = name_end != NULL ? skip_key(name, reader->end) : NULL;
    }
    after = from != NULL ? skip_value(from, reader->end) : NULL;
    if (after == NULL) {
        reader->failed = true;
        return false;
    }
    if (name != NULL) {
        *key = (rl_json_value){name, (size_t)(name_end - name)};
    }
    *value = (rl_json_value){from, (size_t)(after - from)};
    reader->at = after;
    reader->started = true;
    return true;
}

/* ---- strings --------------------------------------------------------------------- */

rl_json_value rl_json_inside(rl_json_value string)
{
    rl_json_value inside = nothing;

    if (string.len >= 2 && *string.text == '"') {
        inside = (rl_json_value){string.text + 1, string.len - 2};
    }
    return inside;
}

static unsigned four_hex(const char *at)
{
    return rl_hex_digit(at[0]) << 12 | rl_hex_digit(at[1]) << 8 |
           rl_hex_digit(at[2]) << 4 | rl_hex_digit(at[3]);
}

/* Writes a code point as UTF-8. */
static size_t put_point(char out[4], unsigned point)
{
    size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};

    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (point & 0x3F));
        point >>= 6;
    }
    out[0] = (char)(lead[len] | point);
    return len;
}

/* \uXXXX, with the low surrogate after it if it is a high one. */
static size_t put_unicode(const char **at, const char *end, char out[4])
{
    unsigned point = four_hex(*at + 2), low = 0;

    *at += 6;
    if (point >= 0xD800 && point < 0xDC00 && end - *at >= 6 && (*at)[0] == '\\' &&
        (*at)[1] == 'u') {
        low = four_hex(*at + 2);
    }
    if (low >= 0xDC00 && low < 0xE000) {
        *at += 6;
        point = 0x10000 + ((point - 0xD800) << 10 | (low - 0xDC00));
    } else if (point >= 0xD800 && point < 0xE000) {
        point = 0xFFFD;
    }
    return put_point(out, point);
}

size_t rl_json_character(const char **at, const char *end, char out[4])
{
    static const char escaped[] = "bfnrt", meant[] = "\b\f\n\r\t";
    const char *kind;

    if (*at >= end) {
        return 0;
    }
    if (**at != '\\' || end - *at < 2) {
        out[0] = *(*at)++;
        return 1;
    }
    if ((*at)[1] == 'u' && end - *at >= 6) {
        return put_unicode(at, end, out);
    }
    kind = (*at)[1] != '\0' ? strchr(escaped, (*at)[1]) : NULL;
    out[0] = kind != NULL ? meant[kind - escaped] : (*at)[1];
    *at += 2;
    return 1;
}

bool rl_json_unescape(rl_json_value value, rl_buf *out)
{
    const rl_json_value inside = rl_json_inside(value);
    const char *at = inside.text, *end = inside.text + inside.len, *escape;
    char bytes[4];

    if (rl_json_kind_of(value) != RL_JSON_STRING) {
        return false;
    }
    while (at < end) {
        escape = memchr(at, '\\', (size_t)(end - at));
        rl_buf_add(out, at, (size_t)((escape != NULL ? escape : end) - at));
        at = escape != NULL ? escape : end;
        if (at < end) {
            size_t len = rl_json_character(&at, end, bytes);

            rl_buf_add(out, bytes, len);
        }
    }
    return true;
}

bool rl_json_equals(rl_json_value value, const char *text, size_t len)
{
    const rl_json_value inside = rl_json_inside(value);
    const char *at = inside.text, *end = inside.text + inside.len;
    bool same = rl_json_kind_of(value) == RL_JSON_STRING && inside.len >= len;
    size_t done = 0, more;
    char bytes[4];

    while (same && (more = rl_json_character(&at, end, bytes)) > 0) {
        same = len - done >= more && memcmp(text + done, bytes, more) == 0;
        done += more;
    }
    return same && done == len;
}

/* ---- paths ----------------------------------------------------------------------- */

rl_json_value rl_json_member(rl_json_value object, const char *key, size_t len)
{
    rl_json_reader reader;
    rl_json_value name, value, found = nothing;

    if (rl_json_kind_of(object) == RL_JSON_OBJECT) {
        rl_json_enter(&reader, object);
        while (rl_json_next(&reader, &name, &value)) {
            if (rl_json_equals(name, key, len)) {
                found = value;
            }
        }
    }
    return found;
}

static size_t count_elements(rl_json_value array)
{
    rl_json_reader reader;
    rl_json_value none, value;
    size_t count = 0;

    rl_json_enter(&reader, array);
    while (rl_json_next(&reader, &none, &value)) {
        count++;
    }
    return count;
}

static rl_json_value element(rl_json_value array, size_t index)
{
    rl_json_reader reader;
    rl_json_value none, value;

    rl_json_enter(&reader, array);
    while (rl_json_next(&reader, &none, &value) && index > 0) {
        index--;
    }
    return value; /* no value, if the array has fewer elements */
}

rl_json_value rl_json_last(rl_json_value array)
{
    rl_json_reader reader;
    rl_json_value none, value, last = nothing;

    if (rl_json_kind_of(array) == RL_JSON_ARRAY) {
        rl_json_enter(&reader, array);
        while (rl_json_next(&reader, &none, &value)) {
            last = value;
        }
    }
    return last;
}

/* The element that a component of a path names. */
static rl_json_value element_at(rl_json_value array, const char *text, size_t len)
{
    const bool back = len > 0 && text[0] == '-';
    rl_json_value found = nothing;
    size_t index = 0, at = back, count;

    for (; at < len && is_digit(text[at]) && index < SIZE_MAX / 20; at++) {
        index = index * 10 + (size_t)(text[at] - '0');
    }
    if (at < len || len == (size_t)back) {
        return nothing;
    }
    if (!back) {
        found = element(array, index);
    } else if (index == 1) {
        found = rl_json_last(array);
    } else if (index > 0) {
        count = count_elements(array);
        found = index <= count ? element(array, count - index) : nothing;
    }
    return found;
}

rl_json_value rl_json_find(rl_json_value value, const char *path)
{
    bool more = *path != '\0';

    while (more && value.len > 0) {
        const size_t len = strcspn(path, ".");
        const rl_json_kind kind = rl_json_kind_of(value);

        if (kind == RL_JSON_OBJECT) {
            value = rl_json_member(value, path, len);
        } else {
            value = kind == RL_JSON_ARRAY ? element_at(value, path, len) : nothing;
        }
        more = path[len] == '.';
        path += len + (more ? 1 : 0);
    }
    return value;
}
