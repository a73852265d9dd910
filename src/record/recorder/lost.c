/* Runs whose process is gone. See lost.h. */
#include "record/recorder/lost.h"

#include "core/uuid.h"
#include "record/owner.h"

#define CHUNK 200 /* running runs that are read at once */

static const char running[] = "running";
static const char lost[] = "lost";

/* The last owner that was looked at: runs of one process stand together. */
typedef struct memory {
    char owner[RL_OWNER_TEXT];
    bool gone;
} memory;

static bool is_gone(memory *last, const char *owner, size_t len)
{
    char text[RL_OWNER_TEXT];

    if (len == 0 || len >= sizeof text) {
        return false;
    }
    memcpy(text, owner, len);
    text[len] = '\0';
    if (strcmp(text, last->owner) != 0) {
        memcpy(last->owner, text, len + 1);
        last->gone = rl_owner_has_exited(text);
    }
    return last->gone;
}

static bool has_text(const rl_rows *rows, const rl_cell *cell, const char *text)
{
    return !cell->null && cell->len == strlen(text) &&
           memcmp(rows->arena.data + cell->at, text, cell->len) == 0;
}

/* Shows what is lost of the rows from cell `first` on; nothing where memory lacked, as then
 * there are only parts of them. */
static void show_lost(rl_rows *rows, rl_shape shape, size_t first, memory *last)
{
    size_t width, status = rl_shape_index(shape, RL_STATUS),
                  owner = rl_shape_index(shape, RL_OWNER);

    (void)rl_shape_columns(shape, &width);
    for (; !rl_rows_failed(rows) && first < rl_rows_cells(rows); first += width) {
        rl_cell *shown = (rl_cell *)(void *)rows->cells.data + first + status;
        const rl_cell *its = rl_rows_cell(rows, first + owner);

        if (has_text(rows, shown, running) && !its->null &&
            is_gone(last, rows->arena.data + its->at, its->len)) {
            shown->at = rows->arena.len;
            shown->len = sizeof lost - 1;
            rl_buf_add(&rows->arena, lost, sizeof lost - 1);
        }
    }
}

/* A walk over the runs that are stored as running, newest first, a chunk at a time. */
typedef struct walk {
    rl_query query;
    rl_rows rows;
    char after_id[RL_UUID_TEXT];
    memory last;
    bool more;
} walk;

static void begin_walk(walk *self, const rl_query *query)
{
    memset(self, 0, sizeof *self);
    self->query = *query;
    self->query.texts[RL_STATUS] = running;
    self->query.limit = CHUNK;
    self->query.offset = 0; /* of the rows that are shown */
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

/* Whether the status that is asked for needs a look at who owns the runs. */
static bool asks_for_owner(const rl_query *query)
{
    const char *status = query->texts[RL_STATUS];

    return status != NULL && (strcmp(status, running) == 0 || strcmp(status, lost) == 0);
}

/* Summaries of the runs that are shown with the status that is asked for. */
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
    memory last = {.owner = ""};
    size_t first = rl_rows_cells(rows);
    rl_status status;

    if (asks_for_owner(query) && query->shape == RL_SHAPE_SUMMARY) {
        status = query_by_owner(store, query, rows, err);
    } else {
        status = store->ops->query(store, query, rows, err);
        if (status == RL_OK) {
            show_lost(rows, query->shape, first, &last);
        }
    }
    return status == RL_OK && rl_rows_failed(rows) ? rl_err_nomem(err) : status;
}

/* Deletes one run of a walk, by its name. */
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
        query.texts[RL_STATUS] = running; /* it may have ended meanwhile */
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
    if (!asks_for_owner(query)) {
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
