/* UUIDs of version 7. See uuid.h. */
#include "core/uuid.h"

#include "core/random.h"

#include <errno.h>
#include <string.h>

rl_status rl_uuid7(int64_t stamp, uint8_t out[16], rl_err *err)
{
    uint64_t micros = stamp > 0 ? (uint64_t)stamp : 0;
    uint64_t millis = micros / 1000;
    unsigned fraction = (unsigned)(micros % 1000 * 4096 / 1000);

    if (!rl_random_bytes(out + 8, 8, true)) {
        return rl_err_set(err, RL_STORE,
                          "no random bytes from the kernel for the id of a run: %s",
                          strerror(errno));
    }
    for (int i = 0; i < 6; i++) {
        out[i] = (uint8_t)(millis >> (40 - 8 * i));
    }
    out[6] = (uint8_t)(0x70 | fraction >> 8);
    out[7] = (uint8_t)fraction;
    out[8] = (uint8_t)(0x80 | (out[8] & 0x3F));
    return RL_OK;
}

void rl_uuid_format(const uint8_t id[16], char out[RL_UUID_TEXT])
{
    static const char hex[] = "0123456789abcdef";

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *out++ = '-';
        }
        *out++ = hex[id[i] >> 4];
        *out++ = hex[id[i] & 15];
    }
    *out = '\0';
}

static int hex_value(char digit)
{
    int value = -1;

    if (digit >= '0' && digit <= '9') {
        value = digit - '0';
    } else if (digit >= 'a' && digit <= 'f') {
        value = digit - 'a' + 10;
    }
    return value;
}

bool rl_uuid_parse(const char *text, uint8_t id[16])
{
    for (int i = 0; i < 16; i++) {
        int high, low;

        if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-') {
            return false;
        }
        high = hex_value(text[0]);
        low = high >= 0 ? hex_value(text[1]) : -1;
        if (low < 0) {
            return false;
        }
        id[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return *text == '\0';
}
