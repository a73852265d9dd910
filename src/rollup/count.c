/* Counting. See count.h. */
#include "rollup/count.h"

#include "rollup/form.h"

#include <string.h>

#define RETAIN ((size_t)1 << 20)
#define PASS_BLOCKS 256
#define PASS_BYTES ((size_t)2 << 20) /* of changes */

typedef enum change_kind {
    DROP_LEAVES,
    PUT_PIECE,
    DROP_MARK,
    ADD_MARK,
    ADD_WORKFLOW,
    ADD_NAME,
} change_kind;

typedef struct change {
    change_kind kind;
    rl_level level;
    rl_string wpk_id, node;
    rl_piece piece;
    rl_mark mark;
    unsigned number;
} change;

/* A pass over the marks of a workflow. */
typedef struct pass {
    rl_count *count;
    rl_book *book;
    int64_t budget; /* rows that it may still read */
    size_t bytes, blocks;
    rl_string wpk_id;
    rl_names names;    /* of the workflow's nodes */
    rl_pieces touched; /* its blocks of this pass, by time */
    rl_err *err;
} pass;

/* The leaves that are counted together, as marks connect them. */
typedef struct unit {
    pass *pass;
    int64_t from, until;
    rl_sums leaf; /* the one under way */
    int64_t leaf_from, last;
    uint64_t rows; /* in it */
    rl_pieces made;
    bool cut; /* the budget has ended it, at `last` */
    rl_status status;
} unit;

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

static rl_status add_change(pass *self, const change *one)
{
    rl_buf_add(&self->count->changes, one, sizeof *one);
    self->bytes += one->piece.data.len + one->piece.gone.len + sizeof *one;
    return self->count->changes.failed ? rl_err_nomem(self->err) : RL_OK;
}

/* Writes sums as bytes of the pass. */
static rl_status write_form(pass *self, const rl_sums *sums, rl_bytes *bytes)
{
    rl_string copy = {NULL, 0};
    rl_buf out;

    rl_buf_init(&out, RL_BUF_MAX);
    rl_form_write(sums, &out);
    if (!out.failed && !sums->failed) {
        copy = rl_pool_keep(&self->count->pool, out.data, out.len);
    }
    rl_buf_free(&out);
    *bytes = (rl_bytes){copy.text, copy.len};
    return copy.text != NULL ? RL_OK : rl_err_nomem(self->err);
}

/* Adds what is stored. Damaged data counts for nothing, but in `damaged`. */
static rl_status read_form(pass *self, rl_sums *sums, rl_bytes bytes, bool down,
                           bool *damaged)
{
    const bool sound = rl_form_read(sums, bytes.data, bytes.len, down);
    rl_status status = RL_OK;

    if (sums->failed) {
        status = rl_err_nomem(self->err);
    } else if (!sound) {
        *damaged = true;
        self->count->damaged++;
    }
    return status;
}

/* Has the sums know the workflow's nodes by their numbers. */
static rl_status know_names(pass *self, rl_sums *sums)
{
    for (size_t i = 0; i < self->names.count; i++) {
        (void)rl_sums_node(sums, self->names.list[i]);
    }
    return sums->failed ? rl_err_nomem(self->err) : RL_OK;
}

/* Gives numbers to the nodes that have none yet. */
static rl_status learn_names(pass *self, const rl_sums *sums)
{
    rl_status status = sums->failed ? rl_err_nomem(self->err) : RL_OK;

    for (size_t i = self->names.count; i < sums->node_count && status == RL_OK; i++) {
        const rl_string name = rl_pool_keep(&self->count->pool, sums->nodes[i]->name.text,
                                            sums->nodes[i]->name.len);
        const change add = {.kind = ADD_NAME,
                            .wpk_id = self->wpk_id,
                            .node = name,
                            .number = (unsigned)i};

        status = name.text != NULL && rl_names_add(&self->names, &self->count->pool, name)
                     ? add_change(self, &add)
                     : rl_err_nomem(self->err);
    }
    return status;
}

static rl_status put_piece(pass *self, rl_level level, const rl_piece *piece)
{
    const change put = {
        .kind = PUT_PIECE, .level = level, .wpk_id = self->wpk_id, .piece = *piece};

    return add_change(self, &put);
}

static rl_status begin_leaf(unit *self, int64_t from)
{
    self->leaf_from = from;
    self->rows = 0;
    return know_names(self->pass, &self->leaf);
}

static rl_status end_leaf(unit *self, int64_t until)
{
    rl_piece piece = {.from = self->leaf_from, .until = until, .runs = self->rows};
    rl_status status = learn_names(self->pass, &self->leaf);

    if (status == RL_OK) {
        status = write_form(self->pass, &self->leaf, &piece.data);
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
    pass *whole = self->pass;
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
    rl_status status = know_names(self->pass, lost);

    for (size_t i = 0; i < old_count && status == RL_OK; i++) {
        status = read_form(self->pass, lost, old[i].data, false, &damaged);
    }
    for (size_t i = 0; i < mark_count && status == RL_OK; i++) {
        status = read_form(self->pass, lost, marks[i].gone, true, &damaged);
    }
    for (size_t i = 0; i < self->made.count && status == RL_OK; i++) {
        status = read_form(self->pass, lost, self->made.list[i].data, true, &damaged);
    }
    if (status == RL_OK && damaged) { /* then nobody knows */
        rl_sums_free(lost);
    }
    return status;
}

static rl_status add_sums(pass *self, rl_sums *to, const rl_sums *more)
{
    bool damaged = false;
    rl_bytes bytes;
    rl_status status = write_form(self, more, &bytes);

    return status == RL_OK ? read_form(self, to, bytes, false, &damaged) : status;
}

/* Ends a unit that the budget has cut: the rest stays marked, and has until it is counted
 * what the old leaves had more than the new ones. */
static rl_status leave_rest(unit *self, const rl_sums *lost, uint64_t runs,
                            uint64_t deleted)
{
    rl_piece rest = {.from = self->last, .until = self->until};
    change mark = {.kind = ADD_MARK, .wpk_id = self->pass->wpk_id};
    rl_status status = write_form(self->pass, lost, &rest.data);

    mark.mark =
        (rl_mark){.from = self->last, .to = self->last, .runs = runs, .deleted = deleted};
    if (status == RL_OK && !rl_pieces_add(&self->made, &self->pass->count->pool, &rest)) {
        status = rl_err_nomem(self->pass->err);
    }
    return status == RL_OK ? add_change(self->pass, &mark) : status;
}

/* Counts the leaves `old` anew, and consumes their marks. Adds the new ones to `now`. */
static rl_status count_unit(pass *self, const rl_piece *old, size_t old_count,
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
    change drop = {.kind = DROP_LEAVES, .wpk_id = self->wpk_id};
    rl_status status = count_rows(&one);

    drop.piece.from = one.from;
    drop.piece.until = one.until;
    if (status == RL_OK) {
        status = add_change(self, &drop);
    }
    while (one.cut && mark_count > 0 && marks[mark_count - 1].from >= one.last) {
        mark_count--; /* it is of the rest */
    }
    for (size_t i = 0; i < mark_count && status == RL_OK; i++) {
        const change done = {.kind = DROP_MARK, .mark = marks[i]};

        deleted += marks[i].deleted;
        runs += marks[i].runs;
        status = read_form(self, gone, marks[i].gone, false, &damaged);
        if (status == RL_OK) {
            status = add_change(self, &done);
        }
    }
    if (status == RL_OK && (deleted > 0 || one.cut)) {
        status = find_lost(&one, old, old_count, marks, mark_count, &lost);
    }
    if (status == RL_OK && one.cut) {
        const uint64_t done = self->count->counted - before;

        status = leave_rest(&one, &lost, runs > done ? runs - done : 1, deleted);
    } else if (status == RL_OK && deleted > 0) {
        status = add_sums(self, gone, &lost);
    }
    for (size_t i = 0; i < one.made.count && status == RL_OK; i++) {
        status = put_piece(self, RL_LEVEL_LEAF, &one.made.list[i]);
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

/* Counts what is marked in the leaves of a block. `now`: the leaves afterwards. */
static rl_status count_leaves(pass *self, const rl_pieces *leaves, const rl_marks *marks,
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

/* Has a piece that could not be read be counted anew. */
static rl_status mark_damaged(pass *self, int64_t at)
{
    const change mark = {.kind = ADD_MARK,
                         .wpk_id = self->wpk_id,
                         .mark = {.from = at, .to = at, .runs = 1}};

    return add_change(self, &mark);
}

/* Adds pieces. */
static rl_status add_pieces(pass *self, rl_sums *sums, const rl_pieces *pieces)
{
    rl_status status = RL_OK;

    for (size_t i = 0; i < pieces->count && status == RL_OK; i++) {
        bool damaged = false;

        status = read_form(self, sums, pieces->list[i].data, false, &damaged);
        if (status == RL_OK && damaged) {
            status = mark_damaged(self, pieces->list[i].from);
        }
    }
    return status;
}

static rl_status sum_block(pass *self, int64_t at, rl_sums *gone, const rl_pieces *leaves)
{
    rl_piece block = {.from = at, .until = at + RL_BLOCK_US};
    rl_sums sums = {.run = {.retries = 0}};
    rl_status status = learn_names(self, gone);

    for (size_t i = 0; i < leaves->count; i++) {
        block.runs += leaves->list[i].runs;
    }
    if (status == RL_OK) {
        status = add_pieces(self, &sums, leaves);
    }
    if (status == RL_OK) {
        status = add_sums(self, &sums, gone);
    }
    if (status == RL_OK) {
        status = write_form(self, gone, &block.gone);
    }
    if (status == RL_OK) {
        status = write_form(self, &sums, &block.data);
    }
    if (status == RL_OK) {
        status = put_piece(self, RL_LEVEL_BLOCK, &block);
    }
    if (status == RL_OK && !rl_pieces_add(&self->touched, &self->count->pool, &block)) {
        status = rl_err_nomem(self->err);
    }
    rl_sums_free(&sums);
    return status;
}

static rl_status count_block(pass *self, int64_t at)
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
        status = know_names(self, &gone);
    }
    if (status == RL_OK && blocks.count > 0) {
        status = read_form(self, &gone, blocks.list[0].gone, false, &damaged);
    }
    if (status == RL_OK) {
        status = count_leaves(self, &leaves, &marks, &gone, &now);
    }
    if (status == RL_OK) {
        status = sum_block(self, at, &gone, &now);
    }
    self->blocks++;
    rl_sums_free(&gone);
    return status;
}

/* Sums a span anew, of the blocks of this pass and of those that are stored. */
static rl_status sum_span(pass *self, int64_t at)
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
        status = write_form(self, &sums, &span.data);
    }
    rl_sums_free(&sums);
    return status == RL_OK ? put_piece(self, RL_LEVEL_SPAN, &span) : status;
}

/* Sums the spans of the workflow's blocks of this pass. */
static rl_status end_workflow(pass *self)
{
    const change add = {.kind = ADD_WORKFLOW, .wpk_id = self->wpk_id};
    int64_t done = INT64_MIN;
    rl_status status = self->touched.count > 0 ? add_change(self, &add) : RL_OK;

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

static rl_status begin_workflow(pass *self, rl_string wpk_id)
{
    self->wpk_id = wpk_id;
    self->names = (rl_names){NULL, 0, 0};
    return self->book->ops->names(self->book, wpk_id, &self->count->pool, &self->names,
                                  self->err);
}

rl_status rl_count_read(rl_count *count, rl_book *book, const atomic_bool *stop,
                        rl_err *err)
{
    pass self = {.count = count, .book = book, .budget = RL_PASS_RUNS, .err = err};
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
         at += sizeof(change)) {
        change one;

        memcpy(&one, count->changes.data + at, sizeof one);
        switch (one.kind) {
        case DROP_LEAVES:
            status =
                ops->drop_leaves(book, one.wpk_id, one.piece.from, one.piece.until, err);
            break;
        case PUT_PIECE:
            status = ops->put_piece(book, one.level, one.wpk_id, &one.piece, err);
            break;
        case DROP_MARK:
            status = ops->drop_mark(book, one.mark.id, err);
            break;
        case ADD_MARK:
            status = ops->add_mark(book, one.wpk_id, &one.mark, err);
            break;
        case ADD_WORKFLOW:
            status = ops->add_workflow(book, one.wpk_id, err);
            break;
        case ADD_NAME:
            status = ops->add_name(book, one.wpk_id, one.number, one.node, err);
            break;
        }
    }
    return status;
}
