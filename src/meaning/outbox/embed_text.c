/* The text of a run. See embed_text.h. */
#include "meaning/outbox/embed_text.h"

#include <stdint.h>

#define KEY(name) (name), sizeof(name) - 1

/* The white space beyond ASCII, as Unicode has it (the property White_Space). */
static bool is_wide_space(const char *text, size_t len)
{
    static const char spaces[][4] = {"\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80",
                                     "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\xAF",
                                     "\xE2\x81\x9F", "\xE3\x80\x80"};
    bool found = len == 3 && memcmp(text, "\xE2\x80", 2) == 0 &&
                 (unsigned char)text[2] >= 0x80 && (unsigned char)text[2] <= 0x8A;

    for (size_t i = 0; i < sizeof spaces / sizeof *spaces && !found; i++) {
        found = strlen(spaces[i]) == len && memcmp(text, spaces[i], len) == 0;
    }
    return found;
}

/* Reads a whole UTF-8 character; rl_json_character reads only its first byte. */
static size_t next_character(const char **at, const char *end, char out[8])
{
    size_t len = rl_json_character(at, end, out), whole;
    const unsigned char lead = (unsigned char)out[0];

    whole = len != 1 || lead < 0xC2 ? len : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    while (len > 0 && len < whole && *at < end && ((unsigned char)**at & 0xC0) == 0x80) {
        out[len++] = *(*at)++;
    }
    return len;
}

/* Whether a value is a string of more than white space. */
static bool is_text(rl_json_value value)
{
    const rl_json_value inside = rl_json_inside(value);
    const char *at = inside.text, *end = inside.text + inside.len;
    bool blank = true;
    char bytes[8];
    size_t len;

    if (rl_json_kind_of(value) != RL_JSON_STRING) {
        return false;
    }
    while (blank && (len = next_character(&at, end, bytes)) > 0) {
        const unsigned char c = (unsigned char)bytes[0];

        blank = len == 1
                    ? c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F)
                    : is_wide_space(bytes, len);
    }
    return !blank;
}

/* The value for a mark, or its head; any other JSON as it is. */
static rl_json_value resolve(rl_json_value json, rl_json_value values)
{
    rl_json_value name = rl_json_member(json, KEY("$value")), found = {NULL, 0};

    if (rl_json_kind_of(name) == RL_JSON_STRING) {
        name = rl_json_inside(name);
        found = rl_json_member(values, name.text, name.len);
        json = found.len > 0 ? found : rl_json_member(json, KEY("head"));
    }
    return json;
}

/* The text of a block of a message's content; empty when it has none. */
static rl_json_value block_text(rl_json_value block, rl_json_value values)
{
    rl_json_value text = block = resolve(block, values);

    if (rl_json_kind_of(block) == RL_JSON_OBJECT) {
        text = resolve(rl_json_member(block, KEY("text")), values);
        if (!rl_json_equals(rl_json_member(block, KEY("type")), KEY("text"))) {
            text.len = 0;
        }
    }
    return is_text(text) ? text : (rl_json_value){NULL, 0};
}

/* Appends the text of a content to out, unless that is NULL; false when it has none. */
static bool add_content(rl_json_value content, rl_json_value values, rl_buf *out)
{
    rl_json_reader reader;
    rl_json_value none, block, text;
    bool found;

    content = resolve(content, values);
    found = is_text(content);
    if (found && out != NULL) {
        (void)rl_json_unescape(content, out);
    }
    if (rl_json_kind_of(content) == RL_JSON_ARRAY) {
        rl_json_enter(&reader, content);
        while ((out != NULL || !found) && rl_json_next(&reader, &none, &block)) {
            text = block_text(block, values);
            if (text.len > 0 && out != NULL) {
                if (found) {
                    rl_buf_add_char(out, '\n');
                }
                (void)rl_json_unescape(text, out);
            }
            found = found || text.len > 0;
        }
    }
    return found;
}

static rl_json_value content_of(rl_json_value message)
{
    rl_json_value content = rl_json_member(message, KEY("content"));

    if (content.len == 0 && rl_json_member(message, KEY("lc")).len > 0) {
        content = rl_json_find(message, "kwargs.content");
    }
    return content;
}

/* Finds the members "text" and "messages" of the outputs in one pass. */
static void find_members(rl_json_value outputs, rl_json_value *text,
                         rl_json_value *messages)
{
    rl_json_reader reader;
    rl_json_value key, value;

    *text = *messages = (rl_json_value){NULL, 0};
    if (rl_json_kind_of(outputs) == RL_JSON_OBJECT) {
        rl_json_enter(&reader, outputs);
        while (rl_json_next(&reader, &key, &value)) {
            if (rl_json_equals(key, KEY("text"))) {
                *text = value;
            } else if (rl_json_equals(key, KEY("messages"))) {
                *messages = value;
            }
        }
        if (reader.failed) {
            *text = *messages = (rl_json_value){NULL, 0};
        }
    }
}

/* Finds the text, and appends it to out, unless that is NULL. */
static bool find(const char *json, size_t len, const char *path, rl_json_value values,
                 rl_buf *out)
{
    rl_json_value outputs, text, messages;
    bool found;

    if (path != NULL) {
        return rl_json_read(json, len, &outputs) &&
               add_content(rl_json_find(outputs, path), values, out);
    }
    find_members(rl_json_unchecked(json, len), &text, &messages);
    text = resolve(text, values);
    found = is_text(text) && add_content(text, values, out);
    return found || add_content(content_of(rl_json_last(messages)), values, out);
}

bool rl_embed_text_find(const char *outputs, size_t len, const char *path,
                        rl_json_value values, rl_buf *out)
{
    return find(outputs, len, path, values, out) && !out->failed;
}

bool rl_embed_text_has(const char *outputs, size_t len, const char *path,
                       rl_json_value values)
{
    return find(outputs, len, path, values, NULL);
}
