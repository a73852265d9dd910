/* The collection: made, checked, loaded. See milvus_call.h and milvus.h.
 *
 * Several processes may do this at once. What another one has made in the meantime is looked at
 * anew, as what was there before.
 */
#include "meaning/services/milvus_call.h"

#include "net/printable.h"

#include <stdio.h>

#define POLL_FIRST_NS UINT64_C(10000000)
#define POLL_LAST_NS UINT64_C(200000000)

/* No pause of this or more, so about 0.6 s in all. */
#define POLL_OTHER_NS UINT64_C(500000000)

/* Whether a failure is what we found, not what kept us from looking. */
static bool is_told(const rl_milvus_work *work, rl_status status)
{
    return status == RL_SERVICE && work->code != RL_MILVUS_FAILED;
}

static rl_status check_column(rl_milvus_work *work, size_t index,
                              const rl_milvus_column *column)
{
    const rl_milvus_field *field = &rl_milvus_fields[index];
    const char *collection = work->milvus->collection;
    const bool is_key = index == RL_MILVUS_FIELD_ID;
    rl_status status = RL_OK;

    if (!column->exists) {
        status = rl_milvus_fail(work, "collection %s has no field %s (%s)", collection,
                                field->name, rl_milvus_type_name(field->type));
    } else if (column->type != field->type) {
        status = rl_milvus_fail(
            work, "field %s of collection %s is %s (type %llu), not %s", field->name,
            collection, rl_milvus_type_name(column->type),
            (unsigned long long)column->type, rl_milvus_type_name(field->type));
    } else if (column->is_primary != is_key) {
        status = rl_milvus_fail(work, "field %s of collection %s is %s primary key",
                                field->name, collection, is_key ? "not the" : "the");
    } else if (column->is_auto_id) {
        status =
            rl_milvus_fail(work,
                           "field %s of collection %s is filled by Milvus (auto_id), "
                           "so it can't be the run's id",
                           field->name, collection);
    } else if (is_key && column->max_length != 0 &&
               column->max_length < field->max_length) {
        status = rl_milvus_fail(
            work, "field %s of collection %s holds %llu bytes, not %u", field->name,
            collection, (unsigned long long)column->max_length,
            (unsigned)field->max_length);
    }
    return status;
}

/* Whether a collection fits, whoever made it. */
static rl_status check_schema(rl_milvus_work *work, uint32_t dim)
{
    rl_milvus *milvus = work->milvus;
    rl_milvus_column columns[RL_MILVUS_FIELDS];
    const rl_milvus_column *vector = &columns[RL_MILVUS_FIELD_EMBEDDING];
    rl_status status = RL_OK;

    if (!rl_milvus_get_schema(work->message, columns)) {
        return rl_milvus_misread(work, "DescribeCollection");
    }
    for (size_t i = 0; i < RL_MILVUS_FIELDS && status == RL_OK; i++) {
        const uint64_t max = columns[i].max_length;

        status = check_column(work, i, &columns[i]);
        milvus->max_length[i] = max != 0 ? max : rl_milvus_fields[i].max_length;
    }
    if (status == RL_OK && dim != 0 && vector->dim != dim) {
        status = rl_milvus_fail(
            work,
            "field %s of collection %s has %llu dimensions, but the embedding has %u: "
            "another model made it, or it belongs to something else",
            rl_milvus_fields[RL_MILVUS_FIELD_EMBEDDING].name, milvus->collection,
            (unsigned long long)vector->dim, (unsigned)dim);
    }
    milvus->dim = (uint32_t)vector->dim;
    return status;
}

static rl_status describe(rl_milvus_work *work)
{
    rl_milvus_put_describe(rl_milvus_begin(work), work->milvus->collection);
    return rl_milvus_call(work, "DescribeCollection", false);
}

static rl_status create(rl_milvus_work *work, uint32_t dim)
{
    rl_milvus_put_create(rl_milvus_begin(work), work->milvus->collection, dim);
    return rl_milvus_call(work, "CreateCollection", true);
}

/* Looks for what this process could not make: when it is there after all, another one was
 * quicker. Milvus Lite refuses to make it while the other is still at it, and does not show it
 * yet, so it is looked for a few times. */
static rl_status describe_other(rl_milvus_work *work)
{
    uint64_t pause = POLL_FIRST_NS;
    rl_status status = describe(work);

    while (status == RL_SERVICE && work->code == RL_MILVUS_MISSING &&
           pause < POLL_OTHER_NS && !rl_milvus_is_over(work)) {
        status = rl_milvus_wait(work, pause);
        pause *= 2;
        if (status == RL_OK) {
            status = describe(work);
        }
    }
    return status;
}

/* Makes the collection, or finds the one that another process made; the failure that is told
 * is that of making it. */
static rl_status create_or_find(rl_milvus_work *work, uint32_t dim)
{
    rl_err *err = work->err, ignored;
    rl_status made = create(work, dim), found;

    if (made == RL_OK) {
        return describe(work);
    }
    if (made != RL_SERVICE) {
        return made;
    }
    work->err = &ignored;
    found = describe_other(work);
    work->err = err;
    if (found != RL_OK) {
        work->code = RL_MILVUS_FAILED;
        return made;
    }
    return RL_OK;
}

/* Finds the collection or makes it, and checks it. */
static rl_status find_or_create(rl_milvus_work *work, uint32_t dim, bool may_create,
                                bool *exists)
{
    rl_status status = describe(work);

    *exists = true;
    if (status == RL_SERVICE && work->code == RL_MILVUS_MISSING) {
        if (!may_create) {
            *exists = false;
            return RL_OK;
        }
        status = create_or_find(work, dim);
    }
    return status == RL_OK ? check_schema(work, dim) : status;
}

static rl_status describe_index(rl_milvus_work *work, bool *exists)
{
    const char *collection = work->milvus->collection;
    rl_pb_slice metric;
    char name[40];
    rl_status status;

    *exists = false;
    rl_milvus_put_describe_index(rl_milvus_begin(work), collection);
    status = rl_milvus_call(work, "DescribeIndex", false);
    if (status != RL_OK) {
        return is_told(work, status) && work->code == RL_MILVUS_NO_INDEX ? RL_OK : status;
    }
    if (!rl_milvus_get_index(work->message, exists, &metric)) {
        return rl_milvus_misread(work, "DescribeIndex");
    }
    rl_printable(name, sizeof name, (const char *)metric.data, metric.len);
    if (*exists && metric.len != 0 && strcmp(name, RL_MILVUS_METRIC) != 0) {
        status = rl_milvus_fail(work,
                                "the index of field %s of collection %s goes by %s, not "
                                "by %s",
                                rl_milvus_fields[RL_MILVUS_FIELD_EMBEDDING].name,
                                collection, name, RL_MILVUS_METRIC);
    }
    return status;
}

static rl_status prepare_index(rl_milvus_work *work)
{
    bool exists;
    rl_status status = describe_index(work, &exists), made;
    rl_err *err = work->err, ignored;

    if (status != RL_OK || exists) {
        return status;
    }
    rl_milvus_put_index(rl_milvus_begin(work), work->milvus->collection);
    made = rl_milvus_call(work, "CreateIndex", true);
    if (made != RL_SERVICE) {
        return made;
    }
    work->err = &ignored;
    status = describe_index(work, &exists);
    work->err = err;
    return status == RL_OK && exists ? RL_OK : made;
}

static rl_status get_load_state(rl_milvus_work *work, uint64_t *state)
{
    rl_status status;

    rl_milvus_put_load_state(rl_milvus_begin(work), work->milvus->collection);
    status = rl_milvus_call(work, "GetLoadState", false);
    if (status == RL_OK && !rl_milvus_get_load_state(work->message, state)) {
        status = rl_milvus_misread(work, "GetLoadState");
    }
    if (status == RL_OK && *state == RL_MILVUS_NOT_EXIST) {
        work->code = RL_MILVUS_MISSING;
        status = rl_milvus_fail(work, "collection %s was dropped meanwhile",
                                work->milvus->collection);
    }
    return status;
}

/* Has it loaded, and waits until it is. */
static rl_status load(rl_milvus_work *work)
{
    uint64_t state = 0, pause = POLL_FIRST_NS;
    rl_status status = get_load_state(work, &state);

    while (status == RL_OK && state != RL_MILVUS_LOADED) {
        if (rl_milvus_is_over(work)) {
            rl_milvus_fail(work, "collection %s is still being loaded",
                           work->milvus->collection);
            work->err->retryable = true;
            return RL_SERVICE;
        }
        if (state != RL_MILVUS_LOADING) {
            rl_milvus_put_load(rl_milvus_begin(work), work->milvus->collection);
            status = rl_milvus_call(work, "LoadCollection", true);
        } else {
            status = rl_milvus_wait(work, pause);
            pause = pause * 2 < POLL_LAST_NS ? pause * 2 : POLL_LAST_NS;
        }
        if (status == RL_OK && !rl_milvus_is_over(work)) {
            status = get_load_state(work, &state);
        }
    }
    return status;
}

rl_status rl_milvus_prepare(rl_milvus_work *work, uint32_t dim, bool may_create,
                            bool *exists)
{
    rl_milvus *milvus = work->milvus;
    rl_status status;

    *exists = true;
    if (milvus->is_ready && (dim == 0 || dim == milvus->dim)) {
        return RL_OK;
    }
    milvus->is_ready = false;
    status = find_or_create(work, dim, may_create, exists);
    if (status != RL_OK || !*exists) {
        return status;
    }
    status = prepare_index(work);
    if (status == RL_OK) {
        status = load(work);
    }
    milvus->is_ready = status == RL_OK;
    return status;
}
