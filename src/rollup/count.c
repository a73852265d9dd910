/* Counts blocks and spans, of leaves (leaves.c). See count.h. */
#include "rollup/count.h"

#include "rollup/leaves.h"

#include <string.h>

#define RETAIN ((size_t)1 << 20)
#define PASS_BLOCKS 256
#define PASS_BYTES ((size_t)2 << 20) /* of changes */

void rl_count_init(rl_count *count)
{
    memset(count, 0, sizeof *count);
    rl_buf_init(&count->changes, RL_BUF_MAX);
}

void rl_count_free(rl_count *count)
{
    rl_pool_free(&count->pool);
    rl_buf_free(&count->changes);
}

bool rl_count_has_changes(const rl_count *count)
{
    return count->changes.len > 0;
}

/* Has a piece that could not be read be counted anew. */
static rl_status mark_damaged(rl_pass *self, int64_t at)
{
    const rl_change mark = {.kind = RL_CHANGE_ADD_MARK,
                            .wpk_id = self->wpk_id,
                            .mark = {.from = at, .to = at, .runs = 1}};

    return rl_pass_change(self, &mark);
}

/* Adds pieces. */
static rl_status add_pieces(rl_pass *self, rl_sums *sums, const rl_pieces *pieces)
{
    rl_status status = RL_OK;

    for (size_t i = 0; i < pieces->count && status == RL_OK; i++) {
        bool damaged = false;

        status = rl_pass_read_form(self, sums, pieces->list[i].data, false, &damaged);
        if (status == RL_OK && damaged) {
            status = mark_damaged(self, pieces->list[i].from);
        }
    }
    return status;
}

static rl_status sum_block(rl_pass *self, int64_t at, rl_sums *gone,
                           const rl_pieces *leaves)
{
    rl_piece block = {.from = at, .until = at + RL_BLOCK_US};
    rl_sums sums = {.run = {.retries = 0}};
    rl_status status = rl_pass_learn_names(self, gone);

    for (size_t i = 0; i < leaves->count; i++) {
        block.runs += leaves->list[i].runs;
    }
    if (status == RL_OK) {
        status = add_pieces(self, &sums, leaves);
    }
    if (status == RL_OK) {
        status = rl_pass_add_sums(self, &sums, gone);
    }
    if (status == RL_OK) {
        status = rl_pass_write_form(self, gone, &block.gone);
    }
    if (status == RL_OK) {
        status = rl_pass_write_form(self, &sums, &block.data);
    }
    if (status == RL_OK) {
        status = rl_pass_put_piece(self, RL_LEVEL_BLOCK, &block);
    }
    if (status == RL_OK && !rl_pieces_add(&self->touched, &self->count->pool, &block)) {
        status = rl_err_nomem(self->err);
    }
    rl_sums_free(&sums);
    return status;
}

static rl_status count_block(rl_pass *self, int64_t at)
{
    rl_book *book = self->book;
    rl_pool *pool = &self->count->pool;
    rl_pieces leaves = {NULL, 0, 0}, blocks = {NULL, 0, 0}, now = {NULL, 0, 0};
    rl_sums gone = {.run = {.retries = 0}};
    rl_marks marks = {NULL, 0, 0};
    bool damaged = false;
    const int64_t until = at + RL_BLOCK_US;
    rl_status status =
        book->ops->marks(book, self->wpk_id, at, until, pool, &marks, self->err);

    if (status == RL_OK) {
        status = book->ops->pieces(book, RL_LEVEL_LEAF, self->wpk_id, at, until, pool,
                                   &leaves, self->err);
    }
    if (status == RL_OK) {
        status = book->ops->pieces(book, RL_LEVEL_BLOCK, self->wpk_id, at, until, pool,
                                   &blocks, self->err);
    }
    if (status == RL_OK && leaves.count == 0 &&
        !rl_pieces_add(&leaves, pool, &(rl_piece){.from = at, .until = until})) {
        status = rl_err_nomem(self->err);
    }
    if (status == RL_OK) {
        status = rl_pass_know_names(self, &gone);
    }
    if (status == RL_OK && blocks.count > 0) {
        status = rl_pass_read_form(self, &gone, blocks.list[0].gone, false, &damaged);
    }
    if (status == RL_OK) {
        status = rl_leaves_count(self, &leaves, &marks, &gone, &now);
    }
    if (status == RL_OK) {
        status = sum_block(self, at, &gone, &now);
    }
    self->blocks++;
    rl_sums_free(&gone);
    return status;
}

/* Sums a span anew, of the blocks of this pass and of those that are stored. */
static rl_status sum_span(rl_pass *self, int64_t at)
{
    const int64_t until = at + RL_SPAN_US;
    rl_piece span = {.from = at, .until = until};
    rl_pieces stored = {NULL, 0, 0}, all = {NULL, 0, 0};
    rl_sums sums = {.run = {.retries = 0}};
    size_t mine = 0, theirs = 0;
    rl_status status =
        self->book->ops->pieces(self->book, RL_LEVEL_BLOCK, self->wpk_id, at, until,
                                &self->count->pool, &stored, self->err);

    while (mine < self->touched.count && self->touched.list[mine].from < at) {
        mine++;
    }
    while (status == RL_OK) {
        const rl_piece *one =
            mine < self->touched.count && self->touched.list[mine].from < until
                ? &self->touched.list[mine]
                : NULL;
        const rl_piece *other = theirs < stored.count ? &stored.list[theirs] : NULL;
        const rl_piece *next =
            other == NULL || (one != NULL && one->from <= other->from) ? one : other;

        if (next == NULL) {
            break;
        }
        theirs += other != NULL && other->from == next->from;
        mine += one != NULL && one->from == next->from;
        span.runs += next->runs;
        status = rl_pieces_add(&all, &self->count->pool, next) ? RL_OK
                                                               : rl_err_nomem(self->err);
    }
    if (status == RL_OK) {
        status = add_pieces(self, &sums, &all);
    }
    if (status == RL_OK) {
        status = rl_pass_write_form(self, &sums, &span.data);
    }
    rl_sums_free(&sums);
    return status == RL_OK ? rl_pass_put_piece(self, RL_LEVEL_SPAN, &span) : status;
}

/* Sums the spans of the workflow's blocks of this pass. */
static rl_status end_workflow(rl_pass *self)
{
    const rl_change add = {.kind = RL_CHANGE_ADD_WORKFLOW, .wpk_id = self->wpk_id};
    int64_t done = INT64_MIN;
    rl_status status = self->touched.count > 0 ? rl_pass_change(self, &add) : RL_OK;

    for (size_t i = 0; i < self->touched.count && status == RL_OK; i++) {
        const int64_t span = rl_floor_time(self->touched.list[i].from, RL_SPAN_US);

        if (span != done) {
            status = sum_span(self, span);
            done = span;
        }
    }
    self->touched = (rl_pieces){NULL, 0, 0};
    return status;
}

static rl_status begin_workflow(rl_pass *self, rl_string wpk_id)
{
    self->wpk_id = wpk_id;
    self->names = (rl_names){NULL, 0, 0};
    return self->book->ops->names(self->book, wpk_id, &self->count->pool, &self->names,
                                  self->err);
}

rl_status rl_count_read(rl_count *count, rl_book *book, const atomic_bool *stop,
                        rl_err *err)
{
    rl_pass self = {.count = count, .book = book, .budget = RL_PASS_RUNS, .err = err};
    rl_string wpk_id = {"", 0};
    int64_t at = INT64_MIN;
    rl_status status = RL_OK;
    bool found = true;

    rl_pool_free(&count->pool);
    rl_buf_reset(&count->changes, RETAIN);
    count->counted = 0;
    count->damaged = 0;
    count->more = false;
    while (status == RL_OK && found && !count->more) {
        status = book->ops->first_mark(book, wpk_id, at, &count->pool, &wpk_id, &at, err);
        found = status == RL_OK && wpk_id.text != NULL;
        count->more = found && (self.budget <= 0 || self.blocks >= PASS_BLOCKS ||
                                self.bytes > PASS_BYTES || atomic_load(stop));
        if (found && !count->more) {
            if (self.wpk_id.text == NULL || !rl_text_equals(self.wpk_id, wpk_id)) {
                status = end_workflow(&self);
                if (status == RL_OK) {
                    status = begin_workflow(&self, wpk_id);
                }
            }
            at = rl_floor_time(at, RL_BLOCK_US);
            if (status == RL_OK) {
                status = count_block(&self, at);
            }
            at += RL_BLOCK_US;
        }
    }
    status = status == RL_OK ? end_workflow(&self) : status;
    count->more = count->more || self.budget <= 0 || count->damaged > 0;
    return status;
}

rl_status rl_count_write(rl_count *count, rl_book *book, rl_err *err)
{
    const rl_book_ops *ops = book->ops;
    rl_status status = RL_OK;

    for (size_t at = 0; at < count->changes.len && status == RL_OK;
         at += sizeof(rl_change)) {
        rl_change one;

        memcpy(&one, count->changes.data + at, sizeof one);
        switch (one.kind) {
        case RL_CHANGE_DROP_LEAVES:
            status =
                ops->drop_leaves(book, one.wpk_id, one.piece.from, one.piece.until, err);
            break;
        case RL_CHANGE_PUT_PIECE:
            status = ops->put_piece(book, one.level, one.wpk_id, &one.piece, err);
            break;
        case RL_CHANGE_DROP_MARK:
            status = ops->drop_mark(book, one.mark.id, err);
            break;
        case RL_CHANGE_ADD_MARK:
            status = ops->add_mark(book, one.wpk_id, &one.mark, err);
            break;
        case RL_CHANGE_ADD_WORKFLOW:
            status = ops->add_workflow(book, one.wpk_id, err);
            break;
        case RL_CHANGE_ADD_NAME:
            status = ops->add_name(book, one.wpk_id, one.number, one.node, err);
            break;
        }
    }
    return status;
}
