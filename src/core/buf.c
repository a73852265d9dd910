/* The growable buffer. See buf.h. */
#include "core/buf.h"

#include "core/alloc.h"

#include <stdarg.h>
#include <stdio.h>

#define FIRST_SIZE ((size_t)1024)
/* A larger buffer grows by an eighth only: doubling would leave much memory unused. */
#define DOUBLED_TO ((size_t)64 * 1024)

void rl_buf_init(rl_buf *buf, size_t max)
{
    memset(buf, 0, sizeof *buf);
    buf->max = max;
}

void rl_buf_free(rl_buf *buf)
{
    rl_free(buf->data);
    rl_buf_init(buf, buf->max);
}

void rl_buf_reset(rl_buf *buf, size_t retain)
{
    if (buf->cap > retain || buf->failed) {
        rl_buf_free(buf);
    }
    buf->len = 0;
    buf->failed = false;
}

void rl_buf_trim(rl_buf *buf)
{
    char *data;

    if (buf->len == 0 && !buf->failed) {
        rl_buf_free(buf);
    } else if (buf->len < buf->cap) {
        data = rl_realloc(buf->data, buf->len);
        if (data != NULL) {
            buf->data = data;
            buf->cap = buf->len;
        }
    }
}

/* Leaves no room, so that the next append takes the slow path and fails too. */
static bool fail(rl_buf *buf)
{
    buf->failed = true;
    buf->cap = buf->len;
    return false;
}

bool rl_buf_grow(rl_buf *buf, size_t room)
{
    size_t need, cap;
    char *data;

    if (buf->failed || room > buf->max || buf->len > buf->max - room) {
        return fail(buf);
    }
    need = buf->len + room;
    cap = buf->cap != 0 ? buf->cap : FIRST_SIZE;
    while (cap < need && cap < DOUBLED_TO) {
        cap *= 2;
    }
    if (cap < need) {
        cap = need + need / 8;
    }
    if (cap > buf->max) {
        cap = buf->max;
    }
    data = rl_realloc(buf->data, cap);
    if (data == NULL) {
        return fail(buf);
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void rl_buf_add_text(rl_buf *buf, const char *text)
{
    rl_buf_add(buf, text, strlen(text));
}

void rl_buf_printf(rl_buf *buf, const char *format, ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len >= 0 && rl_buf_reserve(buf, (size_t)len + 1)) {
        va_start(args, format);
        vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
        va_end(args);
        buf->len += (size_t)len;
    } else if (len < 0) {
        (void)fail(buf);
    }
}
