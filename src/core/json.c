/* The JSON writer. See json.h. */
#include "core/json.h"

#include <math.h>
#include <stdio.h>

void rl_json_begin(rl_json *json, rl_buf *buf, size_t cap)
{
    memset(json, 0, sizeof *json);
    json->buf = buf;
    json->start = buf->len;
    json->item = buf->len;
    json->cap = cap;
    json->limit = buf->len + cap + 1; /* the comma after the outermost value */
}

/* After the cut: counts what was appended since, and takes it back. */
static void count_dropped(rl_json *json)
{
    rl_buf *buf = json->buf;

    if (buf->len > json->cut_at) {
        json->last = buf->data[buf->len - 1];
        json->whole += buf->len - json->cut_at;
        buf->len = json->cut_at;
    }
}

/* Cuts the text at `at`, with the containers that are open there. */
static void cut_text(rl_json *json, size_t at, unsigned depth)
{
    json->cut = true;
    json->cut_at = at;
    json->cut_depth = depth;
    memcpy(json->cut_objects, json->objects, sizeof json->objects);
    json->whole = at - json->start;
    json->limit = 0; /* from here on every item is counted and dropped */
    count_dropped(json);
}

void rl_json_overflow(rl_json *json, bool opened)
{
    if (json->cut) {
        count_dropped(json);
    } else {
        cut_text(json, json->item, json->depth - opened);
    }
}

/* The inside of a string, which begins at `from`, does not fit: keeps its head. */
static void overflow_text(rl_json *json, size_t from)
{
    rl_buf *buf = json->buf;

    if (json->cut) {
        count_dropped(json);
    } else if (!buf->failed) {
        size_t room = json->limit > from ? json->limit - from : 0;

        json->cut_in_text = true;
        cut_text(json, from + rl_escaped_prefix(buf->data + from, buf->len - from, room),
                 json->depth);
    }
}

/* Past the cut the brackets are counted: the last comma gives way to one. */
void rl_json_close_cut(rl_json *json)
{
    json->depth--;
    if (json->last == ',') {
        json->whole--;
    }
    json->last = ',';
    json->whole += 2;
}

/* Writes the marker where the text was cut, and closes what was open there. */
static void mark_cut(rl_json *json)
{
    rl_buf *buf = json->buf;
    char marker[64];
    int len = snprintf(marker, sizeof marker, "<cut: %s%zu bytes>",
                       rl_json_gave_up(json) ? "over " : "", json->whole - 1);

    buf->len = json->cut_at;
    json->depth = json->cut_depth;
    memcpy(json->objects, json->cut_objects, sizeof json->objects);
    json->cut = false;
    if (!json->cut_in_text) {
        rl_buf_add_text(buf, rl_json_in_object(json) ? "\"<cut>\":\"" : "\"");
    }
    rl_buf_add(buf, marker, (size_t)len);
    rl_buf_add(buf, "\",", 2);
    while (json->depth > 0) {
        rl_json_close(json);
    }
}

void rl_json_end(rl_json *json)
{
    rl_buf *buf = json->buf;

    if (json->cut && !buf->failed) {
        mark_cut(json);
    }
    if (buf->len > json->start && buf->data[buf->len - 1] == ',') {
        buf->len--;
    }
    if (rl_buf_reserve(buf, 1)) {
        buf->data[buf->len] = '\0';
    }
}

void rl_json_not_finite(rl_json *json, double value)
{
    if (isnan(value)) {
        rl_json_raw(json, "\"NaN\"", 5);
    } else if (value > 0) {
        rl_json_raw(json, "\"Infinity\"", 10);
    } else {
        rl_json_raw(json, "\"-Infinity\"", 11);
    }
}

void rl_json_string_begin(rl_json *json, rl_json_string *string, bool key)
{
    rl_buf_add_char(json->buf, '"');
    string->at = json->buf->len;
    string->key = key;
}

void rl_json_string_add(rl_json *json, rl_json_string *string, size_t len)
{
    json->buf->len += len;
    if (rl_json_full(json)) {
        if (string->key) {
            rl_json_overflow(json, false);
        } else {
            overflow_text(json, string->at);
        }
    }
}

void rl_json_string_end(rl_json *json, rl_json_string *string)
{
    rl_buf *buf = json->buf;

    if (!string->key && !json->cut && buf->len + 2 + json->depth > json->limit) {
        overflow_text(json, string->at);
    }
    if (rl_buf_reserve(buf, 2)) {
        buf->data[buf->len++] = '"';
        buf->data[buf->len++] = string->key ? ':' : ',';
    }
    if (rl_json_full(json)) {
        rl_json_overflow(json, false);
    }
    if (!string->key) {
        json->item = buf->len;
    }
}

/* Writes a string in one piece, with `tail` after its closing quote. */
static inline void put_short(rl_buf *buf, const char *text, size_t len, char tail)
{
    if (rl_buf_reserve(buf, RL_ESCAPE_MAX * len + 3)) {
        char *to = buf->data + buf->len;

        *to++ = '"';
        to += rl_escape_utf8(to, text, len);
        *to++ = '"';
        *to++ = tail;
        buf->len = (size_t)(to - buf->data);
    }
}

static void put_long(rl_json *json, const char *text, size_t len, bool key)
{
    rl_json_string string;

    rl_json_string_begin(json, &string, key);
    while (len > 0 && !json->buf->failed) {
        size_t piece = len < RL_JSON_PIECE ? len : RL_JSON_PIECE;

        if (rl_buf_reserve(json->buf, RL_ESCAPE_MAX * piece)) {
            rl_json_string_add(
                json, &string,
                rl_escape_utf8(json->buf->data + json->buf->len, text, piece));
        }
        text += piece;
        len -= piece;
    }
    rl_json_string_end(json, &string);
}

void rl_json_text_slow(rl_json *json, const char *text, size_t len)
{
    rl_buf *buf = json->buf;
    rl_json_string string = {.at = buf->len + 1, .key = false};

    if (len > RL_JSON_PIECE) {
        put_long(json, text, len, false);
        return;
    }
    put_short(buf, text, len, ',');
    if (rl_json_full(json) && !buf->failed) {
        if (json->cut) {
            count_dropped(json);
        } else {
            buf->len -= 2; /* the quote and the comma, which come again */
            rl_json_string_end(json, &string);
        }
    }
    json->item = buf->len;
}

void rl_json_key_slow(rl_json *json, const char *text, size_t len)
{
    if (len > RL_JSON_PIECE) {
        put_long(json, text, len, true);
        return;
    }
    put_short(json->buf, text, len, ':');
    if (rl_json_full(json)) {
        rl_json_overflow(json, false);
    }
}

/* Whether a number has the form 1.5e20; sets *mark to its e. */
static bool is_wide(const char *text, size_t len, const char **mark)
{
    *mark = memchr(text, 'e', len);
    return *mark != NULL && (*mark)[1] != '-';
}

/* Writes 1.5e20 as 150000000000000000000.0. */
static void widen_number(rl_buf *out, const char *text, const char *mark, size_t len)
{
    size_t digits = 0, exponent = 0;

    for (const char *at = mark + 1; at < text + len; at++) {
        exponent = exponent * 10 + (size_t)(*at - '0');
    }
    for (const char *at = text; at < mark; at++) {
        if (*at != '.') {
            rl_buf_add_char(out, *at);
            digits += *at != '-';
        }
    }
    for (; digits < exponent + 1; digits++) {
        rl_buf_add_char(out, '0');
    }
    rl_buf_add(out, ".0", 2);
}

/* The end of the string whose opening quote is at `text`. */
static const char *skip_string(const char *text, const char *end)
{
    const char *quote = text, *slash;

    do {
        quote = memchr(quote + 1, '"', (size_t)(end - quote - 1));
        if (quote == NULL) {
            return end;
        }
        for (slash = quote; slash[-1] == '\\'; slash--) {
        }
    } while ((quote - slash) % 2 != 0); /* an escaped quote */
    return quote + 1;
}

void rl_json_widen(rl_buf *out, const char *text, size_t len)
{
    const char *at = text, *end = text + len, *copied = text, *mark;

    while (at < end) {
        if (*at == '"') {
            at = skip_string(at, end);
        } else if (*at == '-' || (*at >= '0' && *at <= '9')) {
            size_t size = strspn(at, "-+.0123456789e");

            if (is_wide(at, size, &mark)) {
                rl_buf_add(out, copied, (size_t)(at - copied));
                widen_number(out, at, mark, size);
                copied = at + size;
            }
            at += size;
        } else {
            at++;
        }
    }
    rl_buf_add(out, copied, (size_t)(end - copied));
    if (rl_buf_reserve(out, 1)) {
        out->data[out->len] = '\0';
    }
}
