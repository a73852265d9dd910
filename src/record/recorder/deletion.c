/* Deletions. See deletion.h. */
#include "record/recorder/deletion.h"

#include <stdio.h>

#define IDS_BYTES (64 * 1024) /* that stay allocated */
/* Bytes that the batches may leave free: the pages of one page of SQLite's list of them. */
#define RECLAIM_BYTES ((int64_t)4 << 20)

void rl_deletion_begin(rl_deletion *self, const rl_query *query)
{
    memset(self, 0, sizeof *self);
    rl_lost_walk_begin(&self->walk, query, true);
    self->walk.query.at_primary = true;
    rl_buf_init(&self->ids, RL_BUF_MAX);
    self->query = self->walk.query;
    self->removal.query = &self->query;
    self->more = self->looks = true;
}

void rl_deletion_end(rl_deletion *self)
{
    rl_lost_walk_end(&self->walk);
    rl_buf_free(&self->ids);
}

/* Collects the ids of the next chunk's runs. */
static rl_status next_runs(rl_deletion *self, rl_store *store, rl_err *err)
{
    const rl_shape shape = self->walk.query.shape;
    const bool deleted = self->removal.deleted > self->deleted_before;
    const size_t at = rl_shape_index(shape, RL_ID);
    const rl_rows *rows = &self->walk.rows;
    rl_status status = rl_lost_walk_next(&self->walk, store, deleted, err);
    size_t width, count = 0;

    (void)rl_shape_columns(shape, &width);
    rl_buf_reset(&self->ids, IDS_BYTES);
    for (size_t i = 0; status == RL_OK && i < rl_rows_cells(rows); i += width) {
        const rl_cell *id = rl_rows_cell(rows, i + at);

        if (rl_lost_walk_has(&self->walk, i) && !id->null) {
            rl_buf_add(&self->ids, rows->arena.data + id->at, id->len);
            rl_buf_add_char(&self->ids, '\0');
            count++;
        }
    }
    if (status == RL_OK && self->ids.failed) {
        status = rl_err_nomem(err);
    }
    if (status == RL_OK) {
        self->deleted_before = self->removal.deleted;
        self->removal.ids = self->ids.data;
        self->removal.left = count;
        self->removal.careful = false;
    }
    return status;
}

/* A step that gives space back. What was free before the deletion stays so, as it may be
 * much. */
static rl_status reclaim(rl_deletion *self, rl_store *store, rl_err *err)
{
    rl_reclaim *space = &self->reclaim;
    rl_status status;

    space->keep = self->measured ? space->keep : INT64_MAX;
    status = store->ops->reclaim(store, space, err);
    self->removal.pause_ns = space->pause_ns;
    self->looks = space->waits > 0;
    if (status == RL_OK && !self->looks) {
        space->keep = self->measured ? space->keep : space->left + RECLAIM_BYTES;
        self->measured = true;
        self->reclaims = space->can;
        self->looks = space->left > space->keep;
    }
    return status;
}

rl_status rl_deletion_work(rl_deletion *self, rl_store *store, rl_err *err)
{
    rl_removal *removal = &self->removal;
    rl_status status = RL_OK;

    removal->pause_ns = 0;
    if (self->reclaims && self->looks && store->ops->reclaim != NULL) {
        return reclaim(self, store, err);
    }
    self->looks = true;
    if (removal->left == 0) {
        status = next_runs(self, store, err);
    }
    if (status == RL_OK && removal->left > 0) {
        status = store->ops->remove(store, removal, err);
    }
    self->more = status == RL_OK && (removal->left > 0 || self->walk.more);
    if (status == RL_OK && !self->more && removal->deleted > 0) {
        status = store->ops->remove(store, removal, err);
    }
    return status;
}

void rl_deletion_explain(const rl_deletion *self, rl_err *err)
{
    const long long deleted = (long long)self->removal.deleted;
    char why[RL_ERR_TEXT];

    memcpy(why, err->text, sizeof why);
    if (self->removal.unknown > 0) {
        snprintf(err->text, sizeof err->text,
                 "%.500s; delete_runs has deleted at least %lld run%s, and it is not "
                 "known whether it deleted the %zu of its last batch: call it again",
                 why, deleted, deleted == 1 ? "" : "s", self->removal.unknown);
        err->retryable = true;
    } else if (deleted > 0) {
        snprintf(err->text, sizeof err->text,
                 "%.500s; delete_runs had deleted %lld run%s before", why, deleted,
                 deleted == 1 ? "" : "s");
    }
}
