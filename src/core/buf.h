/* A growable byte buffer with a hard cap and a sticky failure flag.
 *
 * An append that can't be done (no memory, over the cap) sets `failed` and changes nothing;
 * later appends do nothing. So a writer appends freely and looks at `failed` once.
 * Ownership: `data` is owned by the buffer until rl_buf_free. Not thread-safe.
 */
#ifndef RL_BUF_H
#define RL_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct rl_buf {
    char *data; /* owned; NULL until the first append */
    size_t len;
    size_t cap;
    size_t max; /* bytes it may never exceed */
    bool failed;
} rl_buf;

/* What one run's arena may hold at most; the payload caps keep it far below. */
#define RL_BUF_MAX ((size_t)1 << 30)

void rl_buf_init(rl_buf *buf, size_t max);
void rl_buf_free(rl_buf *buf);

/* Empties it for the next use; gives memory back when it holds more than `keep` bytes. */
void rl_buf_reset(rl_buf *buf, size_t keep);

/* Makes room for `room` more bytes. The slow half of rl_buf_reserve. */
bool rl_buf_grow(rl_buf *buf, size_t room);

/* True when `room` bytes may be written at data + len (the caller then moves len). */
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
