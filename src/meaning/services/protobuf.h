/* The wire format of Protocol Buffers (https://protobuf.dev/programming-guides/encoding):
 * a writer into a buffer, and a reader of a slice of bytes.
 *
 * For a proto3 message whose fields are written in the order of their numbers, the writer
 * makes the same bytes as the official libraries: lengths are as short as possible, and a
 * number or a text that has its default (0, "") is left out. A failure sets buf->failed,
 * which the caller checks once, at the end.
 *
 * The reader takes any bytes, reads none outside of the slice, and copies nothing.
 *
 * Threads: any; one at a time for a buffer or a slice. Ownership: the writer copies;
 * slices point into the bytes that are read.
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

/* A varint without a tag: an element of a packed field. Cast a negative int64. */
void rl_pb_varint(rl_buf *buf, uint64_t value);

/* A field that is a number (int32, int64, uint64, bool, an enumeration); 0 is left out.
 * */
void rl_pb_uint(rl_buf *buf, uint32_t field, uint64_t value);

/* A field that is bytes or a text, even if empty. */
void rl_pb_bytes(rl_buf *buf, uint32_t field, const void *data, size_t len);
void rl_pb_text(rl_buf *buf, uint32_t field, const char *text); /* "" is left out */

/* float32 values [count] without a tag: elements of a packed field. */
void rl_pb_add_floats(rl_buf *buf, const float *values, size_t count);

/* Begin and end a field whose content is written between the two: a message or packed
 * numbers. rl_pb_close takes what rl_pb_open has returned. Fields nest. */
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

/* Each reads the front of the slice and removes it. False at the end, and before bytes
 * that can't be read, which stay in the slice: rest->len distinguishes the two. Groups,
 * which proto3 does not have, can't be read. */
bool rl_pb_next(rl_pb_slice *rest, rl_pb_field *field);
bool rl_pb_next_varint(rl_pb_slice *rest, uint64_t *value); /* of a packed field */
bool rl_pb_next_float(rl_pb_slice *rest, float *value);     /* of a packed field */

#endif
