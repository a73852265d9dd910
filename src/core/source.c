/* Texts as they stand in memory. See source.h. */
#include "core/source.h"

#include "core/base64.h"
#include "core/redact_text.h"

#define MARK_MAX ((size_t)40) /* "<cut: 18446744073709551615 characters>" */
#define STEP ((size_t)768)    /* units that are measured at a time; divisible by 3 */
#define STEP_ROOM (RL_ESCAPE_MAX * STEP + 16)

size_t rl_source_least(const rl_source *source)
{
    return source->units == RL_BASE64 ? (source->count + 2) / 3 * 4 : source->count;
}

/* Writes `count` units from `at` on; room: RL_ESCAPE_MAX for each, and 16. */
static size_t escape(const rl_source *source, size_t at, size_t count, char *out)
{
    switch (source->units) {
    case RL_UTF8:
        return rl_escape_utf8(out, (const char *)source->data + at, count);
    case RL_UCS1:
        return rl_escape_ucs1(out, (const uint8_t *)source->data + at, count);
    case RL_UCS2:
        return rl_escape_ucs2(out, (const uint16_t *)source->data + at, count);
    case RL_UCS4:
        return rl_escape_ucs4(out, (const uint32_t *)source->data + at, count);
    case RL_BASE64:
        break;
    }
    return rl_base64_encode(out, (const uint8_t *)source->data + at, count);
}

/* The same, or as plain UTF-8. */
static size_t write(const rl_source *source, size_t at, size_t count, bool plain,
                    char *out)
{
    size_t len = escape(source, at, count, out);

    return plain ? rl_unescape(out, out, len) : len;
}

static bool inside_character(const rl_source *source, size_t at)
{
    if (source->units == RL_UTF8 && at < source->count) {
        return (((const unsigned char *)source->data)[at] & 0xC0) == 0x80;
    }
    return source->units == RL_BASE64 && at < source->count && at % 3 != 0;
}

/* The next place at or before `at`, or at or after it, that is between two characters. */
static size_t back_to_start(const rl_source *source, size_t at)
{
    while (at > 0 && inside_character(source, at)) {
        at--;
    }
    return at;
}

static size_t on_to_start(const rl_source *source, size_t at)
{
    while (inside_character(source, at)) {
        at++;
    }
    return at;
}

/* Appends units [at, end) in pieces. With `json`, stops when that is over. */
static void append(rl_buf *buf, const rl_source *source, size_t at, size_t end,
                   bool plain, rl_json *json)
{
    const size_t most = RL_JSON_PIECE / 3 * 3; /* only the last piece is padded */

    while (at < end && !buf->failed && (json == NULL || !json->over)) {
        size_t next = end - at > most ? back_to_start(source, at + most) : end;

        next = next > at ? next : end; /* not UTF-8: any cut will do */
        if (rl_buf_reserve(buf, RL_ESCAPE_MAX * (next - at) + 16)) {
            buf->len += write(source, at, next - at, plain, buf->data + buf->len);
        }
        if (json != NULL) {
            rl_json_done(json);
        }
        at = next;
    }
}

/* Whether a text is searched for secrets; base64 has none that can be seen. */
static bool is_searched(const rl_source *source)
{
    return source->units != RL_BASE64 && rl_redact_reads_texts(source->redact);
}

void rl_source_redact(rl_json *json, size_t at, const rl_redact *redact)
{
    rl_buf *buf = json->buf;
    char tail;

    if (json->over || !rl_redact_reads_texts(redact) || !rl_buf_reserve(buf, RL_WINDOW) ||
        !rl_text_suspects(buf->data + at + 1, buf->len - at - 3)) {
        return;
    }
    tail = buf->data[buf->len - 1];
    buf->len -= 2;
    if (rl_redact_tail(redact, buf, at + 1, true)) {
        rl_buf_add_char(buf, '"');
        rl_buf_add_char(buf, tail);
        rl_json_done(json);
    } else {
        buf->len += 2;
    }
}

/* The same without a search. */
static void put(rl_json *json, const rl_source *source, char tail)
{
    rl_buf *buf = json->buf;

    if (source->units == RL_UTF8) {
        if (tail == ':') {
            rl_json_key(json, source->data, source->count);
        } else {
            rl_json_text(json, source->data, source->count);
        }
        return;
    }
    if (buf->len + rl_source_least(source) + 3 + json->depth > json->limit) {
        json->over = true;
        return;
    }
    rl_buf_add_char(buf, '"');
    append(buf, source, 0, source->count, false, json);
    rl_buf_add_char(buf, '"');
    rl_buf_add_char(buf, tail);
    rl_json_done(json);
}

void rl_source_put(rl_json *json, const rl_source *source, char tail)
{
    const size_t at = json->buf->len;

    put(json, source, tail);
    if (is_searched(source)) {
        rl_source_redact(json, at, source->redact);
    }
}

/* The end of the longest head that takes at most `room` bytes; *size gets these. Measures
 * in the free part of the buffer. */
static size_t head_end(rl_buf *buf, const rl_source *source, size_t room, bool plain,
                       size_t *size)
{
    size_t at = 0, least = 0, most, len;

    *size = 0;
    while (at < source->count && rl_buf_reserve(buf, STEP_ROOM)) {
        most =
            source->count - at < STEP ? source->count : back_to_start(source, at + STEP);
        len = write(source, at, most - at, plain, buf->data + buf->len);
        if (*size + len > room || most == at) {
            break;
        }
        *size += len;
        at = most;
    }
    if (at == source->count || buf->failed) {
        return at;
    }
    most = source->count - at < STEP ? source->count - at : STEP;
    while (least + 1 < most) { /* bisects: `least` units fit, `most` do not */
        size_t half = (least + most) / 2;
        size_t end = back_to_start(source, at + half);

        len = end > at ? write(source, at, end - at, plain, buf->data + buf->len) : 0;
        if (*size + len <= room) {
            least = half;
        } else {
            most = half;
        }
    }
    most = back_to_start(source, at + least);
    *size += most > at ? write(source, at, most - at, plain, buf->data + buf->len) : 0;
    return most > at ? most : at;
}

/* The start, at `from` or behind it, of the longest tail of at most `room` bytes. */
static size_t tail_start(rl_buf *buf, const rl_source *source, size_t from, size_t room,
                         bool plain)
{
    size_t end = source->count, size = 0, least = 0, most, len;

    while (end > from && rl_buf_reserve(buf, STEP_ROOM)) {
        size_t start =
            end - from < STEP ? from : on_to_start(source, (end - STEP + 2) / 3 * 3);

        len = write(source, start, end - start, plain, buf->data + buf->len);
        if (size + len > room || start >= end) {
            break;
        }
        size += len;
        end = start;
    }
    if (end == from || buf->failed) {
        return end;
    }
    most = end - from < STEP ? end - from : STEP;
    while (least + 1 < most) {
        size_t half = (least + most) / 2;
        size_t start = on_to_start(source, end - half);

        len = start < end ? write(source, start, end - start, plain, buf->data + buf->len)
                          : 0;
        if (size + len <= room) {
            least = half;
        } else {
            most = half;
        }
    }
    return on_to_start(source, end - least);
}

#define COUNT_UTF8(type)                                                       \
    for (const type *unit = (const type *)source->data + at; end > at; at++) { \
        uint32_t point = *unit++;                                              \
                                                                               \
        size += 1 + (size_t)(point >= 0x80) + (size_t)(point >= 0x800) +       \
                (size_t)(point >= 0x10000);                                    \
    }

/* Writes the mark for units [at, end). */
static void put_mark(rl_buf *buf, const rl_source *source, size_t at, size_t end)
{
    const char *what = "bytes";
    size_t size = 0;

    if (source->units == RL_UTF8) {
        size = end - at;
    } else if (source->units == RL_BASE64) {
        size = (end - at + 2) / 3 * 4;
    } else if (end - at > RL_CUT_COUNTED) {
        size = end - at;
        what = "characters";
    } else if (source->units == RL_UCS1) {
        COUNT_UTF8(uint8_t)
    } else if (source->units == RL_UCS2) {
        COUNT_UTF8(uint16_t)
    } else {
        COUNT_UTF8(uint32_t)
    }
    rl_buf_printf(buf, "<cut: %zu %s>", size, what);
}

/* Replaces the end of the buffer, from `at` on, by what was redacted of it (taken), or
 * drops `drop` bytes at `at` if nothing was. */
static void replace(rl_buf *buf, size_t at, size_t drop, rl_buf *redacted)
{
    buf->failed |= redacted->failed;
    if (redacted->len > 0 && !buf->failed) {
        buf->len = at;
        rl_buf_add(buf, redacted->data, redacted->len);
    } else if (drop > 0 && !buf->failed) {
        memmove(buf->data + at, buf->data + at + drop, buf->len - at - drop);
        buf->len -= drop;
    }
    rl_buf_free(redacted);
}

/* Appends units [0, end), in at most `room` bytes. A secret that ends behind them is
 * found with the units that follow. */
static void append_head(rl_buf *buf, const rl_source *source, size_t end, size_t room,
                        bool plain)
{
    const size_t at = buf->len, rest = source->count - end;
    size_t len;
    rl_buf redacted;

    append(buf, source, 0, end, plain, NULL);
    if (!is_searched(source) || buf->failed) {
        return;
    }
    len = buf->len - at;
    append(buf, source, end,
           rest > RL_REDACT_CONTEXT ? back_to_start(source, end + RL_REDACT_CONTEXT)
                                    : source->count,
           plain, NULL);
    if (!rl_buf_reserve(buf, RL_WINDOW)) {
        return;
    }
    rl_buf_init(&redacted, RL_BUF_MAX);
    (void)rl_redact_text(source->redact, buf->data + at, buf->len - at,
                         plain ? RL_PLAIN : RL_ESCAPED, 0, len, &redacted);
    buf->len = at + len;
    replace(buf, at, 0, &redacted);
    if (!buf->failed && buf->len - at > room) {
        buf->len = at + rl_escaped_prefix(buf->data + at, buf->len - at, room);
    }
}

/* Appends units [start, count), in at most `room` bytes, in the same way. */
static void append_tail(rl_buf *buf, const rl_source *source, size_t start, size_t room,
                        bool plain)
{
    const size_t at = buf->len, searched = is_searched(source) ? RL_REDACT_CONTEXT : 0;
    const size_t from = start > searched ? on_to_start(source, start - searched) : 0;
    size_t before, over;
    rl_buf redacted, none;

    if (searched > 0) {
        append(buf, source, from, start, plain, NULL);
    }
    before = buf->len - at;
    append(buf, source, start, source->count, plain, NULL);
    if (searched == 0 || !rl_buf_reserve(buf, RL_WINDOW)) {
        return;
    }
    rl_buf_init(&redacted, RL_BUF_MAX);
    (void)rl_redact_text(source->redact, buf->data + at, buf->len - at,
                         plain ? RL_PLAIN : RL_ESCAPED, before, buf->len - at, &redacted);
    replace(buf, at, before, &redacted);
    if (!buf->failed && buf->len - at > room) {
        over = buf->len - at - room + RL_ESCAPE_MAX;
        rl_buf_init(&none, RL_BUF_MAX);
        replace(buf, at, rl_escaped_prefix(buf->data + at, buf->len - at, over), &none);
    }
}

/* Appends head, mark and tail in at most `room` bytes. */
static void cut(rl_buf *buf, const rl_source *source, size_t room, bool plain)
{
    size_t head, tail, size = 0, left;

    room -= MARK_MAX;
    head = head_end(buf, source, room - room / 2, plain, &size);
    tail = tail_start(buf, source, head, room - size, plain);
    left = room - size;
    append_head(buf, source, head, size, plain);
    put_mark(buf, source, head, tail);
    append_tail(buf, source, tail, left, plain);
}

void rl_source_cut(rl_buf *buf, const rl_source *source, size_t room)
{
    rl_buf_add_char(buf, '"');
    cut(buf, source, room - 2, false);
    rl_buf_add_char(buf, '"');
}

void rl_source_plain(rl_buf *buf, const rl_source *source, size_t room)
{
    size_t at = buf->len;

    if (source->count <= room) {
        append(buf, source, 0, source->count, true, NULL);
        if (is_searched(source)) {
            (void)rl_redact_tail(source->redact, buf, at, false);
        }
        if (buf->failed || buf->len - at <= room) {
            return;
        }
        buf->len = at;
    }
    cut(buf, source, room, true);
}
