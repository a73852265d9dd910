/* Runs whose process has exited. See lost.h. */
#include "record/recorder/lost.h"

#include "core/uuid.h"

/* Rows that a walk reads at a time. */
#define KEY_CHUNK 1000
#define SUMMARY_CHUNK 200

static const char running[] = "running";
static const char lost[] = "lost";

/* Whether the owner is one of the silent ones, which are sorted. */
static bool is_silent(const rl_rows *silent, const char *owner)
{
    size_t low = 0, high = rl_rows_cells(silent);
    const size_t len = strlen(owner);
    int order = 1;

    while (low < high && order != 0) {
        const size_t middle = low + (high - low) / 2;
        const rl_cell *cell = rl_rows_cell(silent, middle);

        order = memcmp(silent->arena.data + cell->at, owner,
                       cell->len < len ? cell->len : len);
        if (order == 0) {
            order = (cell->len > len) - (cell->len < len);
        }
        low = order < 0 ? middle + 1 : low;
        high = order > 0 ? middle : high;
    }
    return order == 0;
}

static void forget_silent(rl_owner_cache *owners)
{
    rl_rows_free(&owners->silent);
    rl_rows_init(&owners->silent);
    owners->has_silent = false;
    owners->owner[0] = '\0';
}

/* Without an answer (a role that may not read the heartbeats, a lost connection) nobody
 * counts as silent: a run is not said to be lost on a guess. */
static void read_silent(rl_owner_cache *owners, rl_store *store)
{
    rl_err ignored;
    rl_status status;

    forget_silent(owners);
    status = store->ops->silent(store, owners->seconds, &owners->silent, &ignored);
    if (status != RL_OK) {
        forget_silent(owners);
    }
    owners->has_silent = true;
    owners->no_memory = status == RL_NOMEM;
}

static bool is_gone(rl_owner_cache *owners, rl_store *store, const char *owner,
                    size_t len)
{
    char text[RL_OWNER_TEXT];
    rl_owner_state state;

    if (len == 0 || len >= sizeof text) {
        return false;
    }
    memcpy(text, owner, len);
    text[len] = '\0';
    if (strcmp(text, owners->owner) != 0) {
        state = rl_owner_check(text);
        if (state == RL_OWNER_ELSEWHERE && !owners->has_silent) {
            read_silent(owners, store);
        }
        owners->is_gone = state == RL_OWNER_EXITED || (state == RL_OWNER_ELSEWHERE &&
                                                       is_silent(&owners->silent, text));
        memcpy(owners->owner, text, len + 1);
    }
    return owners->is_gone;
}

static bool has_text(const rl_rows *rows, const rl_cell *cell, const char *text)
{
    return !cell->null && cell->len == strlen(text) &&
           memcmp(rows->arena.data + cell->at, text, cell->len) == 0;
}

/* Whether the owner of a row was found gone before. */
static bool was_gone(const rl_owner_cache *owners, const rl_rows *rows,
                     const rl_cell *owner)
{
    bool found = false;
    size_t len;

    for (size_t at = 0; !owner->null && at < owners->gone.len && !found; at += len + 1) {
        len = strlen(owners->gone.data + at);
        found = len == owner->len &&
                memcmp(owners->gone.data + at, rows->arena.data + owner->at, len) == 0;
    }
    return found;
}

/* The owner in the row that begins with the cell `first`; NULL if its run is not running.
 * The rows of RL_SHAPE_OWNERS are of running runs. */
static const rl_cell *running_owner(const rl_rows *rows, rl_shape shape, size_t first)
{
    if (shape == RL_SHAPE_OWNERS) {
        return rl_rows_cell(rows, first);
    }
    return has_text(rows, rl_rows_cell(rows, first + rl_shape_index(shape, RL_STATUS)),
                    running)
               ? rl_rows_cell(rows, first + rl_shape_index(shape, RL_OWNER))
               : NULL;
}

/* Collects the owners of running runs that are gone, in the rows from cell `first` on. */
static void find_gone(const rl_rows *rows, rl_shape shape, size_t first, rl_store *store,
                      rl_owner_cache *owners)
{
    size_t width;

    (void)rl_shape_columns(shape, &width);
    rl_buf_reset(&owners->gone, 0);
    for (; !rl_rows_failed(rows) && first < rl_rows_cells(rows); first += width) {
        const rl_cell *owner = running_owner(rows, shape, first);

        if (owner != NULL && !owner->null &&
            is_gone(owners, store, rows->arena.data + owner->at, owner->len) &&
            !was_gone(owners, rows, owner)) {
            rl_buf_add(&owners->gone, rows->arena.data + owner->at, owner->len);
            rl_buf_add_char(&owners->gone, '\0');
        }
    }
}

/* Puts the answer of the primary in place of the rows from cell `first` on. If it does not
 * answer, they are the best there is. */
static rl_status ask_again(rl_store *store, const rl_query *query, rl_rows *rows,
                           size_t first, rl_err *err)
{
    rl_query again = *query;
    rl_rows newer;
    size_t width;
    rl_err own;
    rl_status status;

    again.at_primary = true;
    rl_rows_init(&newer);
    status = store->ops->query(store, &again, &newer, &own);
    if (status == RL_OK && !rl_rows_failed(&newer)) {
        (void)rl_shape_columns(query->shape, &width);
        rows->cells.len = first * sizeof(rl_cell);
        for (size_t i = 0; i < rl_rows_cells(&newer); i += width) {
            rl_rows_copy(rows, &newer, query->shape, i);
        }
        status = rl_rows_failed(rows) ? rl_err_nomem(err) : RL_OK;
    } else if (status == RL_OK || status == RL_NOMEM) {
        status = rl_err_nomem(err);
    } else {
        status = RL_OK;
    }
    rl_rows_free(&newer);
    return status;
}

/* Appends what a query finds, and collects the owners that are gone. What was read before
 * a process exited may be older than what it has committed, from a replica by much: so if
 * one is gone, the query is asked again. */
static rl_status query_owners(rl_store *store, const rl_query *query, rl_rows *rows,
                              rl_owner_cache *owners, rl_err *err)
{
    const size_t first = rl_rows_cells(rows);
    rl_status status = store->ops->query(store, query, rows, err);

    if (status == RL_OK) {
        find_gone(rows, query->shape, first, store, owners);
        if (owners->gone.failed || owners->no_memory) {
            status = rl_err_nomem(err);
        } else if (owners->gone.len > 0) {
            status = ask_again(store, query, rows, first, err);
        }
    }
    return status;
}

/* The same, with "lost" in place of "running" where the owner is gone. Rows that are
 * incomplete for want of memory stay as they are. */
static rl_status query_shown(rl_store *store, const rl_query *query, rl_rows *rows,
                             rl_owner_cache *owners, rl_err *err)
{
    size_t width, first = rl_rows_cells(rows);
    rl_status status = query_owners(store, query, rows, owners, err);

    (void)rl_shape_columns(query->shape, &width);
    for (; status == RL_OK && !rl_rows_failed(rows) && first < rl_rows_cells(rows);
         first += width) {
        const rl_cell *owner = running_owner(rows, query->shape, first);
        rl_cell *state = (rl_cell *)(void *)rows->cells.data + first +
                         rl_shape_index(query->shape, RL_STATUS);

        if (owner != NULL && was_gone(owners, rows, owner)) {
            state->at = rows->arena.len;
            state->len = sizeof lost - 1;
            rl_buf_add(&rows->arena, lost, sizeof lost - 1);
        }
    }
    return status;
}

/* Whether the status in the filter depends on the owners of the runs. */
static bool depends_on_owner(const rl_query *query)
{
    const char *status = query->texts[RL_STATUS];

    return status != NULL && (strcmp(status, running) == 0 || strcmp(status, lost) == 0);
}

static void init_owners(rl_owner_cache *owners, int64_t seconds)
{
    *owners = (rl_owner_cache){.seconds = seconds};
    rl_rows_init(&owners->silent);
    rl_buf_init(&owners->gone, RL_BUF_MAX);
}

static void free_owners(rl_owner_cache *owners)
{
    rl_rows_free(&owners->silent);
    rl_buf_free(&owners->gone);
}

void rl_lost_walk_begin(rl_lost_walk *self, const rl_query *query, bool to_delete)
{
    const char *status = query->texts[RL_STATUS];
    const bool deletes_lost = to_delete && status != NULL && strcmp(status, lost) == 0;

    memset(self, 0, sizeof *self);
    init_owners(&self->owners, deletes_lost ? RL_LOST_DELETED : RL_LOST_SHOWN);
    self->query = *query;
    self->query.offset = 0; /* it counts rows after sorting, see query_by_owner */
    self->query.limit = KEY_CHUNK;
    self->query.shape = RL_SHAPE_KEY;
    if (depends_on_owner(query)) {
        self->wanted = status;
        self->query.texts[RL_STATUS] = running;
        self->query.shape = RL_SHAPE_SUMMARY;
        self->query.limit = SUMMARY_CHUNK;
    }
    self->more = true;
    rl_rows_init(&self->rows);
    rl_buf_init(&self->after_id, RL_BUF_MAX);
}

void rl_lost_walk_end(rl_lost_walk *self)
{
    rl_rows_free(&self->rows);
    free_owners(&self->owners);
    rl_buf_free(&self->after_id);
}

/* Has the next chunk begin behind the row whose first cell is `first`. */
static void set_cursor(rl_lost_walk *self, size_t first)
{
    const rl_shape shape = self->query.shape;
    const rl_cell *id = rl_rows_cell(&self->rows, first + rl_shape_index(shape, RL_ID));
    const rl_cell *time =
        rl_rows_cell(&self->rows, first + rl_shape_index(shape, RL_CREATED_AT));

    self->placeless = time->null;
    rl_buf_reset(&self->after_id, RL_UUID_TEXT);
    rl_buf_add(&self->after_id, self->rows.arena.data + id->at, id->len);
    rl_buf_add_char(&self->after_id, '\0');
    self->query.after_id = self->after_id.data;
    self->query.after_time = time->number;
}

/* After a chunk whose last row has no time that could be a cursor, as only other programs
 * write. Where runs were deleted, the walk begins again; where not, it continues with the
 * runs that have a time, or ends if it has done so before. */
static void find_place(rl_lost_walk *self, bool deleted)
{
    static const char last_id[] = "ffffffff-ffff-ffff-ffff-ffffffffffff";

    if (deleted) {
        self->query.after_id = NULL;
    } else if (!self->skipped) {
        self->query.after_id = last_id;
        self->query.after_time = RL_TIME_MAX;
        self->skipped = true;
    } else {
        self->more = false;
    }
    self->placeless = false;
}

rl_status rl_lost_walk_next(rl_lost_walk *self, rl_store *store, bool deleted,
                            rl_err *err)
{
    size_t width, cells;
    rl_status status;

    (void)rl_shape_columns(self->query.shape, &width);
    rl_rows_free(&self->rows);
    rl_rows_init(&self->rows);
    if (self->placeless) {
        find_place(self, deleted);
    }
    if (!self->more) {
        return RL_OK;
    }
    if (self->wanted != NULL) {
        forget_silent(&self->owners); /* others may have been heard since */
        status = query_shown(store, &self->query, &self->rows, &self->owners, err);
    } else {
        status = store->ops->query(store, &self->query, &self->rows, err);
    }
    cells = rl_rows_cells(&self->rows);
    self->more = status == RL_OK && (int64_t)(cells / width) == self->query.limit;
    if (self->more) {
        set_cursor(self, cells - width);
    }
    return status == RL_OK && (rl_rows_failed(&self->rows) || self->after_id.failed)
               ? rl_err_nomem(err)
               : status;
}

bool rl_lost_walk_has(const rl_lost_walk *self, size_t first)
{
    return self->wanted == NULL ||
           has_text(&self->rows,
                    rl_rows_cell(&self->rows,
                                 first + rl_shape_index(self->query.shape, RL_STATUS)),
                    self->wanted);
}

/* Appends summaries of the runs that are shown with the status in the filter. */
static rl_status query_by_owner(rl_store *store, const rl_query *query, rl_rows *rows,
                                rl_err *err)
{
    size_t width;
    int64_t left = query->limit, skip = query->offset;
    rl_status status = RL_OK;
    rl_lost_walk self;

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    rl_lost_walk_begin(&self, query, false);
    while (status == RL_OK && self.more && left > 0) {
        status = rl_lost_walk_next(&self, store, false, err);
        for (size_t i = 0; status == RL_OK && left > 0 && i < rl_rows_cells(&self.rows);
             i += width) {
            if (rl_lost_walk_has(&self, i) && skip-- <= 0) {
                rl_rows_copy(rows, &self.rows, RL_SHAPE_SUMMARY, i);
                left--;
            }
        }
    }
    rl_lost_walk_end(&self);
    return status;
}

rl_status rl_lost_query(rl_store *store, const rl_query *query, rl_rows *rows,
                        rl_err *err)
{
    rl_owner_cache owners;
    rl_status status;

    if (depends_on_owner(query) && query->shape == RL_SHAPE_SUMMARY) {
        status = query_by_owner(store, query, rows, err);
    } else {
        init_owners(&owners, RL_LOST_SHOWN);
        status = query_shown(store, query, rows, &owners, err);
        free_owners(&owners);
    }
    return status == RL_OK && rl_rows_failed(rows) ? rl_err_nomem(err) : status;
}

rl_status rl_lost_count(rl_store *store, int64_t *open, int64_t *is_lost, rl_err *err)
{
    rl_owner_cache owners;
    rl_query query;
    rl_rows rows;
    rl_status status;

    *open = *is_lost = 0;
    init_owners(&owners, RL_LOST_SHOWN);
    rl_rows_init(&rows);
    rl_query_init(&query, RL_SHAPE_OWNERS);
    status = query_owners(store, &query, &rows, &owners, err);
    for (size_t i = 0; status == RL_OK && i < rl_rows_cells(&rows); i += 2) {
        const bool gone = was_gone(&owners, &rows, rl_rows_cell(&rows, i));

        *(gone ? is_lost : open) += rl_rows_cell(&rows, i + 1)->number;
    }
    rl_rows_free(&rows);
    free_owners(&owners);
    return status;
}
