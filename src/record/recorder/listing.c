/* Lists of runs. See listing.h. */
#include "record/recorder/listing.h"

#include "record/recorder/lost.h"

#include <stdio.h>

void rl_listing_init(rl_listing *self)
{
    memset(self, 0, sizeof *self);
    rl_query_init(&self->query, RL_SHAPE_SUMMARY);
    rl_rows_init(&self->rows);
}

void rl_listing_free(rl_listing *self)
{
    rl_rows_free(&self->rows);
}

/* How many queries the statuses take, and the query of each. */
static size_t query_count(const rl_listing *self)
{
    return self->count > 0 ? self->count : 1;
}

static rl_query query_of(const rl_listing *self, size_t number)
{
    rl_query query = self->query;

    if (self->count > 0) {
        query.texts[RL_STATUS] = self->statuses[number];
    }
    return query;
}

/* Where a row stands in the order of pages. */
typedef struct place {
    bool known; /* the row has a time */
    int64_t time;
    const char *id; /* RL_UUID_TEXT - 1 characters */
} place;

static place place_of(const rl_rows *rows, rl_shape shape, size_t first)
{
    const rl_cell *id = rl_rows_cell(rows, first + rl_shape_index(shape, RL_ID));
    const rl_cell *time =
        rl_rows_cell(rows, first + rl_shape_index(shape, RL_CREATED_AT));
    place found = {!time->null && !id->null && id->len == RL_UUID_TEXT - 1, time->number,
                   rows->arena.data + id->at};

    return found;
}

/* Whether a row comes before another one. Rows without a time, which only other programs
 * write, come first. */
static bool is_before(place one, place other)
{
    if (!one.known || !other.known) {
        return !one.known;
    }
    return one.time != other.time ? one.time > other.time
                                  : memcmp(one.id, other.id, RL_UUID_TEXT - 1) > 0;
}

/* Whether the index of runs with an error serves best: else the planner might read all of
 * it beside another one. */
static bool has_error_alone(const rl_query *query)
{
    return query->error != NULL && query->texts[RL_WPK_ID] == NULL &&
           query->texts[RL_THREAD_ID] == NULL && query->texts[RL_STATUS] == NULL;
}

/* Where the search of one status ends: the last of the rows that it may look through. */
static rl_status find_end(rl_listing *self, size_t number, rl_store *store, rl_err *err)
{
    rl_query query = query_of(self, number);
    const char *status = query.texts[RL_STATUS];
    rl_rows rows;
    rl_status rc;

    query.shape = RL_SHAPE_KEY;
    query.limit = 1;
    query.offset = (query.node != NULL ? RL_LISTING_LOGS : RL_LISTING_ROWS) - 1;
    query.has_error = has_error_alone(&query);
    query.tag = query.metadata = query.error = query.node = NULL;
    if (status != NULL && strcmp(status, "lost") == 0) {
        query.texts[RL_STATUS] = "running"; /* as it is stored */
    }
    rl_rows_init(&rows);
    rc = store->ops->query(store, &query, &rows, err);
    if (rc == RL_OK && rl_rows_cells(&rows) > 0) {
        const place at = place_of(&rows, RL_SHAPE_KEY, 0);
        const place end = {true, self->last_time, self->last_id};

        if (at.known && (!self->stopped || is_before(at, end))) {
            self->stopped = true;
            self->last_time = at.time;
            memcpy(self->last_id, at.id, RL_UUID_TEXT - 1);
            self->last_id[RL_UUID_TEXT - 1] = '\0';
        }
    }
    rl_rows_free(&rows);
    return rc;
}

/* Merges rows of one status into those that were found before. */
static rl_status merge(rl_listing *self, const rl_rows *more, rl_err *err)
{
    size_t width, a = 0, b = 0;
    rl_rows both;

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    rl_rows_init(&both);
    while (rl_rows_cells(&both) / width < (size_t)self->query.limit &&
           (a < rl_rows_cells(&self->rows) || b < rl_rows_cells(more))) {
        const bool has_a = a < rl_rows_cells(&self->rows);
        const bool has_b = b < rl_rows_cells(more);

        if (has_a && (!has_b || is_before(place_of(&self->rows, RL_SHAPE_SUMMARY, a),
                                          place_of(more, RL_SHAPE_SUMMARY, b)))) {
            rl_rows_copy(&both, &self->rows, RL_SHAPE_SUMMARY, a);
            a += width;
        } else {
            rl_rows_copy(&both, more, RL_SHAPE_SUMMARY, b);
            b += width;
        }
        if (rl_rows_failed(&both)) {
            break;
        }
    }
    rl_rows_free(&self->rows);
    self->rows = both;
    return rl_rows_failed(&both) ? rl_err_nomem(err) : RL_OK;
}

/* Adds the rows of one status. */
static rl_status read_one(rl_listing *self, size_t number, rl_store *store, rl_err *err)
{
    rl_query query = query_of(self, number);
    rl_rows rows;
    rl_status rc;

    query.has_error = has_error_alone(&query);
    if (self->stopped) {
        query.last_time = self->last_time;
        query.last_id = self->last_id;
    }
    if (number == 0) {
        return rl_lost_query(store, &query, &self->rows, err);
    }
    rl_rows_init(&rows);
    rc = rl_lost_query(store, &query, &rows, err);
    if (rc == RL_OK) {
        rc = merge(self, &rows, err);
    }
    rl_rows_free(&rows);
    return rc;
}

rl_status rl_listing_read(rl_listing *self, rl_store *store, rl_err *err)
{
    const bool bounds = rl_query_searches(&self->query);
    rl_status rc = RL_OK;

    for (size_t i = 0; bounds && rc == RL_OK && i < query_count(self); i++) {
        rc = find_end(self, i, store, err);
    }
    for (size_t i = 0; rc == RL_OK && i < query_count(self); i++) {
        rc = read_one(self, i, store, err);
    }
    return rc;
}
