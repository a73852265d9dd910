/* The roll-up of a database as the two databases have it: its tables, read and written by
 * count.c, which does not know which database it is.
 *
 * Three levels of pieces: leaves, of about 256 runs of one workflow; blocks of four hours,
 * each the sum of its leaves and of what is gone; spans of four weeks, the sums of blocks.
 * A mark says that the leaves of a time range must be counted again.
 *
 * Threads: one at a time. Ownership: what a function gives is of the pool that it is given.
 */
#ifndef RL_BOOK_H
#define RL_BOOK_H

#include "core/err.h"
#include "rollup/fold.h"

#define RL_BLOCK_US (INT64_C(4) * 3600 * 1000000)
#define RL_SPAN_US (INT64_C(168) * RL_BLOCK_US)
/* Runs that are new are marked by such a part of a block, deleted ones too. */
#define RL_SLOT_US (RL_BLOCK_US / 64)

typedef enum rl_level {
    RL_LEVEL_LEAF,
    RL_LEVEL_BLOCK,
    RL_LEVEL_SPAN,
} rl_level;

typedef struct rl_bytes {
    const void *data;
    size_t len;
} rl_bytes;

typedef struct rl_piece {
    int64_t from, until; /* of created_at */
    uint64_t runs;       /* rows that were read for it */
    rl_bytes data;       /* form.h */
    rl_bytes gone;       /* of a block: what was deleted of it */
} rl_piece;

typedef struct rl_mark {
    int64_t id;
    int64_t from, to; /* of created_at, both included; within a block */
    uint64_t runs;    /* that it is about, at most */
    uint64_t deleted; /* by other programs */
    rl_bytes gone;    /* what runlog deleted, counted before that */
} rl_mark;

typedef struct rl_pieces {
    rl_piece *list;
    size_t count, room;
} rl_pieces;

typedef struct rl_marks {
    rl_mark *list;
    size_t count, room;
} rl_marks;

typedef struct rl_names {
    rl_string *list;
    size_t count, room;
} rl_names;

/* Called for each run. False: that was enough. */
typedef bool (*rl_book_visit)(void *ctx, const rl_fold_run *run);

typedef struct rl_book rl_book;

typedef struct rl_book_ops {
    /* The first mark from a place on, in the order of workflows (by their bytes) and times.
     * *wpk_id is {NULL, 0} if there is none. */
    rl_status (*first_mark)(rl_book *book, rl_string from_wpk, int64_t from,
                            rl_pool *pool, rl_string *wpk_id, int64_t *at, rl_err *err);
    /* Of a workflow, by time: the marks and pieces that begin in [from, until). */
    rl_status (*marks)(rl_book *book, rl_string wpk_id, int64_t from, int64_t until,
                       rl_pool *pool, rl_marks *marks, rl_err *err);
    rl_status (*pieces)(rl_book *book, rl_level level, rl_string wpk_id, int64_t from,
                        int64_t until, rl_pool *pool, rl_pieces *pieces, rl_err *err);
    /* The nodes of a workflow, in the order in which they were first counted. */
    rl_status (*names)(rl_book *book, rl_string wpk_id, rl_pool *pool, rl_names *names,
                       rl_err *err);
    /* The runs created in [from, until), by that time. */
    rl_status (*runs)(rl_book *book, rl_string wpk_id, int64_t from, int64_t until,
                      rl_book_visit visit, void *ctx, rl_err *err);

    rl_status (*drop_leaves)(rl_book *book, rl_string wpk_id, int64_t from, int64_t until,
                             rl_err *err);
    rl_status (*put_piece)(rl_book *book, rl_level level, rl_string wpk_id,
                           const rl_piece *piece, rl_err *err);
    rl_status (*drop_mark)(rl_book *book, int64_t id, rl_err *err);
    rl_status (*add_mark)(rl_book *book, rl_string wpk_id, const rl_mark *mark,
                          rl_err *err);
    rl_status (*add_workflow)(rl_book *book, rl_string wpk_id, rl_err *err);
    rl_status (*add_name)(rl_book *book, rl_string wpk_id, unsigned number,
                          rl_string node, rl_err *err);
} rl_book_ops;

struct rl_book {
    const rl_book_ops *ops;
};

/* Append to the lists, whose memory is of the pool. False without memory. */
bool rl_pieces_add(rl_pieces *pieces, rl_pool *pool, const rl_piece *piece);
bool rl_marks_add(rl_marks *marks, rl_pool *pool, const rl_mark *mark);
bool rl_names_add(rl_names *names, rl_pool *pool, rl_string name);

/* Copies to the pool; {NULL, 0} of nothing, and without memory. */
rl_string rl_pool_keep(rl_pool *pool, const void *text, size_t len);

/* The beginning of the block, or of another length of time, that has a moment. */
static inline int64_t rl_floor_time(int64_t at, int64_t length)
{
    const int64_t rest = at % length;

    return at - (rest < 0 ? rest + length : rest);
}

#endif
