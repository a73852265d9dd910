/* Protocol Buffers' wire format (https://protobuf.dev/programming-guides/encoding): a writer
 * into a buffer and a reader of a slice of bytes.
 *
 * The writer makes what the official libraries make of a proto3 message whose fields are
 * written in the order of their numbers: lengths take as few bytes as they can, and a number
 * or a text that is its default (0, "") is left out. Failures are the buffer's: look at
 * buf->failed once.
 *
 * The reader takes any bytes, looks at none outside of the slice, and copies nothing.
 *
 * Threads: any; a buffer and a reader are used by one at a time. Ownership: what is written is
 * copied; slices point into the bytes that are read.
 */
#ifndef RL_PROTOBUF_H
#define RL_PROTOBUF_H

#include "core/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum rl_pb_wire {
    RL_PB_VARINT = 0,
    RL_PB_FIXED64 = 1,
    RL_PB_BYTES = 2, /* texts, bytes, messages, packed numbers */
    RL_PB_FIXED32 = 5
} rl_pb_wire;

/* A bare varint: an element of a packed field. A negative int64 is cast. */
void rl_pb_varint(rl_buf *buf, uint64_t value);

/* A number (int32, int64, uint64, bool, an enumeration); 0 is left out. */
void rl_pb_uint(rl_buf *buf, uint32_t field, uint64_t value);

/* A text or bytes, also of no length. */
void rl_pb_bytes(rl_buf *buf, uint32_t field, const void *data, size_t len);
void rl_pb_text(rl_buf *buf, uint32_t field, const char *text); /* "" is left out */

/* Bare float32 values [count]: elements of a packed field. */
void rl_pb_add_floats(rl_buf *buf, const float *values, size_t count);

/* What is written between the two is the content of a field: a message or packed numbers.
 * rl_pb_open returns what rl_pb_close is to be given. They nest. */
size_t rl_pb_open(rl_buf *buf, uint32_t field);
void rl_pb_close(rl_buf *buf, size_t opened);

typedef struct rl_pb_slice {
    const uint8_t *data; /* borrowed */
    size_t len;          /* bytes */
} rl_pb_slice;

typedef struct rl_pb_field {
    uint32_t number; /* 1 or more */
    rl_pb_wire wire;
    uint64_t value;    /* of RL_PB_VARINT, RL_PB_FIXED64 and RL_PB_FIXED32; else 0 */
    rl_pb_slice bytes; /* of RL_PB_BYTES; else empty */
} rl_pb_field;

/* Each takes what it reads off the front of the slice. False at its end, and for what can't be
 * read: that stays in the slice, so that rest->len tells the two apart. Groups, which proto3
 * does not have, can't be read. */
bool rl_pb_next(rl_pb_slice *rest, rl_pb_field *field);
bool rl_pb_next_varint(rl_pb_slice *rest, uint64_t *value); /* of a packed field */
bool rl_pb_next_float(rl_pb_slice *rest, float *value);     /* of a packed field */

#endif
