/* The JSON writer. See json.h. */
#include "core/json.h"

#include <math.h>

void rl_json_begin(rl_json *json, rl_buf *buf, size_t cap)
{
    memset(json, 0, sizeof *json);
    json->buf = buf;
    json->start = buf->len;
    json->limit = buf->len + cap + 1; /* the comma after the outermost value */
}

void rl_json_end(rl_json *json)
{
    rl_buf *buf = json->buf;

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

/* Writes a text with `tail` after its closing quote. Long texts go in pieces: in one,
 * they would need six times their size. */
static void put_text(rl_json *json, const char *text, size_t len, char tail)
{
    rl_buf *buf = json->buf;
    size_t piece = len < RL_JSON_PIECE ? len : RL_JSON_PIECE;

    if (buf->len + len + 3 + json->depth > json->limit) {
        json->over = true;
        return;
    }
    if (rl_buf_reserve(buf, RL_ESCAPE_MAX * piece + 3)) {
        char *to = buf->data + buf->len;

        *to++ = '"';
        to += rl_escape_utf8(to, text, piece);
        buf->len = (size_t)(to - buf->data);
    }
    for (size_t at = piece; at < len && !json->over && !buf->failed; at += piece) {
        piece = len - at < RL_JSON_PIECE ? len - at : RL_JSON_PIECE;
        if (rl_buf_reserve(buf, RL_ESCAPE_MAX * piece + 2)) {
            buf->len += rl_escape_utf8(buf->data + buf->len, text + at, piece);
        }
        rl_json_done(json);
    }
    if (rl_buf_reserve(buf, 2)) {
        buf->data[buf->len++] = '"';
        buf->data[buf->len++] = tail;
    }
    rl_json_done(json);
}

void rl_json_text_slow(rl_json *json, const char *text, size_t len)
{
    put_text(json, text, len, ',');
}

void rl_json_key_slow(rl_json *json, const char *text, size_t len)
{
    put_text(json, text, len, ':');
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
