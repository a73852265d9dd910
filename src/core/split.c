/* JSON texts, cut into their members. See split.h. */
#include "core/split.h"

#include "core/text.h"

#include <string.h>

/* Whether the quote at `quote` is escaped, in a string that begins at `from`: an odd number
 * of backslashes is before it. */
static bool is_escaped(const char *text, size_t from, size_t quote)
{
    size_t at = quote;

    while (at > from && text[at - 1] == '\\') {
        at--;
    }
    return (quote - at) % 2 == 1;
}

/* The offset after the string whose opening quote is at `at`; more than `len` if it does not
 * end. */
static size_t skip_string(const char *text, size_t len, size_t at)
{
    size_t from = at + 1;
    const char *quote = NULL;

    while (from < len && (quote = memchr(text + from, '"', len - from)) != NULL &&
           is_escaped(text, from, (size_t)(quote - text))) {
        from = (size_t)(quote - text) + 1;
    }
    return from < len && quote != NULL ? (size_t)(quote - text) + 1 : len + 1;
}

/* The offset of the comma or bracket after the value at `at`. */
static size_t skip_value(const char *text, size_t len, size_t at)
{
    size_t depth = 0;

    while (at < len) {
        char c = text[at];

        if (c == '"') {
            at = skip_string(text, len, at);
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']')) {
            break;
        }
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        at++;
    }
    return at;
}

bool rl_object_split(const char *text, size_t len, rl_buf *members)
{
    size_t at = 1;

    if (len < 2 || text[0] != '{' || text[len - 1] != '}') {
        return false;
    }
    while (at < len - 1) {
        rl_member member = {.key_at = at};

        at = skip_string(text, len, at);
        member.key_len = at - member.key_at;
        member.value_at = at + 1; /* after the colon */
        at = skip_value(text, len, member.value_at);
        member.value_len = at - member.value_at;
        rl_buf_add(members, &member, sizeof member);
        at++;
    }
    return !members->failed && at <= len; /* else a string or an object does not end */
}

bool rl_array_split(const char *text, size_t len, rl_buf *elements)
{
    size_t at = 1;

    if (len < 2 || text[0] != '[' || text[len - 1] != ']') {
        return false;
    }
    while (at < len - 1) {
        rl_element element = {.at = at};

        at = skip_value(text, len, at);
        element.len = at - element.at;
        rl_buf_add(elements, &element, sizeof element);
        at++;
    }
    return !elements->failed && at <= len;
}

/* A container around the value that is looked for. */
typedef struct level {
    bool is_object;
    size_t index;           /* of an array's element */
    size_t key_at, key_len; /* of an object's member */
} level;

static void put_path(const char *text, const level *levels, size_t depth, rl_buf *path)
{
    rl_buf_add_char(path, '[');
    for (size_t i = 0; i < depth; i++) {
        if (i > 0) {
            rl_buf_add_char(path, ',');
        }
        if (levels[i].is_object) {
            rl_buf_add(path, text + levels[i].key_at, levels[i].key_len);
        } else if (rl_buf_reserve(path, 20)) {
            path->len += rl_put_i64(path->data + path->len, (int64_t)levels[i].index);
        }
    }
    rl_buf_add_char(path, ']');
}

bool rl_json_path(const char *text, size_t len, size_t value, rl_buf *path)
{
    level levels[RL_PATH_MAX];
    size_t depth = 0, at = 0, before = path->len;
    bool is_key = false, found = false;

    while (at < value && at < len && depth <= RL_PATH_MAX) {
        size_t next = at + 1;

        if (text[at] == '"') {
            next = skip_string(text, len, at);
            if (is_key) {
                levels[depth - 1].key_at = at;
                levels[depth - 1].key_len = next - at;
            }
        } else if (text[at] == '{' || text[at] == '[') {
            if (depth < RL_PATH_MAX) {
                levels[depth] = (level){.is_object = text[at] == '{'};
            }
            depth++;
        } else if (depth > 0 && (text[at] == '}' || text[at] == ']')) {
            depth--;
        } else if (depth > 0 && text[at] == ',') {
            levels[depth - 1].index++;
        }
        is_key = depth > 0 && depth <= RL_PATH_MAX && levels[depth - 1].is_object &&
                 (text[at] == '{' || text[at] == ',');
        found = next == value && !is_key &&
                (text[at] == ':' || text[at] == '[' || text[at] == ',');
        at = next;
    }
    if (found && depth <= RL_PATH_MAX) {
        put_path(text, levels, depth, path);
    }
    if (path->failed) {
        path->len = before;
    }
    return found && depth <= RL_PATH_MAX && !path->failed;
}
