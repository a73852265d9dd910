/* Base64. See base64.h. */
#include "core/base64.h"

#define NONE 0x80 /* not in the alphabet */

size_t rl_base64_encode(char *out, const uint8_t *data, size_t len)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *to = out;

    for (; len >= 3; data += 3, len -= 3, to += 4) {
        uint32_t bits = (uint32_t)data[0] << 16 | (uint32_t)data[1] << 8 | data[2];

        to[0] = digits[bits >> 18];
        to[1] = digits[bits >> 12 & 63];
        to[2] = digits[bits >> 6 & 63];
        to[3] = digits[bits & 63];
    }
    if (len > 0) {
        uint32_t bits = (uint32_t)data[0] << 16 | (len == 2 ? (uint32_t)data[1] << 8 : 0);

        to[0] = digits[bits >> 18];
        to[1] = digits[bits >> 12 & 63];
        to[2] = len == 2 ? digits[bits >> 6 & 63] : '=';
        to[3] = '=';
        to += 4;
    }
    return (size_t)(to - out);
}

/* The six bits of a character, or NONE. */
static inline unsigned six_bits(char c)
{
    unsigned bits = NONE;

    if (c >= 'A' && c <= 'Z') {
        bits = (unsigned)(c - 'A');
    } else if (c >= 'a' && c <= 'z') {
        bits = (unsigned)(c - 'a') + 26;
    } else if (c >= '0' && c <= '9') {
        bits = (unsigned)(c - '0') + 52;
    } else if (c == '+') {
        bits = 62;
    } else if (c == '/') {
        bits = 63;
    }
    return bits;
}

/* Whole groups of four characters. */
static bool decode_groups(const char *text, size_t groups, uint8_t *out)
{
    unsigned wrong = 0;

    for (size_t i = 0; i < groups; i++) {
        unsigned a = six_bits(text[4 * i]), b = six_bits(text[4 * i + 1]);
        unsigned c = six_bits(text[4 * i + 2]), d = six_bits(text[4 * i + 3]);

        wrong |= a | b | c | d;
        out[3 * i] = (uint8_t)(a << 2 | b >> 4);
        out[3 * i + 1] = (uint8_t)(b << 4 | c >> 2);
        out[3 * i + 2] = (uint8_t)(c << 6 | d);
    }
    return (wrong & NONE) == 0;
}

bool rl_base64_decode(const char *text, size_t len, uint8_t *out, size_t *size)
{
    const size_t groups = len / 4;
    unsigned a, b, c;

    *size = 0;
    if (len % 4 != 0) {
        return false;
    }
    if (len == 0 || text[len - 1] != '=') {
        *size = groups * 3;
        return decode_groups(text, groups, out);
    }
    if (!decode_groups(text, groups - 1, out)) {
        return false;
    }
    text += len - 4;
    out += (groups - 1) * 3;
    a = six_bits(text[0]);
    b = six_bits(text[1]);
    c = text[2] == '=' ? 0 : six_bits(text[2]);
    if (((a | b | c) & NONE) != 0 || (text[2] == '=' ? (b & 0xF) : (c & 3)) != 0) {
        return false;
    }
    out[0] = (uint8_t)(a << 2 | b >> 4);
    if (text[2] != '=') {
        out[1] = (uint8_t)(b << 4 | c >> 2);
    }
    *size = groups * 3 - (text[2] == '=' ? 2 : 1);
    return true;
}
