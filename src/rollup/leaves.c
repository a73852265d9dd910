/* Counts rows into leaves. See leaves.h. */
#include "rollup/leaves.h"

/* The leaves that are counted together, as marks connect them. */
typedef struct unit {
    rl_pass *pass;
    int64_t from, until;
    rl_sums leaf; /* the one under way */
    int64_t leaf_from, last;
    uint64_t rows; /* in it */
    rl_pieces made;
    bool cut; /* the budget has ended it, at `last` */
    rl_status status;
} unit;

static rl_status begin_leaf(unit *self, int64_t from)
{
    self->leaf_from = from;
    self->rows = 0;
    return rl_pass_know_names(self->pass, &self->leaf);
}

static rl_status end_leaf(unit *self, int64_t until)
{
    rl_piece piece = {.from = self->leaf_from, .until = until, .runs = self->rows};
    rl_status status = rl_pass_learn_names(self->pass, &self->leaf);

    if (status == RL_OK) {
        status = rl_pass_write_form(self->pass, &self->leaf, &piece.data);
    }
    rl_sums_free(&self->leaf);
    if (status == RL_OK &&
        !rl_pieces_add(&self->made, &self->pass->count->pool, &piece)) {
        status = rl_err_nomem(self->pass->err);
    }
    return status;
}

static bool visit(void *ctx, const rl_fold_run *run)
{
    unit *self = ctx;

    if (self->rows >= RL_LEAF_RUNS && run->created_at != self->last) {
        self->status = end_leaf(self, run->created_at);
        self->last = run->created_at;
        self->cut = self->pass->budget <= 0;
        if (self->status == RL_OK && !self->cut) {
            self->status = begin_leaf(self, run->created_at);
        }
    }
    if (self->status == RL_OK && !self->cut) {
        rl_fold(&self->leaf, run);
        self->last = run->created_at;
        self->rows++;
        self->pass->budget--;
        self->pass->count->counted++;
        self->status = self->leaf.failed ? rl_err_nomem(self->pass->err) : RL_OK;
    }
    return self->status == RL_OK && !self->cut;
}

/* Counts the rows of a unit into new leaves. */
static rl_status count_rows(unit *self)
{
    rl_pass *whole = self->pass;
    rl_status status = begin_leaf(self, self->from);

    if (status == RL_OK) {
        status = whole->book->ops->runs(whole->book, whole->wpk_id, self->from,
                                        self->until, visit, self, whole->err);
    }
    if (status == RL_OK) {
        status = self->status;
    }
    if (status == RL_OK && !self->cut) {
        if (self->rows == 0 && self->made.count > 0) {
            self->made.list[self->made.count - 1].until = self->until;
        } else {
            status = end_leaf(self, self->until);
        }
    }
    rl_sums_free(&self->leaf);
    return status;
}

/* What the leaves of before had, and nothing has now. */
static rl_status find_lost(unit *self, const rl_piece *old, size_t old_count,
                           const rl_mark *marks, size_t mark_count, rl_sums *lost)
{
    bool damaged = false;
    rl_status status = rl_pass_know_names(self->pass, lost);

    for (size_t i = 0; i < old_count && status == RL_OK; i++) {
        status = rl_pass_read_form(self->pass, lost, old[i].data, false, &damaged);
    }
    for (size_t i = 0; i < mark_count && status == RL_OK; i++) {
        status = rl_pass_read_form(self->pass, lost, marks[i].gone, true, &damaged);
    }
    for (size_t i = 0; i < self->made.count && status == RL_OK; i++) {
        status =
            rl_pass_read_form(self->pass, lost, self->made.list[i].data, true, &damaged);
    }
    if (status == RL_OK && damaged) { /* then nobody knows */
        rl_sums_free(lost);
    }
    return status;
}

/* Ends a unit that the budget has cut: the rest stays marked, and has until it is counted
 * what the old leaves had more than the new ones. */
static rl_status leave_rest(unit *self, const rl_sums *lost, uint64_t runs,
                            uint64_t deleted)
{
    rl_piece rest = {.from = self->last, .until = self->until};
    rl_change mark = {.kind = RL_CHANGE_ADD_MARK, .wpk_id = self->pass->wpk_id};
    rl_status status = rl_pass_write_form(self->pass, lost, &rest.data);

    mark.mark =
        (rl_mark){.from = self->last, .to = self->last, .runs = runs, .deleted = deleted};
    if (status == RL_OK && !rl_pieces_add(&self->made, &self->pass->count->pool, &rest)) {
        status = rl_err_nomem(self->pass->err);
    }
    return status == RL_OK ? rl_pass_change(self->pass, &mark) : status;
}

/* Counts the leaves `old` anew, and consumes their marks. Adds the new ones to `now`. */
static rl_status count_unit(rl_pass *self, const rl_piece *old, size_t old_count,
                            const rl_mark *marks, size_t mark_count, rl_sums *gone,
                            rl_pieces *now)
{
    unit one = {.pass = self,
                .from = old[0].from,
                .until = old[old_count - 1].until,
                .last = INT64_MIN};
    const uint64_t before = self->count->counted;
    uint64_t deleted = 0, runs = 0;
    rl_sums lost = {.run = {.retries = 0}};
    bool damaged = false;
    rl_change drop = {.kind = RL_CHANGE_DROP_LEAVES, .wpk_id = self->wpk_id};
    rl_status status = count_rows(&one);

    drop.piece.from = one.from;
    drop.piece.until = one.until;
    if (status == RL_OK) {
        status = rl_pass_change(self, &drop);
    }
    while (one.cut && mark_count > 0 && marks[mark_count - 1].from >= one.last) {
        mark_count--; /* it is of the rest */
    }
    for (size_t i = 0; i < mark_count && status == RL_OK; i++) {
        const rl_change done = {.kind = RL_CHANGE_DROP_MARK, .mark = marks[i]};

        deleted += marks[i].deleted;
        runs += marks[i].runs;
        status = rl_pass_read_form(self, gone, marks[i].gone, false, &damaged);
        if (status == RL_OK) {
            status = rl_pass_change(self, &done);
        }
    }
    if (status == RL_OK && (deleted > 0 || one.cut)) {
        status = find_lost(&one, old, old_count, marks, mark_count, &lost);
    }
    if (status == RL_OK && one.cut) {
        const uint64_t done = self->count->counted - before;

        status = leave_rest(&one, &lost, runs > done ? runs - done : 1, deleted);
    } else if (status == RL_OK && deleted > 0) {
        status = rl_pass_add_sums(self, gone, &lost);
    }
    for (size_t i = 0; i < one.made.count && status == RL_OK; i++) {
        status = rl_pass_put_piece(self, RL_LEVEL_LEAF, &one.made.list[i]);
        if (status == RL_OK &&
            !rl_pieces_add(now, &self->count->pool, &one.made.list[i])) {
            status = rl_err_nomem(self->err);
        }
    }
    rl_sums_free(&lost);
    return status;
}

/* The leaf that has a moment. */
static size_t leaf_at(const rl_pieces *leaves, int64_t at)
{
    size_t i = 0;

    while (i + 1 < leaves->count && leaves->list[i].until <= at) {
        i++;
    }
    return i;
}

rl_status rl_leaves_count(rl_pass *self, const rl_pieces *leaves, const rl_marks *marks,
                          rl_sums *gone, rl_pieces *now)
{
    size_t mark = 0, next = 0;
    rl_status status = RL_OK;

    while (mark < marks->count && status == RL_OK && self->budget > 0) {
        const size_t first = mark, from = leaf_at(leaves, marks->list[mark].from);
        size_t last = from;

        while (mark < marks->count && marks->list[mark].from < leaves->list[last].until) {
            const size_t to = leaf_at(leaves, marks->list[mark].to);

            last = to > last ? to : last;
            mark++;
        }
        for (; next < from && status == RL_OK; next++) {
            status = rl_pieces_add(now, &self->count->pool, &leaves->list[next])
                         ? RL_OK
                         : rl_err_nomem(self->err);
        }
        if (status == RL_OK) {
            status = count_unit(self, leaves->list + from, last + 1 - from,
                                marks->list + first, mark - first, gone, now);
        }
        next = last + 1;
    }
    for (; next < leaves->count && status == RL_OK; next++) {
        status = rl_pieces_add(now, &self->count->pool, &leaves->list[next])
                     ? RL_OK
                     : rl_err_nomem(self->err);
    }
    return status;
}
