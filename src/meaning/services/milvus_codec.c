/* The requests of Milvus. See milvus_codec.h. */
#include "meaning/services/milvus_codec.h"

#include "meaning/services/utf8_prefix.h"

#include <inttypes.h>
#include <stdio.h>

/* HNSW: edges of a node, and candidates examined when a node is inserted. */
#define INDEX_PARAMS "{\"M\": 16, \"efConstruction\": 200}"
#define EF_MIN 64 /* candidates of a search; never fewer than hits */

#define BOUNDED 2    /* common.proto, ConsistencyLevel */
#define BOUNDED_TS 2 /* the same for servers before 2.3 */

const rl_milvus_field rl_milvus_fields[RL_MILVUS_FIELDS] = {
    {"id", RL_MILVUS_VARCHAR, RL_MILVUS_ID - 1},
    {"wpk_id", RL_MILVUS_VARCHAR, RL_MILVUS_TEXT},
    {"status", RL_MILVUS_VARCHAR, 64},
    {"run_id", RL_MILVUS_VARCHAR, RL_MILVUS_TEXT},
    {"created_at", RL_MILVUS_INT64, 0},
    {"embedding", RL_MILVUS_FLOAT_VECTOR, 0},
};

static const rl_milvus_field *const embedding =
    &rl_milvus_fields[RL_MILVUS_FIELD_EMBEDDING];

const char *rl_milvus_type_name(uint64_t type)
{
    static const char *const names[] = {[0] = "None",
                                        [1] = "Bool",
                                        [2] = "Int8",
                                        [3] = "Int16",
                                        [4] = "Int32",
                                        [5] = "Int64",
                                        [10] = "Float",
                                        [11] = "Double",
                                        [20] = "String",
                                        [21] = "VarChar",
                                        [22] = "Array",
                                        [23] = "JSON",
                                        [100] = "BinaryVector",
                                        [101] = "FloatVector",
                                        [102] = "Float16Vector",
                                        [103] = "BFloat16Vector",
                                        [104] = "SparseFloatVector"};
    const bool known = type < sizeof names / sizeof *names && names[type] != NULL;

    return known ? names[type] : "another type";
}

/* common.proto, KeyValuePair. */
static void put_pair(rl_buf *buf, uint32_t field, const char *key, const char *value)
{
    size_t opened = rl_pb_open(buf, field);

    rl_pb_text(buf, 1, key);
    rl_pb_text(buf, 2, value);
    rl_pb_close(buf, opened);
}

static void put_number(rl_buf *buf, uint32_t field, const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, value);
    put_pair(buf, field, key, text);
}

void rl_milvus_put_describe(rl_buf *buf, const char *collection)
{
    rl_pb_text(buf, 3, collection);
}

static void put_field_schema(rl_buf *buf, const rl_milvus_field *field, uint32_t dim)
{
    size_t opened = rl_pb_open(buf, 4);

    rl_pb_text(buf, 2, field->name);
    rl_pb_uint(buf, 3, field == &rl_milvus_fields[RL_MILVUS_FIELD_ID]); /* is_primary */
    rl_pb_uint(buf, 5, field->type);
    if (field->type == RL_MILVUS_VARCHAR) {
        put_number(buf, 6, "max_length", field->max_length);
    } else if (field == embedding) {
        put_number(buf, 6, "dim", dim);
    }
    rl_pb_close(buf, opened);
}

/* Without a partition key: 2.3.5 loses rows of an upsert into a collection with one. */
void rl_milvus_put_create(rl_buf *buf, const char *collection, uint32_t dim)
{
    size_t schema;

    rl_pb_text(buf, 3, collection);
    schema = rl_pb_open(buf, 4);
    rl_pb_text(buf, 1, collection);
    for (size_t i = 0; i < RL_MILVUS_FIELDS; i++) {
        put_field_schema(buf, &rl_milvus_fields[i], dim);
    }
    rl_pb_close(buf, schema);
    rl_pb_uint(buf, 5, 1); /* shards_num */
    rl_pb_uint(buf, 6, BOUNDED);
}

void rl_milvus_put_index(rl_buf *buf, const char *collection)
{
    rl_pb_text(buf, 3, collection);
    rl_pb_text(buf, 4, embedding->name);
    put_pair(buf, 5, "index_type", "HNSW");
    put_pair(buf, 5, "metric_type", RL_MILVUS_METRIC);
    put_pair(buf, 5, "params", INDEX_PARAMS);
    rl_pb_text(buf, 6, embedding->name); /* index_name */
}

void rl_milvus_put_describe_index(rl_buf *buf, const char *collection)
{
    rl_pb_text(buf, 3, collection);
    rl_pb_text(buf, 4, embedding->name);
}

void rl_milvus_put_load(rl_buf *buf, const char *collection)
{
    rl_pb_text(buf, 3, collection);
    rl_pb_uint(buf, 4, 1); /* replica_number */
}

void rl_milvus_put_load_state(rl_buf *buf, const char *collection)
{
    rl_pb_text(buf, 2, collection);
}

void rl_milvus_put_delete(rl_buf *buf, const char *collection, const rl_buf *filter)
{
    rl_pb_text(buf, 3, collection);
    rl_pb_bytes(buf, 5, filter->data, filter->len);
}

static const char *text_of(const rl_milvus_row *row, size_t field)
{
    const char *const texts[] = {row->id, row->wpk_id, row->status, row->run_id};

    return texts[field];
}

/* schema.proto, ScalarField: string_data or long_data. */
static void put_scalars(rl_buf *buf, const rl_milvus_row *rows, size_t count,
                        size_t field, size_t max_length)
{
    const bool is_text = rl_milvus_fields[field].type == RL_MILVUS_VARCHAR;
    size_t scalars = rl_pb_open(buf, 3);
    size_t array = rl_pb_open(buf, is_text ? 6 : 3);
    size_t packed = is_text ? 0 : rl_pb_open(buf, 1);

    for (size_t i = 0; i < count; i++) {
        if (is_text) {
            const char *text = text_of(&rows[i], field);

            rl_pb_bytes(buf, 1, text, rl_utf8_prefix(text, strlen(text), max_length));
        } else {
            rl_pb_varint(buf, (uint64_t)rows[i].created_at);
        }
    }
    if (!is_text) {
        rl_pb_close(buf, packed);
    }
    rl_pb_close(buf, array);
    rl_pb_close(buf, scalars);
}

/* schema.proto, VectorField: the vectors of all rows, concatenated. */
static void put_vectors(rl_buf *buf, const rl_milvus_row *rows, size_t count,
                        uint32_t dim)
{
    size_t vectors = rl_pb_open(buf, 4), array, packed;

    rl_pb_uint(buf, 1, dim);
    array = rl_pb_open(buf, 2);
    packed = rl_pb_open(buf, 1);
    for (size_t i = 0; i < count; i++) {
        rl_pb_add_floats(buf, rows[i].vector, dim);
    }
    rl_pb_close(buf, packed);
    rl_pb_close(buf, array);
    rl_pb_close(buf, vectors);
}

void rl_milvus_put_upsert(rl_buf *buf, const char *collection, const rl_milvus_row *rows,
                          size_t count, uint32_t dim,
                          const size_t max_length[RL_MILVUS_FIELDS])
{
    rl_pb_text(buf, 3, collection);
    for (size_t i = 0; i < RL_MILVUS_FIELDS; i++) {
        size_t field = rl_pb_open(buf, 5);

        rl_pb_uint(buf, 1, rl_milvus_fields[i].type);
        rl_pb_text(buf, 2, rl_milvus_fields[i].name);
        if (i == RL_MILVUS_FIELD_EMBEDDING) {
            put_vectors(buf, rows, count, dim);
        } else {
            put_scalars(buf, rows, count, i, max_length[i]);
        }
        rl_pb_close(buf, field);
    }
    rl_pb_uint(buf, 7, count);
}

/* common.proto, PlaceholderGroup, which stands for the vector in the search. */
static void put_placeholders(rl_buf *buf, const rl_milvus_search *search)
{
    size_t group = rl_pb_open(buf, 6);
    size_t placeholder = rl_pb_open(buf, 1);
    size_t values;

    rl_pb_text(buf, 1, "$0");
    rl_pb_uint(buf, 2, RL_MILVUS_FLOAT_VECTOR);
    values = rl_pb_open(buf, 3);
    rl_pb_add_floats(buf, search->vector, search->dim);
    rl_pb_close(buf, values);
    rl_pb_close(buf, placeholder);
    rl_pb_close(buf, group);
}

void rl_milvus_put_search(rl_buf *buf, const char *collection,
                          const rl_milvus_search *search, const rl_buf *filter,
                          bool strong)
{
    const size_t ef = search->limit > EF_MIN / 2 ? search->limit * 2 : EF_MIN;
    char params[40];

    snprintf(params, sizeof params, "{\"ef\": %zu}", ef);
    rl_pb_text(buf, 3, collection);
    if (filter->len != 0) {
        rl_pb_bytes(buf, 5, filter->data, filter->len); /* dsl */
    }
    put_placeholders(buf, search);
    rl_pb_uint(buf, 7, 1); /* dsl_type: an expression */
    put_pair(buf, 9, "anns_field", embedding->name);
    put_number(buf, 9, "topk", search->limit);
    put_pair(buf, 9, "metric_type", RL_MILVUS_METRIC);
    put_pair(buf, 9, "params", params);
    put_pair(buf, 9, "round_decimal", "-1");
    if (!strong) {
        rl_pb_uint(buf, 11, BOUNDED_TS); /* guarantee_timestamp */
    }
    rl_pb_uint(buf, 12, 1); /* nq */
    if (!strong) {
        rl_pb_uint(buf, 14, BOUNDED);
    }
}
