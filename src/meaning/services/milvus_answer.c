/* The answers of Milvus. See milvus_codec.h. */
#include "meaning/services/milvus_codec.h"

#include <string.h>

static bool is_message(const rl_pb_field *field, uint32_t number)
{
    return field->number == number && field->wire == RL_PB_BYTES;
}

static bool is_number(const rl_pb_field *field, uint32_t number)
{
    return field->number == number && field->wire == RL_PB_VARINT;
}

static bool is_text(rl_pb_slice slice, const char *text)
{
    return slice.len == strlen(text) &&
           (slice.len == 0 || memcmp(slice.data, text, slice.len) == 0);
}

/* The last field with this number, which is the valid one of a field that is not
 * repeated. Empty when there is none. */
static bool find_message(rl_pb_slice message, uint32_t number, rl_pb_slice *found)
{
    rl_pb_field field;

    *found = (rl_pb_slice){NULL, 0};
    while (rl_pb_next(&message, &field)) {
        if (is_message(&field, number)) {
            *found = field.bytes;
        }
    }
    return message.len == 0;
}

static bool find_number(rl_pb_slice message, uint32_t number, uint64_t *found)
{
    rl_pb_field field;

    *found = 0;
    while (rl_pb_next(&message, &field)) {
        if (is_number(&field, number)) {
            *found = field.value;
        }
    }
    return message.len == 0;
}

bool rl_milvus_get_status(rl_pb_slice answer, bool bare, rl_milvus_status *status)
{
    rl_pb_slice rest = answer;
    rl_pb_field field;

    memset(status, 0, sizeof *status);
    if (!bare && !find_message(answer, 1, &rest)) {
        return false;
    }
    while (rl_pb_next(&rest, &field)) {
        if (is_number(&field, 1)) {
            status->legacy = (int32_t)(uint32_t)field.value;
        } else if (is_message(&field, 2)) {
            status->reason = field.bytes;
        } else if (is_number(&field, 3)) {
            status->code = (int32_t)(uint32_t)field.value;
        } else if (is_number(&field, 4)) {
            status->retriable = field.value != 0;
        }
    }
    return rest.len == 0;
}

/* A decimal number; 0 for anything else. */
static uint64_t number_of(rl_pb_slice text)
{
    uint64_t value = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || value > UINT32_MAX) {
            return 0;
        }
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    return value;
}

/* common.proto, KeyValuePair. */
static bool get_pair(rl_pb_slice pair, rl_pb_slice *key, rl_pb_slice *value)
{
    return find_message(pair, 1, key) && find_message(pair, 2, value);
}

/* schema.proto, FieldSchema. */
static bool get_column(rl_pb_slice message, rl_pb_slice *name, rl_milvus_column *column)
{
    rl_pb_field field;
    rl_pb_slice key, value;

    memset(column, 0, sizeof *column);
    *name = (rl_pb_slice){NULL, 0};
    column->exists = true;
    while (rl_pb_next(&message, &field)) {
        if (is_message(&field, 2)) {
            *name = field.bytes;
        } else if (is_number(&field, 3)) {
            column->is_primary = field.value != 0;
        } else if (is_number(&field, 5)) {
            column->type = field.value;
        } else if (is_number(&field, 8)) {
            column->is_auto_id = field.value != 0;
        } else if (is_message(&field, 6)) {
            if (!get_pair(field.bytes, &key, &value)) {
                return false;
            }
            if (is_text(key, "dim")) {
                column->dim = number_of(value);
            } else if (is_text(key, "max_length")) {
                column->max_length = number_of(value);
            }
        }
    }
    return message.len == 0;
}

bool rl_milvus_get_schema(rl_pb_slice answer, rl_milvus_column columns[RL_MILVUS_FIELDS])
{
    rl_pb_slice schema, name;
    rl_pb_field field;
    rl_milvus_column column;

    memset(columns, 0, RL_MILVUS_FIELDS * sizeof *columns);
    if (!find_message(answer, 2, &schema)) {
        return false;
    }
    while (rl_pb_next(&schema, &field)) {
        if (is_message(&field, 4)) {
            if (!get_column(field.bytes, &name, &column)) {
                return false;
            }
            for (size_t i = 0; i < RL_MILVUS_FIELDS; i++) {
                if (is_text(name, rl_milvus_fields[i].name)) {
                    columns[i] = column;
                }
            }
        }
    }
    return schema.len == 0;
}

/* milvus.proto, IndexDescription: the metric is one of its parameters. */
static bool get_metric(rl_pb_slice description, rl_pb_slice *metric)
{
    rl_pb_field field;
    rl_pb_slice key, value;

    while (rl_pb_next(&description, &field)) {
        if (is_message(&field, 3)) {
            if (!get_pair(field.bytes, &key, &value)) {
                return false;
            }
            if (is_text(key, "metric_type")) {
                *metric = value;
            }
        }
    }
    return description.len == 0;
}

bool rl_milvus_get_index(rl_pb_slice answer, bool *exists, rl_pb_slice *metric)
{
    rl_pb_field field;
    rl_pb_slice name;

    *exists = false;
    *metric = (rl_pb_slice){NULL, 0};
    while (rl_pb_next(&answer, &field)) {
        if (is_message(&field, 2)) {
            if (!find_message(field.bytes, 4, &name)) {
                return false;
            }
            if (is_text(name, rl_milvus_fields[RL_MILVUS_FIELD_EMBEDDING].name)) {
                *exists = true;
                if (!get_metric(field.bytes, metric)) {
                    return false;
                }
            }
        }
    }
    return answer.len == 0;
}

bool rl_milvus_get_load_state(rl_pb_slice answer, uint64_t *state)
{
    return find_number(answer, 2, state);
}

bool rl_milvus_get_upserted(rl_pb_slice answer, uint64_t *count)
{
    return find_number(answer, 8, count);
}

/* Reads the scores, which may be packed or not. */
static bool get_scores(rl_pb_slice data, rl_milvus_hit *hits, size_t limit, size_t *count)
{
    rl_pb_field field;
    float score;

    *count = 0;
    while (rl_pb_next(&data, &field)) {
        if (is_message(&field, 4)) {
            while (*count < limit && rl_pb_next_float(&field.bytes, &score)) {
                hits[(*count)++].score = score;
            }
        } else if (field.number == 4 && field.wire == RL_PB_FIXED32 && *count < limit) {
            const uint32_t bits = (uint32_t)field.value;

            memcpy(&hits[*count].score, &bits, sizeof bits);
            (*count)++;
        }
    }
    return data.len == 0;
}

bool rl_milvus_get_hits(rl_pb_slice answer, rl_milvus_hit *hits, size_t limit,
                        size_t *count)
{
    rl_pb_slice data, ids, texts;
    rl_pb_field field;
    size_t scored = 0;

    *count = 0;
    if (!find_message(answer, 2, &data) || !get_scores(data, hits, limit, &scored) ||
        !find_message(data, 5, &ids) || !find_message(ids, 2, &texts)) {
        return false;
    }
    while (rl_pb_next(&texts, &field)) {
        if (is_message(&field, 1) && *count < limit) {
            if (field.bytes.len >= RL_MILVUS_ID ||
                memchr(field.bytes.data, 0, field.bytes.len) != NULL) {
                return false;
            }
            memcpy(hits[*count].id, field.bytes.data, field.bytes.len);
            hits[(*count)++].id[field.bytes.len] = '\0';
        }
    }
    return texts.len == 0 && scored == *count;
}
