/* A growable byte buffer with a hard cap and a sticky failure flag.
 *
 * An append that fails (no memory, or over the cap) sets `failed` and changes nothing
 * else; later appends do nothing. So a writer appends freely and checks `failed` once, at
 * the end.
 * Ownership: `data` is owned by the buffer until rl_buf_free. Not thread-safe.
 */
#ifndef RL_BUF_H
#define RL_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct rl_buf {
    char *data; /* owned; NULL until the first append */
    size_t len; /* bytes used */
    size_t cap; /* bytes allocated */
    size_t max; /* cap, bytes */
    bool failed;
} rl_buf;

/* A cap for buffers that other limits hold far below it, in bytes. */
#define RL_BUF_MAX ((size_t)1 << 30)

void rl_buf_init(rl_buf *buf, size_t max);
void rl_buf_free(rl_buf *buf);

/* Empties the buffer for its next use, and clears `failed`. Frees the memory if more than
 * `retain` bytes are allocated. */
void rl_buf_reset(rl_buf *buf, size_t retain);

/* Frees the memory beyond the bytes that are used. */
void rl_buf_trim(rl_buf *buf);

/* Makes room for `room` more bytes: the slow path of rl_buf_reserve. */
bool rl_buf_grow(rl_buf *buf, size_t room);

/* Makes room for `room` bytes at data + len; the caller writes them and then raises len.
 * False, with `failed` set, when there is no room. */
static inline bool rl_buf_reserve(rl_buf *buf, size_t room)
{
    return buf->cap - buf->len >= room || rl_buf_grow(buf, room);
}

static inline void rl_buf_add(rl_buf *buf, const void *data, size_t len)
{
    if (len != 0 && rl_buf_reserve(buf, len)) {
        memcpy(buf->data + buf->len, data, len);
        buf->len += len;
    }
}

static inline void rl_buf_add_char(rl_buf *buf, char c)
{
    if (rl_buf_reserve(buf, 1)) {
        buf->data[buf->len++] = c;
    }
}

void rl_buf_add_text(rl_buf *buf, const char *text);
void rl_buf_printf(rl_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
