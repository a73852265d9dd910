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

/* Changes "running" to "lost" where the owner is gone, in the rows from cell `first` on.
 * Rows that are incomplete for want of memory stay as they are. */
static void show_lost(rl_rows *rows, rl_shape shape, size_t first, rl_store *store,
                      rl_owner_cache *owners)
{
    size_t width, status = rl_shape_index(shape, RL_STATUS),
                  owner = rl_shape_index(shape, RL_OWNER);

    (void)rl_shape_columns(shape, &width);
    for (; !rl_rows_failed(rows) && first < rl_rows_cells(rows); first += width) {
        rl_cell *state = (rl_cell *)(void *)rows->cells.data + first + status;
        const rl_cell *process = rl_rows_cell(rows, first + owner);

        if (has_text(rows, state, running) && !process->null &&
            is_gone(owners, store, rows->arena.data + process->at, process->len)) {
            state->at = rows->arena.len;
            state->len = sizeof lost - 1;
            rl_buf_add(&rows->arena, lost, sizeof lost - 1);
        }
        rows->arena.failed = rows->arena.failed || owners->no_memory;
    }
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
    rl_rows_free(&self->owners.silent);
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
    status = store->ops->query(store, &self->query, &self->rows, err);
    cells = rl_rows_cells(&self->rows);
    self->more = status == RL_OK && (int64_t)(cells / width) == self->query.limit;
    if (self->more) {
        set_cursor(self, cells - width);
    }
    if (self->wanted != NULL) {
        forget_silent(&self->owners); /* others may have been heard since */
        show_lost(&self->rows, self->query.shape, 0, store, &self->owners);
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
    size_t first = rl_rows_cells(rows);
    rl_owner_cache owners;
    rl_status status;

    if (depends_on_owner(query) && query->shape == RL_SHAPE_SUMMARY) {
        status = query_by_owner(store, query, rows, err);
    } else {
        status = store->ops->query(store, query, rows, err);
        if (status == RL_OK) {
            init_owners(&owners, RL_LOST_SHOWN);
            show_lost(rows, query->shape, first, store, &owners);
            rl_rows_free(&owners.silent);
        }
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
    status = store->ops->query(store, &query, &rows, err);
    for (size_t i = 0; status == RL_OK && i < rl_rows_cells(&rows); i += 2) {
        const rl_cell *owner = rl_rows_cell(&rows, i);
        const bool gone =
            !owner->null &&
            is_gone(&owners, store, rows.arena.data + owner->at, owner->len);

        *(gone ? is_lost : open) += rl_rows_cell(&rows, i + 1)->number;
        if (owners.no_memory) {
            status = rl_err_nomem(err);
        }
    }
    rl_rows_free(&rows);
    rl_rows_free(&owners.silent);
    return status;
}
