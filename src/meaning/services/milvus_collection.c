/* Creates, checks and loads the collection. See rl_milvus_prepare and milvus.h.
 *
 * Several processes may do this at once. Whatever another process has created meanwhile
 * is checked as if it had existed before.
 */
#include "meaning/services/milvus_call.h"

#include "net/printable.h"

#include <stdio.h>

#define POLL_FIRST_NS UINT64_C(10000000)
#define POLL_LAST_NS UINT64_C(200000000)

/* The pauses double and stay below this, so that they take about 0.6 s in all. */
#define POLL_OTHER_NS UINT64_C(500000000)

static rl_status check_column(rl_milvus_operation *op, size_t index,
                              const rl_milvus_column *column)
{
    const rl_milvus_field *field = &rl_milvus_fields[index];
    const char *collection = op->milvus->collection;
    const bool is_key = index == RL_MILVUS_FIELD_ID;
    rl_status status = RL_OK;

    if (!column->exists) {
        status = rl_milvus_fail(op, "collection %s has no field %s (%s)", collection,
                                field->name, rl_milvus_type_name(field->type));
    } else if (column->type != field->type) {
        status = rl_milvus_fail(
            op, "field %s of collection %s is %s (type %llu), not %s", field->name,
            collection, rl_milvus_type_name(column->type),
            (unsigned long long)column->type, rl_milvus_type_name(field->type));
    } else if (column->is_primary != is_key) {
        status = rl_milvus_fail(op, "field %s of collection %s is %s primary key",
                                field->name, collection, is_key ? "not the" : "the");
    } else if (column->is_auto_id) {
        status =
            rl_milvus_fail(op,
                           "field %s of collection %s is filled by Milvus (auto_id), "
                           "so it can't be the run's id",
                           field->name, collection);
    } else if (is_key && column->max_length != 0 &&
               column->max_length < field->max_length) {
        status = rl_milvus_fail(op, "field %s of collection %s holds %llu bytes, not %u",
                                field->name, collection,
                                (unsigned long long)column->max_length,
                                (unsigned)field->max_length);
    }
    return status;
}

/* Checks that a collection fits, whoever created it. */
static rl_status check_schema(rl_milvus_operation *op, uint32_t dim)
{
    rl_milvus *milvus = op->milvus;
    rl_milvus_column columns[RL_MILVUS_FIELDS];
    const rl_milvus_column *vector = &columns[RL_MILVUS_FIELD_EMBEDDING];
    rl_status status = RL_OK;

    if (!rl_milvus_get_schema(op->message, columns)) {
        return rl_milvus_unreadable(op, "DescribeCollection");
    }
    for (size_t i = 0; i < RL_MILVUS_FIELDS && status == RL_OK; i++) {
        const uint64_t max = columns[i].max_length;

        status = check_column(op, i, &columns[i]);
        milvus->max_length[i] = max != 0 ? max : rl_milvus_fields[i].max_length;
    }
    if (status == RL_OK && dim != 0 && vector->dim != dim) {
        status = rl_milvus_fail(
            op,
            "field %s of collection %s has %llu dimensions, but the embedding has %u: "
            "it was created for another model or another purpose",
            rl_milvus_fields[RL_MILVUS_FIELD_EMBEDDING].name, milvus->collection,
            (unsigned long long)vector->dim, (unsigned)dim);
    }
    milvus->dim = (uint32_t)vector->dim;
    return status;
}

static rl_status describe(rl_milvus_operation *op)
{
    rl_milvus_put_describe(rl_milvus_begin_request(op), op->milvus->collection);
    return rl_milvus_call(op, "DescribeCollection", false);
}

static rl_status create(rl_milvus_operation *op, uint32_t dim)
{
    rl_milvus_put_create(rl_milvus_begin_request(op), op->milvus->collection, dim);
    return rl_milvus_call(op, "CreateCollection", true);
}

/* Describes the collection that another process has created, or is creating: Milvus Lite
 * refuses a second creation at once, but does not show the collection until the first has
 * ended. */
static rl_status describe_other(rl_milvus_operation *op)
{
    uint64_t pause = POLL_FIRST_NS;
    rl_status status = describe(op);

    while (status == RL_SERVICE && op->code == RL_MILVUS_MISSING &&
           pause < POLL_OTHER_NS && !rl_milvus_is_timed_out(op)) {
        status = rl_milvus_wait(op, pause);
        pause *= 2;
        if (status == RL_OK) {
            status = describe(op);
        }
    }
    return status;
}

/* Creates the collection, or describes the one that another process has created. After a
 * failure the error is that of the creation. */
static rl_status create_or_find(rl_milvus_operation *op, uint32_t dim)
{
    rl_err *err = op->err, ignored;
    rl_status created = create(op, dim), found;

    if (created == RL_OK) {
        return describe(op);
    }
    if (created != RL_SERVICE) {
        return created;
    }
    op->err = &ignored;
    found = describe_other(op);
    op->err = err;
    if (found != RL_OK) {
        op->code = RL_MILVUS_FAILED;
        return created;
    }
    return RL_OK;
}

/* Describes the collection, or creates it, and checks it. */
static rl_status find_or_create(rl_milvus_operation *op, uint32_t dim, bool may_create,
                                bool *exists)
{
    rl_status status = describe(op);

    *exists = true;
    if (status == RL_SERVICE && op->code == RL_MILVUS_MISSING) {
        if (!may_create) {
            *exists = false;
            return RL_OK;
        }
        status = create_or_find(op, dim);
    }
    return status == RL_OK ? check_schema(op, dim) : status;
}

static rl_status describe_index(rl_milvus_operation *op, bool *exists)
{
    const char *collection = op->milvus->collection;
    rl_pb_slice metric;
    char name[40];
    rl_status status;

    *exists = false;
    rl_milvus_put_describe_index(rl_milvus_begin_request(op), collection);
    status = rl_milvus_call(op, "DescribeIndex", false);
    if (status != RL_OK) {
        return status == RL_SERVICE && op->code == RL_MILVUS_NO_INDEX ? RL_OK : status;
    }
    if (!rl_milvus_get_index(op->message, exists, &metric)) {
        return rl_milvus_unreadable(op, "DescribeIndex");
    }
    rl_printable(name, sizeof name, (const char *)metric.data, metric.len);
    if (*exists && metric.len != 0 && strcmp(name, RL_MILVUS_METRIC) != 0) {
        status = rl_milvus_fail(op,
                                "the index of field %s of collection %s has metric %s, "
                                "not %s",
                                rl_milvus_fields[RL_MILVUS_FIELD_EMBEDDING].name,
                                collection, name, RL_MILVUS_METRIC);
    }
    return status;
}

static rl_status prepare_index(rl_milvus_operation *op)
{
    bool exists;
    rl_status status = describe_index(op, &exists), created;
    rl_err *err = op->err, ignored;

    if (status != RL_OK || exists) {
        return status;
    }
    rl_milvus_put_index(rl_milvus_begin_request(op), op->milvus->collection);
    created = rl_milvus_call(op, "CreateIndex", true);
    if (created != RL_SERVICE) {
        return created;
    }
    op->err = &ignored;
    status = describe_index(op, &exists);
    op->err = err;
    return status == RL_OK && exists ? RL_OK : created;
}

static rl_status get_load_state(rl_milvus_operation *op, uint64_t *state)
{
    rl_status status;

    rl_milvus_put_load_state(rl_milvus_begin_request(op), op->milvus->collection);
    status = rl_milvus_call(op, "GetLoadState", false);
    if (status == RL_OK && !rl_milvus_get_load_state(op->message, state)) {
        status = rl_milvus_unreadable(op, "GetLoadState");
    }
    if (status == RL_OK && *state == RL_MILVUS_NOT_EXIST) {
        op->code = RL_MILVUS_MISSING;
        status = rl_milvus_fail(op, "collection %s was dropped while it was loaded",
                                op->milvus->collection);
    }
    return status;
}

/* Loads the collection, and waits until it is loaded. */
static rl_status load(rl_milvus_operation *op)
{
    uint64_t state = 0, pause = POLL_FIRST_NS;
    rl_status status = get_load_state(op, &state);

    while (status == RL_OK && state != RL_MILVUS_LOADED) {
        if (rl_milvus_is_timed_out(op)) {
            rl_milvus_fail(op, "collection %s is still being loaded",
                           op->milvus->collection);
            op->err->retryable = true;
            return RL_SERVICE;
        }
        if (state != RL_MILVUS_LOADING) {
            rl_milvus_put_load(rl_milvus_begin_request(op), op->milvus->collection);
            status = rl_milvus_call(op, "LoadCollection", true);
        } else {
            status = rl_milvus_wait(op, pause);
            pause = pause * 2 < POLL_LAST_NS ? pause * 2 : POLL_LAST_NS;
        }
        if (status == RL_OK && !rl_milvus_is_timed_out(op)) {
            status = get_load_state(op, &state);
            if (status == RL_SERVICE && op->err->retryable &&
                rl_milvus_is_timed_out(op)) { /* asked when no time was left */
                status = RL_OK;
            }
        }
    }
    return status;
}

rl_status rl_milvus_prepare(rl_milvus_operation *op, uint32_t dim, bool may_create,
                            bool *exists)
{
    rl_milvus *milvus = op->milvus;
    rl_status status;

    *exists = true;
    if (milvus->is_ready && (dim == 0 || dim == milvus->dim)) {
        return RL_OK;
    }
    milvus->is_ready = false;
    status = find_or_create(op, dim, may_create, exists);
    if (status != RL_OK || !*exists) {
        return status;
    }
    status = prepare_index(op);
    if (status == RL_OK) {
        status = load(op);
    }
    milvus->is_ready = status == RL_OK;
    return status;
}
