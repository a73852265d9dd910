/* Numbers of runs. See counting.h. */
#include "record/recorder/counting.h"

#include "record/recorder/lost.h"
#include "store/query_sql.h"

static const char running[] = "running";
static const char lost[] = "lost";

void rl_counting_init(rl_counting *self)
{
    memset(self, 0, sizeof *self);
    rl_listing_init(&self->listing);
    self->begin = RL_TIME_NONE;
    self->end = RL_TIME_NONE;
    rl_rows_init(&self->rows);
}

void rl_counting_free(rl_counting *self)
{
    rl_listing_free(&self->listing);
    rl_rows_free(&self->rows);
}

static void add_count(rl_counting *self, int64_t span, const char *status, size_t len,
                      int64_t count)
{
    rl_rows_add_number(&self->rows, span);
    rl_rows_add_text(&self->rows, status, len);
    rl_rows_add_number(&self->rows, count);
}

/* The beginning of a span; that of the one behind the last is the end. */
static int64_t begin_of(const rl_counting *self, int64_t span)
{
    const int64_t length = self->end - self->begin, whole = length / self->spans;

    return self->begin + whole * span + length % self->spans * span / self->spans;
}

/* The span of a time, or -1. */
static int64_t span_of(const rl_counting *self, int64_t time)
{
    int64_t low = 0, high = self->spans;

    if (self->begin == RL_TIME_NONE || time < self->begin || time >= self->end) {
        return -1;
    }
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;

        if (begin_of(self, middle) <= time) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The time of the first run that a query gives; RL_TIME_NONE without any. *odd: it has none
 * that a calendar has. */
static rl_status read_time(rl_store *store, const rl_query *query, int64_t *time,
                           bool *odd, rl_err *err)
{
    rl_rows rows;
    rl_status rc;

    rl_rows_init(&rows);
    rc = store->ops->query(store, query, &rows, err);
    *time = RL_TIME_NONE;
    *odd = false;
    if (rc == RL_OK && rl_rows_cells(&rows) > 0) {
        const rl_cell *cell =
            rl_rows_cell(&rows, rl_shape_index(RL_SHAPE_KEY, RL_CREATED_AT));

        *odd = cell->null;
        *time = cell->null ? RL_TIME_NONE : cell->number;
    }
    rl_rows_free(&rows);
    return rc;
}

/* The time of the newest or the oldest run that the filters with an index select, of those
 * that have one: other programs may write NULL, infinity, or on SQLite a text that is
 * none; then the first or the last time that it may be. RL_TIME_NONE without any. */
static rl_status read_edge(const rl_counting *self, bool oldest, rl_store *store,
                           int64_t *time, rl_err *err)
{
    rl_query query = self->listing.query;
    bool odd;
    rl_status rc;

    query.tag = query.metadata = query.error = query.node = NULL;
    query.shape = RL_SHAPE_KEY;
    query.limit = 1;
    query.oldest_first = oldest;
    query.since = query.since != RL_TIME_NONE ? query.since : RL_TIME_MIN;
    rc = read_time(store, &query, time, &odd, err);
    if (rc == RL_OK && odd && query.until == RL_TIME_NONE) {
        query.until = RL_TIME_MAX;
        rc = read_time(store, &query, time, &odd, err);
    }
    if (rc == RL_OK && odd) {
        *time = oldest ? query.since : query.until - 1;
    }
    return rc;
}

/* Sets the times that were not given, by the runs themselves. */
static rl_status set_times(rl_counting *self, rl_store *store, rl_err *err)
{
    const rl_query *query = &self->listing.query;
    int64_t oldest = RL_TIME_NONE, newest = RL_TIME_NONE;
    rl_status rc = read_edge(self, true, store, &oldest, err);

    if (rc == RL_OK) {
        rc = read_edge(self, false, store, &newest, err);
    }
    if (rc == RL_OK && oldest != RL_TIME_NONE && newest != RL_TIME_NONE) {
        self->begin = query->since != RL_TIME_NONE ? query->since : oldest;
        self->end = query->until != RL_TIME_NONE ? query->until : newest + 1;
        self->end = self->end > self->begin ? self->end : self->begin + 1;
    }
    return rc;
}

/* A second behind the last that a time has: as text it comes after each of them, and
 * PostgreSQL takes it for the next minute. */
static const char behind_all[RL_TIME_TEXT] = "9999-12-31T23:59:60.000000Z";

static void write_spans(const rl_counting *self, rl_buf *json)
{
    char low[RL_TIME_TEXT], high[RL_TIME_TEXT];

    for (int64_t i = 0; i < self->spans; i++) {
        rl_time_format(begin_of(self, i), low);
        rl_time_format(begin_of(self, i + 1), high);
        if (begin_of(self, i + 1) > RL_TIME_MAX) {
            memcpy(high, behind_all, sizeof behind_all);
        }
        rl_buf_printf(json, "%c[\"%s\",\"%s\"]", i == 0 ? '[' : ',', low, high);
    }
    rl_buf_add_char(json, ']');
    rl_buf_add_char(json, '\0');
}

/* Adds what the store has counted: those that are of no other status have completed. */
static void add_counted(rl_counting *self, const rl_rows *rows)
{
    for (size_t i = 0; i < rl_rows_cells(rows); i += 3) {
        const int64_t span = rl_rows_cell(rows, i)->number;
        const rl_cell *status = rl_rows_cell(rows, i + 1);
        const int64_t count = rl_rows_cell(rows, i + 2)->number;

        if (count > 0 && !status->null) {
            add_count(self, span, rows->arena.data + status->at, status->len, count);
        }
        if (count > 0) {
            add_count(self, span, RL_SQL_COMPLETED, sizeof RL_SQL_COMPLETED - 1,
                      status->null ? count : -count);
        }
    }
}

static rl_status count_by_index(rl_counting *self, rl_store *store, rl_err *err)
{
    rl_query query = self->listing.query;
    rl_buf spans;
    rl_rows rows;
    rl_status rc = RL_OK;

    rl_buf_init(&spans, RL_BUF_MAX);
    rl_rows_init(&rows);
    write_spans(self, &spans);
    query.shape = RL_SHAPE_COUNT;
    query.spans = spans.data;
    rc = spans.failed ? rl_err_nomem(err) : store->ops->query(store, &query, &rows, err);
    if (rc == RL_OK) {
        add_counted(self, &rows);
    }
    rl_rows_free(&rows);
    rl_buf_free(&spans);
    return rc;
}

/* Moves the runs whose process has exited from "running" to "lost". */
static rl_status count_lost(rl_counting *self, rl_store *store, rl_err *err)
{
    rl_query query = self->listing.query;
    rl_lost_walk walk;
    rl_status rc = RL_OK;
    size_t width;

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    query.texts[RL_STATUS] = lost;
    rl_lost_walk_begin(&walk, &query, false);
    while (rc == RL_OK && walk.more) {
        rc = rl_lost_walk_next(&walk, store, false, err);
        for (size_t i = 0; rc == RL_OK && i < rl_rows_cells(&walk.rows); i += width) {
            const rl_cell *time = rl_rows_cell(
                &walk.rows, i + rl_shape_index(RL_SHAPE_SUMMARY, RL_CREATED_AT));
            const int64_t span = time->null ? -1 : span_of(self, time->number);

            if (span >= 0 && rl_lost_walk_has(&walk, i)) {
                add_count(self, span, lost, sizeof lost - 1, 1);
                add_count(self, span, running, sizeof running - 1, -1);
            }
        }
    }
    rl_lost_walk_end(&walk);
    return rc;
}

/* Counts runs that have to be read. */
static rl_status count_rows(rl_counting *self, rl_store *store, rl_err *err)
{
    rl_listing *listing = &self->listing;
    const rl_rows *rows = &listing->rows;
    size_t width;
    rl_status rc;

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    listing->query.limit =
        RL_LISTING_ROWS * (listing->count > 0 ? (int64_t)listing->count : 1);
    rc = rl_listing_read(listing, store, err);
    if (rc == RL_OK && listing->stopped) {
        self->stopped = true;
        self->begin = self->begin > listing->last_time ? self->begin : listing->last_time;
        self->end = self->end > self->begin ? self->end : self->begin + 1;
    }
    for (size_t i = 0; rc == RL_OK && i < rl_rows_cells(rows); i += width) {
        const rl_cell *time =
            rl_rows_cell(rows, i + rl_shape_index(RL_SHAPE_SUMMARY, RL_CREATED_AT));
        const rl_cell *status =
            rl_rows_cell(rows, i + rl_shape_index(RL_SHAPE_SUMMARY, RL_STATUS));
        const int64_t span = time->null ? -1 : span_of(self, time->number);

        if (span >= 0 && !status->null) {
            add_count(self, span, rows->arena.data + status->at, status->len, 1);
        }
    }
    return rc;
}

rl_status rl_counting_read(rl_counting *self, rl_store *store, rl_err *err)
{
    const bool searches = rl_query_searches(&self->listing.query);
    rl_status rc = set_times(self, store, err);

    if (rc == RL_OK && self->begin != RL_TIME_NONE && searches) {
        rc = count_rows(self, store, err);
    } else if (rc == RL_OK && self->begin != RL_TIME_NONE) {
        rc = count_by_index(self, store, err);
        if (rc == RL_OK) {
            rc = count_lost(self, store, err);
        }
    }
    return rc == RL_OK && rl_rows_failed(&self->rows) ? rl_err_nomem(err) : rc;
}
