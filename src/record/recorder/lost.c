/* Runs whose process has exited. See lost.h. */
#include "record/recorder/lost.h"

#include "core/uuid.h"

/* Rows that a walk reads at a time. */
#define KEY_CHUNK 1000
#define SUMMARY_CHUNK 200

static const char running[] = "running";
static const char lost[] = "lost";

static bool has_exited(rl_owner_cache *last, const char *owner, size_t len)
{
    char text[RL_OWNER_TEXT];

    if (len == 0 || len >= sizeof text) {
        return false;
    }
    memcpy(text, owner, len);
    text[len] = '\0';
    if (strcmp(text, last->owner) != 0) {
        memcpy(last->owner, text, len + 1);
        last->has_exited = rl_owner_has_exited(text);
    }
    return last->has_exited;
}

static bool has_text(const rl_rows *rows, const rl_cell *cell, const char *text)
{
    return !cell->null && cell->len == strlen(text) &&
           memcmp(rows->arena.data + cell->at, text, cell->len) == 0;
}

/* Changes "running" to "lost" where the owner has exited, in the rows from cell `first`
 * on. Rows that are incomplete for want of memory stay as they are. */
static void show_lost(rl_rows *rows, rl_shape shape, size_t first, rl_owner_cache *last)
{
    size_t width, status = rl_shape_index(shape, RL_STATUS),
                  owner = rl_shape_index(shape, RL_OWNER);

    (void)rl_shape_columns(shape, &width);
    for (; !rl_rows_failed(rows) && first < rl_rows_cells(rows); first += width) {
        rl_cell *state = (rl_cell *)(void *)rows->cells.data + first + status;
        const rl_cell *process = rl_rows_cell(rows, first + owner);

        if (has_text(rows, state, running) && !process->null &&
            has_exited(last, rows->arena.data + process->at, process->len)) {
            state->at = rows->arena.len;
            state->len = sizeof lost - 1;
            rl_buf_add(&rows->arena, lost, sizeof lost - 1);
        }
    }
}

/* Whether the status in the filter depends on the owners of the runs. */
static bool depends_on_owner(const rl_query *query)
{
    const char *status = query->texts[RL_STATUS];

    return status != NULL && (strcmp(status, running) == 0 || strcmp(status, lost) == 0);
}

void rl_lost_walk_begin(rl_lost_walk *self, const rl_query *query)
{
    memset(self, 0, sizeof *self);
    self->query = *query;
    self->query.offset = 0; /* it counts rows after sorting, see query_by_owner */
    self->query.limit = KEY_CHUNK;
    self->query.shape = RL_SHAPE_KEY;
    if (depends_on_owner(query)) {
        self->wanted = query->texts[RL_STATUS];
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
        show_lost(&self->rows, self->query.shape, 0, &self->last);
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
    rl_lost_walk_begin(&self, query);
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
    rl_owner_cache last = {.owner = ""};
    size_t first = rl_rows_cells(rows);
    rl_status status;

    if (depends_on_owner(query) && query->shape == RL_SHAPE_SUMMARY) {
        status = query_by_owner(store, query, rows, err);
    } else {
        status = store->ops->query(store, query, rows, err);
        if (status == RL_OK) {
            show_lost(rows, query->shape, first, &last);
        }
    }
    return status == RL_OK && rl_rows_failed(rows) ? rl_err_nomem(err) : status;
}
