/* Runs whose process has exited. See lost.h. */
#include "record/recorder/lost.h"

#include "core/uuid.h"
#include "record/owner.h"

#define CHUNK 200 /* running runs in one query of a walk */

static const char running[] = "running";
static const char lost[] = "lost";

/* The last owner that was checked: consecutive runs often belong to one process. */
typedef struct owner_cache {
    char owner[RL_OWNER_TEXT];
    bool has_exited;
} owner_cache;

static bool has_exited(owner_cache *last, const char *owner, size_t len)
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
static void show_lost(rl_rows *rows, rl_shape shape, size_t first, owner_cache *last)
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

/* A walk over the runs that are stored as running: newest first, in chunks. */
typedef struct walk {
    rl_query query;
    rl_rows rows;
    char after_id[RL_UUID_TEXT];
    owner_cache last;
    bool more;
} walk;

static void begin_walk(walk *self, const rl_query *query)
{
    memset(self, 0, sizeof *self);
    self->query = *query;
    self->query.texts[RL_STATUS] = running;
    self->query.limit = CHUNK;
    self->query.offset = 0; /* it counts rows after sorting, see query_by_owner */
    self->query.shape = RL_SHAPE_SUMMARY;
    self->more = true;
    rl_rows_init(&self->rows);
}

static rl_status next_chunk(walk *self, rl_store *store, rl_err *err)
{
    const rl_shape shape = self->query.shape;
    size_t width, cells;
    rl_status status;

    (void)rl_shape_columns(shape, &width);
    rl_rows_free(&self->rows);
    rl_rows_init(&self->rows);
    status = store->ops->query(store, &self->query, &self->rows, err);
    cells = rl_rows_cells(&self->rows);
    self->more = status == RL_OK && cells / width == CHUNK;
    if (self->more) {
        const rl_cell *id =
            rl_rows_cell(&self->rows, cells - width + rl_shape_index(shape, RL_ID));

        memcpy(self->after_id, self->rows.arena.data + id->at, RL_UUID_TEXT - 1);
        self->query.after_id = self->after_id;
        self->query.after_time =
            rl_rows_cell(&self->rows,
                         cells - width + rl_shape_index(shape, RL_CREATED_AT))
                ->number;
    }
    show_lost(&self->rows, shape, 0, &self->last);
    return status == RL_OK && rl_rows_failed(&self->rows) ? rl_err_nomem(err) : status;
}

/* Whether the status in the filter depends on the owners of the runs. */
static bool depends_on_owner(const rl_query *query)
{
    const char *status = query->texts[RL_STATUS];

    return status != NULL && (strcmp(status, running) == 0 || strcmp(status, lost) == 0);
}

/* Appends summaries of the runs that are shown with the status in the filter. */
static rl_status query_by_owner(rl_store *store, const rl_query *query, rl_rows *rows,
                                rl_err *err)
{
    const char *wanted = query->texts[RL_STATUS];
    size_t width, at = rl_shape_index(RL_SHAPE_SUMMARY, RL_STATUS);
    int64_t left = query->limit, skip = query->offset;
    rl_status status = RL_OK;
    walk self;

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    begin_walk(&self, query);
    while (status == RL_OK && self.more && left > 0) {
        status = next_chunk(&self, store, err);
        for (size_t i = 0; status == RL_OK && left > 0 && i < rl_rows_cells(&self.rows);
             i += width) {
            if (has_text(&self.rows, rl_rows_cell(&self.rows, i + at), wanted) &&
                skip-- <= 0) {
                rl_rows_copy(rows, &self.rows, RL_SHAPE_SUMMARY, i);
                left--;
            }
        }
    }
    rl_rows_free(&self.rows);
    return status;
}

rl_status rl_lost_query(rl_store *store, const rl_query *query, rl_rows *rows,
                        rl_err *err)
{
    owner_cache last = {.owner = ""};
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

/* Deletes one run of a walk, if it is still running. */
static rl_status remove_row(rl_store *store, const walk *self, size_t first,
                            int64_t *count, rl_err *err)
{
    const rl_cell *wpk_id =
        rl_rows_cell(&self->rows, first + rl_shape_index(RL_SHAPE_SUMMARY, RL_WPK_ID));
    const rl_cell *run_id =
        rl_rows_cell(&self->rows, first + rl_shape_index(RL_SHAPE_SUMMARY, RL_RUN_ID));
    rl_status status;
    rl_query query;
    rl_buf names;
    int64_t removed = 0;

    rl_query_init(&query, RL_SHAPE_BRIEF);
    rl_buf_init(&names, RL_BUF_MAX);
    rl_buf_add(&names, self->rows.arena.data + wpk_id->at, wpk_id->len);
    rl_buf_add_char(&names, '\0');
    rl_buf_add(&names, self->rows.arena.data + run_id->at, run_id->len);
    rl_buf_add_char(&names, '\0');
    if (names.failed) {
        status = rl_err_nomem(err);
    } else {
        query.texts[RL_WPK_ID] = names.data;
        query.texts[RL_RUN_ID] = names.data + wpk_id->len + 1;
        query.texts[RL_STATUS] = running; /* it may have ended since */
        status = store->ops->remove(store, &query, &removed, err);
    }
    rl_buf_free(&names);
    *count += removed;
    return status;
}

rl_status rl_lost_remove(rl_store *store, const rl_query *query, int64_t *count,
                         rl_err *err)
{
    size_t width, at = rl_shape_index(RL_SHAPE_SUMMARY, RL_STATUS);
    rl_status status = RL_OK;
    walk self;

    *count = 0;
    if (!depends_on_owner(query)) {
        return store->ops->remove(store, query, count, err);
    }
    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    begin_walk(&self, query);
    while (status == RL_OK && self.more) {
        status = next_chunk(&self, store, err);
        for (size_t i = 0; status == RL_OK && i < rl_rows_cells(&self.rows); i += width) {
            if (has_text(&self.rows, rl_rows_cell(&self.rows, i + at),
                         query->texts[RL_STATUS])) {
                status = remove_row(store, &self, i, count, err);
            }
        }
    }
    rl_rows_free(&self.rows);
    return status;
}
