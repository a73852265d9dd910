/* Array literals of PostgreSQL. See pg_array.h. */
#include "rollup/pg_array.h"

#include "core/clock.h"

void rl_pg_hex(rl_buf *buf, const void *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *data = bytes;

    if (rl_buf_reserve(buf, 2 * len)) {
        for (size_t i = 0; i < len; i++) {
            buf->data[buf->len++] = digits[data[i] >> 4];
            buf->data[buf->len++] = digits[data[i] & 15];
        }
    }
}

static void next_element(rl_buf *array)
{
    rl_buf_add_char(array, array->len == 0 ? '{' : ',');
}

void rl_pg_array_text(rl_buf *array, const char *text, size_t len)
{
    next_element(array);
    rl_buf_add_char(array, '"');
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\') {
            rl_buf_add_char(array, '\\');
        }
        rl_buf_add_char(array, text[i]);
    }
    rl_buf_add_char(array, '"');
}

void rl_pg_array_time(rl_buf *array, int64_t at)
{
    char text[RL_TIME_TEXT];

    rl_time_format(at, text);
    next_element(array);
    rl_buf_printf(array, "\"%s\"", text);
}

void rl_pg_array_number(rl_buf *array, int64_t number)
{
    next_element(array);
    rl_buf_printf(array, "%lld", (long long)number);
}

void rl_pg_array_bytes(rl_buf *array, const void *bytes, size_t len)
{
    next_element(array);
    if (bytes != NULL) {
        rl_buf_add_text(array, "\"\\\\x");
        rl_pg_hex(array, bytes, len);
        rl_buf_add_char(array, '"');
    } else {
        rl_buf_add_text(array, "NULL");
    }
}
