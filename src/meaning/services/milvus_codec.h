/* The messages of the calls of Milvus that runlog makes: writes requests, reads answers
 * (https://github.com/milvus-io/milvus-proto: milvus.proto, schema.proto, common.proto).
 *
 * The writers append a request to a buffer; its `failed` reports a failure. The readers
 * take any bytes, and return false for what is no such message.
 *
 * Threads: any; pure functions. Ownership: results point into the answer.
 */
#ifndef RL_MILVUS_CODEC_H
#define RL_MILVUS_CODEC_H

#include "core/buf.h"
#include "meaning/services/milvus_row.h"
#include "meaning/services/protobuf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_MILVUS_TEXT ((size_t)65535) /* bytes of a VarChar, by Milvus's limit */
#define RL_MILVUS_DIM_MAX 32768
#define RL_MILVUS_LIMIT_MAX ((size_t)16384)
#define RL_MILVUS_METRIC "COSINE"

/* schema.proto, DataType; the types of the fields. */
typedef enum rl_milvus_type {
    RL_MILVUS_INT64 = 5,
    RL_MILVUS_VARCHAR = 21,
    RL_MILVUS_FLOAT_VECTOR = 101
} rl_milvus_type;

enum {
    RL_MILVUS_FIELD_ID,
    RL_MILVUS_FIELD_WPK_ID,
    RL_MILVUS_FIELD_STATUS,
    RL_MILVUS_FIELD_RUN_ID,
    RL_MILVUS_FIELD_CREATED_AT,
    RL_MILVUS_FIELD_EMBEDDING,
    RL_MILVUS_FIELDS
};

/* A field of a collection that runlog creates; max_length in bytes, 0 if it is no
 * VarChar. */
typedef struct rl_milvus_field {
    const char *name;
    rl_milvus_type type;
    uint32_t max_length;
} rl_milvus_field;

extern const rl_milvus_field rl_milvus_fields[RL_MILVUS_FIELDS];

/* "VarChar", or "another type" for an unknown number. */
const char *rl_milvus_type_name(uint64_t type);

/* The requests. */
void rl_milvus_put_describe(rl_buf *buf, const char *collection);
void rl_milvus_put_create(rl_buf *buf, const char *collection, uint32_t dim);
void rl_milvus_put_index(rl_buf *buf, const char *collection);
void rl_milvus_put_describe_index(rl_buf *buf, const char *collection);
void rl_milvus_put_load(rl_buf *buf, const char *collection);
void rl_milvus_put_load_state(rl_buf *buf, const char *collection);
void rl_milvus_put_delete(rl_buf *buf, const char *collection, const rl_buf *filter);

/* max_length: bytes above which the text of a field is cut. */
void rl_milvus_put_upsert(rl_buf *buf, const char *collection, const rl_milvus_row *rows,
                          size_t count, uint32_t dim,
                          const size_t max_length[RL_MILVUS_FIELDS]);

void rl_milvus_put_search(rl_buf *buf, const char *collection,
                          const rl_milvus_search *search, const rl_buf *filter,
                          bool strong);

/* common.proto, Status: of an answer's field 1, or the answer itself (Create, Load). */
typedef struct rl_milvus_status {
    int32_t code;   /* Milvus 2.3 and later */
    int32_t legacy; /* error_code, of older ones; both are 0 for a success */
    bool retriable;
    rl_pb_slice reason;
} rl_milvus_status;

bool rl_milvus_get_status(rl_pb_slice answer, bool bare, rl_milvus_status *status);

/* A field in the answer of DescribeCollection. */
typedef struct rl_milvus_column {
    bool exists, is_primary, is_auto_id;
    uint64_t type;
    uint64_t dim, max_length; /* 0: not given */
} rl_milvus_column;

bool rl_milvus_get_schema(rl_pb_slice answer, rl_milvus_column columns[RL_MILVUS_FIELDS]);

/* The metric of the index of the field embedding, empty if not given. *exists is false
 * when the field has no index. */
bool rl_milvus_get_index(rl_pb_slice answer, bool *exists, rl_pb_slice *metric);

bool rl_milvus_get_load_state(rl_pb_slice answer, uint64_t *state);
#define RL_MILVUS_NOT_EXIST 0 /* common.proto, LoadState */
#define RL_MILVUS_LOADING 2
#define RL_MILVUS_LOADED 3

bool rl_milvus_get_upserted(rl_pb_slice answer, uint64_t *count);

/* hits [limit]; false also for an id of RL_MILVUS_ID bytes or more. */
bool rl_milvus_get_hits(rl_pb_slice answer, rl_milvus_hit *hits, size_t limit,
                        size_t *count);

#endif
