/* The wire format of Protocol Buffers. See protobuf.h. */
#include "meaning/services/protobuf.h"

#define VARINT_MAX ((size_t)10) /* bytes: 64 bits, seven in each */

static size_t put_varint(uint8_t out[VARINT_MAX], uint64_t value)
{
    size_t len = 0;

    while (value >= 0x80) {
        out[len++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[len++] = (uint8_t)value;
    return len;
}

void rl_pb_varint(rl_buf *buf, uint64_t value)
{
    uint8_t bytes[VARINT_MAX];

    rl_buf_add(buf, bytes, put_varint(bytes, value));
}

static void put_tag(rl_buf *buf, uint32_t field, rl_pb_wire wire)
{
    rl_pb_varint(buf, (uint64_t)field << 3 | (uint64_t)wire);
}

void rl_pb_uint(rl_buf *buf, uint32_t field, uint64_t value)
{
    if (value != 0) {
        put_tag(buf, field, RL_PB_VARINT);
        rl_pb_varint(buf, value);
    }
}

void rl_pb_bytes(rl_buf *buf, uint32_t field, const void *data, size_t len)
{
    put_tag(buf, field, RL_PB_BYTES);
    rl_pb_varint(buf, len);
    rl_buf_add(buf, data, len);
}

void rl_pb_text(rl_buf *buf, uint32_t field, const char *text)
{
    size_t len = strlen(text);

    if (len != 0) {
        rl_pb_bytes(buf, field, text, len);
    }
}

/* Little-endian on every machine. */
static void put_float(char out[4], float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 4; i++) {
        out[i] = (char)(uint8_t)(bits >> 8 * i);
    }
}

void rl_pb_add_floats(rl_buf *buf, const float *values, size_t count)
{
    const size_t most = SIZE_MAX / 4;

    if (rl_buf_reserve(buf, count > most ? SIZE_MAX : count * 4)) {
        for (size_t i = 0; i < count; i++) {
            put_float(buf->data + buf->len + 4 * i, values[i]);
        }
        buf->len += count * 4;
    }
}

size_t rl_pb_open(rl_buf *buf, uint32_t field)
{
    put_tag(buf, field, RL_PB_BYTES);
    rl_buf_add_char(buf, 0); /* room for the length: one byte is enough for most */
    return buf->len;
}

void rl_pb_close(rl_buf *buf, size_t opened)
{
    uint8_t bytes[VARINT_MAX];
    size_t size, len;

    if (buf->failed) {
        return;
    }
    size = buf->len - opened;
    len = put_varint(bytes, size);
    if (len > 1 && rl_buf_reserve(buf, len - 1)) {
        memmove(buf->data + opened + len - 1, buf->data + opened, size);
        buf->len += len - 1;
    }
    if (!buf->failed) {
        memcpy(buf->data + opened - 1, bytes, len);
    }
}

bool rl_pb_next_varint(rl_pb_slice *rest, uint64_t *value)
{
    const size_t most = rest->len < VARINT_MAX ? rest->len : VARINT_MAX;
    uint64_t sum = 0;

    for (size_t i = 0; i < most; i++) {
        const uint8_t byte = rest->data[i];

        sum |= (uint64_t)(byte & 0x7F) << 7 * i; /* bits above 64 are dropped */
        if (byte < 0x80) {
            rest->data += i + 1;
            rest->len -= i + 1;
            *value = sum;
            return true;
        }
    }
    return false;
}

/* Reads a little-endian integer of `size` bytes. */
static bool next_fixed(rl_pb_slice *rest, size_t size, uint64_t *value)
{
    uint64_t sum = 0;

    if (rest->len < size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        sum |= (uint64_t)rest->data[i] << 8 * i;
    }
    rest->data += size;
    rest->len -= size;
    *value = sum;
    return true;
}

bool rl_pb_next_float(rl_pb_slice *rest, float *value)
{
    uint64_t word;
    uint32_t bits;

    if (!next_fixed(rest, 4, &word)) {
        return false;
    }
    bits = (uint32_t)word;
    memcpy(value, &bits, sizeof bits);
    return true;
}

static bool next_bytes(rl_pb_slice *rest, rl_pb_slice *bytes)
{
    uint64_t len;

    if (!rl_pb_next_varint(rest, &len) || len > rest->len) {
        return false;
    }
    *bytes = (rl_pb_slice){rest->data, (size_t)len};
    rest->data += len;
    rest->len -= (size_t)len;
    return true;
}

bool rl_pb_next(rl_pb_slice *rest, rl_pb_field *field)
{
    rl_pb_slice left = *rest;
    uint64_t tag;
    bool read = false;

    memset(field, 0, sizeof *field);
    if (!rl_pb_next_varint(&left, &tag) || tag > UINT32_MAX || tag >> 3 == 0) {
        return false;
    }
    field->number = (uint32_t)(tag >> 3);
    field->wire = (rl_pb_wire)(tag & 7);
    switch (field->wire) {
    case RL_PB_VARINT:
        read = rl_pb_next_varint(&left, &field->value);
        break;
    case RL_PB_FIXED64:
        read = next_fixed(&left, 8, &field->value);
        break;
    case RL_PB_BYTES:
        read = next_bytes(&left, &field->bytes);
        break;
    case RL_PB_FIXED32:
        read = next_fixed(&left, 4, &field->value);
        break;
    default:
        break;
    }
    if (read) {
        *rest = left;
    }
    return read;
}
