/* Makes a server's text safe for an error. See printable.h. */
#include "net/printable.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define HIDDEN "***"
#define SECRET_MIN 4 /* bytes; at least as many as HIDDEN has */

/* The bytes of the character at text, or 0 when it is not valid UTF-8 (RFC 3629). */
static size_t character(const unsigned char *text, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t point;
    size_t count;

    if (text[0] < 0x80) {
        return 1;
    }
    count = text[0] >= 0xF0 ? 4 : text[0] >= 0xE0 ? 3 : 2;
    if (text[0] < 0xC2 || text[0] > 0xF4 || count > len) {
        return 0;
    }
    point = text[0] & (0x7Fu >> count);
    for (size_t i = 1; i < count; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 0;
        }
        point = point << 6 | (text[i] & 0x3F);
    }
    if (point < least[count] || (point >= 0xD800 && point <= 0xDFFF) ||
        point > 0x10FFFF) {
        return 0;
    }
    return count;
}

/* ASCII's control characters, DEL, and U+0080 to U+009F, which terminals also
 * interpret. */
static bool is_control(const unsigned char *text, size_t count)
{
    return text[0] < 0x20 || text[0] == 0x7F ||
           (count == 2 && text[0] == 0xC2 && text[1] < 0xA0);
}

void rl_printable(char *out, size_t size, const char *text, size_t len)
{
    size_t at = 0, to = 0, count;
    bool full = false;

    while (at < len && !full) {
        const unsigned char *from = (const unsigned char *)text + at;

        count = character(from, len - at);
        full = to + (count != 0 ? count : 1) >= size;
        if (!full && count == 0) {
            out[to++] = '?';
            at++;
        } else if (!full && is_control(from, count)) {
            out[to++] = ' ';
            at += count;
        } else if (!full) {
            memcpy(out + to, from, count);
            to += count;
            at += count;
        }
    }
    while (to > 0 && out[to - 1] == ' ') {
        to--;
    }
    out[to] = '\0';
}

void rl_hide(char *text, const char *secret)
{
    const size_t len = secret != NULL ? strlen(secret) : 0;
    const size_t hidden = sizeof HIDDEN - 1;
    char *at = text;

    while (len >= SECRET_MIN && (at = strstr(at, secret)) != NULL) {
        memcpy(at, HIDDEN, hidden);
        memmove(at + hidden, at + len, strlen(at + len) + 1);
        at += hidden;
    }
}

void rl_hide_end(char *text, const char *secret)
{
    const size_t len = secret != NULL ? strlen(secret) : 0, left = strlen(text);

    for (size_t part = len > SECRET_MIN ? len - 1 : 0; part >= SECRET_MIN; part--) {
        if (part <= left && memcmp(text + left - part, secret, part) == 0) {
            memcpy(text + left - part, HIDDEN, sizeof HIDDEN);
            break;
        }
    }
}

void rl_hide_all(char *text, const char *const *secrets)
{
    for (; *secrets != NULL; secrets++) {
        rl_hide(text, *secrets);
        rl_hide_end(text, *secrets);
    }
}
