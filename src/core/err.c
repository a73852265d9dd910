/* The error record. See err.h. */
#include "core/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Removes the last character of a text that was cut, unless it is ASCII: it may be
 * incomplete. */
static void trim_partial_character(char *text, size_t len)
{
    size_t tail = len;

    while (tail > 0 && ((unsigned char)text[tail - 1] & 0xC0) == 0x80) {
        tail--;
    }
    if (tail > 0 && ((unsigned char)text[tail - 1] & 0x80) != 0) {
        text[tail - 1] = '\0';
    }
}

rl_status rl_err_set(rl_err *err, rl_status code, const char *format, ...)
{
    va_list args;
    int len;

    if (err == NULL) {
        return code;
    }
    memset(err, 0, sizeof *err);
    err->code = code;
    va_start(args, format);
    len = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (len >= (int)sizeof err->text) {
        trim_partial_character(err->text, sizeof err->text - 1);
    }
    return code;
}

rl_status rl_err_nomem(rl_err *err)
{
    return rl_err_set(err, RL_NOMEM, "out of memory");
}
